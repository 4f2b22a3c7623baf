"""One artifact, measured on this host: accuracy, size, latency, and under which conditions."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any

from edgepose.artifact import Artifact
from edgepose.bench.conditions import OtherLoad, notes_on, read_conditions
from edgepose.bench.core_ml import UnitTimes, check_mac, time_units
from edgepose.bench.environment import environment_of
from edgepose.bench.estimate import estimate
from edgepose.bench.latency import (
    FRAME_HW,
    FULL,
    QUICK,
    Clock,
    Plan,
    time_end_to_end,
    time_model,
)
from edgepose.bench.record import (
    NOT_MEASURED,
    THIS_HOST,
    BenchRecord,
    LatencyEstimate,
    LatencyMs,
    Origin,
    Run,
    environment_hash,
)
from edgepose.bench.runs import pooled, run_here
from edgepose.bench.scores import score_fields
from edgepose.data.base import PoseDataset
from edgepose.device.board import board_notes, read_clocks
from edgepose.device.steadiness import spread_note, steadiness_notes
from edgepose.evaluation import EvaluationSet, find_joints
from edgepose.progress import Progress
from edgepose.target import Target

_STAND_INS = {
    "tensorrt": ("FPS", "no Jetson reached", "the exact ONNX, in ONNX Runtime on this host"),
    "coreml": (
        "latency",
        "no Apple device reached, it needs this command on a Mac with macOS 14 or newer",
        "the exact mlpackage, by the MIL interpreter",
    ),
}
"""Runtimes that do not run here, and what executes their files instead."""


def no_latency_note(runtime: str) -> str | None:
    """Why a runtime's artifact has no latency on this host; None where its own runtime runs here.

    A stand-in computes the same numbers from the same file, but its time says nothing about the
    device, so none is given.
    """
    if runtime not in _STAND_INS:
        return None
    figure, missing, means = _STAND_INS[runtime]
    return f"{figure} not measured: {missing}; accuracy and size were measured on {means}"


def open_native(artifact: Artifact) -> Any | None:
    """Core ML itself where this is a Mac and the artifact is for it; None: a backend's executor."""
    if artifact.manifest.runtime != "coreml" or sys.platform != "darwin":
        return None
    from edgepose.backends import coreml

    return coreml.open_executor(artifact, engine="coreml")


def bench_artifact(
    artifact: Artifact,
    executor: Any,
    dataset: PoseDataset | EvaluationSet | None,
    *,
    target: Target | None = None,
    threads: int | None = None,
    quick: bool = False,
    batch: int = 1,
    plan: Plan | None = None,
    runs: int | None = None,
    domain: str | None = None,
    flip_test: bool = False,
    command: str | None = None,
    phone: str | None = None,
    report: Progress | None = None,
    clock: Clock = perf_counter_ns,
) -> BenchRecord:
    """Score and time one artifact with an executor of its runtime.

    dataset: what to score on (or an EvaluationSet cropped for the artifact's input); None: not
             scored. `domain` names an EvaluationSet's domain.
    target:  what the bench was asked for; by default what the artifact was made for
    threads: what `executor` was opened with, to be recorded
    quick:   about a second of calls each instead of at least 1,024 calls and ten seconds
    runs:    time the artifact in so many fresh processes, one after the other; None: `executor` itself,
             in this process
    flip_test: score with the heatmaps averaged over the crop and its mirror image; a note says so, and
             the latencies stay those of one pass
    phone:   "iphone" or "iphone:NAME": Core ML is timed there instead of on this Mac
    Where the artifact's own runtime is not on this host, only accuracy and size are measured and
    `latency_note` says so; where the device is not this host, its roofline is the record's `estimate`
    as far as the target's file has the figures. Nothing about the machine is changed.
    """
    if phone is not None:
        check_mac()
    manifest = artifact.manifest
    chosen = plan or (QUICK if quick else FULL)
    before = read_conditions()
    notes: list[str] = []
    accuracy = accuracy_fields(
        artifact, executor, dataset, domain=domain, flip_test=flip_test, report=report
    )
    notes += accuracy.pop("notes", [])

    native = getattr(executor, "native", False)
    note = None if native else no_latency_note(manifest.runtime)
    timed, other, after, units = _Timings(), None, None, None
    guess = None
    if target is not None and target.device != "local" and not native:
        guess = estimate(artifact, target)
    if isinstance(guess, str):
        notes.append(guess)
    if note is None:
        load = OtherLoad()
        if native:
            units = time_units(artifact, plan=chosen, device=phone, report=report)
        if units is not None and phone is not None:
            timed = _Timings(units.latency["ALL"], model_samples_ms=units.samples_ms["ALL"])
        elif runs is None or native:
            timed = _time_in_this_process(
                artifact, executor, plan=chosen, batch=batch, threads=threads, clock=clock,
                report=report,
            )  # fmt: skip
        else:
            timed = _time_runs(
                artifact, runs, plan=chosen, batch=batch, threads=threads, report=report
            )
        other, after = load.cores(), read_conditions()
        notes += [*notes_on(before, other), *timed.notes]
        if target is not None and target.device != "local" and not native:
            note = f"timed on this host's CPU; no device of target {target.name} was reached"
    ran = timed.executor or executor.description
    environment = environment_of(
        before, executor=ran, threads=threads,
        batch=timed.model.batch if timed.model else None, resampler=timed.resampler,
    )  # fmt: skip

    return BenchRecord(
        artifact=manifest.name,
        artifact_sha256=artifact.sha256,
        target=target.name if target is not None else manifest.target,
        runtime=manifest.runtime,
        precision=manifest.precision,
        executor=executor.description,
        counted_file=counted_name(artifact),
        size_bytes=artifact.counted_size_bytes,
        input_hw=artifact.input_hw,
        gives=manifest.gives,
        model_ms=timed.model,
        end_to_end_ms=timed.end_to_end,
        model_samples_ms=_rounded(timed.model_samples_ms),
        end_to_end_samples_ms=_rounded(timed.end_to_end_samples_ms),
        frame_hw=FRAME_HW if timed.end_to_end else None,
        resampler=timed.resampler,
        compute_units={} if units is None else units.latency,
        latency_origin=_timed_on(timed, units),
        latency_note=note,
        estimate=guess if isinstance(guess, LatencyEstimate) else None,
        quick=quick,
        runs=timed.runs,
        other_load_cores=None if other is None else round(other, 3),
        environment=environment,
        environment_sha256=environment_hash(environment),
        conditions=before,
        conditions_after=after,
        notes=tuple(notes),
        command=command,
        **accuracy,
    )


