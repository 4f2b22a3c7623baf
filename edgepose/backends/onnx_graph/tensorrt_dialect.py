"""The quantized graph as TensorRT 8.5's ONNX parser wants it.

Sources: onnx-tensorrt release/8.5-GA (docs/operators.md, builtin_op_importers.cpp) for what is
parsed; the graphs of NVIDIA's own quantization toolkit for the form. See docs/adr/0006-dialects.md.
"""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepose.backends.onnx_graph.canonical import (
    DEQUANTIZE,
    QUANTIZE,
    grid_of,
    grids,
    is_movement,
)
from edgepose.backends.onnx_graph.graph import Graph, Node, replace_inputs, with_batch
from edgepose.errors import EdgeposeError


def fix_batch(graph: Graph, batch: int) -> Graph:
    """The same network for exactly `batch` images; every Reshape then has a constant shape."""
    return static_reshapes(with_batch(graph, batch))


def static_reshapes(graph: Graph) -> Graph:
    """Shape constants of Reshape without -1 where the output shape is known."""
    constants = dict(graph.constants)
    for node in graph.nodes:
        if node.op != "Reshape" or node.inputs[1] not in constants:
            continue
        shape = graph.shapes.get(node.output, ("?",))
        known = [dim for dim in shape if isinstance(dim, int)]
        if len(known) == len(shape):
            constants[node.inputs[1]] = np.array(known, np.int64)
    return graph.with_(constants=constants)


def float_weights(graph: Graph) -> Graph:
    """INT8 weights become float32 weights on the same grid -> QuantizeLinear -> DequantizeLinear.

    8.x parsers refuse INT8 initialisers. QuantizeLinear gives the same integers back (asserted).
    """
    constants, nodes = dict(graph.constants), []
    for node in graph.nodes:
        copy = replace_inputs([node], {})[0]
        if node.op == DEQUANTIZE and node.inputs[0] in graph.constants:
            weight, scale, _ = (graph.constants[name] for name in node.inputs)
            if weight.dtype != np.int8:
                raise EdgeposeError(
                    f"{node.inputs[0]} is {weight.dtype}, TensorRT takes int8 weights only",
                    fix="quantize with symmetric int8 weights",
                )
            axis = int(node.attributes.get("axis", 1))
            shape = [1] * weight.ndim
            if scale.ndim:
                shape[axis] = scale.size
            factor = scale.reshape(shape).astype(np.float32)
            values = weight.astype(np.float32) * factor
            if not np.array_equal(np.rint(values / factor), weight):
                raise EdgeposeError(
                    f"the weights {node.inputs[0]} leave their grid in float32",
                    fix="this is a defect of edgepose; report it with the model",
                )
            constants[node.inputs[0]] = values
            quantize = Node(
                QUANTIZE, list(node.inputs), [f"{node.inputs[0]}.q"],
                dict(node.attributes), f"{node.inputs[0]}.q",
            )  # fmt: skip
            copy.inputs[0] = quantize.output
            nodes.append(quantize)
        nodes.append(copy)
    return graph.with_(nodes=nodes, constants=constants)


def interleave_by_transpose(graph: Graph) -> Graph:
    """DepthToSpace becomes Reshape -> Transpose -> Reshape: 8.5 has DepthToSpace in float only."""
    constants: dict[str, NDArray[Any]] = dict(graph.constants)
    nodes: list[Node] = []
    for node in graph.nodes:
        if node.op != "DepthToSpace":
            nodes.append(node)
            continue
        n, channels, height, width = (int(d) for d in graph.shapes[node.inputs[0]])
        block = int(node.attributes["blocksize"])
        depth = channels // block**2
        if node.attributes.get("mode", b"DCR") in (b"CRD", "CRD"):
            split, order = [n, depth, block, block, height, width], [0, 1, 4, 2, 5, 3]
        else:
            split, order = [n, block, block, depth, height, width], [0, 3, 4, 1, 5, 2]
        merged = [n, depth, height * block, width * block]
        steps = [f"{node.name}.split", f"{node.name}.transpose", f"{node.name}.merge"]
        for step, shape in ((steps[0], split), (steps[2], merged)):
            constants[f"{step}.shape"] = np.array(shape, np.int64)
        nodes += [
            Node("Reshape", [node.inputs[0], f"{steps[0]}.shape"], [steps[0]], {}, steps[0]),
            Node("Transpose", [steps[0]], [steps[1]], {"perm": order}, steps[1]),
            Node("Reshape", [steps[1], f"{steps[2]}.shape"], [node.output], {}, steps[2]),
        ]
    return graph.with_(nodes=nodes, constants=constants)


