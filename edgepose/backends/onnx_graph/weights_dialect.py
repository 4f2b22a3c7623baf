"""INT8 weights per output channel, expanded where they are used: for size, in float kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgepose.backends.onnx_graph.graph import Graph, Node, replace_inputs
from edgepose.quant.grid import weight_codes


def int8_weights(graph: Graph, *, float_layers: frozenset[str] = frozenset()) -> Graph:
    """The float graph with each Conv's weights as int8 behind a DequantizeLinear (axis 0).

    float_layers: names of convolutions that keep float32 weights.
    """
    constants: dict[str, NDArray[Any]] = dict(graph.constants)
    nodes: list[Node] = []
    for node in graph.nodes:
        node = replace_inputs([node], {})[0]
        if node.op == "Conv" and node.name not in float_layers:
            weight = node.inputs[1]
            codes, scales = weight_codes(torch.from_numpy(np.array(graph.constants[weight])))
            constants[weight] = codes.numpy()
            constants[f"{weight}.scale"] = scales.numpy()
            constants[f"{weight}.zero_point"] = np.zeros(len(scales), np.int8)
            inputs = [weight, f"{weight}.scale", f"{weight}.zero_point"]
            node.inputs[1] = f"{weight}.real"
            nodes.append(
                Node("DequantizeLinear", inputs, [node.inputs[1]], {"axis": 0}, node.inputs[1])
            )
        nodes.append(node)
    return graph.with_(nodes=nodes, constants=constants)
