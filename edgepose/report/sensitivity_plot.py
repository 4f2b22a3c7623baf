"""One drawing of sensitivities, for the picture of `edgepose sensitivity` and for a run's page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from edgepose.report.costs import between

SHOWN = 30
_HIGH = 0.8  # of a row
_FULL = 20.0  # points that fill it: beyond, nobody asks how much is lost


@dataclass(frozen=True)
class Look:
    """Colours by what they are for; chosen: what the run did; name: letters of a layer shown."""

    ink: str
    soft: str
    grid: str
    bar: str
    chosen: str
    paper: str
    name: int = 34


def short(name: str, most: int) -> str:
    """The end of a long name, which tells layers apart."""
    return name if len(name) <= most else "..." + name[3 - most :]


def height_in(rows: int) -> float:
    """Inches that `rows` take, the axis included."""
    return 0.9 + 0.36 * max(min(rows, SHOWN), 3)


def draw(figure: Figure, found: Mapping[str, Any], *, look: Look, points: str) -> None:
    """Draw what `sensitivity.to_json` gives, or the record of a run with what it chose.

    points: the unit of drops, for an axis. At most SHOWN rows, the first.
    """
    if found["kind"] == "int8":
        axes = figure.subplots(1, 2, sharey=True)
        rows = found["layers"][:SHOWN]
        _bars(axes[0], rows, "drop", f"drop, {points}", look)
        _bars(axes[1], rows, "shift_p99_px", "99 % of peaks move less, px", look)
    else:
        _ridges(figure.subplots(), found["groups"][:SHOWN], look, points)


def _ridges(axis: Axes, rows: Sequence[Mapping[str, Any]], look: Look, points: str) -> None:
    """Each group's drop over the share removed, all to one height; a stroke where the run went."""
    most = max(max(row["drop"]) for row in rows)
    full = min(max(most, 0.1), _FULL)
    for i, row in enumerate(rows):
        ratios, drop = tuple(row["ratios"]), tuple(row["drop"])
        base, measured = i + 0.4, 100 * np.array(ratios)
        xs = np.unique([*np.linspace(0, measured[-1], 100), *measured])
        ridge = base - _HIGH * _height([between(ratios, drop, x / 100) for x in xs], full)
        axis.plot([0, 100], [base, base], color=look.grid, linewidth=0.8, zorder=1)
        axis.fill_between(xs, base, ridge, color=look.bar, alpha=0.3, linewidth=0, zorder=2)
        axis.plot(xs, ridge, color=look.bar, linewidth=1.3, zorder=3)
        dots = base - _HIGH * _height(drop, full)
        axis.plot(measured, dots, ".", color=look.bar, markersize=4)
        axis.annotate(
            _beside(row), (100, base), xytext=(8, 0), textcoords="offset points", va="bottom",
            color=look.ink, annotation_clip=False,
        )  # fmt: skip
        if row.get("kept", row.get("channels")) != row.get("channels"):
            _chosen(axis, row, base, full, look)
    axis.set_xlim(-1, 100)
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.set_xticks(range(0, 101, 20))
    axis.set_yticks([i + 0.3 for i in range(len(rows))], _names(rows, look), color=look.ink)
    more = " or more" if most > full else ""
    axis.set_xlabel(f"% of the channels removed; full height: {full:.3g}{more} {points}")
    _clean(axis, look)


def _height(drop: Sequence[float | None], full: float) -> NDArray[np.float64]:
    """Parts of a row, 0..1."""
    return np.clip(np.array(drop, dtype=np.float64) / full, 0.0, 1.0)


def _chosen(axis: Axes, row: Mapping[str, Any], base: float, full: float, look: Look) -> None:
    removed = 1 - row["kept"] / row["channels"]
    cost = between(tuple(row["ratios"]), tuple(row["drop"]), removed)
    at = _HIGH * float(_height([cost or 0.0], full)[0])
    top = base - max(at, 0.35)
    axis.plot([100 * removed] * 2, [base, top], color=look.chosen, linewidth=1.6, zorder=4)
    axis.plot(
        [100 * removed], [base - at], "D", color=look.chosen, markersize=5,
        markerfacecolor=look.paper if cost is None else look.chosen, zorder=5, clip_on=False,
    )  # fmt: skip


def _beside(row: Mapping[str, Any]) -> str:
    """What the run removed and what that costs alone; without a run, the end of the curve."""
    ratios, drop = tuple(row["ratios"]), tuple(row["drop"])
    if "kept" not in row:
        return f"{drop[-1]:+.1f} at {ratios[-1]:.0%}"
    if row["kept"] == row["channels"]:
        return "whole"
    removed = 1 - row["kept"] / row["channels"]
    cost = between(ratios, drop, removed)
    return f"{removed:.0%}: " + ("not measured" if cost is None else f"{cost:+.1f}")


def _bars(axis: Axes, rows: Sequence[Mapping[str, Any]], key: str, label: str, look: Look) -> None:
    for i, row in enumerate(rows):
        away = bool(row.get("in_float"))
        axis.barh(
            [i], [row[key]], height=0.62, zorder=2, linewidth=1.4,
            color=look.paper if away else look.bar, edgecolor=look.chosen if away else look.bar,
        )  # fmt: skip
    axis.set_yticks(range(len(rows)), _names(rows, look), color=look.ink)
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.set_xlabel(label)
    axis.margins(x=0.1)  # its last figure stays clear of the next axis's first
    axis.axvline(0, color=look.soft, linewidth=0.8, zorder=3)
    axis.grid(axis="x")
    _clean(axis, look)


def _names(rows: Sequence[Mapping[str, Any]], look: Look) -> list[str]:
    return [short(row["layer"], look.name) for row in rows]


def _clean(axis: Axes, look: Look) -> None:
    axis.tick_params(length=0, colors=look.soft)
    for label in axis.get_yticklabels():
        label.set_color(look.ink)
    axis.xaxis.label.set_color(look.ink)
    axis.grid(axis="x", color=look.grid, linewidth=0.8, zorder=0)
    axis.set_axisbelow(True)
    for side in axis.spines.values():
        side.set_visible(False)
