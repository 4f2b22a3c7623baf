"""The plots of a comparison: what changed with its interval, and every call of two benchmarks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgepose.report import text
from edgepose.report.html import svg
from edgepose.report.html.blocks import Plot, Table

COLORS = {"better": svg.SHIPS, "worse": svg.LIMIT}
_BINS = 40


@dataclass(frozen=True)
class Line:
    """value: of a change, with its interval where there is one; told: the words beside it."""

    name: str
    value: float
    interval: tuple[float, float] | None
    judgement: str
    told: str


def forest(
    title: str, lines: Sequence[Line], *, unit: str, same: float, note: str, table: Table
) -> Plot:
    """Each change with its interval beside the stroke that means no change. same: its place."""
    with svg.style():
        drawn = svg.figure(0.36 * len(lines) + 0.8)
        axis = drawn.subplots()
        axis.axvline(same, color=svg.SOFT, linewidth=1.2, zorder=1)
        for i, line in enumerate(lines):
            color = COLORS.get(line.judgement, svg.MODEL)
            low, high = line.interval or (line.value, line.value)
            axis.plot([low, high], [i, i], color=color, linewidth=2, zorder=2)
            axis.plot(
                [line.value], [i], "o", color=color, markersize=7, zorder=3,
                markerfacecolor=color if line.interval else svg.PAPER,
            )  # fmt: skip
            axis.annotate(
                line.told, (max(high, same), i), xytext=(8, 0), textcoords="offset points",
                va="center", color=svg.INK,
            )  # fmt: skip
        ends = [same, *(v for line in lines for v in (line.interval or (line.value,) * 2))]
        span = max(max(ends) - min(ends), 1e-3)
        axis.set_xlim(min(ends) - 0.08 * span, max(ends) + 0.8 * span)
        axis.set_xticks([t for t in axis.get_xticks() if min(ends) - 0.08 * span <= t
                         <= max(ends) + 0.08 * span])  # fmt: skip
        axis.set_yticks(range(len(lines)), [line.name for line in lines])
        axis.set_ylim(len(lines) - 0.5, -0.5)
        axis.set_xlabel(unit)
        svg.clean(axis)
    return Plot(
        title=title, svg=svg.inline_svg(drawn, name=svg.plot_id(title)), note=note, table=table,
        alt=f"{title}: " + ", ".join(f"{line.name} {line.told}" for line in lines),
    )  # fmt: skip


def distributions(title: str, samples: Sequence[tuple[str, Sequence[float]]]) -> Plot:
    """How long the calls of benchmarks took, one outline each, the median as a stroke."""
    times = [np.asarray(values, dtype=np.float64) for _, values in samples]
    low = min(float(t.min()) for t in times)
    high = max(float(np.percentile(t, 99.5)) for t in times)
    edges = np.linspace(low, max(high, low * 1.001), _BINS + 1)
    with svg.style():
        drawn = svg.figure(2.6 + 0.21 * len(samples))
        axis = drawn.subplots()
        for i, ((name, _), values) in enumerate(zip(samples, times, strict=True)):
            color, dashes = svg.SERIES[i % len(svg.SERIES)], ("-", "--", "-.", ":")[i % 4]
            share = 100 * np.histogram(values, bins=edges)[0] / len(values)
            axis.stairs(share, edges, color=color, linewidth=1.6, linestyle=dashes, label=name)
            axis.axvline(float(np.median(values)), color=color, linewidth=1.2, linestyle=dashes)
        axis.set_xlabel("ms per call")
        axis.set_ylabel("% of calls")
        svg.clean(axis, grid="both")
        drawn.legend(loc="outside lower center", ncols=1)
    rows = []
    for (name, _), values in zip(samples, times, strict=True):
        points = np.percentile(values, (0, 50, 90, 99))
        rows.append((name, f"{len(values):,}", *(text.milliseconds(float(p)) for p in points)))
    return Plot(
        title=title, svg=svg.inline_svg(drawn, name=svg.plot_id(title)),
        alt=f"{title}: " + ", ".join(f"{row[0]} median {row[3]} ms" for row in rows),
        note="Upright: the medians. The slowest 0.5 % are in the table alone.",
        table=Table(title, ("benchmark", "calls", "fastest ms", "p50", "p90", "p99"), "lrrrrr", rows),
    )  # fmt: skip
