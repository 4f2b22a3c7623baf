"""Sensitivities as a table of 80 columns and as a picture."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from edgepose.device.files import write_atomic
from edgepose.report import text

_INK, _SOFT, _GRID = "#1f2933", "#5f6b7a", "#e3e7ec"
_DROP, _SHIFT = "#4c78a8", "#f2a541"
_RATIOS = ("#d3e0ee", "#a6c2dd", "#7ba2c9", "#3b6896", "#1f3f63")
_DPI, _SHOWN = 150, 30
_NAME = 34


def sensitivity_text(found: Mapping[str, Any], *, metric: str, persons: int) -> str:
    """The table, costliest first, of what `sensitivity.to_json` gives."""
    points = f"points of {text.metric_label(metric)}, {persons} people, one change at a time"
    rows = found["layers" if found["kind"] == "int8" else "groups"]
    lines = []
    if found["kind"] == "int8":
        lines += ["what INT8 in one layer alone costs", points, ""]
        lines.append(f"{'layer':<{_NAME}} {'drop':>7} {'shift p50':>10} {'p99':>9} {'MACs':>9}")
        lines += [
            f"{_short(r['layer']):<{_NAME}} {r['drop']:>+7.2f} {r['shift_p50_px']:>7.3f} px "
            f"{r['shift_p99_px']:>6.2f} px {text.count(r['macs']):>9}"
            for r in rows[:_SHOWN]
        ]
    else:
        lines += ["what removing channels of one group costs, without training", points, ""]
        ratios = rows[0]["ratios"] if rows else ()
        heads = "".join(f"{f'-{ratio:.0%}':>9}" for ratio in ratios)
        lines.append(f"{'group, by its first layer':<{_NAME}}{heads}")
        lines += [
            f"{_short(r['layer']):<{_NAME}}" + "".join(f"{drop:>+9.2f}" for drop in r["drop"])
            for r in rows[:_SHOWN]
        ]
    if len(rows) > _SHOWN:
        lines.append(f"and {len(rows) - _SHOWN} more, which cost less")
    return "\n".join(lines)


def _short(name: str) -> str:
    return name if len(name) <= _NAME else "..." + name[3 - _NAME :]


def save_plot(
    found: Mapping[str, Any], path: str | PathLike[str], *, metric: str, persons: int
) -> None:
    """Write the picture, atomically: bars, costliest on top; for INT8 the 99th percentile beside."""
    rows = list(found["layers" if found["kind"] == "int8" else "groups"])[:_SHOWN]
    figure = Figure(figsize=(8.6, 1.7 + 0.36 * max(len(rows), 3)), dpi=_DPI)
    FigureCanvasAgg(figure)
    figure.patch.set_facecolor("white")
    label = f"drop, {text.metric_label(metric)} points"
    int8 = found["kind"] == "int8"
    axes = figure.subplots(1, 2 if int8 else 1, sharey=True, squeeze=False)[0]
    names = [_short(r["layer"]) for r in rows]
    if int8:
        _bars(axes[0], names, [[r["drop"] for r in rows]], (_DROP,), label)
        shift = [[r["shift_p99_px"] for r in rows]]
        _bars(axes[1], names, shift, (_SHIFT,), "99 % of the peaks move less than, px")
    else:
        ratios = rows[0]["ratios"] if rows else ()
        values = [[r["drop"][i] for r in rows] for i in range(len(ratios))]
        _bars(axes[0], names, values, _RATIOS, label, keys=[f"{ratio:.0%}" for ratio in ratios])
    what = "INT8 in one layer alone" if int8 else "channels of one group removed, no training"
    figure.suptitle(
        f"{what}: what it costs, {persons} people",
        x=0.012, ha="left", color=_INK, fontsize=12, fontweight="bold",
    )  # fmt: skip
    figure.tight_layout(rect=(0, 0, 1, 1 - 0.3 / figure.get_figheight()))
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor="white", metadata={"Software": "edgepose"})
    write_atomic(path, buffer.getvalue())


def _bars(
    axis: Any,
    names: Sequence[str],
    series: Sequence[Sequence[float]],
    colors: Sequence[str],
    label: str,
    *,
    keys: Sequence[str] = (),
) -> None:
    y = np.arange(len(names))
    height = 0.72 / max(len(series), 1)
    for i, values in enumerate(series):
        offset = (i - (len(series) - 1) / 2) * height
        axis.barh(
            y + offset, values, height=height, color=colors[i % len(colors)], zorder=2,
            label=keys[i] if keys else None,
        )  # fmt: skip
    axis.set_yticks(y, names, fontsize=8, color=_INK)
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.set_xlabel(label, color=_INK, fontsize=9)
    axis.axvline(0, color=_SOFT, linewidth=0.8, zorder=3)
    axis.grid(axis="x", color=_GRID, linewidth=0.8, zorder=0)
    axis.tick_params(length=0, colors=_SOFT, labelsize=8)
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
    axis.spines["bottom"].set_color(_GRID)
    if keys:
        axis.legend(title="removed", frameon=False, fontsize=8, title_fontsize=8, loc="lower right")
