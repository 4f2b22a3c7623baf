"""Two runs side by side: what was done differently, what came of it, and whether that is noise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np

from edgepose.bench.record import Strict
from edgepose.metrics.metric import METRICS, difference
from edgepose.report.people import People
from edgepose.report.record import Measured, Report

Judgement = Literal["better", "worse", "noise", "same", "unknown"]
_BLOCKS, _DRAWS = 20, 1000
_ALIKE = 0.001  # of a size or a count: less is a few bytes of a name


class Change(Strict):
    """Something that was not the same; null where one of them does not have it."""

    what: str
    before: str | None
    after: str | None


class ScoreChange(Strict):
    """after - before, points. ci95: paired bootstrap; null where `why_not_paired` says why."""

    metric: str
    before: float
    after: float
    value: float
    ci95: tuple[float, float] | None = None
    judgement: Judgement


class Figure(Strict):
    """A figure that is counted or timed. judgement: "unknown" for times, which are not repeated; "same"
    within a thousandth of a size or a count."""

    what: str
    before: float
    after: float
    judgement: Judgement


class RowChange(Strict):
    """One model or file that both have."""

    name: str
    scores: tuple[ScoreChange, ...] = ()
    figures: tuple[Figure, ...] = ()


class Comparison(Strict):
    """before, after: the names they were given by. why_not_paired: null where the scores of all rows
    that both have were compared person by person."""

    before: str
    after: str
    changes: tuple[Change, ...]
    rows: tuple[RowChange, ...]
    only_before: tuple[str, ...] = ()
    only_after: tuple[str, ...] = ()
    why_not_paired: str | None = None
    notes: tuple[str, ...] = ()


def flat(values: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """{"a": {"b": 1}} -> ("a.b", 1); lists are values."""
    if isinstance(values, Mapping) and values:
        for key, value in values.items():
            yield from flat(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, values


def _told(value: Any) -> str | None:
    return None if value is None else str(value)


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    return [
        Change(what=key, before=_told(before.get(key)), after=_told(after.get(key)))
        for key in dict.fromkeys((*before, *after))
        if before.get(key) != after.get(key)
    ]


def _facts(report: Report) -> dict[str, Any]:
    """What decides a run, by name."""
    facts: dict[str, Any] = {f"recipe {k}": v for k, v in flat(report.recipe.resolved)}
    for split, mark in (report.data.fingerprints or {"all": report.data.fingerprint}).items():
        facts[f"data {split}"] = mark[:12]
    if report.data.calibration is not None and report.data.calibration.fingerprint:
        facts["data of calibration"] = report.data.calibration.fingerprint[:12]
    if report.student is not None:
        facts["starting weights"] = (report.student.starting_weights_sha256 or "random")[:12]
    if report.teacher is not None:
        facts["teacher"] = (report.teacher.sha256 or report.teacher.source)[:12]
    facts |= {"seed": report.seed, "metric": report.primary_metric, "host": report.host.name}
    return facts | {f"version of {name}": value for name, value in report.versions.items()}


def why_not_paired(
    before: Report, after: Report, people: tuple[People | None, People | None]
) -> str | None:
    """Why the persons of two runs cannot be compared one by one; None where they can."""
    a, b = people
    if before.metric != after.metric:
        return f"one run is scored in {before.metric}, the other in {after.metric}"
    if before.metric not in METRICS:
        return f"this edgepose does not know the metric {before.metric}"
    if a is None or b is None:
        both = "neither run keeps" if a is None and b is None else (
            f"the {'first' if a is None else 'second'} run does not keep"
        )  # fmt: skip
        return f"{both} what it found on each person (people.npz)"
    same = (
        a.truth.xy.shape == b.truth.xy.shape
        and a.truth.images == b.truth.images
        and np.array_equal(a.truth.xy, b.truth.xy)
        and np.array_equal(a.truth.annotated, b.truth.annotated)
    )
    return None if same else "the runs were scored on different people"


def compare_runs(
    before: tuple[str, Report, People | None], after: tuple[str, Report, People | None]
) -> Comparison:
    """What changed from one run to another. Each: (name, report, its people where they are kept)."""
    (name_a, a, people_a), (name_b, b, people_b) = before, after
    reason = why_not_paired(a, b, (people_a, people_b))
    rows_a, rows_b = ({row.name: row for row in r.rows} for r in (a, b))
    rows = []
    for name in (name for name in rows_a if name in rows_b):
        pair = None
        if reason is None and people_a is not None and people_b is not None:
            pair = people_a, people_b
        rows.append(
            RowChange(
                name=name,
                scores=tuple(_scores(rows_a[name], rows_b[name], a, pair)),
                figures=tuple(_figures(rows_a[name], rows_b[name])),
            )
        )
    notes = []
    if a.host.name != b.host.name:
        notes.append("the runs were on different machines: latencies are not comparable")
    return Comparison(
        before=name_a,
        after=name_b,
        changes=tuple(_changes(_facts(a), _facts(b))),
        rows=tuple(rows),
        only_before=tuple(name for name in rows_a if name not in rows_b),
        only_after=tuple(name for name in rows_b if name not in rows_a),
        why_not_paired=reason,
        notes=tuple(notes),
    )


def _scores(
    before: Measured, after: Measured, report: Report, people: tuple[People, People] | None
) -> Iterator[ScoreChange]:
    for metric in (report.primary_metric, report.secondary_metric):
        a, b = before.metrics.get(metric), after.metrics.get(metric)
        if a is None or b is None:
            continue
        ci95: tuple[float, float] | None = None
        if people is not None and all(row.name in p.found for row, p in
                                      zip((before, after), people, strict=True)):  # fmt: skip
            word = METRICS[report.metric]
            first, second = (p.scores(before.name, word)[metric] for p in people)
            _, low, high = difference(second, first)
            if np.isfinite([low, high]).all():
                ci95 = round(low, 3), round(high, 3)
        value = round(b.value - a.value, 3)
        judged: Judgement = "unknown"
        if ci95 == (0.0, 0.0):
            judged = "same"
        elif ci95 is not None:
            judged = "noise" if ci95[0] <= 0 <= ci95[1] else "better" if value > 0 else "worse"
        yield ScoreChange(
            metric=metric, before=a.value, after=b.value, value=value, ci95=ci95, judgement=judged
        )


def _figures(before: Measured, after: Measured) -> Iterator[Figure]:
    for what in ("size_bytes", "params", "macs"):
        a, b = getattr(before, what), getattr(after, what)
        if a is not None and b is not None:
            yield Figure(what=what, before=a, after=b, judgement=_smaller(a, b))
    if before.latency_ms is not None and after.latency_ms is not None:
        a, b = before.latency_ms.p50, after.latency_ms.p50
        yield Figure(what="latency_ms_p50", before=a, after=b, judgement="unknown")


def _smaller(before: float, after: float) -> Judgement:
    if abs(after - before) <= _ALIKE * before:
        return "same"
    return "better" if after < before else "worse"
