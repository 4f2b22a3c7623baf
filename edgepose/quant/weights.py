"""INT8 weights alone: a quarter of the bytes where no integer kernel is at hand, floats computed."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import Any

import torch
from torch import fx, nn

from edgepose.errors import EdgeposeError
from edgepose.models.plan import QuantPlan
from edgepose.models.pose_model import PoseModel
from edgepose.quant.graph import deploy_form, export
from edgepose.quant.grid import WEIGHT_RANGE, snap, weight_codes
from edgepose.quant.quantizer import CONVOLUTIONS

WEIGHTS = "weight_only"


def round_weights(model: PoseModel, *, float_layers: Collection[str] = ()) -> PoseModel:
    """The deploy form with every convolution's weights on the INT8 grid, per output channel.

    float_layers: convolutions that are left as they are
    The float network of its tensors is what its files compute; no images are needed.
    """
    deploy = deploy_form(model)
    tensors = dict(deploy.tensors)
    for name, layer in deploy.module().named_modules():
        if isinstance(layer, nn.Conv2d) and name not in float_layers:
            tensors[f"{name}.weight"] = snap(tensors[f"{name}.weight"])
    bad = [key for key, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    if bad:
        raise EdgeposeError(f"{bad[0]} is not finite", fix="check the checkpoint")
    precision = dict.fromkeys(sorted(float_layers), "float")
    plan = QuantPlan(mode=WEIGHTS, source="none", precision=precision)
    return PoseModel(dataclasses.replace(deploy.spec, quant=plan), tensors)


def on_grid(model: PoseModel) -> PoseModel:
    """A statically quantized model as a weight-only one: the weights are on their grid already."""
    plan = model.spec.quant
    if plan is None or plan.mode != "static":
        return model
    weights = QuantPlan(mode=WEIGHTS, source=plan.source, precision=plan.precision)
    return PoseModel(dataclasses.replace(model.spec, quant=weights), model.tensors)


def weights_graph(model: PoseModel, *, batch: int | None = None) -> fx.GraphModule:
    """The float graph of a weight-only model, its weights int8 behind dequantize_per_channel."""
    plan = model.spec.quant
    if plan is None or plan.mode != WEIGHTS:
        raise EdgeposeError(
            "the model has no weight-only plan", fix="set stages.quantize.mode: weights"
        )
    graph_module = export(model.module(), input_hw=model.spec.input_hw, batch=batch)
    graph = graph_module.graph
    for node in list(graph.nodes):
        if node.op != "call_function" or node.target not in CONVOLUTIONS:
            continue
        weight: Any = node.args[1]
        layer = str(weight.target).removesuffix(".weight")
        if plan.precision.get(layer) == "float":
            continue
        codes, scales = weight_codes(model.tensors[f"{layer}.weight"])
        values = {
            "codes": codes,
            "scales": scales,
            "zeros": torch.zeros_like(scales, dtype=torch.int8),
        }
        stem = f"{layer.replace('.', '_')}_weight"
        for kind, value in values.items():
            graph_module.register_buffer(f"{stem}_{kind}", value)
        with graph.inserting_before(node):
            parts = [graph.get_attr(f"{stem}_{kind}") for kind in values]
            real = graph.call_function(
                torch.ops.quantized_decomposed.dequantize_per_channel.default,
                (*parts, 0, *WEIGHT_RANGE, torch.int8),
            )
        node.replace_input_with(weight, real)
    graph.eliminate_dead_code()
    graph_module.delete_all_unused_submodules()
    graph_module.recompile()
    return graph_module
