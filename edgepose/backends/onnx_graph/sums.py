"""Residual sums that take what a convolution gives before it is rounded to INT8.

An INT8 kernel of TensorRT can add its residual by itself, unless a Q/DQ pair stands between the
convolution and the sum: then the convolution rounds to INT8 first and the sum is a kernel of its own.
Source: TensorRT's developer guide, explicit quantization, placement of Q/DQ layers.
"""

from __future__ import annotations

from edgepose.backends.onnx_graph.canonical import DEQUANTIZE, QUANTIZE
from edgepose.backends.onnx_graph.graph import Graph, Node, replace_inputs


def fused_sums(graph: Graph) -> tuple[Graph, tuple[str, ...]]:
    """The sums of a quantized graph without the pair behind their convolution; (graph, their names).

    Of two convolutions the one that is computed last loses its pair: its kernel adds the other's INT8
    result. A convolution that somebody else reads as well keeps it, and so does one behind a ReLU.
    """
    order = {node.output: place for place, node in enumerate(graph.nodes)}
    nodes, names = [], []
    for node in graph.nodes:
        copy = replace_inputs([node], {})[0]
        found = {
            i: conv for i, name in enumerate(node.inputs) if (conv := _convolution(graph, name))
        }
        if node.op == "Add" and found and len(set(node.inputs)) == 2:
            last = max(found, key=lambda i: order[found[i].output])
            copy.inputs[last] = found[last].output
            names.append(node.name)
        nodes.append(copy)
    return graph.with_(nodes=nodes), tuple(names)


def _convolution(graph: Graph, name: str) -> Node | None:
    """The Conv whose quantized result `name` is; None where it has another reader, or is none."""
    for op in (DEQUANTIZE, QUANTIZE):
        node = graph.producer(name, op)
        if node is None or len(graph.consumers[name]) != 1:
            return None
        name = node.inputs[0]
    alone = len(graph.consumers.get(name, [])) == 1
    return graph.producer(name, "Conv") if alone else None
