"""From an exporter's graph to the form that the dialects start from.

- one Q/DQ pair per quantized tensor: the pairs that follow an operator which only moves values are
  dropped, since its values are on the grid already (exact);
- chains of Slice are one Slice; Identity, and what only works on constants, is gone;
- every convolution has its own weight DequantizeLinear.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import helper
from onnx.reference import ReferenceEvaluator

from edgepose.backends.onnx_graph.graph import Graph, Node, replace_inputs
from edgepose.errors import EdgeposeError

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
MOVEMENT = frozenset(
    (
        "Concat", "DepthToSpace", "Expand", "Flatten", "MaxPool", "Reshape", "Resize", "Slice",
        "SpaceToDepth", "Squeeze", "Transpose", "Unsqueeze",
    )
)  # fmt: skip
"""Operators whose outputs hold only values of their first input (of every input for Concat)."""

Grid = tuple[float, int]
"""Scale and zero-point of a tensor that is on a per-tensor grid."""


def moved_inputs(node: Node) -> list[str]:
    """The inputs that a movement operator takes values from (not its shapes and axes)."""
    return list(node.inputs) if node.op == "Concat" else node.inputs[:1]


def is_movement(node: Node) -> bool:
    """True if every value of the output is a value of the input (Resize: in nearest mode only)."""
    if node.op == "Resize":
        return node.attributes.get("mode", b"nearest") in (b"nearest", "nearest")
    return node.op in MOVEMENT and len(node.outputs) == 1


def grid_of(graph: Graph, node: Node) -> Grid | None:
    """(scale, zero-point) of a per-tensor Q or DQ node; None for a per-channel one."""
    scale, zero = graph.constants.get(node.inputs[1]), graph.constants.get(node.inputs[2])
    if scale is None or zero is None:
        raise EdgeposeError(
            f"{node.op} {node.output} has a scale that is not a constant",
            fix="use static quantization for this target",
        )
    return (float(scale), int(zero)) if scale.ndim == 0 else None


def grids(graph: Graph) -> dict[str, Grid]:
    """Every float tensor that is on a per-tensor grid: after DQ, and after movement from there."""
    found: dict[str, Grid] = {}
    for node in graph.nodes:
        grid: Grid | None = None
        if node.op == DEQUANTIZE and node.inputs[0] not in graph.constants:
            grid = grid_of(graph, node)
        elif is_movement(node):
            inputs = {found.get(name) for name in moved_inputs(node)}
            grid = next(iter(inputs)) if len(inputs) == 1 else None
        if grid is not None:
            found.update(dict.fromkeys(node.outputs, grid))
    return found


def fold_constants(graph: Graph) -> Graph:
    """Nodes that read nothing but constants become constants; Q/DQ stay, they are the grid."""
    constants, nodes = dict(graph.constants), []
    for node in graph.nodes:
        if not all(name in constants or not name for name in node.inputs) or (
            node.op in (QUANTIZE, DEQUANTIZE)
        ):
            nodes.append(node)
            continue
        alone = helper.make_node(node.op, node.inputs, node.outputs, **node.attributes)
        evaluator = ReferenceEvaluator(alone, opsets={"": graph.opset})
        values = evaluator.run(None, {name: constants[name] for name in node.inputs if name})
        constants.update(zip(node.outputs, map(np.asarray, values), strict=True))
    return graph.with_(nodes=nodes, constants=constants)


def drop_identities(graph: Graph) -> Graph:
    """Without Identity and Dropout."""
    gone = {
        n.output: n.inputs[0]
        for n in graph.nodes
        if n.op in ("Identity", "Dropout") and n.output not in graph.output_names
    }
    return graph.with_(nodes=replace_inputs(graph.nodes, gone))


def drop_repeated_pairs(graph: Graph) -> Graph:
    """Without the Q/DQ pairs that requantize a tensor to the grid it is on."""
    on_grid, gone = grids(graph), {}
    for node in graph.nodes:
        if node.op != DEQUANTIZE or node.output in graph.output_names:
            continue
        quantize = graph.producer(node.inputs[0], QUANTIZE)
        if quantize is None:
            continue
        grid = grid_of(graph, node)
        source = quantize.inputs[0]
        if grid is not None and grid == grid_of(graph, quantize) == on_grid.get(source):
            gone[node.output] = source
    return graph.with_(nodes=replace_inputs(graph.nodes, gone))


def share_dequantized(graph: Graph) -> Graph:
    """One DequantizeLinear per quantized tensor, whoever reads it."""
    first: dict[str, str] = {}
    gone = {}
    for node in graph.nodes:
        if node.op == DEQUANTIZE and node.inputs[0] not in graph.constants:
            kept = first.setdefault(node.inputs[0], node.output)
            if kept != node.output and node.output not in graph.output_names:
                gone[node.output] = kept
    return graph.with_(nodes=replace_inputs(graph.nodes, gone))


def unshare_weights(graph: Graph) -> Graph:
    """Each Conv reads a DequantizeLinear (and a QuantizeLinear before it) of its own."""
    nodes: list[Node] = []
    for node in graph.nodes:
        copy = replace_inputs([node], {})[0]
        for index in (1, 2):
            dequantize = (
                graph.producer(node.inputs[index], DEQUANTIZE)
                if (node.op in ("Conv", "ConvTranspose") and len(node.inputs) > index)
                else None
            )
            if dequantize is None or len(graph.consumers[node.inputs[index]]) < 2:
                continue
            if dequantize.inputs[0] in graph.constants:
                copy.inputs[index] = f"{node.output}/own_{index}"
                nodes.append(
                    Node(
                        DEQUANTIZE,
                        list(dequantize.inputs),
                        [copy.inputs[index]],
                        dict(dequantize.attributes),
                    )
                )
        nodes.append(copy)
    return graph.with_(nodes=nodes)


def merge_slices(graph: Graph) -> Graph:
    """Slice(Slice(x)) along different axes with steps of one becomes a single Slice."""
    constants = dict(graph.constants)
    nodes: dict[str, Node] = {}
    for node in graph.nodes:
        copy = replace_inputs([node], {})[0]
        nodes[node.output] = copy
        if node.op != "Slice" or any(name not in constants for name in node.inputs[1:]):
            continue
        before = nodes.get(node.inputs[0])
        if (
            before is None
            or before.op != "Slice"
            or any(name not in constants for name in before.inputs[1:])
        ):
            continue
        first, second = _slice_ranges(before, constants), _slice_ranges(copy, constants)
        if set(first) & set(second):
            continue
        merged = dict(sorted({**first, **second}.items()))
        values = {
            "starts": [start for start, _ in merged.values()],
            "ends": [end for _, end in merged.values()],
            "axes": list(merged),
        }
        copy.inputs = [before.inputs[0]]
        for key, value in values.items():
            constants[f"{node.output}/{key}"] = np.array(value, np.int64)
            copy.inputs.append(f"{node.output}/{key}")
    return graph.with_(nodes=list(nodes.values()), constants=constants)


def _slice_ranges(node: Node, constants: Mapping[str, NDArray[Any]]) -> dict[int, tuple[int, int]]:
    """axis -> (start, end) of a Slice with constant bounds; EdgeposeError for other steps than 1."""
    starts, ends = (constants[name].reshape(-1).tolist() for name in node.inputs[1:3])
    axes = constants[node.inputs[3]].tolist() if len(node.inputs) > 3 else range(len(starts))
    if len(node.inputs) > 4 and np.any(constants[node.inputs[4]] != 1):
        raise EdgeposeError(
            f"Slice {node.output} takes every n-th value", fix="slice without a step in the model"
        )
    return {int(a): (int(s), int(e)) for a, s, e in zip(axes, starts, ends, strict=True)}


def drop_idle_attributes(graph: Graph) -> Graph:
    """Without `axis` on per-tensor Q/DQ and `allowzero` on Reshape to a shape without zeros."""
    nodes = replace_inputs(graph.nodes, {})
    for node in nodes:
        if node.op in (QUANTIZE, DEQUANTIZE) and grid_of(graph, node) is not None:
            node.attributes.pop("axis", None)
        if node.op == "Reshape" and np.all(graph.constants.get(node.inputs[1], np.zeros(1)) != 0):
            node.attributes.pop("allowzero", None)
    return graph.with_(nodes=nodes)


PASSES: tuple[Callable[[Graph], Graph], ...] = (
    fold_constants,
    drop_identities,
    drop_idle_attributes,
    share_dequantized,
    drop_repeated_pairs,
    merge_slices,
    unshare_weights,
)


def canonical(graph: Graph) -> Graph:
    """All passes, in order."""
    return reduce(lambda g, step: step(g), PASSES, graph)
