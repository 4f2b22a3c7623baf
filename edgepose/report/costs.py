"""What changing one layer alone was found to cost, as report.json keeps it."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from edgepose.bench.document import Strict


class GroupCost(Strict):
    """drop[i]: points lost when ratios[i] of this group's channels leave alone, without training.

    layer: the group's first convolution; kept: of its `channels`, what the run kept
    """

    layer: str
    channels: int = Field(ge=1)
    kept: int = Field(ge=1)
    ratios: tuple[float, ...] = Field(min_length=1)
    drop: tuple[float, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _one_drop_per_ratio(self) -> GroupCost:
        if len(self.drop) != len(self.ratios) or self.kept > self.channels:
            raise ValueError(f"{self.layer}: a drop per ratio, and no more kept than there are")
        return self

    @property
    def removed(self) -> float:
        """The share of channels that left, 0..1."""
        return 1 - self.kept / self.channels

    @property
    def drop_removed(self) -> float | None:
        """Points at `removed`, on the line between what was measured; None beyond it."""
        return between(self.ratios, self.drop, self.removed)


class PruneCosts(Strict):
    """metric, persons: what drops are in, over how many training people; null where nobody noted it."""

    kind: Literal["prune"] = "prune"
    metric: str | None = None
    persons: int | None = None
    groups: tuple[GroupCost, ...] = Field(min_length=1)


class Int8Cost(Strict):
    """INT8 in this convolution alone: points lost, how far the peaks of confident heatmaps move
    (input px), multiply-adds of one image, and whether the run left it in float."""

    layer: str
    drop: float
    shift_p50_px: float
    shift_p99_px: float
    macs: int
    in_float: bool = False


class Int8Costs(Strict):
    """metric, persons: as of PruneCosts."""

    kind: Literal["int8"] = "int8"
    metric: str | None = None
    persons: int | None = None
    layers: tuple[Int8Cost, ...] = Field(min_length=1)


def between(ratios: tuple[float, ...], drop: tuple[float, ...], ratio: float) -> float | None:
    """A curve at `ratio`: nothing is lost at 0; None beyond the last one measured."""
    if ratio > ratios[-1] + 1e-9:
        return None
    start = ratios[0] > 0
    xs, ys = ([0.0] * start + list(values) for values in (ratios, drop))
    return float(np.interp(ratio, xs, ys))
