"""The quantized graph as ONNX Runtime's CPU kernels want it: 8-bit unsigned activations.

ONNX Runtime fuses Conv + ReLU + QuantizeLinear into one integer kernel only where the ReLU does
nothing that the quantizer does not do: an unsigned tensor with zero-point 0. A trained grid stays, a
calibrated one gets finer by a factor of two. See docs/adr/0006-dialects.md.
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
    moved_inputs,
)
from edgepose.backends.onnx_graph.graph import Graph, Node, replace_inputs
from edgepose.errors import EdgeposeError

MIDDLE = 128
"""Zero-point of tensors that can be negative: int8 value q is stored as q + 128."""


def never_negative(graph: Graph) -> frozenset[str]:
    """Tensors all of whose values are >= 0, whatever the input: what follows a ReLU."""
    found: set[str] = set()
    for node in graph.nodes:
        sources = node.inputs if node.op == "Add" else moved_inputs(node)
        keeps = node.op in ("Add", QUANTIZE, DEQUANTIZE) or is_movement(node)
        if node.op in ("Relu", "Sigmoid") or (keeps and all(name in found for name in sources)):
            found.update(node.outputs)
    return frozenset(found)


def _meeting(graph: Graph) -> list[frozenset[str]]:
    """For each Concat of tensors on one grid: the quantized tensors that meet in it."""
    origins: dict[str, frozenset[str]] = {}
    on_grid = grids(graph)
    groups = []
    for node in graph.nodes:
        if node.op == DEQUANTIZE:
            origins[node.output] = frozenset(node.inputs[:1])
        elif is_movement(node) and node.output in on_grid:
            origins[node.output] = frozenset[str]().union(*(origins[n] for n in moved_inputs(node)))
            if node.op == "Concat":
                groups.append(origins[node.output])
    return groups


def _unsigned(graph: Graph) -> frozenset[str]:
    """Quantized tensors that are never negative, but for those that meet a signed one in a Concat,
    which has one zero-point."""
    found, groups = never_negative(graph), _meeting(graph)
    while mixed := [g for g in groups if g & found and not g <= found]:
        found -= frozenset[str]().union(*mixed)
    return found


def unsigned_activations(graph: Graph) -> Graph:
    """int8 activations with zero-point 0 become uint8 with zero-point 0 or 128, same scale.

    A tensor that is never negative saturates at 255 steps then, not at 127: see `refine_unsigned`.
    """
    unsigned = _unsigned(graph)
    constants = dict(graph.constants)
    for node in graph.nodes:
        if node.op not in (QUANTIZE, DEQUANTIZE) or node.inputs[0] in graph.constants:
            continue
        quantized = node.output if node.op == QUANTIZE else node.inputs[0]
        grid = grid_of(graph, node)
        if grid is None or grid[1] != 0 or graph.constants[node.inputs[2]].dtype != np.int8:
            raise EdgeposeError(
                f"{node.name} is not symmetric per-tensor int8",
                fix="quantize with edgepose's symmetric int8 quantizer",
            )
        zero = 0 if quantized in unsigned else MIDDLE
        constants[node.inputs[2]] = np.array(zero, np.uint8)
    return graph.with_(constants=constants)


def refine_unsigned(graph: Graph) -> Graph:
    """Half the scale for uint8 tensors with zero-point 0, which use half of their codes otherwise.

    Old values keep a code of their own (twice the old one), the rounding error halves, and the
    tensor saturates where its range was trained or calibrated to end (127.5 old steps, not 127).
    """
    constants = dict(graph.constants)
    for node in graph.nodes:
        if node.op == QUANTIZE and node.inputs[0] not in graph.constants:
            scale, zero = node.inputs[1:]
            if graph.constants[zero].dtype == np.uint8 and graph.constants[zero] == 0:
                constants[scale] = np.array(graph.constants[scale] / 2, np.float32)
    return graph.with_(constants=constants)


def drop_redundant_relus(graph: Graph) -> Graph:
    """Without each ReLU that only unsigned quantizers with zero-point 0 read: they clip at 0 too."""
    gone: dict[str, str] = {}
    for node in graph.nodes:
        users = graph.consumers.get(node.output, [])
        if node.op != "Relu" or node.output in graph.output_names:
            continue
        zeros = [graph.constants[u.inputs[2]] for u in users if u.op == QUANTIZE]
        if len(zeros) == len(users) and all(z.dtype == np.uint8 and z == 0 for z in zeros):
            gone[node.output] = node.inputs[0]
    return graph.with_(nodes=replace_inputs(graph.nodes, gone))


def move_as_integers(graph: Graph) -> Graph:
    """Operators that only move values run on the 8-bit tensor; DequantizeLinear comes after them."""
    nodes: list[Node] = []
    pairs: dict[str, Node] = {n.output: n for n in graph.nodes if n.op == DEQUANTIZE}
    for node in graph.nodes:
        sources = [pairs[name] for name in moved_inputs(node) if name in pairs]
        grids_in = {grid_of(graph, source) for source in sources}
        all_quantized = len(sources) == len(moved_inputs(node)) and len(grids_in) == 1
        if not is_movement(node) or not all_quantized or None in grids_in:
            nodes.append(node)
            continue
        moved = replace_inputs([node], {s.output: s.inputs[0] for s in sources})[0]
        moved.outputs = [f"{node.name}.q"]
        scale_and_zero = sources[0].inputs[1:]
        after = Node(
            DEQUANTIZE, [moved.output, *scale_and_zero], [node.output], {}, f"{node.name}.dq"
        )
        pairs[node.output] = after
        nodes += [moved, after]
    return graph.with_(nodes=nodes)


def integer_biases(graph: Graph) -> Graph:
    """Float biases of integer convolutions become int32 on the accumulator's grid, as QLinearConv
    takes them: scale = input scale x weight scale, per channel."""
    constants: dict[str, NDArray[Any]] = dict(graph.constants)
    nodes: list[Node] = []
    for node in graph.nodes:
        copy = replace_inputs([node], {})[0]
        nodes.append(copy)
        users = graph.consumers.get(node.output, [])
        if node.op != "Conv" or len(node.inputs) < 3 or any(u.op != QUANTIZE for u in users):
            continue
        data, weight = (graph.producer(name, DEQUANTIZE) for name in node.inputs[:2])
        if data is None or weight is None or node.output in graph.output_names:
            continue
        values, zeros, scale = _bias(graph, node, data, weight)
        names = [f"{node.name}.bias", f"{node.name}.bias.scale", f"{node.name}.bias.zero_point"]
        constants |= dict(zip(names, (values, scale, zeros), strict=True))
        copy.inputs[2] = f"{node.name}.bias.dq"
        nodes.insert(-1, Node(DEQUANTIZE, names, [copy.inputs[2]], {"axis": 0}, copy.inputs[2]))
    return graph.with_(nodes=nodes, constants=constants)


def _bias(
    graph: Graph, node: Node, data: Node, weight: Node
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]:
    """(C,) integers, (C,) zero-points and (C,) scales of the bias of `node`."""
    bias = graph.constants[node.inputs[2]].astype(np.float64)
    scale = graph.constants[data.inputs[1]].astype(np.float64) * graph.constants[weight.inputs[1]]
    scales = np.broadcast_to(scale, bias.shape).astype(np.float32)
    steps = np.rint(bias / scales)
    if np.any(np.abs(steps) > np.iinfo(np.int32).max):
        raise EdgeposeError(
            f"the bias of {node.name} does not fit the int32 accumulator",
            fix="calibrate with more images; an activation scale is close to zero",
        )
    return steps.astype(np.int32), np.zeros(bias.shape, np.int32), scales


def to_onnxruntime(base: Graph, *, trained: bool) -> Graph:
    """The canonical graph in ONNX Runtime's dialect. A float graph comes back as it is.

    trained: the network was trained on this grid, which it then keeps; ranges that calibration alone
    chose cut tails off on purpose, and `refine_unsigned` keeps them cut off
    """
    steps = (
        unsigned_activations,
        *(() if trained else (refine_unsigned,)),
        drop_redundant_relus,
        move_as_integers,
        integer_biases,
    )
    return reduce(lambda g, step: step(g), steps, base)