@dataclass(frozen=True)
class _Timings:
    """What was timed, however it was."""

    model: LatencyMs | None = None
    end_to_end: LatencyMs | None = None
    model_samples_ms: Sequence[float] = ()
    end_to_end_samples_ms: Sequence[float] = ()
    resampler: str | None = None
    runs: tuple[Run, ...] = ()
    notes: tuple[str, ...] = ()
    executor: str | None = None


def _timed_on(timed: _Timings, units: UnitTimes | None) -> Origin:
    if timed.model is None:
        return NOT_MEASURED
    return THIS_HOST if units is None else Origin(kind="measured", where=units.where)


def _time_in_this_process(
    artifact: Artifact,
    executor: Any,
    *,
    plan: Plan,
    batch: int,
    threads: int | None,
    clock: Clock,
    report: Progress | None,
) -> _Timings:
    notes = []
    moments = [read_clocks()]
    _say(report, "time the model", 0)
    model = time_model(
        executor, artifact.input_hw, plan=plan, batch=batch, threads=threads, clock=clock
    )
    moments.append(read_clocks())
    _say(report, "time end to end", 1)
    end_to_end, resampler_name = time_end_to_end(
        executor, artifact, plan=plan, threads=threads, clock=clock
    )
    moments.append(read_clocks())
    _say(report, "time end to end", 2)
    for i, (phase, timed) in enumerate((("model", model), ("end_to_end", end_to_end))):
        notes += steadiness_notes(phase, timed.samples_ms, moments[i], moments[i + 1])
        if not timed.settled:
            notes.append(f"the times ({phase}) had not settled when the warm-up ended")
    return _Timings(
        model.latency, end_to_end.latency, model.samples_ms.tolist(),
        end_to_end.samples_ms.tolist(), resampler_name, notes=tuple(notes),
    )  # fmt: skip


def _time_runs(
    artifact: Artifact,
    runs: int,
    *,
    plan: Plan,
    batch: int,
    threads: int | None,
    report: Progress | None,
) -> _Timings:
    """Each in a fresh process of the runner that boards get: cold start and memory are the model's."""
    results = []
    for i in range(runs):
        _say(report, "time in fresh processes", i, runs)
        results.append(run_here(artifact, plan=plan, batch=batch, threads=threads))
    _say(report, "time in fresh processes", runs, runs)
    notes: list[str] = []
    for i, found in enumerate(results):
        said = found.document
        general = board_notes(said["board"])  # notes_on says them, of the whole time
        prefix = "" if runs == 1 else f"run {i + 1}: "
        notes += [prefix + note for note in said["notes"] if note not in general]
    model, model_samples = pooled(results, "model", threads)
    end_to_end, end_to_end_samples = pooled(results, "end_to_end", threads)
    each = tuple(found.run(threads) for found in results)
    notes += spread_note([run.model_ms.p50 for run in each if run.model_ms is not None])
    return _Timings(
        model, end_to_end, model_samples.tolist(), end_to_end_samples.tolist(),
        results[0].document.get("resampler"), each, tuple(notes), results[0].document["executor"],
    )  # fmt: skip


def accuracy_fields(
    artifact: Artifact,
    executor: Any,
    dataset: PoseDataset | EvaluationSet | None,
    *,
    domain: str | None,
    flip_test: bool,
    report: Progress | None,
) -> dict[str, Any]:
    """The accuracy fields of a record; empty without a data set."""
    if dataset is None:
        return {}
    codec = artifact.manifest.codec.to_codec()
    if isinstance(dataset, EvaluationSet):
        data = dataset
    else:
        domain = dataset.domain
        data = EvaluationSet.from_dataset(dataset, artifact.input_hw, alignment=codec.alignment)
    skeleton = artifact.manifest.skeleton.to_skeleton()
    if data.truth.skeleton.joints != skeleton.joints:
        return {"notes": [f"accuracy was not measured: the data has {data.truth.skeleton.name} "
                          "labels, the model other joints; `edgepose eval` compares by name"]}  # fmt: skip
    flip_index = skeleton.flip_index if flip_test else None
    joints = find_joints(executor, data, codec=codec, flip_index=flip_index, report=report)
    return {
        "notes": ["accuracy with the flip test: heatmaps averaged with the mirrored crop's"]
        if flip_test
        else [],
        **score_fields(joints, data),
        "metrics_origin": THIS_HOST,
        "domain": domain,
    }


def counted_name(artifact: Artifact) -> str:
    """The file whose bytes count, or the folder (an .mlpackage) where there are several."""
    counted = artifact.counted_files
    return counted[0] if len(counted) == 1 else counted[0].split("/")[0]


def _rounded(samples_ms: Sequence[float]) -> tuple[float, ...]:
    return tuple(round(value, 5) for value in samples_ms)


def _say(report: Progress | None, what: str, done: int, total: int = 2) -> None:
    if report is not None:
        report(what, done, total)
