"""The waterfall: where accuracy was lost between the teacher and the files that ship."""

from __future__ import annotations

import io
from os import PathLike

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from edgepose.device.files import write_atomic
from edgepose.errors import EdgeposeError
from edgepose.report import text
from edgepose.report.record import ArtifactRecord, Measured, Report

_INK, _SOFT, _GRID = "#1f2933", "#5f6b7a", "#e3e7ec"
_MODEL, _SHIPS, _FINE = "#4c78a8", "#2a9d5c", "#f2a541"
_DPI = 150


def waterfall_png(report: Report) -> bytes:
    """A PNG on a light background: both metrics with intervals, size and latency below each."""
    primary, secondary = report.primary_metric, report.secondary_metric
    rows = [row for row in report.rows if primary in row.metrics]
    if not rows:
        raise EdgeposeError(
            f"no stage of run {report.run_id} has {text.metric_label(primary)}",
            fix="score at least one stage before drawing the waterfall",
        )
    fine = any(secondary in row.metrics for row in rows)
    figure = Figure(figsize=(max(7.2, 1.28 * len(rows) + 1.2), 6.4 if fine else 4.6), dpi=_DPI)
    FigureCanvasAgg(figure)
    figure.patch.set_facecolor("white")
    heights = [2.3, 1.0] if fine else [1.0]
    axes = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0]
    _bars(axes[0], rows, primary)
    if fine:
        _points(axes[1], rows, secondary)
    _x_labels(axes[-1], rows)
    figure.suptitle(_title(report), x=0.012, ha="left", color=_INK, fontsize=13, fontweight="bold")
    _key(figure, rows)
    figure.text(0.012, 0.012, _caption(report), color=_SOFT, fontsize=7.5, va="bottom")
    figure.tight_layout(rect=(0, 0.045, 1, 0.955), h_pad=1.2)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor="white", metadata={"Software": "edgepose"})
    return buffer.getvalue()


def save_waterfall(report: Report, path: str | PathLike[str]) -> None:
    """Write the PNG, atomically."""
    write_atomic(path, waterfall_png(report))


def _title(report: Report) -> str:
    return f"{report.recipe.name}: {text.metric_label(report.primary_metric)} stage by stage"


def _key(figure: Figure, rows: list[Measured]) -> None:
    """What the colours and the figures in the bars mean, under the title."""
    entries = [("models", _MODEL)]
    if any(isinstance(row, ArtifactRecord) for row in rows):
        entries.append(("exported files, run as they ship", _SHIPS))
    figure.legend(
        handles=[Patch(color=color, label=label) for label, color in entries]
        + [Line2D([], [], linestyle="none", label="white: change from the stage before; "
                  "files: from the last stage")],
        loc="upper left", bbox_to_anchor=(0.004, 0.955), ncols=3, frameon=False, fontsize=8.5,
        labelcolor=_SOFT, handlelength=1.0, handleheight=0.8, columnspacing=1.6,
    )  # fmt: skip


def _caption(report: Report) -> str:
    domain = report.data.domain
    return (
        f"{domain}, seed {report.seed}, run {report.run_id}. Whiskers: 95 % bootstrap interval "
        f"over {report.interval_over}. ms: p50, batch 1, model only; ~ estimated."
    )


def _color(row: Measured) -> str:
    return _SHIPS if isinstance(row, ArtifactRecord) else _MODEL


def _whiskers(values: np.ndarray, rows: list[Measured], metric: str) -> np.ndarray:
    """(2, N) distances down and up to the ends of the intervals; 0 where there is none."""
    ends = np.zeros((2, len(rows)))
    for i, row in enumerate(rows):
        interval = row.metrics[metric].ci95
        if interval is not None:
            ends[:, i] = max(values[i] - interval[0], 0), max(interval[1] - values[i], 0)
    return ends


