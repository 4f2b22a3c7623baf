"""From a PoseModel to the ONNX graph that the dialects start from."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from dataclasses import replace

import torch
from onnx import defs, shape_inference
from torch import nn

from edgepose.backends.onnx_graph.canonical import canonical, fold_constants
from edgepose.backends.onnx_graph.graph import (
    Graph,
    Node,
    from_model,
    replace_inputs,
    with_batch,
)
from edgepose.backends.onnx_graph.naming import fingerprint, name_by_module
from edgepose.errors import EdgeposeError
from edgepose.models.pose_model import PoseModel
from edgepose.quant.graph import deploy_form, int8_graph

OPSET = 17
"""The highest that TensorRT 8.5's parser reads; ONNX Runtime reads it since 1.12."""

INPUT, OUTPUT = "image", "heatmaps"
REDUCTIONS = ("ReduceMax", "ReduceMean")
_kept: dict[tuple[str, bool], Graph] = {}
_KEEP = 2
_EXAMPLES = 2
"""Images of the example that is traced; not 1, which an exporter may take for a constant."""
_OTHER_COUNT = 5


def float_graph(model: PoseModel) -> Graph:
    """The deploy form in float32: (batch, 3, H, W) normalised -> (batch, J, h, w)."""
    return _cached(model, quantized=False)


def quantized_graph(model: PoseModel) -> Graph:
    """The same with Q/DQ pairs: int8, zero-point 0, per-channel int8 weights, float output.

    Raises EdgeposeError where the model has no static plan.
    """
    plan = model.spec.quant
    if plan is None or plan.mode != "static":
        found = "no quantization plan" if plan is None else f"a {plan.mode} plan"
        raise EdgeposeError(
            f"int8 needs fixed activation scales; the model has {found}",
            fix="add a qat or a static quantize stage, or ask the target for fp16 or fp32",
        )
    return _cached(model, quantized=True)


def _cached(model: PoseModel, *, quantized: bool) -> Graph:
    """Exporting takes seconds and several targets start from the same graph."""
    key = (model.sha256, quantized)
    if key not in _kept:
        deploy = deploy_form(model)
        network = int8_graph(model, batch=_EXAMPLES) if quantized else deploy.module()
        modules = {
            fingerprint(tensor.numpy()): name.removesuffix(".weight")
            for name, tensor in deploy.tensors.items()
            if name.endswith(".weight")
        }
        graph = free_batch(canonical(export_module(network, input_hw=model.spec.input_hw)))
        while len(_kept) >= _KEEP:
            _kept.pop(next(iter(_kept)))
        _kept[key] = name_by_module(graph, modules)
    return _kept[key]


def export_module(network: nn.Module, *, input_hw: tuple[int, int]) -> Graph:
    """The ONNX graph (opset 17) of a network (N, 3, H, W) float32 -> (N, J, h, w) float32, N = 2.

    As the exporter gives it, without its metadata; `canonical` cleans up the rest. Exporting with a
    fixed batch, and without the exporter's own optimiser, takes half the time.
    """
    with _quiet():
        program = torch.onnx.export(
            network,
            (torch.zeros(_EXAMPLES, 3, *input_hw),),
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=[OUTPUT],
            optimize=False,
            verbose=False,
        )
    assert program is not None
    graph = axes_as_attributes(from_model(program.model_proto))
    if graph.opset != OPSET:
        raise EdgeposeError(
            f"the network was exported with opset {graph.opset}; targets read {OPSET}",
            fix="use only operators that ONNX opset 17 has",
        )
    return graph


def axes_as_attributes(graph: Graph) -> Graph:
    """A graph of opset 18 in opset 17 where reductions are all that differs: 17 has their axes as an
    attribute. Any other graph is given back as it is (the exporter cannot convert reductions)."""
    if graph.opset != OPSET + 1:
        return graph
    graph = fold_constants(graph)
    nodes = replace_inputs(graph.nodes, {})
    for node in nodes:
        if defs.get_schema(node.op, OPSET + 1).since_version <= OPSET:
            continue
        if node.op not in REDUCTIONS or node.attributes.pop("noop_with_empty_axes", 0):
            return graph
        if len(node.inputs) > 1:
            if node.inputs[1] not in graph.constants:
                return graph
            node.attributes["axes"] = [int(a) for a in graph.constants[node.inputs[1]].reshape(-1)]
            del node.inputs[1:]
    return replace(graph.with_(nodes=nodes), opset=OPSET)


def free_batch(graph: Graph) -> Graph:
    """The same network for any number of images: the first dimension is called "batch".

    Raises EdgeposeError where an operator mixes images.
    """
    constants, nodes = dict(graph.constants), replace_inputs(graph.nodes, {})
    for node in nodes:
        if node.op == "Reshape" and constants[node.inputs[1]][0] == _EXAMPLES:
            shape = constants[node.inputs[1]].copy()
            shape[0] = 0  # as the input has it
            constants[node.inputs[1]] = shape
    result = with_batch(graph.with_(nodes=nodes, constants=constants), "batch")
    probe = with_batch(result, _OTHER_COUNT)
    fix = "keep the first dimension of every tensor as it comes"
    try:
        shapes = probe.shapes
    except shape_inference.InferenceError as error:
        raise EdgeposeError(f"the network mixes the images of a batch: {error}", fix=fix) from error
    for node in probe.nodes:
        if not is_weight(probe, node) and shapes[node.output][0] != _OTHER_COUNT:
            raise EdgeposeError(f"{node.op} {node.output} mixes the images of a batch", fix=fix)
    return result


def is_weight(graph: Graph, node: Node) -> bool:
    return node.op == "DequantizeLinear" and node.inputs[0] in graph.constants


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter prints that it converts versions and that torchvision is absent: known, harmless."""
    loggers = [
        logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")
    ]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
