"""The top of the page: what a decision hangs on."""

from __future__ import annotations

from collections.abc import Sequence

from edgepose.report import text
from edgepose.report.html.blocks import Figure, Verdict
from edgepose.report.html.gather import Extras
from edgepose.report.record import Report


def verdicts(report: Report, extras: Extras) -> list[Verdict]:
    """Does it fit, is the loss allowed, was every file run, are the files the recorded ones?"""
    lines = [Verdict(met, _sentence(line)) for met, line in text.verdicts(report)]
    files = extras.files
    if files.missing or files.changed:
        what = [f"{len(names)} {word}: {text.listed(names[:3])}" for names, word in
                ((files.missing, "missing"), (files.changed, "changed")) if names]  # fmt: skip
        lines.append(Verdict(False, f"Of {files.count} files of the artifacts, {'; '.join(what)}"))
    elif files.count:
        lines.append(
            Verdict(True, f"All {files.count} files of the artifacts have the recorded SHA-256")
        )
    return lines


def _sentence(line: str) -> str:
    return line[:1].upper() + line[1:]


def headline(report: Report) -> list[Figure]:
    """The figures that a decision hangs on."""
    figures = []
    size, drop = report.budget.size, report.budget.drop
    ships = [row for row in report.artifacts if row.size_bytes]
    if size is not None:
        figures.append(Figure(text.size(size.largest_size_bytes), "largest counted file",
                              f"budget {size.size_mb:g} MB"))  # fmt: skip
    elif ships:
        largest = max(ships, key=lambda row: row.size_bytes or 0)
        figures.append(Figure(text.size(largest.size_bytes), "largest counted file", largest.name))
    label = text.metric_label(report.primary_metric)
    scored = [row for row in report.artifacts or report.stages
              if report.primary_metric in row.metrics]  # fmt: skip
    if scored:
        worst = min(scored, key=lambda row: row.metrics[report.primary_metric].value)
        score = worst.metrics[report.primary_metric]
        interval = f", {score.ci95[0]:.1f} to {score.ci95[1]:.1f}" if score.ci95 else ""
        figures.append(Figure(f"{score.value:.1f}", label, f"{worst.name}{interval}"))
    if drop is not None:
        sign, side = (1, "below") if drop.drop >= 0 else (-1, "above")
        ends = sorted(sign * end for end in drop.ci95 or ())
        interval = f"; interval {ends[0]:.1f} to {ends[1]:.1f}" if ends else ""
        figures.append(Figure(f"{sign * drop.drop:.1f}", f"points {side} {drop.baseline}",
                              f"{drop.max_drop:g} below is allowed{interval}"))  # fmt: skip
    timed = [row for row in report.artifacts if row.latency_ms is not None]
    if timed:
        fastest = min(timed, key=lambda row: row.latency_ms.p50 if row.latency_ms else 0)
        assert fastest.latency_ms is not None
        mark = "~" if fastest.latency_origin.kind == "estimated" else ""
        figures.append(Figure(f"{mark}{text.milliseconds(fastest.latency_ms.p50)} ms",
                              "median latency", f"{fastest.name}, {fastest.latency_origin}"))  # fmt: skip
    return figures


def badge(report: Report, judged: Sequence[Verdict]) -> tuple[str, str]:
    """(words, kind): everything in two words; kind: "yes", "no" or "none"."""
    asked = [v.met for v in (report.budget.size, report.budget.drop) if v is not None]
    if not all(asked):
        return "Budget not met", "no"
    if any(verdict.met is False for verdict in judged):
        return "Not verified", "no"
    return ("Budget met", "yes") if asked else ("No budget set", "none")
