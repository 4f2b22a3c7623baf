"""Two benchmarks against each other: what differs, by how much, and how sure that is."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from edgepose import registry
from edgepose.artifact import Artifact
from edgepose.bench.bench import accuracy_fields, no_latency_note
from edgepose.bench.environment import unlike
from edgepose.bench.intervals import Ratio, paired_ratio, unpaired_ratio
from edgepose.bench.record import BenchRecord, Metrics, PersonCounts, Strict
from edgepose.bench.runs import call_runner
from edgepose.bench.scores import share_difference
from edgepose.data.base import PoseDataset
from edgepose.errors import EdgeposeError
from edgepose.progress import Progress

PROCESSES = 8
ROUNDS = 12
QUICK_ROUNDS = 5


class RatioValue(Strict):
    """p50 of the second over that of the first. how: "in turns" in the same processes, or "apart"
    unit, units: what the bootstrap drew, and how many of them there were"""

    value: float
    low: float
    high: float
    level: float
    how: str
    unit: str
    units: int
    differs: bool

    @property
    def once(self) -> bool:
        """One run on each side, apart: how much runs differ among themselves is not in the interval."""
        return self.how == "apart" and self.unit == "blocks"


class DifferenceValue(Strict):
    """second - first, points; ci95: paired over persons, None where it cannot be had."""

    value: float
    ci95: tuple[float, float] | None = None


class Comparison(Strict):
    """second against first.

    ratios:  by phase, "model" and "end_to_end"
    unlike:  in which device and conditions the two differ
    notes:   what to know before believing it
    """

    first: str
    second: str
    ratios: dict[str, RatioValue]
    scores: dict[str, DifferenceValue]
    size_bytes: tuple[int, int]
    unlike: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def compare_records(first: BenchRecord, second: BenchRecord, *, anyway: bool = False) -> Comparison:
    """Two records that were measured apart, maybe on different days.

    Raises EdgeposeError where device or conditions differ, unless `anyway`.
    """
    found = unlike(first, second)
    if found and not anyway:
        raise EdgeposeError(
            "the two were measured on different devices or under different conditions:\n    "
            + "\n    ".join(found),
            fix="measure both alike, or add --anyway",
        )
    notes = []
    ratios = {}
    for phase in ("model", "end_to_end"):
        a, b = runs_ms(first, phase), runs_ms(second, phase)
        if a and b:
            ratios[phase] = _ratio(unpaired_ratio(a, b), "apart")
            if min(len(a), len(b)) == 1 and phase == "model":
                notes.append(
                    "one run on a side: how much runs differ is not in the interval; "
                    "bench both with --runs 5"
                )
    if not ratios:
        notes.append("latencies were not compared: not both have one")
    for record, name in ((first, "the first"), (second, "the second")):
        notes += [f"{name}: {note}" for note in record.notes if "busy" in note]
        if record.quick and record.model_ms is not None:
            notes.append(f"{name}: quick, fewer calls than a figure to publish needs")
    scores, why = _scores(_Scored.of(vars(first)), _Scored.of(vars(second)))
    return Comparison(
        first=first.artifact, second=second.artifact, ratios=ratios, scores=scores,
        size_bytes=(first.size_bytes, second.size_bytes), unlike=tuple(found),
        notes=(*notes, *why),
    )  # fmt: skip


def compare_artifacts(
    folders: tuple[Path, Path],
    dataset: PoseDataset | None,
    *,
    threads: int | None = None,
    batch: int = 1,
    quick: bool = False,
    processes: int = PROCESSES,
    report: Progress | None = None,
) -> Comparison:
    """Two artifacts, timed in turns on this host and scored on the same people.

    processes: fresh ones, each with both networks; the order changes from one to the next
    Where this host does not run their runtime, only scores and sizes are compared.
    """
    artifacts = [Artifact.load(folder) for folder in folders]
    scored = []
    for artifact in artifacts:
        executor = registry.backend(artifact.manifest.runtime).open_executor(
            artifact, threads=threads
        )
        fields = accuracy_fields(
            artifact, executor, dataset, domain=None, flip_test=False, report=report
        )
        scored.append(_Scored.of(fields))
    notes = []
    ratios = {}
    foreign = [no_latency_note(artifact.manifest.runtime) for artifact in artifacts]
    if any(foreign):
        notes += [note for note in dict.fromkeys(foreign) if note]
    else:
        turns = time_in_turns(
            folders, threads=threads, batch=batch, processes=processes,
            rounds=QUICK_ROUNDS if quick else ROUNDS, report=report,
        )  # fmt: skip
        ratios["model"] = _ratio(paired_ratio(turns), "in turns")
        if quick:
            notes.append("quick: fewer turns than a figure to publish needs")
    scores, why = _scores(*scored)
    return Comparison(
        first=str(folders[0]), second=str(folders[1]), ratios=ratios, scores=scores,
        size_bytes=(artifacts[0].counted_size_bytes, artifacts[1].counted_size_bytes),
        notes=(*notes, *why),
    )  # fmt: skip


def time_in_turns(
    folders: tuple[Path, Path],
    *,
    threads: int | None = None,
    batch: int = 1,
    processes: int = PROCESSES,
    rounds: int = ROUNDS,
    block_seconds: float = 0.1,
    report: Progress | None = None,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Per process the milliseconds (rounds, n) of both; the caller holds the lock."""
    found = []
    for process in range(processes):
        if report is not None:
            report("take turns", process, processes)
        swapped = process % 2 == 1
        one, other = folders[::-1] if swapped else folders
        with tempfile.TemporaryDirectory(prefix="edgepose-turns-") as out:
            words = ["interleave", "--artifact", str(one), "--other", str(other), "--out", out]
            words += ["--lock", str(Path(out) / "lock"), "--rounds", str(rounds)]
            words += ["--block-seconds", str(block_seconds), "--batch", str(batch)]
            words += [] if threads is None else ["--threads", str(threads)]
            said = call_runner(words)
            pair = [
                np.fromfile(Path(out) / f"{i}.f64", dtype="<f8").reshape(said["rounds"], -1)
                for i in range(2)
            ]
        found.append((pair[1], pair[0]) if swapped else (pair[0], pair[1]))
    if report is not None:
        report("take turns", processes, processes)
    return found


