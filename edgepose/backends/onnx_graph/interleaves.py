"""The interleave of a sub-pixel convolution in a graph: found, written otherwise, or undone.

`models/subpixel.py` writes it with the channels last: Transpose, Reshape, Transpose, Reshape, Slice,
Transpose. The same values come from one Transpose of rank 6, and from the deconvolution itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepose.backends.onnx_graph.canonical import DEQUANTIZE, QUANTIZE
from edgepose.backends.onnx_graph.graph import Graph, Node, replace_inputs

_TO_LAST, _SWAP, _TO_FIRST = [0, 2, 3, 1], [0, 1, 3, 2, 4], [0, 3, 1, 2]


@dataclass(frozen=True)
class Chain:
    """One interleave. strides: (sh, sw); crop: (top, left, bottom, right) of the merged image;
    source, output: tensors (N, sh sw C, h, w) and (N, C, sh h - crop, sw w - crop)"""

    nodes: tuple[Node, ...]
    strides: tuple[int, int]
    crop: tuple[int, int, int, int]

    @property
    def name(self) -> str:
        return self.nodes[0].name

    @property
    def source(self) -> str:
        return self.nodes[0].inputs[0]

    @property
    def output(self) -> str:
        return self.nodes[-1].output


def find_chains(graph: Graph) -> list[Chain]:
    """Every interleave of a graph with a fixed batch, in order."""
    found = [_chain(graph, node) for node in graph.nodes if node.op == "Transpose"]
    return [chain for chain in found if chain is not None]


def _chain(graph: Graph, first: Node) -> Chain | None:
    nodes = [first]
    for op in ("Reshape", "Transpose", "Reshape", "Slice", "Transpose"):
        readers = graph.consumers.get(nodes[-1].output, [])
        if len(readers) == 1 and readers[0].op == op:
            nodes.append(readers[0])
        elif op != "Slice":
            return None
    orders = [list(n.attributes["perm"]) for n in nodes if n.op == "Transpose"]
    split, merged = (_sides(graph, nodes[i].output) for i in (1, 3))
    if orders != [_TO_LAST, _SWAP, _TO_FIRST] or len(split) != 5 or len(merged) != 4:
        return None
    strides = (split[3], merged[2] // split[2])
    if merged[1:3] != (strides[0] * split[1], strides[1] * split[2]):
        return None
    cut = _sides(graph, nodes[-2].output)
    starts = [0, 0, 0, 0]
    if nodes[-2].op == "Slice":
        axes = graph.constants[nodes[-2].inputs[3]].tolist()
        for axis, start in zip(axes, graph.constants[nodes[-2].inputs[1]].tolist(), strict=True):
            starts[axis] = int(start)
    top, left = starts[1:3]
    crop = (top, left, merged[1] - cut[1] - top, merged[2] - cut[2] - left)
    return Chain(tuple(nodes), strides, crop)


def _sides(graph: Graph, name: str) -> tuple[int, ...]:
    return tuple(int(side) for side in graph.shapes[name])


def interleave_in_one(graph: Graph) -> Graph:
    """Each interleave as Reshape -> Transpose (rank 6) -> Reshape -> Slice, the channels never last."""
    constants, replaced = dict(graph.constants), {}
    for chain in find_chains(graph):
        n, channels, height, width = _sides(graph, chain.source)
        sh, sw = chain.strides
        depth = channels // (sh * sw)
        split, moved, merged = (f"{chain.name}.{step}" for step in ("split", "swap", "merge"))
        constants[f"{split}.shape"] = np.array([n, sh, sw, depth, height, width], np.int64)
        constants[f"{merged}.shape"] = np.array([n, depth, sh * height, sw * width], np.int64)
        cropped = any(chain.crop)
        last = merged if cropped else chain.output
        nodes = [
            Node("Reshape", [chain.source, f"{split}.shape"], [split], {}, split),
            Node("Transpose", [split], [moved], {"perm": [0, 3, 4, 1, 5, 2]}, moved),
            Node("Reshape", [moved, f"{merged}.shape"], [last], {}, merged),
        ]
        if cropped:
            nodes.append(_cropped(chain, merged, (sh * height, sw * width), constants))
        replaced[chain.nodes[-1]] = nodes
    return _rewritten(graph, constants, replaced)


def _cropped(
    chain: Chain, source: str, merged_hw: tuple[int, int], constants: dict[str, NDArray[Any]]
) -> Node:
    """The chain's output out of the whole merged image (N, C, H, W)."""
    top, left, bottom, right = chain.crop
    ends = [merged_hw[0] - bottom, merged_hw[1] - right]
    bounds = {"starts": [top, left], "ends": ends, "axes": [2, 3]}
    names = [f"{chain.name}.crop.{key}" for key in bounds]
    for name, values in zip(names, bounds.values(), strict=True):
        constants[name] = np.array(values, np.int64)
    return Node("Slice", [source, *names], [chain.output], {}, f"{chain.name}.crop")


