"""Benchmarks compared as a page: ratios with their intervals, scores, sizes, conditions."""

from __future__ import annotations

from collections.abc import Sequence

from edgepose.bench.comparison import Comparison, RatioValue
from edgepose.bench.record import BenchRecord
from edgepose.report import text
from edgepose.report.comparison import PHASES, ratio_how, ratio_verdict, score_words
from edgepose.report.html.blocks import (
    Block,
    Bullets,
    Figure,
    Page,
    Plot,
    Plots,
    Prose,
    Section,
    Table,
    Verdict,
    section,
)
from edgepose.report.html.compare_plots import Line, distributions, forest
from edgepose.report.html.compare_runs import capital, judged_verdict

Named = tuple[str, BenchRecord]


def benches_page(first: Named, others: Sequence[tuple[Named, Comparison]]) -> Page:
    """The page of `compare_records`. Each: (the name it was given by, its record)."""
    judged = {word for _, found in others for word in _judgements(found)}
    words, kind = "No difference that can be told", "none"
    if any(ratio.differs for _, found in others for ratio in found.ratios.values()):
        words = "Not to be told from one run each"
    if {"better", "worse"} <= judged:
        words = "Better and worse"
    elif judged:
        words, kind = ("Better", "yes") if "better" in judged else ("Worse", "no")
    return Page(
        kicker="edgepose comparison of benchmarks",
        title="What changed",
        subtitle=f"{first[0]} → {', '.join(name for (name, _), _ in others)}",
        badge=words,
        badge_kind=kind,
        verdicts=[v for (name, _), found in others
                  for v in _verdicts(found, f"{name}: " if len(others) > 1 else "")],
        figures=_headline(others[0][1]) if len(others) == 1 else (),
        sections=[part for i, other in enumerate(others)
                  for part in _parts(first, other, i, len(others))],
        foot="from record.json of each benchmark",
    )  # fmt: skip


def _speed(ratio: RatioValue) -> str:
    if ratio.differs and ratio.once:
        return "unknown"
    return ("worse" if ratio.value > 1 else "better") if ratio.differs else "noise"


def _score(ci95: tuple[float, float] | None, value: float) -> str:
    if ci95 is None:
        return "unknown"
    return "noise" if ci95[0] <= 0 <= ci95[1] else "better" if value > 0 else "worse"


def _judgements(found: Comparison) -> set[str]:
    words = {_speed(ratio) for ratio in found.ratios.values()}
    words |= {_score(score.ci95, score.value) for score in found.scores.values()}
    before, after = found.size_bytes
    if abs(after - before) > 0.01 * before:
        words.add("better" if after < before else "worse")
    return words & {"better", "worse"}


def _verdicts(found: Comparison, begin: str) -> list[Verdict]:
    lines = [
        judged_verdict(_speed(ratio), f"{begin}{capital(PHASES[phase])}, {ratio_verdict(ratio)}")
        for phase, ratio in found.ratios.items()
    ]
    lines += [
        judged_verdict(_score(score.ci95, score.value), begin + score_words(name, score))
        for name, score in found.scores.items()
    ]
    before, after = found.size_bytes
    judged = "same" if before == after else "better" if after < before else "worse"
    size = "The same size" if judged == "same" else f"{before:,} to {after:,} bytes"
    lines.append(judged_verdict(judged, begin + size))
    if found.unlike:
        lines.append(
            Verdict(False, f"{begin}device or conditions differ: compare with care", "Unlike")
        )
    return lines


def _headline(found: Comparison) -> list[Figure]:
    figures = [
        Figure(f"x {ratio.value:.3f}", f"p50, {PHASES[phase]}",
               f"{ratio.level:.0%} interval {ratio.low:.3f} to {ratio.high:.3f}")
        for phase, ratio in found.ratios.items()
    ]  # fmt: skip
    for name, score in found.scores.items():
        interval = "" if score.ci95 is None else (
            f"interval {score.ci95[0]:+.2f} to {score.ci95[1]:+.2f}"
        )  # fmt: skip
        figures.append(
            Figure(f"{score.value:+.2f}", f"points of {text.metric_label(name)}", interval)
        )
    before, after = found.size_bytes
    figures.append(Figure(f"x {after / before:.3f}", "size", f"{before:,} to {after:,} bytes"))
    return figures