def pairs_before_compute(graph: Graph) -> Graph:
    """A Q/DQ pair where a moved tensor enters a Conv or an Add, so that the engine sees its scale.

    The pair requantizes to the grid that the tensor is on, which changes nothing. TensorRT moves
    it up through Slice, Concat, Reshape and Transpose, which then run in INT8.
    """
    on_grid = grids(graph)
    constants, nodes = dict(graph.constants), []
    done: dict[str, str] = {}
    for node in graph.nodes:
        copy = replace_inputs([node], {})[0]
        for index, name in enumerate(node.inputs):
            producer = graph.producer(name)
            moved = producer is not None and name in on_grid and is_movement(producer)
            if node.op not in ("Conv", "ConvTranspose", "Add") or not moved:
                continue
            if name not in done:
                scale, zero = on_grid[name]
                constants[f"{name}.q.scale"] = np.array(scale, np.float32)
                constants[f"{name}.q.zero_point"] = np.array(zero, np.int8)
                pair = [f"{name}.q.scale", f"{name}.q.zero_point"]
                nodes.append(Node(QUANTIZE, [name, *pair], [f"{name}.q"], {}, f"{name}.q"))
                done[name] = f"{name}.dq"
                nodes.append(Node(DEQUANTIZE, [f"{name}.q", *pair], [done[name]], {}, done[name]))
            copy.inputs[index] = done[name]
        nodes.append(copy)
    return graph.with_(nodes=nodes, constants=constants)


def check_dialect(graph: Graph) -> None:
    """EdgeposeError for what TensorRT 8.5 would refuse or misread in a quantized graph."""
    fix = "quantize with edgepose's symmetric int8 quantizer"
    for node in graph.nodes:
        if node.op not in (QUANTIZE, DEQUANTIZE):
            continue
        if len(node.inputs) != 3:
            raise EdgeposeError(f"{node.name} has no zero-point input", fix=fix)
        scale, zero = (graph.constants[name] for name in node.inputs[1:])
        if zero.dtype != np.int8 or np.any(zero) or zero.shape != scale.shape:
            raise EdgeposeError(f"{node.name}: zero-point {zero.dtype} is not int8 zeros", fix=fix)
        if not np.all(scale > 0) or not np.all(np.isfinite(scale)):
            raise EdgeposeError(f"{node.name}: a scale is not positive", fix=fix)
        if node.op == DEQUANTIZE and node.output in graph.output_names:
            raise EdgeposeError(f"{node.name}: the network's output is quantized", fix=fix)
        per_channel = grid_of(graph, node) is None
        if node.op == QUANTIZE and per_channel and node.inputs[0] not in graph.constants:
            raise EdgeposeError(f"{node.name}: per-channel scales on an activation", fix=fix)


def to_tensorrt(base: Graph, *, batch: int = 1) -> Graph:
    """The canonical graph in TensorRT 8.5's dialect, for `batch` images.

    A float graph only gets its batch and its interleave; the precision is then a build setting.
    """
    steps = (float_weights, interleave_by_transpose, pairs_before_compute)
    graph = reduce(lambda g, step: step(g), steps, fix_batch(base, batch))
    check_dialect(graph)
    return graph
