"""A network's ONNX graph with everything around it: uint8 image in, joints out.

Normalisation and decoding are those of device/geometry.py and device/decode.py, operation by operation,
so that the joints are the host's. Only the crop is left to the app.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from edgepose.backends.onnx_graph.graph import Graph, Node, Port
from edgepose.device.codec import HeatmapCodec
from edgepose.device.decode import BORDER_OF_DARK, dark_kernel
from edgepose.errors import EdgeposeError

JOINTS = "joints"
READ = ("standard", "dark")
"""The codings that can be decoded in a graph."""
_NORMALISED = "normalised"
_PREFIX = "whole_pose."
_ARITHMETIC = (
    "Abs", "Add", "Clip", "Div", "Floor", "Log", "MatMul", "Max", "Mul", "ReduceMax", "Sub",
)  # fmt: skip
_FLOOR = 1e-10


def check_coding(codec: HeatmapCodec) -> None:
    """EdgeposeError for a coding that no graph of ours decodes."""
    if codec.coding not in READ:
        raise EdgeposeError(
            f"a whole-pose graph cannot decode the {codec.coding} coding (it reads {', '.join(READ)})",
            fix="leave the target out of stages.export.pose_graphs and decode its heatmaps, or train in "
            "coding: dark",
        )


def whole_pose(
    graph: Graph,
    *,
    codec: HeatmapCodec,
    mean: Sequence[float],
    std: Sequence[float],
    double: bool = True,
) -> Graph:
    """`graph`, (N, 3, H, W) normalised -> (N, J, h, w), as (N, H, W, 3) uint8 -> (N, J, 3) float32.

    graph: in its runtime's dialect, batch fixed or free
    out:   x, y in input pixels and the heatmap's maximum, per joint
    double: DARK in float64, as the host has it; False for runtimes that have float32 only
    """
    check_coding(codec)
    image, heatmaps = graph.inputs[0], graph.outputs[0]
    batch, _, height, width = image.shape
    _, joints, h, w = heatmaps.shape
    assert isinstance(h, int), "heatmaps have a size"
    assert isinstance(w, int), "heatmaps have a size"
    assert isinstance(joints, int), "heatmaps have a size"
    inner = graph.renamed({image.name: _NORMALISED})
    write = _Writer(dict(inner.constants))
    _normalise(write, image.name, mean, std)
    write.nodes += inner.nodes
    if codec.coding == "standard":
        xy, score = _standard(write, heatmaps.name, h, w)
    else:
        real = TensorProto.DOUBLE if double else TensorProto.FLOAT
        sigma = codec.sigma_px((h, w))
        xy, score = _dark(write, heatmaps.name, joints, h, w, sigma=sigma, real=real)
    stride = write.constant("stride", np.float32(codec.stride))
    crop_xy = [write("Mul", [value, stride]) for value in xy]
    write.nodes.append(Node("Concat", [*crop_xy, score], [JOINTS], {"axis": 2}, JOINTS))
    return graph.with_(
        nodes=write.nodes,
        constants=write.constants,
        inputs=(Port(image.name, np.dtype(np.uint8), (batch, height, width, 3)),),
        outputs=(Port(JOINTS, np.dtype(np.float32), (batch, joints, 3)),),
    )


def is_around(name: str) -> bool:
    """Whether a node or constant of a whole-pose graph is neither the network's own nor its input."""
    return name.startswith(_PREFIX) or name == JOINTS


def exact_nodes(graph: Graph) -> tuple[str, ...]:
    """What a runtime must not compute in half precision: the arithmetic around the network. A half holds
    integers up to 2048 only, fewer than a 64x64 heatmap has pixels, and nothing as small as DARK's floor.
    """
    integers = {name for name, value in graph.constants.items() if value.dtype.kind in "iu"}
    kept = []
    for node in graph.nodes:
        if node.op == "Cast" and node.attributes["to"] == TensorProto.INT64:
            integers.add(node.output)
        ours = is_around(node.name) or node.name == _NORMALISED
        if ours and node.op in _ARITHMETIC:
            if integers.isdisjoint(node.inputs):
                kept.append(node.name)
            else:
                integers.update(node.outputs)
    return tuple(kept)