@dataclass(frozen=True)
class _Phased:
    """A convolution over phases behind an interleave, or behind the head that is."""

    conv: Node
    head: Node | None


def _phased(graph: Graph, chain: Chain) -> _Phased | None:
    """The sub-pixel convolution that a chain interleaves; None where it is no deconvolution."""
    conv = _source(graph, chain.source)
    phases = chain.strides[0] * chain.strides[1]
    head = None
    if conv is not None and int(conv.attributes.get("group", 1)) == phases > 1:
        if set(conv.attributes["kernel_shape"]) != {1}:
            return None
        head, conv = conv, _source(graph, conv.inputs[0])
    if conv is None or int(conv.attributes.get("group", 1)) != 1:
        return None
    taps = list(conv.attributes["kernel_shape"])
    one = list(conv.attributes.get("strides", [1, 1])) == [1, 1]
    one &= list(conv.attributes.get("dilations", [1, 1])) == [1, 1]
    whole = list(conv.attributes.get("pads", [0] * 4)) == [t - 1 for t in taps] * 2
    return _Phased(conv, head) if one and whole else None


def _source(graph: Graph, name: str) -> Node | None:
    """The Conv that makes a tensor, a ReLU and a Q/DQ pair after it or not; nobody else reads it."""
    node = graph.producers.get(name)
    while node is not None and node.op in (DEQUANTIZE, QUANTIZE, "Relu"):
        if len(graph.consumers.get(node.output, [])) != 1:
            return None
        node = graph.producers.get(node.inputs[0])
    alone = node is not None and len(graph.consumers.get(node.output, [])) == 1
    return node if node is not None and node.op == "Conv" and alone else None


def deconvolved(graph: Graph, *, for_dla: bool = False) -> tuple[Graph, tuple[str, ...]]:
    """Sub-pixel convolutions as the deconvolutions that they are, in float; (graph, their nodes).

    Exact. Q/DQ pairs behind them stay, so their neighbours are INT8 as before. A bias that training
    made another for each phase is an image that is added. A 1x1 head over phases becomes a convolution
    of the stride's size, each phase with one tap of its own: the interleave behind it stays.
    for_dla: without padding, which DLA refuses, but cropped behind; and with the mean of the phases'
    biases instead of the sum, which is exact only where they are equal
    """
    constants, replaced, skipped = dict(graph.constants), {}, {}
    names: list[str] = []
    for chain in find_chains(graph):
        found = _phased(graph, chain)
        if found is None:
            continue
        conv, head = found.conv, found.head
        crop = chain.crop if head is None else (0, 0, 0, 0)
        pads = (0, 0, 0, 0) if for_dla else crop
        nodes = _deconvolution(graph, conv, chain.strides, pads, constants, mean_bias=for_dla)
        names += [node.name for node in nodes]
        replaced[conv] = nodes
        if head is None and pads == crop:
            skipped[chain.output] = chain.source
        elif head is None:
            _, _, height, width = _sides(graph, chain.source)
            merged = chain.strides[0] * height, chain.strides[1] * width
            replaced[chain.nodes[-1]] = [_cropped(chain, chain.source, merged, constants)]
        else:
            replaced[head] = [_spread_head(graph, head, chain.strides, constants)]
    result = _rewritten(graph, constants, replaced)
    return result.with_(nodes=replace_inputs(result.nodes, skipped)), tuple(names)


