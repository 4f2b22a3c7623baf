"""The plots of a run: each as SVG with its figures as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from edgepose.report import text
from edgepose.report.html import svg
from edgepose.report.html.blocks import Plot, Table
from edgepose.report.record import ArtifactRecord, Measured, Report, StageRecord

_MARKERS = "osD^vP*Xdph<>"
_DASHES = ("-", "--", "-.", ":")


def _color(row: Measured) -> str:
    return svg.SHIPS if isinstance(row, ArtifactRecord) else svg.MODEL


def _interval(row: Measured, metric: str) -> tuple[float, float, float]:
    """(value, low, high) of a row's score."""
    score = row.metrics[metric]
    low, high = score.ci95 or (score.value, score.value)
    return score.value, min(low, score.value), max(high, score.value)


def _plot(
    drawn: Any, *, title: str, alt: str, note: str, header: Sequence[str], align: str,
    rows: Sequence[Sequence[str]],
) -> Plot:  # fmt: skip
    return Plot(
        title=title,
        svg=svg.inline_svg(drawn, name=svg.plot_id(title)),
        alt=alt,
        note=note,
        table=Table(caption=title, header=header, align=align, rows=rows),
    )


def waterfall(report: Report, metric: str) -> Plot | None:
    """Every row's score with its interval, from the teacher down to the files."""
    rows = [row for row in report.rows if metric in row.metrics]
    if not rows:
        return None
    label = text.metric_label(metric)
    values = [_interval(row, metric) for row in rows]
    y = np.arange(len(rows))
    with svg.style():
        drawn = svg.figure(0.36 * len(rows) + 0.75)
        axis = drawn.subplots()
        stages = [i for i, row in enumerate(rows) if not isinstance(row, ArtifactRecord)]
        axis.plot([values[i][0] for i in stages], stages, color=svg.GRID, linewidth=2, zorder=1)
        for i, (row, (value, low, high)) in enumerate(zip(rows, values, strict=True)):
            marker = "s" if isinstance(row, ArtifactRecord) else "o"
            axis.plot([low, high], [i, i], color=_color(row), linewidth=2, zorder=2)
            axis.plot(
                [value], [i], marker, color=_color(row), markersize=7, zorder=3, clip_on=False
            )
            axis.annotate(
                f"{value:.1f}{_change(report, row, metric)}", (high, i), xytext=(7, 0),
                textcoords="offset points", va="center", color=svg.INK,
            )  # fmt: skip
        low, high = min(v[1] for v in values), max(v[2] for v in values)
        span = max(high - low, 2.0)
        changed = any(_change(report, row, metric) for row in rows)
        axis.set_xlim(
            max(-0.06 * span, low - 0.12 * span), high + (0.75 if changed else 0.3) * span
        )
        _whole_ticks(axis, high + 0.25 * span)
        axis.set_ylim(len(rows) - 0.5, -0.5)
        axis.set_yticks(y, [row.name for row in rows])
        axis.set_xlabel(label)
        svg.clean(axis)
    header = ("model", label, "95 % interval", "change", "against")
    behind = []
    for row, (value, low, high) in zip(rows, values, strict=True):
        step = next((d for d in report.differences if d.after == row.name and d.metric == metric),
                    None)  # fmt: skip
        behind.append((row.name, f"{value:.2f}", f"{low:.2f} to {high:.2f}",
                       text.difference(step), step.before if step else text.DASH))  # fmt: skip
    first, last = values[0][0], values[-1][0]
    return _plot(
        drawn, title=f"{label}, stage by stage",
        alt=f"{label} of {len(rows)} models and files with 95 % intervals: {rows[0].name} "
        f"{first:.1f}, {rows[-1].name} {last:.1f}",
        note=f"Lines: 95 % interval (bootstrap over {report.interval_over}). Beside: the score, and "
        "its change from the stage before where the paired interval excludes zero.",
        header=header, align="lrrrl", rows=behind,
    )  # fmt: skip


