"""Batch norm that stays alive in a prepared graph for a while, and is folded in the end.

A convolution in deploy form has its batch norm's work in weight and bias. Here the norm is put back
behind it so that nothing changes at first: a norm that has learnt mean m and variance v of the
convolution's output gives g (w * x - m) / sqrt(v) + b. The weights are rounded as they will ship,
times k = g / sqrt(v). Source: Krishnamoorthi 2018, "Quantizing deep convolutional networks for
efficient inference", section 3.2.2. A deconvolution's norm is folded by the sub-pixel rewrite and stays
so.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from edgepose.models.pose_model import PoseModel
from edgepose.quant.observers import WeightGridPerChannel

EPS = 1e-5
_PREFIX = "norm_"


class LiveNorm(nn.Module):
    """Convolution, its weight's grid and its norm in one.

    (x, weight, bias) -> (N, C, h, w). gain: (C,) trained; mean, var: (C,) of the convolution's output
    without its bias, which follow the batches while `live`
    """

    mean: Tensor
    var: Tensor
    live: Tensor

    def __init__(self, grid: nn.Module, options: tuple[Any, ...], norm: nn.BatchNorm2d) -> None:
        """options: of F.conv2d, from stride on. Mean and variance are set by `_start`."""
        super().__init__()
        self._grid, self._options = [grid], options  # in a list: the graph owns it
        gamma = norm.weight.detach().abs()
        self.momentum = norm.momentum or 0.1
        self.gain = nn.Parameter((gamma.square() + EPS).sqrt())
        self.register_buffer("mean", torch.zeros_like(gamma))
        self.register_buffer("var", gamma.square())
        self.register_buffer("live", torch.ones((), dtype=torch.uint8))

    def factor(self) -> Tensor:
        """k, (C,)"""
        return self.gain * (self.var + EPS).rsqrt()

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        factor = self.factor()
        column = (1, -1, 1, 1)
        rounded = self._grid[0](weight * factor.reshape(-1, 1, 1, 1))
        y = F.conv2d(x, rounded, None, *self._options)
        if not self.live.item():
            return y + (bias - factor * self.mean).reshape(column)
        y = y / factor.reshape(column)
        return F.batch_norm(
            y, self.mean, self.var, self.gain, bias, training=True, momentum=self.momentum, eps=EPS
        )


def revive_norms(prepared: fx.GraphModule, model: PoseModel) -> int:
    """Put the norms of `model` (train form) back into the QAT graph made from it; how many there are."""
    graph, network = prepared.graph, model.module()
    norms = _norms_of(network)
    for node in list(graph.nodes):
        if node.target is not torch.ops.aten.conv2d.default:
            continue
        x, rounded, bias, *options = node.args
        grid = prepared.get_submodule(rounded.target) if rounded.op == "call_module" else None
        name = str(rounded.args[0].target).removesuffix(".weight") if grid is not None else ""
        if name not in norms or not isinstance(grid, WeightGridPerChannel):
            continue
        norm = norms[name]
        live = LiveNorm(grid, tuple(options), norm)
        # Folded: gamma (y - mean) / std + beta = w * x + bias, so w * x has mean beta - bias.
        live.mean.copy_(norm.bias.detach() - prepared.get_parameter(str(bias.target)).detach())
        with torch.no_grad():
            prepared.get_parameter(str(bias.target)).copy_(norm.bias)
        target = _PREFIX + name.replace(".", "_")
        prepared.add_submodule(target, live)
        with graph.inserting_before(node):
            replacement = graph.call_module(target, (x, rounded.args[0], bias))
        node.replace_all_uses_with(replacement)
        graph.erase_node(node)
        graph.erase_node(rounded)
    prepared.recompile()
    return sum(isinstance(m, LiveNorm) for m in prepared.modules())


def _norms_of(network: nn.Module) -> dict[str, nn.BatchNorm2d]:
    """Convolution's name -> the affine norm that alone reads it."""
    found = {}
    for node in fx.Tracer().trace(network).nodes:
        layer = network.get_submodule(str(node.target)) if node.op == "call_module" else None
        if not isinstance(layer, nn.BatchNorm2d) or not layer.affine:
            continue
        source: Any = node.args[0]
        if source.op == "call_module" and isinstance(
            network.get_submodule(str(source.target)), nn.Conv2d
        ):
            found[str(source.target)] = layer
    return found


def freeze_norms(prepared: nn.Module) -> None:
    """Let means and variances stand from here on (kept in the state dict)."""
    for module in prepared.modules():
        if isinstance(module, LiveNorm):
            module.live.zero_()


@torch.no_grad()
def fold_norms(prepared: fx.GraphModule) -> None:
    """Back into weights and biases; to be followed by `finish`."""
    for node in list(prepared.graph.nodes):
        live = prepared.get_submodule(str(node.target)) if node.op == "call_module" else None
        if not isinstance(live, LiveNorm):
            continue
        weight, bias = (prepared.get_parameter(str(n.target)) for n in node.args[1:])
        factor = live.factor()
        weight.mul_(factor.reshape(-1, 1, 1, 1))
        bias.sub_(factor * live.mean)
        live.gain.copy_((live.var + EPS).sqrt())
        live.mean.zero_()
        live.live.zero_()
