"""`prune:` remove the channels with the smallest L1 norm, then fine-tune.

Channels that belong together (both sides of a residual sum, a convolution and its batch norm) leave
together: torch-pruning's dependency graph finds the groups. Source of the criterion: Li et al. 2017,
"Pruning Filters for Efficient ConvNets".
"""

from __future__ import annotations

import copy

import torch
import torch_pruning as tp
from pydantic import Field
from torch import nn

from edgepose.context import Context
from edgepose.cost import planned_bytes
from edgepose.errors import EdgeposeError
from edgepose.models.blocks import SpatialAttention
from edgepose.models.own import output_layers, where
from edgepose.models.pose_model import PoseModel
from edgepose.stages import distill
from edgepose.stages.distill import teach
from edgepose.target import Target

SEARCH_STEPS = 12
LARGEST_RATIO = 0.97


class Config(distill.Config):
    """ratio: share of the channels to remove in every group, null: found for the size budget;
    round_to: kept channels are a multiple of this; the rest is the fine-tuning, as distill."""

    ratio: float | None = Field(default=None, gt=0, lt=1)
    round_to: int = Field(default=8, ge=1)


def prune_channels(
    network: nn.Module, *, ratio: float, round_to: int, input_hw: tuple[int, int]
) -> nn.Module:
    """A copy of `network` with `ratio` of the channels of every group removed, head untouched.

    Kept channels are rounded down to a multiple of `round_to`, and every group keeps at least that
    many: torch-pruning leaves a group whole that would round to nothing.
    """
    pruned = copy.deepcopy(network)
    # Attention sees channels as their mean and maximum alone: it fits any number, and stands aside.
    aside = {n: m for n, m in pruned.named_modules() if isinstance(m, SpatialAttention)}
    for name in aside:
        _put(pruned, name, nn.Identity())
    limits = {
        layer: min(ratio, max(0.0, 1 - (round_to + 0.5) / layer.weight.shape[axis]))
        for layer in pruned.modules()
        for kind, axis in ((nn.Conv2d, 0), (nn.ConvTranspose2d, 1))
        if isinstance(layer, kind)
    }
    heads = output_layers(pruned, input_hw=input_hw)
    try:
        pruner = tp.pruner.BasePruner(
            pruned,
            torch.zeros(1, 3, *input_hw),
            importance=tp.importance.MagnitudeImportance(p=1),
            pruning_ratio=ratio,
            pruning_ratio_dict=limits,
            round_to=round_to,
            ignored_layers=heads,
        )
        pruner.step()
    except Exception as error:
        raise EdgeposeError(
            f"torch-pruning cannot prune {type(network).__name__}: "
            f"{type(error).__name__}: {error}{where(error)}",
            fix="leave out the prune stage, or write the network with plain layers",
        ) from error
    for name, attention in aside.items():
        _put(pruned, name, attention)
    return pruned


def _put(network: nn.Module, name: str, layer: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, layer)


def largest_file(network: nn.Module, targets: tuple[Target, ...]) -> int:
    """Planned bytes of the largest counted file among the targets."""
    shapes = {key: value.shape for key, value in network.state_dict().items()}
    return max(
        planned_bytes(shapes, runtime=target.runtime, precision=target.precision)
        for target in targets
    )


def ratio_for_size(
    network: nn.Module,
    *,
    size_bytes: int,
    targets: tuple[Target, ...],
    round_to: int,
    input_hw: tuple[int, int],
) -> float:
    """The smallest pruning ratio whose planned files all fit into `size_bytes`, by bisection.

    Raises EdgeposeError naming the closest feasible size.
    """
    if largest_file(network, targets) <= size_bytes:
        return 0.0

    def planned(ratio: float) -> int:
        pruned = prune_channels(network, ratio=ratio, round_to=round_to, input_hw=input_hw)
        return largest_file(pruned, targets)

    low, high = 0.0, LARGEST_RATIO
    smallest = planned(high)
    if smallest > size_bytes:
        raise EdgeposeError(
            f"a size budget of {size_bytes / 1e6:g} MB cannot be met: at {high:.0%} of the channels "
            f"removed the largest file still needs {smallest / 1e6:.2f} MB",
            fix=f"set budget.size_mb to {smallest / 1e6 + 0.01:.2f} or more, "
            "or start from a smaller network",
        )
    for _ in range(SEARCH_STEPS):
        middle = (low + high) / 2
        if planned(middle) <= size_bytes:
            high = middle
        else:
            low = middle
    return high


def check(config: Config, *, targets: tuple[Target, ...], size_mb: float | None) -> None:
    """Raise EdgeposeError where `config` leaves open how much to prune."""
    if config.ratio is not None:
        return
    if size_mb is None:
        raise EdgeposeError(
            "prune has neither a ratio nor a size budget",
            fix="set stages.prune.ratio, or budget.size_mb",
        )
    if not targets:
        raise EdgeposeError(
            "prune is to fit a size budget, and no stage exports a file that has a size",
            fix="set stages.prune.ratio, or add an export stage",
        )


def run(model: PoseModel, config: Config, context: Context) -> PoseModel:
    """A narrower network of the same architecture, fine-tuned (with the teacher where there is one)."""
    network = model.module()
    ratio = config.ratio
    check(config, targets=context.targets, size_mb=context.size_mb)
    if ratio is None:
        assert context.size_mb is not None, "checked"
        ratio = ratio_for_size(
            network,
            size_bytes=round(context.size_mb * 1e6),
            targets=context.targets,
            round_to=config.round_to,
            input_hw=model.spec.input_hw,
        )
    before = {key: value.shape for key, value in network.state_dict().items()}
    if ratio > 0:
        network = prune_channels(
            network, ratio=ratio, round_to=config.round_to, input_hw=model.spec.input_hw
        )
    kept = {
        key.removesuffix(".weight"): [value.shape[0], before[key][0]]
        for key, value in network.state_dict().items()
        if value.dim() == 4
    }
    teach(
        network.train(),
        spec=model.spec,
        config=config,
        context=context,
        label="prune: fine-tune",
    )
    context.notes.update(
        ratio=round(ratio, 4),
        kept_channels=kept,
        planned_bytes=largest_file(network, context.targets) if context.targets else None,
    )
    return model.with_module(network, domain=context.train.domain)
