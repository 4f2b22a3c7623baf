"""A report or a bench record as text for a terminal of 80 columns."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from typing import IO

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from edgepose.bench.record import BenchRecord, DeviceRun, LatencyEstimate, Run
from edgepose.report import text
from edgepose.report.engine_layers import engine_lines
from edgepose.report.race_table import race_table
from edgepose.report.record import Measured, Report

SLOWEST = 3  # kernels of an estimate that are named
_MARK = {True: ("yes", "bold green"), False: ("NO", "bold red"), None: ("-", "dim")}


def wants_color(stream: IO[str], environ: Mapping[str, str] | None = None) -> bool:
    """Whether to colour what goes to `stream`: not with NO_COLOR, not into a pipe or a file."""
    environment = os.environ if environ is None else environ
    if environment.get("NO_COLOR") or environment.get("TERM") == "dumb":
        return False
    return bool(getattr(stream, "isatty", lambda: False)())


def report_text(report: Report, *, width: int = 80, color: bool = False) -> str:
    """The whole report: verdict, table, losses, subsets, origins, files, warnings, commands."""
    console = new_console(width, color)
    _verdicts(console, report)
    console.print(_main_table(report))
    console.print(Text(text.legend(report), style="dim"))
    if report.differences:
        heading(console, "Where accuracy was lost")
        console.print(_difference_table(report))
    if text.subset_names(report):
        heading(console, f"Subsets, {text.metric_label(report.primary_metric)}")
        console.print(_subset_table(report))
    heading(console, "Where each number comes from")
    bullets(console, text.origins(report))
    if report.artifacts:
        heading(console, "Files")
        _files(console, report)
    if report.all_warnings:
        heading(console, "Warnings")
        bullets(console, list(report.all_warnings), style="yellow")
    notes = text.row_notes(report)
    if notes:
        heading(console, "Notes")
        bullets(console, notes)
    heading(console, "This run")
    _pairs(console, text.facts(report))
    if report.commands:
        heading(console, "Again")
        for command in report.commands:
            console.print(Text(f"  {command}"), soft_wrap=True)  # whole: it is to be copied
    return finish(console)


def bench_text(record: BenchRecord, *, width: int = 80, color: bool = False) -> str:
    """One benchmark: what was measured, where, and under which conditions."""
    console = new_console(width, color)
    console.print(Text(f"{record.artifact} on {record.target}", style="bold"))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("figure")
    table.add_column("value", overflow="fold")
    table.add_column("where from", overflow="fold", style="dim")
    for name, metric in record.metrics.items():
        table.add_row(text.metric_label(name), text.score_long(metric), str(record.metrics_origin))
    if not record.metrics:
        table.add_row("accuracy", text.DASH, "not measured: no data set was given")
    size = f"{text.size(record.size_bytes)} ({record.size_bytes:,} bytes)"
    table.add_row("size", size, f"counted: {record.counted_file}")
    for label, latency_ms in (
        ("model only, ms", record.model_ms),
        ("end to end, ms", record.end_to_end_ms),
    ):
        if latency_ms is not None:
            parts = (latency_ms.p50, latency_ms.p90, latency_ms.p99)
            figures = " / ".join(text.milliseconds(p) for p in parts)
            table.add_row(label, f"{figures}  p50/p90/p99", str(record.latency_origin))
            table.add_row("  FPS", f"{latency_ms.fps:.1f}", f"from p50, batch {latency_ms.batch}")
    for unit, latency_ms in record.compute_units.items():
        p50 = f"{text.milliseconds(latency_ms.p50)}  p50"
        table.add_row(f"  {unit}, ms", p50, str(record.latency_origin))
    for label, shown in _run_figures(record.runs):
        table.add_row(label, shown, str(record.latency_origin))
    if record.model_ms is None:
        table.add_row("latency, FPS", text.DASH, "not measured")
    if record.estimate is not None:
        guess = record.estimate
        table.add_row(
            "model only, ms", _about(guess), f"{guess.origin} for {record.target}; not measured"
        )
    console.print(table)
    if record.race is not None:
        console.print(race_table(record.race))
    lines = [f"run by {record.executor}"]
    if record.form is not None:
        lines.append(f"measured is the form {record.form}; the counted file is the first form's")
    if record.input_hw is not None:
        crops = f"crops of {record.input_hw[0]}x{record.input_hw[1]} (height x width)"
        lines.append(crops + (", joints read off in the graph" if record.gives == "joints" else ""))
    if record.latency_note:
        lines.append(record.latency_note)
    if record.model_ms is not None:
        lines.append(f"model only: {text.latency_long(record.model_ms)}")
    if record.end_to_end_ms is not None:
        frame = (
            f" from a {record.frame_hw[1]}x{record.frame_hw[0]} frame" if record.frame_hw else ""
        )
        lines.append(
            f"end to end{frame} and a box: {text.latency_long(record.end_to_end_ms)}; "
            f"crop by {record.resampler}, then normalise, infer, decode"
        )
    if record.persons is not None:
        lines.append(f"accuracy over {record.persons:,} persons ({record.domain})")
    c = record.conditions
    lines.append(f"{'host' if record.device is None else 'device'}: {c.name}, {c.os}")
    if record.device is not None:
        lines += _device_lines(record.device)
    if c.load_average is not None:
        load = f"load average {c.load_average[0]:.2f} before"
        if record.other_load_cores is not None:
            load += f", other processes used {record.other_load_cores:.2f} cores meanwhile"
        lines.append(load)
    if record.estimate is not None:
        lines.append(_slowest(record.estimate))
    if record.quick and record.model_ms is not None:
        lines.append("quick: fewer calls than a figure to publish needs")
    bullets(console, lines)
    bullets(console, list(record.notes), style="yellow")
    return finish(console)


def _about(guess: LatencyEstimate) -> str:
    value = f"about {text.milliseconds(guess.model_ms)}"
    if guess.low_ms is None or guess.high_ms is None:
        return f"{value}, band unknown"
    return f"{value}, {text.milliseconds(guess.low_ms)} to {text.milliseconds(guess.high_ms)}"


def _slowest(guess: LatencyEstimate) -> str:
    """The kernels that an estimate says are slowest; the record has all of them."""
    first = ", ".join(
        f"{layer.name} {text.milliseconds(layer.ms)}" for layer in guess.heaviest[:SLOWEST]
    )
    return f"estimated kernels, ms: {len(guess.layers)}; slowest {first}"


def _run_figures(runs: Sequence[Run]) -> list[tuple[str, str]]:
    """Cold start, memory and energy of the runs that were timed; the runs' p50 where there are more."""
    timed = [run for run in runs if run.model_ms is not None]
    figures = []
    if len(timed) > 1:
        p50 = " ".join(text.milliseconds(run.model_ms.p50) for run in timed if run.model_ms)
        figures.append((f"p50 of {len(timed)} runs, ms", p50))
    cold = [run.cold_start_ms for run in timed if run.cold_start_ms is not None]
    if cold:
        figures.append(("cold start, ms", f"{cold[0]:.0f}  load and first call"))
    memory = [run.peak_memory_bytes for run in timed if run.peak_memory_bytes is not None]
    if memory:
        figures.append(("peak memory", text.size(max(memory))))
    energy = [run for run in timed if run.energy_mj is not None]
    if energy:
        figures.append(("energy, mJ", f"{energy[0].energy_mj:.1f}  {energy[0].energy_from}"))
    return figures


