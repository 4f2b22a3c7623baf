"""How many channels each group keeps so that every limit of a budget holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgepose.cost import LayerCost
from edgepose.errors import EdgeposeError
from edgepose.stages.pruning.channels import Channels
from edgepose.stages.pruning.order import Mode, Sensitivity, Step, growth

CLOSE = 0.97
"""A solution is this near under at least one limit, or the run says that rounding kept it away."""


@dataclass(frozen=True)
class Limit:
    """One limit of a budget. key: its word in a recipe; most: in `unit`, as the recipe writes it;
    of: what layers need of it; needs: for the message, '{}' takes the closest value."""

    key: str
    unit: str
    most: float
    of: Callable[[Sequence[LayerCost]], float]
    needs: str

    def __str__(self) -> str:
        return f"{self.most:g} {self.unit}"


@dataclass(frozen=True)
class Solution:
    """widths: channels that each group keeps; used: limit -> what is needed of it; note: where it
    stays further below the limits than it should."""

    widths: tuple[int, ...]
    used: dict[str, float]
    note: str | None = None


def fits(layers: Sequence[LayerCost], limits: Sequence[Limit]) -> bool:
    return all(limit.of(layers) <= limit.most for limit in limits)


def solve(
    channels: Channels,
    limits: Sequence[Limit],
    *,
    step: int,
    mode: Mode = "uniform",
    sensitivity: Sensitivity | None = None,
) -> Solution:
    """The widest network in the mode's order that keeps all `limits`.

    step: channels that a group keeps are a multiple of it. Raises EdgeposeError naming the closest
    feasible values where even the narrowest network breaks a limit.
    """
    groups = channels.groups
    full = tuple(group.channels for group in groups)
    if fits(channels.costs, limits):
        return Solution(full, _used(channels.costs, limits))
    least = [group.widths(step)[0] for group in groups]
    layers = channels.at(least)
    for limit in limits:
        if limit.of(layers) > limit.most:
            _refuse(limit, limit.of(layers), step)

    def share(number: int, before: int, after: int) -> float:
        """Part of the budget that one group's growth takes, every other group being whole."""
        wide = [*full[:number], after, *full[number + 1 :]]
        narrow = [*full[:number], before, *full[number + 1 :]]
        a, b = channels.at(wide), channels.at(narrow)
        return sum((limit.of(a) - limit.of(b)) / limit.most for limit in limits)

    steps = growth(groups, step=step, mode=mode, sensitivity=sensitivity, share=share)
    low, high = 0, len(steps)  # `low` steps fit, `high` do not: the whole network did not
    while high - low > 1:
        middle = (low + high) // 2
        if fits(channels.at(_grown(least, steps[:middle])), limits):
            low = middle
        else:
            high = middle
    widths = _grown(least, steps[:low])
    full_up: set[int] = set()
    for one in steps[low:]:
        if one.group in full_up:
            continue
        wider = _grown(widths, [one])
        if fits(channels.at(wider), limits):
            widths = wider
        else:
            full_up.add(one.group)
    used = _used(channels.at(widths), limits)
    return Solution(tuple(widths), used, _far(used, limits, step))


def _grown(widths: Sequence[int], steps: Sequence[Step]) -> list[int]:
    wider = list(widths)
    for step in steps:
        wider[step.group] = step.width
    return wider


def _used(layers: Sequence[LayerCost], limits: Sequence[Limit]) -> dict[str, float]:
    return {limit.key: limit.of(layers) for limit in limits}


def _far(used: dict[str, float], limits: Sequence[Limit], step: int) -> str | None:
    if not limits or max(used[limit.key] / limit.most for limit in limits) >= CLOSE:
        return None
    parts = [f"{used[limit.key]:.3g} of {limit}" for limit in limits]
    return (
        f"prune: channels in steps of {step} come no nearer to the budget than "
        f"{', '.join(parts)}; a smaller stages.prune.round_to does"
    )


def _refuse(limit: Limit, least: float, step: int) -> None:
    digits = max(0, 3 - len(f"{int(least)}")) if least >= 1 else 3
    above = (
        f"{least * 1.005 + 0.5 * 10**-digits:.{digits}f}"  # never rounded to below what is needed
    )
    raise EdgeposeError(
        f"a budget of {limit} cannot be met: with {step} channels left in every group "
        f"{limit.needs.format(f'{least:.{digits}f} {limit.unit}')}",
        fix=f"set budget.{limit.key} to {above} or more, or start from a smaller network",
    )
