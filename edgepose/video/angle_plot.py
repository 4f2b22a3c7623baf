"""Joint angles over a video as a picture, their ranges of motion as a table."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from edgepose.report.overlay import LEFT_RGB, RIGHT_RGB
from edgepose.video.angles import KINDS, Angle, Motion

_INK, _SOFT, _GRID = "#1f2933", "#5f6b7a", "#e3e7ec"
_DPI = 150
MOST_PEOPLE = 4


def motion_table(motions: Sequence[Motion]) -> str:
    """Lines of at most 80 columns, largest range first within a person."""
    lines = [
        f"{'person':>6}  {'angle':<16} {'frames':>7} {'min':>7} {'median':>7} {'max':>7} {'range':>7}"
    ]
    for m in sorted(motions, key=lambda m: (m.person, -m.range_deg)):
        lines.append(
            f"{m.person:>6}  {m.angle:<16} {m.frames:>7} {m.min_deg:>7.1f} {m.median_deg:>7.1f} "
            f"{m.max_deg:>7.1f} {m.range_deg:>7.1f}"
        )
    return "\n".join([*lines, "degrees, in the picture's plane"])


def motion_csv(motions: Sequence[Motion]) -> str:
    head = "person,angle,frames,min_deg,median_deg,max_deg,range_deg"
    rows = [
        f"{m.person},{m.angle},{m.frames},{m.min_deg:.2f},{m.median_deg:.2f},{m.max_deg:.2f},"
        f"{m.range_deg:.2f}"
        for m in motions
    ]
    return "\n".join([head, *rows]) + "\n"


def angles_png(
    times_s: Mapping[int, NDArray[np.float64]],
    degrees: Mapping[int, NDArray[np.float64]],
    angles: Sequence[Angle],
    *,
    name: str,
) -> bytes:
    """A PNG: a row per person (the four seen longest), a column per kind of joint, both sides in it.

    times_s: per person (frames,); degrees: per person (frames, A), nan where unseen
    """
    kinds = [k for k in KINDS if any(a.name.endswith(f"_{k}") for a in angles)]
    people = sorted(degrees, key=lambda p: (-len(degrees[p]), p))[:MOST_PEOPLE]
    people.sort()
    figure = Figure(figsize=(2.75 * len(kinds) + 0.5, 2.0 * len(people) + 1.15), dpi=_DPI)
    FigureCanvasAgg(figure)
    figure.patch.set_facecolor("white")
    grid = figure.subplots(len(people), len(kinds), sharex=True, sharey=True, squeeze=False)
    colors = {"right": _hex(RIGHT_RGB), "left": _hex(LEFT_RGB)}
    for row, person in enumerate(people):
        for column, kind in enumerate(kinds):
            axis, extents = grid[row, column], []
            for index, angle in enumerate(angles):
                side, _, part = angle.name.partition("_")
                if part == kind:
                    values = degrees[person][:, index]
                    axis.plot(times_s[person], values, color=colors[side], linewidth=1.4)
                    extents.append(_extent(side, values))
            axis.set_ylim(-3, 185)
            axis.set_yticks([0, 45, 90, 135, 180])
            axis.grid(color=_GRID, linewidth=0.8)
            axis.tick_params(length=0, colors=_SOFT, labelsize=8)
            for spine in axis.spines.values():
                spine.set_visible(False)
            axis.set_title("range: " + ", ".join(extents), color=_SOFT, fontsize=7.5, loc="right")
            if row == 0:
                axis.set_title(kind, color=_INK, fontsize=10, loc="left")
            if column == 0:
                axis.set_ylabel(f"person {person}, degrees", color=_INK, fontsize=8.5)
            if row == len(people) - 1:
                axis.set_xlabel("seconds", color=_SOFT, fontsize=8.5)
    more = f" (of {len(degrees)} people)" if len(degrees) > len(people) else ""
    figure.suptitle(f"Joint angles: {name}{more}", x=0.012, ha="left", color=_INK, fontsize=12,
                    fontweight="bold")  # fmt: skip
    figure.legend(
        handles=[Line2D([], [], color=colors[s], label=f"{s} side") for s in colors],
        loc="upper right", ncols=2, frameon=False, fontsize=8.5, labelcolor=_SOFT,
    )  # fmt: skip
    figure.tight_layout(rect=(0, 0.0, 1, 0.97))
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor="white", metadata={"Software": "edgepose"})
    return buffer.getvalue()


def _extent(side: str, values: NDArray[np.float64]) -> str:
    seen = values[~np.isnan(values)]
    return f"{side} {seen.max() - seen.min():.0f}°" if len(seen) else f"{side} not seen"


def _hex(rgb: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*rgb)