def _device_lines(device: DeviceRun) -> list[str]:
    """What only a board's record says: how it was reached, its joints against this host's, memory."""
    lines = [f"reached by {device.transport}, ran in {device.runtime}"]
    mode = device.board.get("power_mode")
    if mode:
        lines.append(f"power mode {mode['name']}, JetPack {device.board.get('jetpack')}")
    if device.build:
        word = "kept from before" if device.build.get("cached") else "built now"
        lines.append(f"engine {word}: {device.build['seconds']:.0f} s to build")
    if device.layers is not None:
        lines += engine_lines(device.layers)
    shift = device.joints_vs_host
    if shift is not None:
        lines.append(
            f"joints against this host's ({shift.host_executor}): median {shift.p50:.3f} px, p99 "
            f"{shift.p99:.3f} px, {100 * shift.off_share:.2f} % of the confident ones off by > 1 px"
        )
    return lines


def new_console(width: int, color: bool) -> Console:
    return Console(
        file=io.StringIO(),
        width=width,
        force_terminal=color,
        color_system="standard" if color else None,
        no_color=not color,
        highlight=False,
        markup=False,
        emoji=False,
    )


def finish(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines()) + "\n"


def _verdicts(console: Console, report: Report) -> None:
    for met, sentence in text.verdicts(report):
        word, style = _MARK[met]
        line = Table.grid(padding=(0, 2))
        line.add_column(width=3)
        line.add_column(overflow="fold")
        line.add_row(Text(word, style=style), Text(sentence))
        console.print(line)


