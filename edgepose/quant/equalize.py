"""Cross-layer equalisation: channels of one layer made alike, at no cost to the function.

Where a convolution's channel goes through ReLU into one other convolution alone, it can be divided by
s > 0 in the first and multiplied in the second. s makes the channel's weights equally large in both
(sqrt(r1 / r2)). Here s is a power of two: then not one bit of the network's output changes, for
products and sums are the same ones. Source: Nagel, van Baalen, Blankevoort, Welling 2019, "Data-Free
Quantization Through Weight Equalization and Bias Correction", section 4.1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from edgepose.models.deploy import DeployTracer
from edgepose.models.pose_model import PoseModel
from edgepose.quant.graph import deploy_form

ROUNDS = 20
LIMIT = 6
"""Largest exponent of s: a channel of next to nothing but a bias is not blown up without end."""
# f(s x) = s f(x) for s > 0, channel by channel.
_LAYERS = (nn.ReLU, nn.Identity, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.Dropout)
_FUNCTIONS = (F.relu, torch.relu, torch.relu_, F.max_pool2d, F.avg_pool2d)
_METHODS = ("relu", "relu_", "contiguous")


@dataclass(frozen=True)
class Pair:
    """Two convolutions of which the second alone reads the first. copies: how many of the first's
    output channels are one input channel of the second (the phases of an interleave)."""

    first: str
    second: str
    copies: int


def pairs(network: nn.Module) -> list[Pair]:
    """The pairs of a network in deploy form, in the order in which it computes them."""
    graph = DeployTracer().trace(network)
    found = []
    for node in graph.nodes:
        conv = _convolution(network, node)
        if conv is None or _calls(graph, node) != 1:
            continue
        end = _follow(network, node)
        second = None if end is None else _convolution(network, end)
        if end is not None and second is not None and _calls(graph, end) == 1:
            copies = conv.out_channels // second.in_channels
            found.append(Pair(str(node.target), str(end.target), copies))
    return found


def _convolution(network: nn.Module, node: fx.Node) -> nn.Conv2d | None:
    layer = network.get_submodule(str(node.target)) if node.op == "call_module" else None
    zeros = isinstance(layer, nn.Conv2d) and layer.padding_mode == "zeros"
    return layer if isinstance(layer, nn.Conv2d) and zeros else None


def _calls(graph: fx.Graph, node: fx.Node) -> int:
    return sum(n.op == "call_module" and n.target == node.target for n in graph.nodes)


def _follow(network: nn.Module, node: fx.Node) -> fx.Node | None:
    """The convolution that alone reads `node`, through what lets a factor pass."""
    while len(node.users) == 1:
        node = next(iter(node.users))
        if _convolution(network, node) is not None:
            return node
        if node.op == "call_module":
            layer = network.get_submodule(str(node.target))
            passes = isinstance(layer, _LAYERS) or (
                isinstance(layer, nn.Upsample) and layer.mode == "nearest"
            )
        else:
            passes = (node.op == "call_function" and node.target in _FUNCTIONS) or (
                node.op == "call_method" and node.target in _METHODS
            )
        if not passes:
            return None
    return None


def equalize(model: PoseModel) -> PoseModel:
    """`model` in deploy form, its function the same to the last bit, channels of like size.

    model: float, in either form
    """
    deploy = deploy_form(model)
    network = deploy.module()
    found = pairs(network)
    tensors = dict(deploy.tensors)
    exponents = [torch.zeros(1)] * len(found)
    groups = [int(network.get_submodule(pair.second).groups) for pair in found]  # type: ignore[arg-type]
    for _ in range(ROUNDS):
        before = list(exponents)
        for i, pair in enumerate(found):
            exponents[i] = _balance(tensors, pair, groups[i], so_far=exponents[i])
        if all(torch.equal(a, b) for a, b in zip(before, exponents, strict=True)):
            break
    return PoseModel(deploy.spec, tensors)


def _balance(tensors: dict[str, Tensor], pair: Pair, groups: int, *, so_far: Tensor) -> Tensor:
    """One step of one pair, on `tensors`. groups: of the second; so_far, and returned: the channels'
    exponents, all steps together."""
    first, second = tensors[f"{pair.first}.weight"], tensors[f"{pair.second}.weight"]
    outputs, inputs = second.shape[:2]
    grouped = second.reshape(groups, outputs // groups, *second.shape[1:])
    after = grouped.abs().amax((1, 3, 4)).reshape(-1)  # per input channel of the second
    before = first.abs().amax((1, 2, 3)).reshape(pair.copies, -1).amax(0)
    wanted = torch.round(0.5 * torch.log2(before / after))
    wanted = torch.where((before > 0) & (after > 0), wanted, 0.0)
    total = (so_far + wanted).clamp(-LIMIT, LIMIT)
    exponent = total - so_far
    shrink = torch.exp2(-exponent).repeat(pair.copies)
    grow = torch.exp2(exponent).reshape(groups, 1, inputs, 1, 1)
    tensors[f"{pair.first}.weight"] = first * shrink.reshape(-1, 1, 1, 1)
    bias = tensors.get(f"{pair.first}.bias")
    if bias is not None:
        tensors[f"{pair.first}.bias"] = bias * shrink
    tensors[f"{pair.second}.weight"] = (grouped * grow).reshape(second.shape).contiguous()
    return total