class _Writer:
    """Collects nodes and constants under names of their own."""

    def __init__(self, constants: dict[str, NDArray[Any]]) -> None:
        self.constants = constants
        self.nodes: list[Node] = []

    def __call__(self, op: str, inputs: list[str], **attributes: Any) -> str:
        name = f"{_PREFIX}{op.lower()}_{len(self.nodes)}"
        self.nodes.append(Node(op, inputs, [name], attributes, name))
        return name

    def constant(self, name: str, value: Any) -> str:
        key = f"{_PREFIX}{name}"
        self.constants[key] = np.array(value)
        return key


def _normalise(write: _Writer, image: str, mean: Sequence[float], std: Sequence[float]) -> None:
    """As geometry.normalise: a product, then a difference, both in float32."""
    scale = [np.float32(1.0 / (255.0 * s)) for s in std]
    shift = [np.float32(m / s) for m, s in zip(mean, std, strict=True)]
    real = write("Cast", [image], to=int(TensorProto.FLOAT))
    planes = write("Transpose", [real], perm=[0, 3, 1, 2])
    by = write.constant("scale", np.array(scale, np.float32).reshape(1, 3, 1, 1))
    less = write.constant("shift", np.array(shift, np.float32).reshape(1, 3, 1, 1))
    scaled = write("Mul", [planes, by])
    write.nodes.append(Node("Sub", [scaled, less], [_NORMALISED], {}, _NORMALISED))


def _peaks(write: _Writer, heatmaps: str, h: int, w: int) -> tuple[str, str, str, str]:
    """(flat maps (N, J, h w), x, y, score), the last three (N, J, 1) float32, as find_peaks has them.

    Indices are kept as floats, which hold them exactly: not every runtime divides integers.
    """
    flat = write("Reshape", [heatmaps, write.constant("flat", np.array([0, 0, h * w], np.int64))])
    score = write("ReduceMax", [flat], axes=[2], keepdims=1)
    index = write("ArgMax", [flat], axis=2, keepdims=1)
    zero = write.constant("zero", np.float32(0))
    found = write("Cast", [write("Greater", [score, zero])], to=int(TensorProto.FLOAT))
    at = write("Mul", [write("Cast", [index], to=int(TensorProto.FLOAT)), found])
    half, wide = write.constant("half", np.float32(0.5)), write.constant("width", np.float32(w))
    y = write("Floor", [write("Div", [write("Add", [at, half]), wide])])
    x = write("Sub", [at, write("Mul", [y, wide])])
    return flat, x, y, score


def _inside(write: _Writer, x: str, y: str, low: float, high_xy: tuple[float, float]) -> str:
    """1.0 where x and y lie between `low` and `high_xy`, both left out; else 0.0."""
    lowest = write.constant("low", np.float32(low))
    right, bottom = (
        write.constant(f"high_{axis}", np.float32(high))
        for axis, high in zip("xy", high_xy, strict=True)
    )
    across = write("And", [write("Greater", [x, lowest]), write("Less", [x, right])])
    down = write("And", [write("Greater", [y, lowest]), write("Less", [y, bottom])])
    return write("Cast", [write("And", [across, down])], to=int(TensorProto.FLOAT))


def _standard(write: _Writer, heatmaps: str, h: int, w: int) -> tuple[list[str], str]:
    """As decode_heatmaps: a quarter pixel towards the higher neighbour, inside the border."""
    flat, x, y, score = _peaks(write, heatmaps, h, w)
    inner = _inside(write, x, y, 1, (w - 1, h - 1))
    wide = write.constant("width", np.float32(w))
    at = write("Add", [write("Mul", [y, wide]), x])
    low = write.constant("first", np.float32(w))  # peaks further out are not moved
    last = write.constant("last", np.float32(h * w - w - 1))
    safe = write("Cast", [write("Clip", [at, low, last])], to=int(TensorProto.INT64))

    def neighbour(offset: int) -> str:
        step = write.constant(f"step_{offset}".replace("-", "m"), np.array(offset, np.int64))
        return write("GatherElements", [flat, write("Add", [safe, step])], axis=2)

    quarter = write.constant("quarter", np.float32(0.25))
    moved = []
    for position, step in ((x, 1), (y, w)):
        slope = write("Sign", [write("Sub", [neighbour(step), neighbour(-step)])])
        move = write("Mul", [write("Mul", [slope, quarter]), inner])
        moved.append(write("Add", [position, move]))
    return moved, score