def runs_ms(record: BenchRecord, phase: str) -> list[tuple[float, ...]]:
    """The samples of each run of "model" or "end_to_end"; [] where there is no such latency."""
    samples = getattr(record, f"{phase}_samples_ms")
    if getattr(record, f"{phase}_ms") is None or not samples:
        return []
    latencies = [getattr(run, f"{phase}_ms") for run in record.runs]
    counts = [latency.count for latency in latencies if latency is not None and latency.count]
    if sum(counts) != len(samples):
        return [samples]
    ends = np.cumsum([0, *counts]).tolist()
    return [samples[start:end] for start, end in pairwise(ends)]


def _ratio(ratio: Ratio, how: str) -> RatioValue:
    return RatioValue(
        value=ratio.value, low=ratio.low, high=ratio.high, level=ratio.level, how=how,
        unit=ratio.unit, units=ratio.units, differs=ratio.differs,
    )  # fmt: skip


@dataclass(frozen=True)
class _Scored:
    """The fields of scores.score_fields, as far as there are any."""

    metrics: Metrics
    per_person: dict[str, PersonCounts]
    data_sha256: str | None

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> _Scored:
        return cls(
            fields.get("metrics", {}), fields.get("per_person", {}), fields.get("data_sha256")
        )


def _scores(first: _Scored, second: _Scored) -> tuple[dict[str, DifferenceValue], list[str]]:
    shared = [name for name in first.metrics if name in second.metrics]
    if not shared:
        return {}, ["scores were not compared: not both have one of the same name"]
    same = first.data_sha256 is not None and first.data_sha256 == second.data_sha256
    found: dict[str, DifferenceValue] = {}
    for name in shared:
        a, b = first.per_person.get(name), second.per_person.get(name)
        if same and a is not None and b is not None and a.scored == b.scored:
            value, low, high = share_difference(a, b)
            found[name] = DifferenceValue(value=value, ci95=(low, high))
        else:
            value = second.metrics[name].value - first.metrics[name].value
            found[name] = DifferenceValue(value=value)
    notes = [] if same else ["the scores are of different people: no paired interval"]
    return found, notes
