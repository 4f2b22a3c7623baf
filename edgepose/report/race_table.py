"""A race of forms as a table."""

from __future__ import annotations

from rich import box
from rich.table import Table

from edgepose.bench.record import Race
from edgepose.report import text


def race_table(race: Race) -> Table:
    """One line per form: build time, p50, score, whether it was kept and why."""
    rehearsal = "times of a stand-in, not of the device" if race.stand_in else None
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, caption=rehearsal)
    for name in ("form", "build, s", "p50, ms", text.metric_label(race.metric), "kept or why not"):
        table.add_column(name, overflow="fold")
    for entry in race.entries:
        seconds = text.DASH if entry.build_seconds is None else f"{entry.build_seconds:.1f}"
        table.add_row(
            entry.label,
            seconds + (" (kept engine)" if entry.build_cached else ""),
            text.DASH if entry.p50_ms is None else text.milliseconds(entry.p50_ms),
            text.DASH if entry.score is None else f"{entry.score:.1f}",
            f"kept: {entry.why}" if entry.kept else entry.why,
            style="bold" if entry.kept else "",
        )
    return table
