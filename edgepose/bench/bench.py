"""One artifact, measured on this host: accuracy, size, latency, and under which conditions."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter_ns
from typing import Any

from edgepose.artifact import Artifact
from edgepose.bench.conditions import OtherLoad, notes_on, read_conditions
from edgepose.bench.latency import (
    FRAME_HW,
    FULL,
    QUICK,
    Clock,
    Plan,
    Timed,
    drift_note,
    time_end_to_end,
    time_model,
)
from edgepose.bench.record import NOT_MEASURED, THIS_HOST, BenchRecord
from edgepose.data.base import PoseDataset
from edgepose.evaluation import EvaluationSet, find_joints, metric_values, score
from edgepose.metrics.metric import natural
from edgepose.target import Target

Report = Callable[[str, int, int], None]

_STAND_INS = {
    "tensorrt": ("FPS", "no Jetson reached", "the exact ONNX, in ONNX Runtime on this host"),
    "coreml": ("latency", "no Apple device reached", "the exact mlpackage, by the MIL interpreter"),
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
    domain: str | None = None,
    flip_test: bool = False,
    command: str | None = None,
    report: Report | None = None,
    clock: Clock = perf_counter_ns,
) -> BenchRecord:
    """Score and time one artifact with an executor of its runtime.

    dataset: what to score on (or an EvaluationSet cropped for the artifact's input); None: not
             scored. `domain` names an EvaluationSet's domain.
    target:  what the bench was asked for; by default what the artifact was made for
    threads: what `executor` was opened with, to be recorded
    quick:   about a second of calls each instead of at least 1,024 calls and ten seconds
    flip_test: score with the heatmaps averaged over the crop and its mirror image; a note says so, and
             the latencies stay those of one pass
    Where the artifact's own runtime is not on this host, only accuracy and size are measured and
    `latency_note` says so. Nothing about the machine is changed.
    """
    manifest = artifact.manifest
    chosen = plan or (QUICK if quick else FULL)
    before = read_conditions()
    notes: list[str] = []
    accuracy = _accuracy(
        artifact, executor, dataset, domain=domain, flip_test=flip_test, report=report
    )
    notes += accuracy.pop("notes", [])

    note = no_latency_note(manifest.runtime)
    model: Timed | None = None
    end_to_end: Timed | None = None
    resampler_name, other, after = None, None, None
    if note is None:
        load = OtherLoad()
        _say(report, "time the model", 0)
        model = time_model(
            executor, artifact.input_hw, plan=chosen, batch=batch, threads=threads, clock=clock
        )
        _say(report, "time end to end", 1)
        end_to_end, resampler_name = time_end_to_end(
            executor, artifact, plan=chosen, threads=threads, clock=clock
        )
        _say(report, "time end to end", 2)
        other, after = load.cores(), read_conditions()
        notes += notes_on(before, other)
        drift = drift_note(model.samples_ms)
        notes += [drift] if drift else []
        if not (model.settled and end_to_end.settled):
            notes.append("the times had not settled when the warm-up ended")
        if target is not None and target.device != "local":
            note = f"timed on this host's CPU; no device of target {target.name} was reached"

    return BenchRecord(
        artifact=manifest.name,
        artifact_sha256=artifact.sha256,
        target=target.name if target is not None else manifest.target,
        runtime=manifest.runtime,
        precision=manifest.precision,
        executor=executor.description,
        counted_file=counted_name(artifact),
        size_bytes=artifact.counted_size_bytes,
        model_ms=model.latency if model else None,
        end_to_end_ms=end_to_end.latency if end_to_end else None,
        model_samples_ms=_samples(model),
        end_to_end_samples_ms=_samples(end_to_end),
        frame_hw=FRAME_HW if end_to_end else None,
        resampler=resampler_name,
        latency_origin=THIS_HOST if model else NOT_MEASURED,
        latency_note=note,
        quick=quick,
        other_load_cores=None if other is None else round(other, 3),
        conditions=before,
        conditions_after=after,
        notes=tuple(notes),
        command=command,
        **accuracy,
    )


def _accuracy(
    artifact: Artifact,
    executor: Any,
    dataset: PoseDataset | EvaluationSet | None,
    *,
    domain: str | None,
    flip_test: bool,
    report: Report | None,
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
    metric = natural(data.truth)
    flip_index = skeleton.flip_index if flip_test else None
    joints = find_joints(executor, data, codec=codec, flip_index=flip_index, report=report)
    return {
        "notes": ["accuracy with the flip test: heatmaps averaged with the mirrored crop's"]
        if flip_test
        else [],
        "metrics": metric_values(score(joints, data, metric), data.truth.skeleton),
        "metrics_origin": THIS_HOST,
        "persons": len(data),
        "domain": domain,
    }


def counted_name(artifact: Artifact) -> str:
    """The file whose bytes count, or the folder (an .mlpackage) where there are several."""
    counted = artifact.counted_files
    return counted[0] if len(counted) == 1 else counted[0].split("/")[0]


def _samples(timed: Timed | None) -> tuple[float, ...]:
    return () if timed is None else tuple(round(float(v), 5) for v in timed.samples_ms)


def _say(report: Report | None, what: str, done: int) -> None:
    if report is not None:
        report(what, done, 2)