def _parts(first: Named, other: tuple[Named, Comparison], number: int, count: int) -> list[Section]:
    (name, record), found = other
    of = f": {name}" if count > 1 else ""
    end = f"-{number + 1}" if count > 1 else ""
    plots = [plot for plot in (_ratios(found, of), _points(found, of)) if plot is not None]
    both = (first, (name, record))
    for phase, words in PHASES.items():
        samples = [(title, getattr(r, f"{phase}_samples_ms")) for title, r in both]
        if phase in found.ratios and all(values for _, values in samples):
            plots.append(distributions(f"Calls, {words}{of}", samples))
    blocks: list[Block] = [Plots(plots)] if plots else []
    alike: Block = Prose("Device and conditions are alike.")
    if found.unlike:
        alike = Bullets(("Compared anyway, though these differ:", *found.unlike))
    rows = [(what, *values) for what, *values in _facts(both)]
    made = [
        section(f"came{end}", f"What came of it{of}", blocks),
        section(f"conditions{end}", f"How each was measured{of}",
                [Table(f"How each was measured{of}", ("what", "first", "second"), "ltt", rows), alike]),
        section(f"notes{end}", f"Notes{of}", [Bullets(found.notes)] if found.notes else []),
    ]  # fmt: skip
    return [part for part in made if part is not None]


def _ratios(found: Comparison, of: str) -> Plot | None:
    if not found.ratios:
        return None
    lines, rows = [], []
    for phase, ratio in found.ratios.items():
        lines.append(Line(PHASES[phase], ratio.value, (ratio.low, ratio.high), _speed(ratio),
                          f"x {ratio.value:.3f}"))  # fmt: skip
        rows.append((PHASES[phase], f"{ratio.value:.3f}", f"{ratio.low:.3f} to {ratio.high:.3f}",
                     ratio_verdict(ratio), ratio_how(ratio)))  # fmt: skip
    title = f"Latency, second over first{of}"
    heads = ("phase", "ratio of p50", "interval", "verdict", "how")
    levels = ", ".join(dict.fromkeys(f"{ratio.level:.0%}" for ratio in found.ratios.values()))
    return forest(title, lines, unit="p50, second / first", same=1.0,
                  note=f"Lines: {levels} interval. Below 1 the second is faster.",
                  table=Table(title, heads, "lrrtt", rows))  # fmt: skip


def _points(found: Comparison, of: str) -> Plot | None:
    if not found.scores:
        return None
    lines = [
        Line(text.metric_label(name), score.value, score.ci95, _score(score.ci95, score.value),
             f"{score.value:+.2f}")
        for name, score in found.scores.items()
    ]  # fmt: skip
    rows = [(text.metric_label(name), f"{score.value:+.2f}", score_words(name, score))
            for name, score in found.scores.items()]  # fmt: skip
    title = f"Scores, second minus first{of}"
    return forest(title, lines, unit="points", same=0.0,
                  note="Lines: paired 95 % interval over the same people; hollow: without one.",
                  table=Table(title, ("score", "points", "in words"), "lrt", rows))  # fmt: skip


def _facts(both: Sequence[Named]) -> list[tuple[str, ...]]:
    """What was measured, side by side."""
    records = [record for _, record in both]

    def latency(phase: str) -> list[str]:
        found = [getattr(record, f"{phase}_ms") for record in records]
        return [text.DASH if ms is None else text.latency_long(ms) for ms in found]

    rows = {
        "record": [name for name, _ in both],
        "artifact": [record.artifact for record in records],
        "artifact sha256": [record.artifact_sha256[:12] for record in records],
        "executor": [record.executor for record in records],
        "device": [record.conditions.name for record in records],
        "precision": [record.precision for record in records],
        "bytes": [f"{record.size_bytes:,}" for record in records],
        "model only": latency("model"),
        "end to end": latency("end_to_end"),
        "runs": [str(max(len(record.runs), 1)) for record in records],
    }
    for name in dict.fromkeys(name for record in records for name in record.metrics):
        rows[text.metric_label(name)] = [text.score_long(r.metrics.get(name)) for r in records]
    return [(what, *values) for what, values in rows.items()]
