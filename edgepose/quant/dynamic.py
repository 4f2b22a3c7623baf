"""Dynamic INT8: activation scales found at run time, for CPUs and where there are no images.

Every convolution of the deploy form becomes ConvInteger with int8 weights per output channel (torch's
own `quantize_dynamic` leaves every Conv2d in float, ONNX Runtime's leaves the deconvolutions). Runs
in ONNX Runtime's CPU provider alone; each tensor is read once more to find its range, and sums stay
float, so a static plan is faster.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from edgepose.models.plan import QuantPlan
from edgepose.models.pose_model import PoseModel
from edgepose.quant.graph import deploy_form, export
from edgepose.quant.grid import snap, weight_codes
from edgepose.quant.onnx_graph import to_onnx


def quantize_dynamic(model: PoseModel) -> PoseModel:
    """`model` in deploy form with on-grid weights and a dynamic plan; needs no images."""
    deploy = deploy_form(model)
    tensors = {
        key: snap(value) if key.endswith(".weight") else value
        for key, value in deploy.tensors.items()
    }
    plan = QuantPlan(mode="dynamic", source="none")
    return PoseModel(dataclasses.replace(deploy.spec, quant=plan), tensors)


def dynamic_onnx(
    model: PoseModel, *, input_name: str = "images", output_name: str = "heatmaps"
) -> onnx.ModelProto:
    """ONNX (opset 17) of `model` with every convolution in integers.

    (N, 3, H, W) float32 normalised -> (N, J, H/4, W/4) float32; N is free.
    """
    graph_module = export(deploy_form(model).module(), input_hw=model.spec.input_hw)
    proto = to_onnx(graph_module, input_name=input_name, output_name=output_name)
    graph = proto.graph
    constants = {t.name: t for t in graph.initializer}
    quantized: set[str] = set()
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        if node.op_type != "Conv":
            nodes.append(node)
            continue
        source = node.input[0]
        if source not in quantized:
            quantized.add(source)
            outputs = [f"{source}_q", f"{source}_scale", f"{source}_zero_point"]
            nodes.append(helper.make_node("DynamicQuantizeLinear", [source], outputs))
        replaced, added = _integer_convolution(node, constants)
        nodes.extend(replaced)
        graph.initializer.extend(added)
    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    kept = [t for t in graph.initializer if t.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    return proto


def _integer_convolution(
    node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """One float Conv as ConvInteger, scale, bias; with the constants that it needs."""
    source, weight, bias = node.input
    layer, output = weight.removesuffix(".weight"), node.output[0]
    codes, scales = weight_codes(torch.from_numpy(numpy_helper.to_array(constants[weight]).copy()))
    shape = (1, -1, 1, 1)
    added = [
        numpy_helper.from_array(codes.numpy(), f"{layer}.weight_int8"),
        numpy_helper.from_array(scales.numpy().reshape(shape), f"{layer}.weight_scale"),
        numpy_helper.from_array(
            np.ascontiguousarray(numpy_helper.to_array(constants[bias]).reshape(shape)),
            f"{layer}.bias_nchw",
        ),
    ]
    integer = helper.make_node(
        "ConvInteger",
        [f"{source}_q", f"{layer}.weight_int8", f"{source}_zero_point"],
        [f"{output}_int32"],
        name=f"ConvInteger:{layer}",
    )
    integer.attribute.extend(node.attribute)
    steps = [
        integer,
        helper.make_node(
            "Cast", [f"{output}_int32"], [f"{output}_float"], to=int(TensorProto.FLOAT)
        ),
        helper.make_node("Mul", [f"{source}_scale", f"{layer}.weight_scale"], [f"{output}_scale"]),
        helper.make_node("Mul", [f"{output}_float", f"{output}_scale"], [f"{output}_scaled"]),
        helper.make_node("Add", [f"{output}_scaled", f"{layer}.bias_nchw"], [output]),
    ]
    return steps, added