def _change(report: Report, row: Measured, metric: str) -> str:
    """ " (-1.8)" where a row is surely different from the one before it."""
    for step in report.differences:
        if step.after == row.name and step.metric == metric and text.is_noise(step) is False:
            return f"  ({text.signed(step.value)})"
    return ""


def _whole_ticks(axis: Axes, highest: float) -> None:
    """Ticks only where there is data: the right of the plot is room for words."""
    lowest = max(0.0, axis.get_xlim()[0])
    axis.set_xticks([t for t in axis.get_xticks() if lowest <= t <= highest])


def weight_bytes(row: Measured) -> int | None:
    """A file's counted bytes; of a model its weights alone: 4 bytes each, 1 in INT8."""
    if row.size_bytes is not None:
        return row.size_bytes
    if row.params is None:
        return None
    return row.params * (1 if getattr(row, "precision", "fp32") == "int8" else 4)


def against_size(report: Report) -> Plot | None:
    """Accuracy over bytes, with the budget."""
    metric = report.primary_metric
    rows = [row for row in report.rows if metric in row.metrics and weight_bytes(row)]
    if len(rows) < 2:
        return None
    sizes = [(weight_bytes(row) or 0) / 1e6 for row in rows]
    limit = report.budget.size.size_mb if report.budget.size else None
    rest = " Dashed: the budget." if limit else ""
    return _scatter(
        report, rows, sizes, title=f"{text.metric_label(metric)} against size", unit="MB",
        limit=limit, heads=("model", "MB", text.metric_label(metric)),
        note="Filled: files that ship. Hollow: models, the bytes of their weights alone "
        f"(4 each, 1 in INT8).{rest}",
    )  # fmt: skip


def against_latency(report: Report) -> Plot | None:
    """Accuracy over the median latency."""
    metric = report.primary_metric
    rows = [row for row in report.rows if metric in row.metrics and row.latency_ms is not None]
    if len(rows) < 2:
        return None
    times = [row.latency_ms.p50 for row in rows if row.latency_ms is not None]
    where = "; ".join(dict.fromkeys(str(row.latency_origin) for row in rows))
    return _scatter(
        report, rows, times, title=f"{text.metric_label(metric)} against latency", unit="ms",
        limit=None, heads=("model", "p50 ms", text.metric_label(metric)),
        note=f"Median of one inference, batch 1, model only; {where}.",
    )  # fmt: skip


