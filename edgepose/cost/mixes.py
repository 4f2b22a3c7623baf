"""Networks to calibrate a host on: residual blocks of every width side by side, none of them a pose network.

A kernel within a network takes up to twice what it takes alone: by its turn the caches hold others. So whole
networks are timed, each of several branches of blocks as ResNet and HRNet stack them, of 40 to 500 kernels.
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgepose.cost.layers import LayerCost
from edgepose.target import Precision

Block = Literal["basic", "bottleneck", "exchange"]
BLOCKS: tuple[Block, ...] = ("basic", "bottleneck", "exchange")
SHARES = (0.4, 0.35, 0.25)  # how often each is drawn
CHANNELS = (8, 16, 24, 32, 40, 48, 64, 80, 96, 128, 152, 176, 256, 304, 352, 512)
SIDES = (4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64)
BRANCHES = (2, 12)  # of a network, fewest and most
DEPTH = 22  # blocks of a branch, at most
MACS = (2e4, 4e7)  # of one block: neither nothing nor all of the network


class Convolution(NamedTuple):
    """Channels in and out, kernel and stride; whether its output is laid over twice the grid."""

    channels_in: int
    channels_out: int
    kernel: int
    stride: int = 1
    doubled: bool = False


class Branch(NamedTuple):
    """`depth` residual blocks of `channels` on images of `side` by `side`.

    basic: two 3x3 convolutions; bottleneck: 1x1, 3x3, 1x1, its ends four times as wide; exchange: down to
    half the side by 3x3, back by 1x1 and nearest-neighbour resizing, as HRNet's resolutions exchange.
    """

    block: Block
    channels: int
    side: int
    depth: int

    @property
    def ends(self) -> int:
        """Channels that a block takes and gives."""
        return 4 * self.channels if self.block == "bottleneck" else self.channels

    @property
    def convolutions(self) -> tuple[Convolution, ...]:
        """Those of one block."""
        width, ends = self.channels, self.ends
        if self.block == "bottleneck":
            reduce, expand = Convolution(ends, width, 1), Convolution(width, ends, 1)
            return reduce, Convolution(width, width, 3), expand
        if self.block == "exchange":
            down = Convolution(width, 2 * width, 3, stride=2)
            return down, Convolution(2 * width, width, 1, doubled=True)
        return Convolution(width, width, 3), Convolution(width, width, 3)


def mixes(count: int, *, seed: int = 0) -> list[list[Branch]]:
    """`count` networks, the same for the same seed."""
    rng = np.random.default_rng(seed)
    few, many = BRANCHES
    return [[_branch(rng) for _ in range(rng.integers(few, many + 1))] for _ in range(count)]


def _branch(rng: np.random.Generator) -> Branch:
    while True:
        branch = Branch(
            BLOCKS[rng.choice(len(BLOCKS), p=SHARES)], int(rng.choice(CHANNELS)), int(rng.choice(SIDES)),
            int(rng.integers(1, DEPTH + 1)),
        )  # fmt: skip
        if branch.ends > 4 * 256 or (branch.block == "exchange" and branch.side % 2):
            continue
        macs = sum(layer.macs for layer in _block(branch))
        if MACS[0] < macs < MACS[1]:
            return branch._replace(depth=min(branch.depth, math.ceil(2 * MACS[1] / macs)))


def layers(mix: list[Branch]) -> list[LayerCost]:
    """What the network of a mix computes and moves."""
    return [layer for branch in mix for layer in _block(branch) * branch.depth]


def _block(branch: Branch) -> list[LayerCost]:
    side, found = branch.side, []
    for source, target, kernel, stride, doubled in branch.convolutions:
        before, side = (side, side), side // stride
        after = (side, side)
        weights = source * target * kernel**2
        macs = weights * side**2
        found.append(LayerCost("", "Conv2d", macs, weights, target, after, source, before))
        if doubled:
            side = 2 * side
            found.append(LayerCost("", "Upsample", 0, 0, target, (side, side), target, after))
    ends, hw = branch.ends, (side, side)
    found.append(LayerCost("", "Add", 0, 0, ends, hw, ends, hw, inputs=2))
    return found


def onnx_model(mix: list[Branch], precision: Precision) -> bytes:
    """The network as ONNX, one input (1, channels, side, side) per branch, weights at random."""
    graph = _Graph(precision)
    inputs, outputs = [], []
    for number, branch in enumerate(mix):
        shape = [1, branch.ends, branch.side, branch.side]
        name = f"x{number}"
        inputs.append(helper.make_tensor_value_info(name, graph.kind, shape))
        for _ in range(branch.depth):
            shortcut = name
            for convolution in branch.convolutions:
                name = graph.convolution(name, convolution)
            name = graph.sum(name, shortcut)
        outputs.append(helper.make_tensor_value_info(name, graph.kind, shape))
    made = helper.make_graph(graph.nodes, "mix", inputs, outputs, graph.constants)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(made, opset_imports=opsets, ir_version=8)
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data


class _Graph:
    """Nodes and constants as they come: integer operators, or float ones with ReLU."""

    def __init__(self, precision: Precision) -> None:
        self.int8 = precision == "int8"
        self.kind = TensorProto.UINT8 if self.int8 else TensorProto.FLOAT
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._rng = np.random.default_rng(0)
        if self.int8:
            self._grid = [self._constant(np.float32(0.02)), self._constant(np.uint8(0))]

    def _constant(self, values: NDArray[Any] | np.generic) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def _node(self, kind: str, inputs: list[str], **attributes: Any) -> str:
        name = f"y{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def convolution(self, source: str, made: Convolution) -> str:
        shape = (made.channels_out, made.channels_in, made.kernel, made.kernel)
        window = {
            "kernel_shape": [made.kernel] * 2,
            "pads": [made.kernel // 2] * 4,
            "strides": [made.stride] * 2,
        }
        if self.int8:
            weight = self._constant(self._rng.integers(-127, 128, shape).astype(np.int8))
            scale = self._constant(np.full(made.channels_out, 1e-3, np.float32))
            zero = self._constant(np.zeros(made.channels_out, np.int8))
            inputs = [source, *self._grid, weight, scale, zero, *self._grid]
            name = self._node("QLinearConv", inputs, **window)
        else:
            weight = self._constant(self._rng.normal(0, 0.05, shape).astype(np.float32))
            name = self._node("Relu", [self._node("Conv", [source, weight], **window)])
        if not made.doubled:
            return name
        scales = self._constant(np.array([1, 1, 2, 2], np.float32))
        how = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        return self._node("Resize", [name, "", scales], mode="nearest", **how)

    def sum(self, one: str, other: str) -> str:
        if not self.int8:
            return self._node("Add", [one, other])
        inputs = [one, *self._grid, other, *self._grid, *self._grid]
        return self._node("QLinearAdd", inputs, domain="com.microsoft")
