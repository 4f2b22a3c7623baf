"""A diagnosis as text for a terminal of 80 columns."""

from __future__ import annotations

from rich import box
from rich.table import Table
from rich.text import Text

from edgepose.doctor import Diagnosis, Finding
from edgepose.report.terminal import bullets, finish, heading, new_console

MARKS = {
    "ok": ("ok", "green"),
    "warning": ("warning", "yellow"),
    "error": ("ERROR", "bold red"),
    "info": ("needs", "dim"),
}


def doctor_text(found: Diagnosis, *, width: int = 80, color: bool = False) -> str:
    """System, packages and targets, each with what mends it; last the verdict in one sentence."""
    console = new_console(width, color)
    groups = dict.fromkeys(finding.group for finding in found.findings)
    for group in groups:
        heading(console, {"system": "This computer", "packages": "Packages"}.get(group, group))
        console.print(_table(found.of(group)))
    heading(console, "Systems")
    bullets(console, list(found.systems))
    heading(console, "Not targets yet")
    bullets(console, list(found.not_targets))
    console.print()
    errors, warnings = found.count("error"), found.count("warning")
    if errors:
        console.print(Text(f"{_some(errors, 'error')}: edgepose will not work", style="bold red"))
    elif warnings:
        console.print(f"edgepose works; {_some(warnings, 'warning')} above")
    else:
        console.print("edgepose works; nothing is missing")
    return finish(console)


def _some(count: int, word: str) -> str:
    return f"{count} {word}" + ("" if count == 1 else "s")


def _table(findings: tuple[Finding, ...]) -> Table:
    table = Table(
        box=box.SIMPLE, show_header=False, pad_edge=False, padding=(0, 1), show_edge=False
    )
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        word, style = MARKS[finding.state]
        text = finding.text + (f"\nget: {finding.get}" if finding.get else "")
        table.add_row(Text(word, style=style), finding.name, text)
    return table