def _bars(axis: Axes, rows: list[Measured], metric: str) -> None:
    """Bars of the primary metric, each with its change from the bar before."""
    values = np.array([row.metrics[metric].value for row in rows])
    whiskers = _whiskers(values, rows, metric)
    x = np.arange(len(rows))
    axis.bar(x, values, width=0.62, color=[_color(row) for row in rows], zorder=2)
    axis.errorbar(
        x, values, yerr=whiskers, fmt="none", ecolor=_INK, elinewidth=1.1, capsize=3.5, zorder=3
    )
    low, high = float((values - whiskers[0]).min()), float((values + whiskers[1]).max())
    # A cut axis shows small losses; it starts where the reader sees that it does.
    floor = 0.0 if low < 30 else 5.0 * np.floor((low - 0.9 * (high - low) - 5) / 5)
    floor = max(0.0, float(floor))
    span = max(high - floor, 1.0)
    axis.set_ylim(floor, high + 0.17 * span)
    for i, value in enumerate(values):
        top = value + whiskers[1, i] + 0.025 * span
        axis.text(i, top, f"{value:.1f}", ha="center", va="bottom", color=_INK, fontsize=11,
                  fontweight="bold", zorder=5,
                  bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8})  # fmt: skip
    _changes(axis, rows, values, floor, span)
    cut = f" (axis starts at {floor:g})" if floor else ""
    axis.set_ylabel(f"{text.metric_label(metric)}{cut}", color=_INK, fontsize=10)
    _clean(axis)


def _changes(
    axis: Axes, rows: list[Measured], values: np.ndarray, floor: float, span: float
) -> None:
    """Inside each bar: its change from the stage before; artifacts from the last stage."""
    last_stage = max(
        (i for i, r in enumerate(rows) if not isinstance(r, ArtifactRecord)), default=0
    )
    for i in range(1, len(rows)):
        base = last_stage if isinstance(rows[i], ArtifactRecord) else i - 1
        if base == i or values[i] - floor < 0.12 * span:
            continue
        axis.text(i, floor + 0.03 * span, text.signed(values[i] - values[base]), ha="center",
                  va="bottom", color="white", fontsize=9.5, zorder=4)  # fmt: skip


def _points(axis: Axes, rows: list[Measured], metric: str) -> None:
    """The secondary metric as points with whiskers."""
    there = [(i, row) for i, row in enumerate(rows) if metric in row.metrics]
    x = np.array([i for i, _ in there])
    values = np.array([row.metrics[metric].value for _, row in there])
    whiskers = _whiskers(values, [row for _, row in there], metric)
    axis.errorbar(
        x, values, yerr=whiskers, fmt="o", color=_FINE, ecolor=_SOFT, elinewidth=1.1, capsize=3.5,
        markersize=6, zorder=3,
    )  # fmt: skip
    low, high = float((values - whiskers[0]).min()), float((values + whiskers[1]).max())
    span = max(high - low, 2.0)
    axis.set_ylim(max(0.0, low - 0.15 * span), high + 0.3 * span)
    for i, value in zip(x, values, strict=True):
        axis.annotate(f"{value:.1f}", (i, value), xytext=(8, 0), textcoords="offset points",
                      va="center", color=_INK, fontsize=9)  # fmt: skip
    axis.set_ylabel(text.metric_label(metric), color=_INK, fontsize=10)
    _clean(axis)


def _x_labels(axis: Axes, rows: list[Measured]) -> None:
    labels = []
    for row in rows:
        lines = [_wrapped(row.name), text.size(row.size_bytes)]
        if row.latency_ms is not None:
            lines.append(text.latency(row.latency_ms, row.latency_origin) + " ms")
        labels.append("\n".join(line for line in lines if line != text.DASH))
    axis.set_xticks(np.arange(len(rows)), labels, fontsize=9, color=_INK)
    axis.set_xlim(-0.6, len(rows) - 0.4)


def _wrapped(name: str, width: int = 14) -> str:
    """Long names broken at hyphens and underscores, so that neighbours do not touch."""
    lines = [""]
    for part in name.replace("_", "_\0").replace("-", "-\0").split("\0"):
        if lines[-1] and len(lines[-1]) + len(part) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def _clean(axis: Axes) -> None:
    axis.set_facecolor("white")
    axis.grid(axis="y", color=_GRID, linewidth=0.8, zorder=0)
    axis.set_axisbelow(True)
    axis.tick_params(length=0, colors=_SOFT, labelsize=9)
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
    axis.spines["bottom"].set_color(_GRID)
