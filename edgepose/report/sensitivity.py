"""Sensitivities as a table of 80 columns and as a picture."""

from __future__ import annotations

import io
from collections.abc import Mapping
from os import PathLike
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from edgepose.device.files import write_atomic
from edgepose.report import text
from edgepose.report.sensitivity_plot import SHOWN, Look, draw, height_in, short

_LOOK = Look(
    ink="#1f2933", soft="#5f6b7a", grid="#e3e7ec", bar="#4c78a8", chosen="#14753f", paper="white"
)
_DPI, _NAME = 150, 34
TITLE = "channels of one group removed, no training"


def sensitivity_text(found: Mapping[str, Any], *, metric: str, persons: int) -> str:
    """The table, costliest first, of what `sensitivity.to_json` gives."""
    points = f"points of {text.metric_label(metric)}, {persons} people, one change at a time"
    rows = found["layers" if found["kind"] == "int8" else "groups"]
    lines = []
    if found["kind"] == "int8":
        lines += ["what INT8 in one layer alone costs", points, ""]
        lines.append(f"{'layer':<{_NAME}} {'drop':>7} {'shift p50':>10} {'p99':>9} {'MACs':>9}")
        lines += [
            f"{short(r['layer'], _NAME):<{_NAME}} {r['drop']:>+7.2f} {r['shift_p50_px']:>7.3f} px "
            f"{r['shift_p99_px']:>6.2f} px {text.count(r['macs']):>9}"
            for r in rows[:SHOWN]
        ]
    else:
        lines += ["what removing channels of one group costs, without training", points, ""]
        ratios = rows[0]["ratios"] if rows else ()
        heads = "".join(f"{f'-{ratio:.0%}':>9}" for ratio in ratios)
        lines.append(f"{'group, by its first layer':<{_NAME}}{heads}")
        lines += [
            f"{short(r['layer'], _NAME):<{_NAME}}" + "".join(f"{drop:>+9.2f}" for drop in r["drop"])
            for r in rows[:SHOWN]
        ]
    if len(rows) > SHOWN:
        lines.append(f"and {len(rows) - SHOWN} more, which cost less")
    return "\n".join(lines)


def save_plot(
    found: Mapping[str, Any], path: str | PathLike[str], *, metric: str, persons: int
) -> None:
    """Write the picture, atomically: costliest on top; for INT8 the 99th percentile beside."""
    rows = found["layers" if found["kind"] == "int8" else "groups"]
    figure = Figure(figsize=(8.6, height_in(len(rows)) + 0.4), dpi=_DPI)
    FigureCanvasAgg(figure)
    figure.patch.set_facecolor("white")
    draw(figure, found, look=_LOOK, points=f"{text.metric_label(metric)} points")
    what = "INT8 in one layer alone" if found["kind"] == "int8" else TITLE
    figure.suptitle(
        f"{what}: what it costs, {persons} people",
        x=0.012, ha="left", color=_LOOK.ink, fontsize=12, fontweight="bold",
    )  # fmt: skip
    figure.tight_layout(rect=(0, 0, 1, 1 - 0.3 / figure.get_figheight()))
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor="white", metadata={"Software": "edgepose"})
    write_atomic(path, buffer.getvalue())