def _main_table(report: Report) -> Table:
    primary, secondary = report.primary_metric, report.secondary_metric
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), collapse_padding=True)
    table.add_column("model", overflow="fold")
    table.add_column(text.metric_label(primary), justify="right", no_wrap=True)
    table.add_column(_short(secondary, primary), justify="right", no_wrap=True)
    table.add_column("params", justify="right", no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("p50 ms", justify="right", no_wrap=True)
    table.add_column("scored by", no_wrap=True)
    for row in report.rows:
        last_model = bool(report.artifacts) and row is report.stages[-1]
        table.add_row(*_cells(row, primary, secondary), end_section=last_model)
    return table


def _short(metric: str, other: str) -> str:
    """ "@0.1" where the column beside it already names the measure."""
    base, at, threshold = metric.partition("@")
    same = base == other.partition("@")[0]
    return at + threshold if same and at else text.metric_label(metric)


def _cells(row: Measured, primary: str, secondary: str) -> list[str]:
    return [
        row.name,
        text.score(row.metrics.get(primary)),
        text.score(row.metrics.get(secondary), interval=False),
        text.count(row.params),
        text.size(row.size_bytes),
        text.latency(row.latency_ms, row.latency_origin),
        text.executor_short(row.executor),
    ]


def _difference_table(report: Report) -> Table:
    primary, secondary = report.primary_metric, report.secondary_metric
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("step", overflow="fold")
    for metric in (primary, secondary):
        label = text.metric_label(metric) if metric == primary else _short(metric, primary)
        table.add_column(label, justify="right", no_wrap=True)
    table.add_column("")
    for pair in text.step_pairs(report):
        main = text.find_difference(report, pair, primary)
        second = text.find_difference(report, pair, secondary)
        table.add_row(
            " → ".join(pair),
            text.difference(main),
            text.difference(second),
            text.remark(main, second, names=(primary, _short(secondary, primary))),
        )
    return table


def _subset_table(report: Report) -> Table:
    names = text.subset_names(report)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("model", overflow="fold")
    for name in ("all", *names):
        table.add_column(name, justify="right", overflow="fold")
    for row in report.rows:
        if row.metrics or row.subsets:
            scores = [row.metrics, *(row.subsets.get(name, {}) for name in names)]
            table.add_row(row.name, *(text.score(m.get(report.primary_metric)) for m in scores))
    return table


def _files(console: Console, report: Report) -> None:
    for artifact in report.artifacts:
        console.print(Text(artifact.name, style="bold"), Text(f"  {artifact.precision}"), sep="")
        twin = text.twin(report, artifact)
        if twin is not None:
            console.print(Padding(Text(f"the same bytes as {twin}"), (0, 0, 0, 2)))
        for file in [] if twin is not None else text.file_lines(artifact):
            counted = "" if file.counted else "  (not counted)"
            line = f"{file.size_bytes:,} bytes  {file.mark}{counted}"
            console.print(Padding(Text(f"{file.path}\n  {line}"), (0, 0, 0, 2)))
        extra = []
        if artifact.joint_shift_px is not None:
            s = artifact.joint_shift_px
            extra.append(f"joint shift p50 {s.p50:.3f} px, p99 {s.p99:.3f} px")
        if artifact.integer_mac_share is not None:
            extra.append(f"{100 * artifact.integer_mac_share:.1f} % of MACs in integer kernels")
        if extra:
            console.print(Padding(Text("; ".join(extra)), (0, 0, 0, 2)))
        for _, crop, images, gives, name, _, found, *_ in text.variant_rows(report, artifact):
            form = f"{crop}, batch {images}, {gives}: {found} ({name})"
            console.print(Padding(Text(form), (0, 0, 0, 2)))


def heading(console: Console, title: str) -> None:
    console.print()
    console.print(Text(title, style="bold"))


def bullets(console: Console, lines: list[str], style: str = "") -> None:
    for line in lines:
        grid = Table.grid(padding=(0, 1))
        grid.add_column(width=1)
        grid.add_column(overflow="fold")
        grid.add_row("•", Text(line, style=style))
        console.print(grid)


def _pairs(console: Console, pairs: list[tuple[str, str]]) -> None:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim")
    grid.add_column(overflow="fold")
    for word, sentence in pairs:
        grid.add_row(word, Text(sentence))
    console.print(grid)