def _weight(graph: Graph, conv: Node) -> NDArray[np.float32]:
    """(K, C, kh, kw) float32, also where it is stored as int8."""
    source = graph.producer(conv.inputs[1], DEQUANTIZE)
    if source is None:
        return np.asarray(graph.constants[conv.inputs[1]], np.float32)
    stored, scale = (graph.constants[name] for name in source.inputs[:2])
    return np.asarray(stored.astype(np.float32) * scale.reshape(-1, 1, 1, 1), np.float32)


def _deconvolution(
    graph: Graph,
    conv: Node,
    strides: tuple[int, int],
    crop: tuple[int, int, int, int],
    constants: dict[str, NDArray[Any]],
    *,
    mean_bias: bool,
) -> list[Node]:
    """ConvTranspose, and the sum with an image of biases where the phases' biases differ."""
    (sh, sw), weight = strides, _weight(graph, conv)
    count, cin, taps_h, taps_w = weight.shape
    depth = count // (sh * sw)
    split = weight.reshape(sh, sw, depth, cin, taps_h, taps_w)[..., ::-1, ::-1]
    kernel = split.transpose(3, 2, 4, 0, 5, 1).reshape(cin, depth, taps_h * sh, taps_w * sw)
    constants[f"{conv.name}.kernel"] = np.ascontiguousarray(kernel)
    inputs = [conv.inputs[0], f"{conv.name}.kernel"]
    attributes = {
        "kernel_shape": [taps_h * sh, taps_w * sw], "strides": [sh, sw], "pads": list(crop),
        "dilations": [1, 1], "group": 1, "auto_pad": b"NOTSET",
    }  # fmt: skip
    if len(conv.inputs) < 3:
        return [Node("ConvTranspose", inputs, [conv.output], attributes, conv.name)]
    bias = graph.constants[conv.inputs[2]].reshape(sh, sw, depth)
    if mean_bias:
        bias = bias.mean(axis=(0, 1), keepdims=True, dtype=np.float64).astype(np.float32)
    if np.all(bias == bias[:1, :1]):
        constants[f"{conv.name}.kernel.bias"] = np.ascontiguousarray(bias[0, 0])
        inputs.append(f"{conv.name}.kernel.bias")
        return [Node("ConvTranspose", inputs, [conv.output], attributes, conv.name)]
    _, _, height, width = _sides(graph, conv.output)
    image = np.tile(bias.transpose(2, 0, 1), (1, height, width))
    top, left, bottom, right = crop
    image = image[None, :, top : sh * height - bottom, left : sw * width - right]
    constants[f"{conv.name}.biases"] = np.ascontiguousarray(image)
    bare, add = f"{conv.name}.deconvolution", f"{conv.name}.add"
    return [
        Node("ConvTranspose", inputs, [bare], attributes, conv.name),
        Node("Add", [bare, f"{conv.name}.biases"], [conv.output], {}, add),
    ]


def _spread_head(
    graph: Graph, head: Node, strides: tuple[int, int], constants: dict[str, NDArray[Any]]
) -> Node:
    """A 1x1 convolution per phase, as one over the interleaved image with the stride's size."""
    sh, sw = strides
    source = graph.producer(head.inputs[1], DEQUANTIZE)
    stored = source.inputs[0] if source is not None else head.inputs[1]
    weight = graph.constants[stored]
    count, cin = weight.shape[:2]
    spread = np.zeros((count, cin, sh, sw), weight.dtype)
    each = count // (sh * sw)
    for i in range(sh):
        for j in range(sw):
            rows = slice((sw * i + j) * each, (sw * i + j + 1) * each)
            spread[rows, :, i, j] = weight[rows, :, 0, 0]
    constants[stored] = spread
    attributes = {**head.attributes, "kernel_shape": [sh, sw], "strides": [sh, sw], "group": 1}
    return Node("Conv", list(head.inputs), list(head.outputs), attributes, head.name)


def _rewritten(
    graph: Graph, constants: Mapping[str, NDArray[Any]], replaced: Mapping[Node, list[Node]]
) -> Graph:
    nodes = [new for node in graph.nodes for new in replaced.get(node, [node])]
    return graph.with_(nodes=nodes, constants=constants)
