"""Channels that can only leave together, and which of them are the weakest.

torch-pruning's dependency graph finds the groups: both sides of a residual sum, a convolution and its
batch norm. Source of the criterion: Li et al. 2017, "Pruning Filters for Efficient ConvNets".
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch_pruning as tp
from torch import nn

from edgepose.errors import EdgeposeError
from edgepose.models.blocks import SpatialAttention
from edgepose.models.own import output_layers, where

CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)


@dataclass(frozen=True)
class ChannelGroup:
    """layer: the group's first convolution; channels: how many it has; removed: ratio -> layer -> the
    output channels that pruning this group alone by that ratio takes, smallest L1 norm first."""

    layer: str
    channels: int
    removed: Mapping[float, Mapping[str, tuple[int, ...]]]


def channel_groups(
    network: nn.Module, *, input_hw: tuple[int, int], ratios: tuple[float, ...]
) -> list[ChannelGroup]:
    """The groups of `network` in its order, the heatmaps' own layers left out.

    Raises EdgeposeError for a network that torch-pruning cannot follow.
    """
    network = copy.deepcopy(network).eval()
    for name, module in list(network.named_modules()):
        if isinstance(
            module, SpatialAttention
        ):  # sees channels as mean and maximum: fits any number
            parent, _, child = name.rpartition(".")
            setattr(network.get_submodule(parent), child, nn.Identity())
    names = {module: name for name, module in network.named_modules()}
    order = {name: i for i, name in enumerate(names.values())}
    heads = output_layers(network, input_hw=input_hw)
    importance = tp.importance.MagnitudeImportance(p=1)
    found = []
    try:
        graph = tp.DependencyGraph()
        graph.build_dependency(network, torch.zeros(1, 3, *input_hw))
        for group in graph.get_all_groups(
            ignored_layers=heads, root_module_types=list(CONVOLUTIONS)
        ):
            weakest = importance(group).argsort()
            removed = {
                ratio: _removed(graph, group, weakest[: max(1, round(ratio * len(weakest)))], names)
                for ratio in ratios
            }
            first = min(removed[ratios[0]], key=order.__getitem__)
            found.append(ChannelGroup(first, len(weakest), removed))
    except Exception as error:
        raise EdgeposeError(
            f"torch-pruning cannot follow {type(network).__name__}: "
            f"{type(error).__name__}: {error}{where(error)}",
            fix="write the network with plain layers",
        ) from error
    return sorted(found, key=lambda group: order[group.layer])


def _removed(
    graph: Any, group: Any, channels: torch.Tensor, names: Mapping[nn.Module, str]
) -> dict[str, tuple[int, ...]]:
    """Layer -> output channels that leave with these channels of the group's root."""
    root = group[0].dep
    part = graph.get_pruning_group(root.target.module, root.handler, channels.tolist())
    return {
        names[dep.target.module]: tuple(int(i) for i in indices)
        for dep, indices in part
        if isinstance(dep.target.module, CONVOLUTIONS)
        and graph.is_out_channel_pruning_fn(dep.handler)
    }