def derivatives() -> NDArray[np.float64]:
    """(25, 5): from the 5x5 logarithms around a peak to dx, dy, dxx, dyy, dxy, as refine_dark has them."""
    table = np.zeros((5, 5, 5))
    table[0, 2, 3], table[0, 2, 1] = 0.5, -0.5
    table[1, 3, 2], table[1, 1, 2] = 0.5, -0.5
    table[2, 2, [4, 2, 0]] = 0.25, -0.5, 0.25
    table[3, [4, 2, 0], 2] = 0.25, -0.5, 0.25
    table[4, [3, 1, 3, 1], [3, 3, 1, 1]] = 0.25, -0.25, -0.25, 0.25
    return np.ascontiguousarray(table.reshape(5, 25).T)


def _dark(
    write: _Writer, heatmaps: str, joints: int, h: int, w: int, *, sigma: float, real: int
) -> tuple[list[str], str]:
    """As refine_dark: the patch around each peak smoothed, its logarithm's top."""
    kind = np.float64 if real == TensorProto.DOUBLE else np.float32
    _, x, y, score = _peaks(write, heatmaps, h, w)
    blur = dark_kernel(sigma)
    side = blur.shape[1]
    pad = side // 2
    border = write.constant("border", np.array([0, 0, pad, pad, 0, 0, pad, pad], np.int64))
    padded = write("Pad", [heatmaps, border])
    wide = w + 2 * pad
    size = np.array([0, joints, (h + 2 * pad) * wide], np.int64)
    flat = write("Reshape", [padded, write.constant("padded", size)])
    row = write.constant("row", np.float32(wide))
    corner = write("Cast", [write("Add", [write("Mul", [y, row]), x])], to=int(TensorProto.INT64))
    steps = np.arange(side)[:, None] * wide + np.arange(side)
    offsets = write.constant("patch", steps.reshape(1, 1, -1).astype(np.int64))
    patch = write("GatherElements", [flat, write("Add", [corner, offsets])], axis=2)
    square = np.array([0, joints, side, side], np.int64)
    patch = write("Reshape", [patch, write.constant("square", square)])
    patch = write("Cast", [patch], to=int(real))
    rows = write("MatMul", [write.constant("blur", blur.astype(kind)), patch])
    smooth = write("MatMul", [rows, write.constant("blur_t", blur.T.astype(kind))])
    log = write("Log", [write("Max", [smooth, write.constant("floor", kind(_FLOOR))])])
    near = write("Reshape", [log, write.constant("near", np.array([0, joints, 25], np.int64))])
    table = write.constant("derivatives", derivatives().astype(kind))
    all_five = write("MatMul", [near, table])
    dx, dy, dxx, dyy, dxy = (
        write("Gather", [all_five, write.constant(f"d{i}", np.array([i], np.int64))], axis=2)
        for i in range(5)
    )

    def minus(a: str, b: str, c: str, d: str) -> str:
        return write("Sub", [write("Mul", [a, b]), write("Mul", [c, d])])

    curvature = minus(dxx, dyy, dxy, dxy)
    inner = _inside(write, x, y, 1, (w - BORDER_OF_DARK, h - BORDER_OF_DARK))
    one, zero = write.constant("one", kind(1)), write.constant("none", kind(0))
    has_top = write("Cast", [write("Greater", [write("Abs", [curvature]), zero])], to=int(real))
    usable = write("Mul", [write("Cast", [inner], to=int(real)), has_top])
    safe = write("Add", [write("Mul", [usable, curvature]), write("Sub", [one, usable])])
    moved = []
    for position, top in ((x, minus(dyy, dx, dxy, dy)), (y, minus(dxx, dy, dxy, dx))):
        move = write("Mul", [write("Div", [top, safe]), usable])
        place = write("Sub", [write("Cast", [position], to=int(real)), move])
        moved.append(write("Cast", [place], to=int(TensorProto.FLOAT)))
    return moved, score