def _scatter(
    report: Report, rows: Sequence[Measured], xs: Sequence[float], *, title: str, unit: str,
    limit: float | None, heads: Sequence[str], note: str,
) -> Plot:  # fmt: skip
    """Scores with intervals over something on a logarithmic axis; a marker per row."""
    metric = report.primary_metric
    lines = -(-len(rows) // 3)
    with svg.style():
        drawn = svg.figure(2.9 + 0.21 * lines)
        axis = drawn.subplots()
        for i, (row, x) in enumerate(zip(rows, xs, strict=True)):
            value, low, high = _interval(row, metric)
            ships = isinstance(row, ArtifactRecord)
            axis.plot([x, x], [low, high], color=_color(row), linewidth=1.2, alpha=0.6)
            axis.plot(
                [x], [value], _MARKERS[i % len(_MARKERS)], color=_color(row), markersize=8,
                markerfacecolor=_color(row) if ships else svg.PAPER, label=row.name, zorder=3,
            )  # fmt: skip
        if limit is not None:
            axis.axvline(limit, color=svg.LIMIT, linestyle="--", linewidth=1.4)
        _log_x(axis, [*xs, *([limit] if limit else [])])
        axis.set_xlabel(unit)
        axis.set_ylabel(text.metric_label(metric))
        svg.clean(axis, grid="both")
        drawn.legend(loc="outside lower center", ncols=3, handletextpad=0.3, columnspacing=1.2)
    figures = [
        (row.name, f"{x:.3g}", text.score_long(row.metrics[metric]))
        for row, x in zip(rows, xs, strict=True)
    ]
    alt = f"{title}: " + ", ".join(f"{name} {x} {unit}, {y}" for name, x, y in figures)
    return _plot(drawn, title=title, alt=alt, note=note, header=heads, align="lrr", rows=figures)


def _log_x(axis: Axes, xs: Sequence[float]) -> None:
    """A logarithmic axis with plain figures at 1, 2, 5."""
    axis.set_xscale("log")
    low, high = min(xs) / 1.35, max(xs) * 1.35
    ticks = [b * 10.0**e for e in range(-3, 6) for b in (1, 2, 5) if low <= b * 10.0**e <= high]
    axis.set_xlim(low, high)
    axis.set_xticks(ticks)
    axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axis.xaxis.set_minor_locator(NullLocator())


def latencies(report: Report) -> Plot | None:
    """p50, p90 and p99 of everything that was timed."""
    rows = [row for row in report.rows if row.latency_ms is not None]
    if not rows:
        return None
    with svg.style():
        drawn = svg.figure(0.36 * len(rows) + 0.75)
        axis = drawn.subplots()
        highest = 0.0
        for i, row in enumerate(rows):
            t = row.latency_ms
            assert t is not None
            highest = max(highest, t.p99)
            axis.plot([t.min or t.p50, t.p99], [i, i], color=_color(row), linewidth=2, alpha=0.5)
            axis.plot([t.p50], [i], "o", color=_color(row), markersize=8)
            axis.plot([t.p90, t.p99], [i, i], "|", color=_color(row), markersize=11)
            axis.annotate(text.milliseconds(t.p50), (t.p99, i), xytext=(7, 0),
                          textcoords="offset points", va="center")  # fmt: skip
        lowest = min((r.latency_ms.min or r.latency_ms.p50) for r in rows if r.latency_ms)
        _log_x(axis, [lowest, highest * 1.5])
        axis.set_yticks(range(len(rows)), [row.name for row in rows])
        axis.set_ylim(len(rows) - 0.5, -0.5)
        axis.set_xlabel("ms per inference, batch 1")
        svg.clean(axis)
    behind = [
        (row.name, *(text.milliseconds(v) for v in (t.p50, t.p90, t.p99)), f"{t.fps:.1f}",
         text.DASH if t.count is None else f"{t.count:,}", str(row.latency_origin))
        for row in rows if (t := row.latency_ms) is not None
    ]  # fmt: skip
    return _plot(
        drawn, title="Latency", note="Dot: median, with its figure. Line: fastest call to p99; "
        "strokes: p90 and p99.",
        alt="Latency: " + ", ".join(f"{r[0]} median {r[1]} ms, p99 {r[3]} ms" for r in behind),
        header=("model", "p50 ms", "p90", "p99", "FPS", "calls", "where"), align="lrrrrrl",
        rows=behind,
    )  # fmt: skip


def training(stage: StageRecord) -> Plot | None:
    """The loss of one stage over its steps."""
    history = stage.history
    if history is None or len(history.loss) < 2:
        return None
    steps = np.array([step for step, _ in history.loss])
    losses = np.array([loss for _, loss in history.loss])
    with svg.style():
        drawn = svg.figure(2.4)
        axis = drawn.subplots()
        axis.plot(steps, losses, color=svg.MODEL, linewidth=1.5)
        if (losses > 0).all() and losses.max() / losses.min() > 3:
            axis.set_yscale("log")
        else:
            axis.ticklabel_format(axis="y", style="sci", scilimits=(-3, 4))
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.set_xlabel("step")
        axis.set_ylabel("loss")
        svg.clean(axis, grid="both")
    shown = np.unique(np.linspace(0, len(steps) - 1, 12).astype(int))
    pictures = f", {history.images:,} crops" if history.images else ""
    return _plot(
        drawn, title=f"Training: {stage.name}", note=f"{history.steps:,} steps{pictures}.",
        alt=f"Training loss of {stage.name} from {losses[0]:.3g} at step {steps[0]} to "
        f"{losses[-1]:.3g} at step {steps[-1]}",
        header=("step", "loss"), align="rr",
        rows=[(f"{steps[i]:,}", f"{losses[i]:.4g}") for i in shown],
    )  # fmt: skip


def curves(
    title: str, size: str, at: Sequence[float], lines: Sequence[tuple[str, Sequence[float]]]
) -> Plot:
    """Part of the joints within a threshold, over the threshold; one line per model.

    Models that differ little lie on each other, so that each line is also drawn against the first.
    """
    rows, several = -(-len(lines) // 3), len(lines) > 1
    with svg.style():
        drawn = svg.figure((4.3 if several else 2.9) + 0.21 * rows)
        axes = drawn.subplots(1 + several, 1, sharex=True, squeeze=False)[:, 0]
        for i, (name, values) in enumerate(lines):
            look = {"color": svg.SERIES[i % len(svg.SERIES)], "linewidth": 1.8,
                    "linestyle": _DASHES[i % len(_DASHES)]}  # fmt: skip
            axes[0].plot(at, values, label=name, **look)
            if several:
                axes[1].plot(at, np.subtract(values, lines[0][1]), **look)
        axes[0].set_xlim(0, max(at))
        axes[0].set_ylim(0, 100)
        axes[0].set_ylabel("% of joints")
        if several:
            axes[1].set_ylabel(f"points from {lines[0][0].split(',')[0]}")
        axes[-1].set_xlabel(f"threshold, parts of {size}")
        for axis in axes:
            svg.clean(axis, grid="both")
        drawn.legend(loc="outside lower center", ncols=3, handletextpad=0.5, columnspacing=1.2)
    marks = [i for i, x in enumerate(at) if round(x * 100) % 5 == 0 and x > 0]
    return _plot(
        drawn, title=title, note="At each threshold, the part of the counted joints whose error is "
        "no larger; below, the difference from the first line.",
        alt=f"{title}: " + ", ".join(f"{n} {v[-1]:.1f} % at {max(at):g}" for n, v in lines),
        header=("threshold", *(name for name, _ in lines)), align="r" * (len(lines) + 1),
        rows=[(f"{at[i]:.2f}", *(f"{v[i]:.1f}" for _, v in lines)) for i in marks],
    )  # fmt: skip


def calls(title: str, samples_ms: Sequence[float], note: str) -> Plot:
    """How long every call of a benchmark took: their distribution, and one after the other."""
    times = np.asarray(samples_ms)
    shown = np.unique(np.linspace(0, len(times) - 1, 400).astype(int))
    blocks = np.array_split(times, min(10, len(times)))
    medians = [float(np.median(block)) for block in blocks]
    ends = np.cumsum([len(block) for block in blocks])
    middles = ends - np.array([len(block) for block in blocks]) / 2
    top = float(np.percentile(times, 99.5)) * 1.1
    low = float(times.min()) * 0.95
    with svg.style():
        drawn = svg.figure(2.6)
        left, right = drawn.subplots(1, 2, width_ratios=[1, 1.6], sharey=True)
        left.hist(times[times <= top], bins=30, orientation="horizontal", color=svg.MODEL)
        left.set_xlabel("calls")
        left.set_ylabel("ms")
        right.plot(shown, times[shown], ".", color=svg.MODEL, markersize=2.5, alpha=0.7)
        right.plot(middles, medians, color=svg.SHIPS, linewidth=2)
        right.set_xlabel("call")
        left.set_ylim(low, top)
        svg.clean(left, grid="y")
        svg.clean(right, grid="both")
    rows = [
        (f"{end - len(block) + 1:,} to {end:,}", text.milliseconds(median),
         text.milliseconds(float(np.percentile(block, 90))), text.milliseconds(float(block.max())))
        for block, median, end in zip(blocks, medians, ends, strict=True)
    ]  # fmt: skip
    drift = 100 * (medians[-1] / medians[0] - 1)
    return _plot(
        drawn, title=title,
        note=f"{note} Line: medians of tenths; the last tenth is {drift:+.1f} % from the first.",
        alt=f"{title}: {len(times)} calls, median {np.median(times):.3f} ms, drift {drift:+.1f} %",
        header=("calls", "median ms", "p90", "slowest"), align="lrrr", rows=rows,
    )  # fmt: skip
