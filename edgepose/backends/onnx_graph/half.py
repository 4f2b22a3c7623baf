"""A float network with every tensor rounded to half precision, as an FP16 engine stores them."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from edgepose.backends.onnx_graph.canonical import is_movement
from edgepose.backends.onnx_graph.graph import Graph, Node
from edgepose.backends.onnx_graph.whole_pose import is_around
from edgepose.errors import EdgeposeError


def in_half(graph: Graph) -> Graph:
    """Weights, the input and what every operator gives go through float16; sums are in float32.

    What is around the network in a whole-pose graph stays as it is, as the build settings have it.
    Raises EdgeposeError for a weight that float16 cannot hold.
    """
    constants, nodes, renamed = dict(graph.constants), [], {}
    for name, array in constants.items():
        if array.dtype == np.float32 and not is_around(name):
            with np.errstate(over="ignore"):
                half = array.astype(np.float16)
            if not np.all(np.isfinite(half)):
                raise EdgeposeError(
                    f"{name} reaches {float(np.abs(array).max()):.3g}: FP16 cannot hold that",
                    fix="train the network further, or leave fp16 out of the target's precisions",
                )
            constants[name] = half.astype(np.float32)

    def rounded(name: str, to: str) -> list[Node]:
        half = f"{to}.half"
        return [
            Node("Cast", [name], [half], {"to": int(TensorProto.FLOAT16)}, half),
            Node("Cast", [half], [to], {"to": int(TensorProto.FLOAT)}, f"{to}.float"),
        ]

    for port in (port for port in graph.inputs if port.dtype == np.float32):
        renamed[port.name] = f"{port.name}.rounded"
        nodes += rounded(port.name, renamed[port.name])
    for node in graph.nodes:
        inputs = [renamed.get(name, name) for name in node.inputs]
        if is_movement(node) or is_around(node.name):
            nodes.append(Node(node.op, inputs, node.outputs, dict(node.attributes), node.name))
            continue
        exact = [f"{name}.exact" for name in node.outputs]
        nodes.append(Node(node.op, inputs, exact, dict(node.attributes), node.name))
        for before, after in zip(exact, node.outputs, strict=True):
            nodes += rounded(before, after)
    return graph.with_(nodes=nodes, constants=constants)
