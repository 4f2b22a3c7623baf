"""The channel groups of a network: what leaves together, what that saves, and its removal.

Channels that belong together (both sides of a residual sum, a convolution and its batch norm) leave
together: torch-pruning's dependency graph finds the groups once; what widths cost is then arithmetic.
Source of the criterion: Li et al. 2017, "Pruning Filters for Efficient ConvNets".
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch_pruning as tp
from torch import Tensor, nn

from edgepose.cost import LayerCost, kernel_costs
from edgepose.errors import EdgeposeError
from edgepose.models.blocks import SpatialAttention
from edgepose.models.own import output_layers, where


@dataclass(frozen=True)
class Group:
    """layer: its first convolution; channels: that it has; importance: (channels,) L1 norm of each
    over the group's mean; blocks: equal parts of a grouped convolution that lose channels alike."""

    layer: str
    channels: int
    importance: Tensor = field(repr=False, compare=False)
    blocks: int = 1
    members: Any = field(default=None, repr=False, compare=False)

    def widths(self, step: int) -> list[int]:
        """The channel counts that it may keep, ascending: multiples of `step`, and all of them."""
        step *= self.blocks
        return [*range(step, self.channels, step), self.channels]


def _put(network: nn.Module, name: str, layer: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, layer)


class Channels:
    """A copy of a network whose groups can be narrowed, once.

    Raises EdgeposeError where torch-pruning cannot follow the network.
    """

    def __init__(self, network: nn.Module, *, input_hw: tuple[int, int]) -> None:
        self.costs = kernel_costs(network, input_hw=input_hw)
        self._network = copy.deepcopy(network)
        # Attention sees channels as their mean and maximum alone: it fits any number, stands aside.
        self._aside = {
            n: m for n, m in self._network.named_modules() if isinstance(m, SpatialAttention)
        }
        for name in self._aside:
            _put(self._network, name, nn.Identity())
        self._names = {module: name for name, module in self._network.named_modules()}
        try:
            self._pruner = tp.pruner.BasePruner(
                self._network,
                torch.zeros(1, 3, *input_hw),
                importance=tp.importance.MagnitudeImportance(p=1),
                ignored_layers=output_layers(self._network, input_hw=input_hw),
            )
            self.groups = self._find_groups()
        except Exception as error:
            raise EdgeposeError(
                f"torch-pruning cannot prune {type(network).__name__}: "
                f"{type(error).__name__}: {error}{where(error)}",
                fix="leave out the prune stage, or write the network with plain layers",
            ) from error
        self._inputs, self._outputs = self._users()

    def _find_groups(self) -> tuple[Group, ...]:
        pruner, found = self._pruner, []
        order = {name: n for n, name in enumerate(cost.name for cost in self.costs)}
        for members in pruner.DG.get_all_groups(
            ignored_layers=pruner.ignored_layers, root_module_types=pruner.root_module_types
        ):
            importance = pruner.estimate_importance(members)
            if importance is None:
                continue
            blocks = pruner._get_channel_groups(members)
            if blocks > 1:
                importance = importance.view(blocks, -1).mean(dim=0).repeat(blocks)
            made_by = [
                self._names[dep.target.module]
                for dep, _ in members
                if isinstance(dep.target.module, nn.Conv2d | nn.ConvTranspose2d)
                and pruner.DG.is_out_channel_pruning_fn(dep.handler)
            ]
            layer = min(made_by, key=lambda name: order.get(name, len(order)), default="")
            layer = layer or self._names[members[0].dep.target.module]
            found.append(Group(layer, len(importance), importance, blocks, members))
        return tuple(sorted(found, key=lambda group: order.get(group.layer, len(order))))

    def _users(self) -> tuple[dict[str, list[tuple[int, int]]], dict[str, list[tuple[int, int]]]]:
        """Layer -> (group, its channels per channel of the group), for inputs and for outputs."""
        inputs: dict[str, list[tuple[int, int]]] = {}
        outputs: dict[str, list[tuple[int, int]]] = {}
        for number, group in enumerate(self.groups):
            for dep, indices in group.members:
                name = self._names.get(dep.target.module)
                if name is None or not isinstance(
                    dep.target.module, nn.Conv2d | nn.ConvTranspose2d
                ):
                    continue
                out = self._pruner.DG.is_out_channel_pruning_fn(dep.handler)
                depthwise = dep.target.module.groups == dep.target.module.in_channels > 1
                for side in (inputs, outputs) if depthwise else ((outputs if out else inputs),):
                    use = (number, len(indices) // group.channels)
                    if use not in side.setdefault(name, []) or not depthwise:
                        side[name].append(use)
        return inputs, outputs

    def at(self, widths: Sequence[int]) -> list[LayerCost]:
        """What every layer costs when group i keeps widths[i] channels."""
        gone = [group.channels - width for group, width in zip(self.groups, widths, strict=True)]

        def kept(users: dict[str, list[tuple[int, int]]], name: str, full: int) -> int:
            return full - sum(each * gone[number] for number, each in users.get(name, ()))

        made: dict[str, int] = {}
        found = []
        for cost in self.costs:
            if cost.weights:
                made[cost.name] = kept(self._outputs, cost.name, cost.channels)
                width = kept(self._inputs, cost.name, cost.in_channels)
                found.append(cost.resized(width, made[cost.name]))
            else:  # a sum or a pooling: as wide as the convolution that feeds it
                width = made.get(cost.producer or "", cost.channels)
                found.append(cost.resized(width, width))
        return found

    def narrowed(self, widths: Sequence[int]) -> nn.Module:
        """The network with the channels of the smallest norm removed. Call it once."""
        for group, width in zip(self.groups, widths, strict=True):
            if width == group.channels:
                continue
            part = group.channels // group.blocks
            lost = part - width // group.blocks
            weakest = torch.argsort(group.importance[:part])[:lost]
            indices = torch.cat([weakest + block * part for block in range(group.blocks)])
            root = group.members[0].dep
            self._pruner.DG.get_pruning_group(
                root.target.module, root.handler, indices.tolist()
            ).prune()
        for name, attention in self._aside.items():
            _put(self._network, name, attention)
        return self._network


def uniform_widths(groups: Sequence[Group], ratio: float, step: int) -> list[int]:
    """Channels that stay when `ratio` of them leaves every group, rounded down to its steps."""
    return [
        max([w for w in group.widths(step) if w <= group.channels * (1 - ratio) + 1e-9],
            default=group.widths(step)[0])
        for group in groups
    ]  # fmt: skip


def prune_channels(
    network: nn.Module, *, ratio: float, round_to: int, input_hw: tuple[int, int]
) -> nn.Module:
    """A copy of `network` with `ratio` of the channels of every group removed, head untouched.

    Kept channels are rounded down to a multiple of `round_to`, and every group keeps at least that.
    """
    channels = Channels(network, input_hw=input_hw)
    return channels.narrowed(uniform_widths(channels.groups, ratio, round_to))
