"""Dynamic INT8 for ONNX Runtime: every convolution in integers, input ranges found per image.

ONNX Runtime's own `quantize_dynamic` leaves deconvolutions in float and uses one scale per weight
tensor. Here the graph is in deploy form (deconvolutions are convolutions) and weights have a scale
per output channel.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import TensorProto

from edgepose.backends.onnx_graph.graph import Graph, Node, replace_inputs
from edgepose.quant.grid import weight_codes

_SPATIAL = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")


def to_dynamic(graph: Graph, *, float_layers: frozenset[str] = frozenset()) -> Graph:
    """The float graph with each Conv as DynamicQuantizeLinear -> ConvInteger -> scale, bias.

    float_layers: names of convolutions that stay as they are.
    """
    constants: dict[str, NDArray[Any]] = dict(graph.constants)
    nodes: list[Node] = []
    ranged: set[str] = set()
    for node in graph.nodes:
        if node.op != "Conv" or node.name in float_layers:
            nodes.append(replace_inputs([node], {})[0])
            continue
        data, weight = node.inputs[:2]
        quantized = [f"{data}.q", f"{data}.scale", f"{data}.zero_point"]
        if data not in ranged:
            ranged.add(data)
            nodes.append(Node("DynamicQuantizeLinear", [data], quantized, {}, quantized[0]))
        codes, scales = weight_codes(torch.from_numpy(np.array(graph.constants[weight])))
        shape = (1, -1, 1, 1)
        constants[weight] = codes.numpy()
        constants[f"{weight}.scale"] = scales.numpy().reshape(shape)
        sums, real, scale = f"{node.name}.sums", f"{node.name}.float", f"{node.name}.scale"
        product = f"{node.name}.product" if len(node.inputs) > 2 else node.output
        spatial = {k: v for k, v in node.attributes.items() if k in _SPATIAL}
        nodes += [
            Node("ConvInteger", [quantized[0], weight, quantized[2]], [sums], spatial, sums),
            Node("Cast", [sums], [real], {"to": int(TensorProto.FLOAT)}, real),
            Node("Mul", [quantized[1], f"{weight}.scale"], [scale], {}, scale),
            Node("Mul", [real, scale], [product], {}, product),
        ]
        if len(node.inputs) > 2:
            bias = node.inputs[2]
            constants[f"{bias}.column"] = graph.constants[bias].reshape(shape)
            nodes.append(Node("Add", [product, f"{bias}.column"], [node.output], {}, node.name))
    return graph.with_(nodes=nodes, constants=constants)


def half_weights(graph: Graph) -> Graph:
    """The float graph with its weights stored as float16 and cast to float32 when they are used."""
    constants: dict[str, NDArray[Any]] = dict(graph.constants)
    casts = []
    replaced = {}
    for name, array in graph.constants.items():
        if array.dtype == np.float32 and array.ndim > 1:
            constants[f"{name}.half"] = array.astype(np.float16)
            replaced[name] = f"{name}.cast"
            attributes = {"to": int(TensorProto.FLOAT)}
            casts.append(
                Node("Cast", [f"{name}.half"], [replaced[name]], attributes, replaced[name])
            )
    return graph.with_(nodes=[*casts, *replace_inputs(graph.nodes, replaced)], constants=constants)
