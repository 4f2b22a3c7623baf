"""Which group gets channels first: the order in which a network grows from its narrowest form.

Every mode gives each step of each group a worth; a budget is met by the longest beginning of the list
that fits, then by single steps that still fit behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgepose.errors import EdgeposeError
from edgepose.stages.pruning.channels import Group

Mode = Literal["uniform", "global", "sensitivity"]
FORMAT_VERSION = 1
UNMEASURED = 1e4  # points per ratio beyond what was measured


class Step(BaseModel):
    """Group number `group` grows to `width` channels; larger worths come first."""

    model_config = ConfigDict(frozen=True)
    group: int
    width: int
    worth: float


class GroupCurve(BaseModel):
    """What one group's pruning costs alone: drop[i] points of the metric at ratios[i] removed."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    layer: str
    ratios: tuple[float, ...] = Field(min_length=1)
    drop: tuple[float, ...] = Field(min_length=1)


class Sensitivity(BaseModel):
    """What `edgepose sensitivity` writes about pruning. metric, persons: null in its first files."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    format_version: Literal[1]
    kind: Literal["prune"]
    metric: str | None = None
    persons: int | None = None
    groups: tuple[GroupCurve, ...] = Field(min_length=1)


def read_sensitivity(path: Path) -> Sensitivity:
    """A sensitivity file; EdgeposeError where it is no such file or contradicts itself."""
    fix = "write it with `edgepose sensitivity`"
    try:
        found = Sensitivity.model_validate_json(Path(path).read_bytes())
    except OSError as error:
        raise EdgeposeError(f"cannot read {path}: {error.strerror}", fix=fix) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise EdgeposeError(
            f"{path} is no pruning sensitivity: {place or 'the file'}: {first['msg']}", fix=fix
        ) from error
    for curve in found.groups:
        rising = all(a < b for a, b in pairwise(curve.ratios))
        if len(curve.ratios) != len(curve.drop) or not rising or not curve.ratios[0] >= 0:
            raise EdgeposeError(
                f"{path}: {curve.layer} needs as many drops as ratios, and ratios that rise",
                fix=fix,
            )
        if curve.ratios[-1] >= 1 or not np.isfinite(curve.drop).all():
            raise EdgeposeError(
                f"{path}: {curve.layer} has a ratio of 1 or more, or a drop that is not finite",
                fix=fix,
            )
    return found


def growth(
    groups: Sequence[Group],
    *,
    step: int,
    mode: Mode,
    sensitivity: Sensitivity | None = None,
    share: Callable[[int, int, int], float] | None = None,
) -> list[Step]:
    """Every step of every group from its narrowest width on, the most worthy first.

    uniform:     the ratio at which the step is lost, so that all groups shrink alike
    global:      the norm of the last channel that the step brings back: one threshold for all
    sensitivity: points of the metric that the step saves per `share` of the budget that it costs
    share:       (group, width before, width after) -> part of the budget that this takes
    """
    found: list[Step] = []
    curves = {} if sensitivity is None else _matched(sensitivity, groups)
    for number, group in enumerate(groups):
        widths = group.widths(step)
        if mode == "uniform":
            worths = [1 - width / group.channels for width in widths[1:]]
        elif mode == "global":
            norms = torch.sort(group.importance, descending=True).values
            worths = [float(norms[width - 1]) for width in widths[1:]]
        else:
            assert share is not None, "sensitivity weighs drops against costs"
            worths = _savings(
                [_drop(curves[group.layer], 1 - width / group.channels) for width in widths],
                [share(number, a, b) for a, b in pairwise(widths)],
            )
        found += [
            Step(group=number, width=width, worth=worth)
            for width, worth in zip(widths[1:], worths, strict=True)
        ]
    return sorted(found, key=lambda s: (-s.worth, s.group, s.width))


def _matched(sensitivity: Sensitivity, groups: Sequence[Group]) -> dict[str, GroupCurve]:
    curves = {curve.layer: curve for curve in sensitivity.groups}
    missing = [group.layer for group in groups if group.layer not in curves]
    if missing:
        raise EdgeposeError(
            f"the sensitivity file says nothing of {len(missing)} of the network's "
            f"{len(groups)} channel groups, e.g. {missing[0]}",
            fix="measure this network: edgepose sensitivity",
        )
    return curves


def beside(
    sensitivity: Sensitivity, groups: Sequence[Group], widths: Sequence[int]
) -> dict[str, Any]:
    """The measurement with what was made of it: every group's `channels`, and how many it `kept`."""
    curves = _matched(sensitivity, groups)
    rows = [
        {**curves[group.layer].model_dump(), "channels": group.channels, "kept": width}
        for group, width in zip(groups, widths, strict=True)
    ]
    costliest = sorted(rows, key=lambda row: row["drop"][::-1], reverse=True)
    return {**sensitivity.model_dump(exclude={"groups"}), "groups": costliest}


def _drop(curve: GroupCurve, ratio: float) -> float:
    """Interpolated drop at `ratio`, nothing lost at 0, never falling. Beyond the last ratio nobody knows
    it: everything else is given up first."""
    ratios = np.array([0.0, *curve.ratios]) if curve.ratios[0] > 0 else np.array(curve.ratios)
    drops = np.array([0.0, *curve.drop]) if curve.ratios[0] > 0 else np.array(curve.drop)
    drops = np.maximum.accumulate(np.maximum(drops, 0.0))
    return float(np.interp(ratio, ratios, drops) + UNMEASURED * max(0.0, ratio - ratios[-1]))


def _savings(drops: list[float], costs: list[float]) -> list[float]:
    """Points saved per cost of each step; a step is worth at least what those behind it are on average
    (the curve's lower hull), so that worths never rise within a group."""
    worths: list[float] = []
    start = 0
    while start < len(costs):
        slopes, spent = [], 0.0
        for end in range(start + 1, len(costs) + 1):
            spent += costs[end - 1]
            slopes.append((drops[start] - drops[end]) / max(spent, 1e-12))
        best = int(np.argmax(slopes))
        worths += [slopes[best]] * (best + 1)
        start += best + 1
    return worths
