"""Two runs side by side: what was done differently, what came of it, and whether that is noise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np

from edgepose.bench.record import BenchRecord, Strict
from edgepose.metrics.bootstrap import interval
from edgepose.metrics.metric import METRICS, difference
from edgepose.report.people import People
from edgepose.report.record import Measured, Report

Judgement = Literal["better", "worse", "noise", "same", "unknown"]
_BLOCKS, _DRAWS = 20, 1000


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
    """A figure that is counted or timed. judgement: "unknown" for times, which are not repeated."""

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
    return "same" if after == before else "better" if after < before else "worse"


class BenchComparison(Strict):
    """ratio: after / before of the median latency of the model alone; ci95: of that ratio, by drawing
    blocks of consecutive calls; null where one has no calls. within_session: said with it."""

    before: str
    after: str
    changes: tuple[Change, ...]
    figures: tuple[Figure, ...]
    ratio: float | None = None
    ci95: tuple[float, float] | None = None
    judgement: Judgement = "unknown"
    notes: tuple[str, ...] = ()


def compare_benches(
    before: tuple[str, BenchRecord], after: tuple[str, BenchRecord]
) -> BenchComparison:
    """Two benchmarks. The interval holds what varied within each, not between two days."""
    (name_a, a), (name_b, b) = before, after
    figures = [Figure(what="size_bytes", before=a.size_bytes, after=b.size_bytes,
                      judgement=_smaller(a.size_bytes, b.size_bytes))]  # fmt: skip
    for metric in a.metrics:
        if metric in b.metrics:
            x, y = a.metrics[metric].value, b.metrics[metric].value
            figures.append(Figure(what=metric, before=x, after=y, judgement="unknown"))
    ratio = ci95 = None
    judged: Judgement = "unknown"
    notes = ["scores of benchmarks are not kept person by person: compare the runs for noise"]
    if a.model_ms is not None and b.model_ms is not None:
        ratio = round(b.model_ms.p50 / a.model_ms.p50, 4)
        figures.append(Figure(what="latency_ms_p50", before=a.model_ms.p50, after=b.model_ms.p50,
                              judgement="unknown"))  # fmt: skip
        if a.conditions.name != b.conditions.name:
            notes.append(f"different machines: {a.conditions.name}, and {b.conditions.name}")
        elif a.model_samples_ms and b.model_samples_ms:
            low, high = _ratio_interval(a.model_samples_ms, b.model_samples_ms)
            ci95 = round(low, 4), round(high, 4)
            judged = "noise" if low <= 1 <= high else "better" if ratio < 1 else "worse"
            notes.append("the interval holds what varied within each benchmark, not between days")
    facts = [
        {"target": r.target, "artifact": r.artifact_sha256[:12], "precision": r.precision,
         "executor": r.executor, "machine": r.conditions.name, "quick": r.quick,
         "load of others, cores": r.other_load_cores}
        for r in (a, b)
    ]  # fmt: skip
    return BenchComparison(
        before=name_a, after=name_b, changes=tuple(_changes(*facts)), figures=tuple(figures),
        ratio=ratio, ci95=ci95, judgement=judged, notes=tuple(notes),
    )  # fmt: skip


def _ratio_interval(before: tuple[float, ...], after: tuple[float, ...]) -> tuple[float, float]:
    """The 95 % interval of median(after) / median(before); whole blocks of calls are drawn, because
    neighbouring calls are alike."""
    rng = np.random.default_rng(0)
    draws = []
    for samples in (after, before):
        usable = max(1, len(samples) // _BLOCKS)
        blocks = np.asarray(samples[: len(samples) // usable * usable]).reshape(-1, usable)
        drawn = rng.integers(0, len(blocks), size=(_DRAWS, len(blocks)))
        draws.append(np.array([np.median(blocks[rows]) for rows in drawn]))
    return interval(draws[0] / draws[1])
