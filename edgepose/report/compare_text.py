"""A comparison as text for a terminal of 80 columns."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from edgepose.report import text
from edgepose.report.compare import Change, Comparison, Figure, ScoreChange
from edgepose.report.terminal import bullets, finish, heading, new_console

_STYLE = {"better": "green", "worse": "red", "noise": "dim", "same": "dim", "unknown": ""}
_WORD = {"unknown": "not known", "noise": "within noise"}


def comparison_text(found: Comparison, *, width: int = 80, color: bool = False) -> str:
    """What was done differently, then row by row what came of it."""
    console = new_console(width, color)
    console.print(Text(f"{found.before} → {found.after}", style="bold"), soft_wrap=True)
    heading(console, "What was done differently")
    _changes_into(console, found.changes, "nothing: the same recipe, data, weights and versions")
    heading(console, "What came of it")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("model", overflow="fold")
    table.add_column("figure", no_wrap=True)
    for head in ("before", "after", "change"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for row in found.rows:
        cells = [_score_cells(score) for score in row.scores]
        cells += [_figure_cells(figure) for figure in row.figures if figure.judgement != "same"]
        for i, (words, judged) in enumerate(cells):
            verdict = Text(_WORD.get(judged, judged), style=_STYLE[judged])
            table.add_row(row.name if i == 0 else "", *words, verdict,
                          end_section=i == len(cells) - 1)  # fmt: skip
    console.print(table)
    lines = []
    if found.why_not_paired is not None:
        lines.append(f"whether scores differ by noise cannot be said: {found.why_not_paired}")
    elif found.rows:
        lines.append("scores: paired 95 % bootstrap interval over the same people")
    if any(f.what == "latency_ms_p50" for row in found.rows for f in row.figures):
        lines.append("latencies were timed once per run; `edgepose bench` keeps every call")
    for names, which in ((found.only_before, found.before), (found.only_after, found.after)):
        if names:
            lines.append(f"only in {which}: {text.listed(names)}")
    bullets(console, [*lines, *found.notes])
    return finish(console)


def _changes_into(console: Console, changes: tuple[Change, ...], nothing: str) -> None:
    if not changes:
        console.print(Text(nothing))
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for head in ("what", "before", "after"):
        table.add_column(head, overflow="fold")
    for change in changes:
        table.add_row(change.what, change.before or text.DASH, change.after or text.DASH)
    console.print(table)


def _score_cells(score: ScoreChange) -> tuple[list[str], str]:
    change = text.signed(score.value)
    if score.ci95 is not None:
        change = f"{score.value:+.1f} [{score.ci95[0]:+.1f}, {score.ci95[1]:+.1f}]"
    words = [text.metric_label(score.metric), f"{score.before:.1f}", f"{score.after:.1f}", change]
    return words, score.judgement


def _figure_cells(figure: Figure) -> tuple[list[str], str]:
    a, b = figure.before, figure.after
    ratio = f"x {b / a:.3g}" if a else text.DASH
    if figure.what == "size_bytes":
        return ["size", text.size(round(a)), text.size(round(b)), ratio], figure.judgement
    if figure.what == "latency_ms_p50":
        return ["p50 ms", text.milliseconds(a), text.milliseconds(b), ratio], figure.judgement
    if "@" in figure.what or figure.what == "oks_ap":
        label = text.metric_label(figure.what)
        return [label, f"{a:.1f}", f"{b:.1f}", text.signed(b - a)], figure.judgement
    name = {"params": "params", "macs": "MACs"}[figure.what]
    return [name, text.count(round(a)), text.count(round(b)), ratio], figure.judgement
