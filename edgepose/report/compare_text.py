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
NOTHING_DIFFERENT = "nothing: the same recipe, data, weights and versions"


def judged_word(judgement: str) -> str:
    """A judgement in words."""
    return _WORD.get(judgement, judgement)


def comparison_text(found: Comparison, *, width: int = 80, color: bool = False) -> str:
    """What was done differently, then row by row what came of it."""
    console = new_console(width, color)
    console.print(Text(f"{found.before} → {found.after}", style="bold"), soft_wrap=True)
    heading(console, "What was done differently")
    _changes_into(console, found.changes)
    heading(console, "What came of it")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("model", overflow="fold")
    table.add_column("figure", no_wrap=True)
    for head in ("before", "after", "change"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for row in found.rows:
        cells = [score_words(score) for score in row.scores]
        cells += [figure_words(figure) for figure in row.figures if figure.judgement != "same"]
        for i, (words, judged) in enumerate(cells):
            verdict = Text(judged_word(judged), style=_STYLE[judged])
            table.add_row(row.name if i == 0 else "", *words, verdict,
                          end_section=i == len(cells) - 1)  # fmt: skip
    console.print(table)
    bullets(console, remarks(found))
    return finish(console)


def remarks(found: Comparison) -> list[str]:
    """What to know before believing it, and what only one of them has."""
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
    return [*lines, *found.notes]


def _changes_into(console: Console, changes: tuple[Change, ...]) -> None:
    if not changes:
        console.print(Text(NOTHING_DIFFERENT))
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for head in ("what", "before", "after"):
        table.add_column(head, overflow="fold")
    for change in changes:
        table.add_row(change.what, change.before or text.DASH, change.after or text.DASH)
    console.print(table)


def score_words(score: ScoreChange) -> tuple[list[str], str]:
    """(metric, before, after, change) and the judgement."""
    change = text.signed(score.value)
    if score.ci95 is not None:
        change = f"{score.value:+.1f} [{score.ci95[0]:+.1f}, {score.ci95[1]:+.1f}]"
    words = [text.metric_label(score.metric), f"{score.before:.1f}", f"{score.after:.1f}", change]
    return words, score.judgement


def figure_words(figure: Figure) -> tuple[list[str], str]:
    """(figure, before, after, change) and the judgement."""
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
