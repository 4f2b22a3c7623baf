"""From scores to the rows of a report."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from edgepose.artifact import Artifact
from edgepose.bench.record import NOT_MEASURED, THIS_HOST, LatencyMs
from edgepose.evaluation import (
    EvaluationSet,
    Joints,
    JointShift,
    metric_values,
    score,
    subset_values,
)
from edgepose.metrics.metric import Metric, Score, difference
from edgepose.report.costs import Int8Costs, PruneCosts
from edgepose.report.record import (
    ArtifactRecord,
    BudgetVerdict,
    Difference,
    DropVerdict,
    FileRecord,
    JointShiftPx,
    SizeVerdict,
    StageRecord,
    TrainingHistory,
    VariantRecord,
    thin,
)
from edgepose.report.schema import subsets_from
from edgepose.target import Target
from edgepose.variants import MODEL, Variant, as_variant


@dataclass(frozen=True)
class Scored:
    """A row's record together with its joints and the scores that differences come from."""

    row: StageRecord | ArtifactRecord
    joints: Joints
    scores: dict[str, Score]


def save_joints(joints: Joints, path: Path) -> None:
    """Keep joints as .npz (float32 arrays and the executor's name)."""
    with path.open("wb") as stream:
        np.savez_compressed(
            stream,
            crop_xy=joints.crop_xy,
            image_xy=joints.image_xy,
            score=joints.score,
            executor=np.array(joints.executor),
        )


def load_joints(path: Path) -> Joints:
    """What `save_joints` wrote."""
    with np.load(path, allow_pickle=False) as arrays:
        return Joints(
            crop_xy=arrays["crop_xy"],
            image_xy=arrays["image_xy"],
            score=arrays["score"],
            executor=str(arrays["executor"]),
        )


def _scores(
    scores: dict[str, Score], joints: Joints, data: EvaluationSet, metric: Metric
) -> dict[str, Any]:
    return {
        "metrics": metric_values(scores, data.truth.skeleton),
        "subsets": subsets_from(subset_values(joints, data, metric)),
        "executor": joints.executor,
    }


def history(notes: dict[str, Any]) -> TrainingHistory | None:
    """A stage's training curve, where it trained."""
    if "losses" not in notes:
        return None
    curve = [(int(step), float(loss)) for step, loss in notes["losses"]]
    return TrainingHistory(steps=curve[-1][0], images=notes["images_seen"], loss=thin(curve))


def sensitivity(notes: dict[str, Any]) -> PruneCosts | Int8Costs | None:
    """What a stage found each layer to cost alone, with what it made of that."""
    found = notes.get("sensitivity")
    if not found or not (found.get("groups") or found.get("layers")):
        return None
    facts = {"metric": found.get("metric"), "persons": found.get("persons")}
    if found["kind"] == "prune":
        return PruneCosts(groups=found["groups"], **facts)
    in_float = {*notes.get("float_layers", ()), *notes.get("fallback", {}).get("float_layers", ())}
    rows = [{**row, "in_float": row["layer"] in in_float} for row in found["layers"]]
    return Int8Costs(layers=rows, **facts)


def latency_fields(latency: LatencyMs | None, note: str | None) -> dict[str, Any]:
    """The latency part of a row; a row without latency says why."""
    return {
        "latency_ms": latency,
        "latency_origin": NOT_MEASURED if latency is None else THIS_HOST,
        "latency_note": note,
    }


AGAINST = "the quantized model in torch"


def variant_record(
    variant: Variant,
    *,
    artifact: Artifact,
    run_folder: Path,
    joints: Joints,
    shift: JointShift | None,
    data: EvaluationSet,
    metric: Metric,
) -> VariantRecord:
    """The scores of one variant beside the main file; data: at the variant's size."""
    prefix = artifact.folder.relative_to(run_folder).as_posix()
    selected = as_variant(artifact, variant)
    path = selected.path(MODEL).relative_to(artifact.folder).as_posix()
    top = path.split("/")[0]
    size = sum(
        entry.size_bytes
        for entry in artifact.manifest.files
        if entry.path == path or (top != path and entry.path.startswith(f"{top}/"))
    )
    return VariantRecord(
        input_hw=variant.input_hw,
        batch=variant.batch,
        gives=variant.gives,
        file=f"{prefix}/{top}",
        size_bytes=size,
        executor=joints.executor,
        metrics=metric_values(score(joints, data, metric), data.truth.skeleton),
        joint_shift_px=None if shift is None else _shift_px(shift),
    )


def _shift_px(shift: JointShift) -> JointShiftPx:
    return JointShiftPx(
        p50=shift.p50, p99=shift.p99, off_share=shift.off_share, persons=shift.persons,
        against=AGAINST,
    )  # fmt: skip


def artifact_row(
    *,
    target: Target,
    artifact: Artifact,
    run_folder: Path,
    joints: Joints,
    shift: JointShift,
    data: EvaluationSet,
    metric: Metric,
    latency: LatencyMs | None,
    latency_note: str | None,
    integer_mac_share: float | None,
    host: str,
    params: int,
    macs: int,
    variants: Sequence[VariantRecord] = (),
) -> Scored:
    """The row of one exported artifact."""
    prefix = artifact.folder.relative_to(run_folder).as_posix()
    counted = artifact.counted_files
    counted_name = counted[0] if len(counted) == 1 else counted[0].split("/")[0]
    scores = score(joints, data, metric)
    row = ArtifactRecord(
        name=target.name,
        target=target.name,
        runtime=target.runtime,
        precision=target.precision,
        file=f"{prefix}/{counted_name}",
        files=tuple(
            FileRecord(
                path=f"{prefix}/{entry.path}",
                role=entry.role,
                sha256=entry.sha256,
                size_bytes=entry.size_bytes,
                counted=entry.counted,
            )
            for entry in artifact.manifest.files
        ),
        size_bytes=artifact.counted_size_bytes,
        params=params,
        macs=macs,
        host=host,
        joint_shift_px=_shift_px(shift),
        integer_mac_share=integer_mac_share,
        variants=tuple(variants),
        **latency_fields(latency, latency_note),
        **_scores(scores, joints, data, metric),
    )
    return Scored(row, joints, scores)


def stage_row(
    *,
    name: str,
    role: str,
    precision: str,
    joints: Joints,
    data: EvaluationSet,
    metric: Metric,
    latency: LatencyMs | None,
    latency_note: str | None,
    host: str,
    notes: dict[str, Any],
    **fields: Any,
) -> Scored:
    """The row of one model; fields: params, macs, size_bytes, weights_sha256, duration_s."""
    words = []
    if "pruned" in notes:
        words.append(notes["pruned"])
    if notes.get("latency_origin"):
        words.append(notes["latency_origin"])
    if "unlabelled" in notes:
        pictures = notes["unlabelled"]
        words.append(
            f"{pictures['share']:.0%} of the crops from {pictures['people']:,} unlabelled people"
        )
    if "scales" in notes:
        words.append(f"INT8 scales {notes['scales']}")
    words += layer_words(notes)
    scores = score(joints, data, metric)
    row = StageRecord(
        name=name,
        role=role,
        precision=precision,
        host=host,
        history=history(notes),
        sensitivity=sensitivity(notes),
        notes=tuple(words),
        **latency_fields(latency, latency_note),
        **_scores(scores, joints, data, metric),
        **fields,
    )
    return Scored(row, joints, scores)


def layer_words(notes: dict[str, Any]) -> list[str]:
    """Which layers a stage changed, or found to be the dearest: sentences for the report."""
    words = []
    if notes.get("float_layers"):
        words.append(f"in float, as asked: {', '.join(notes['float_layers'])}")
    found = notes.get("fallback")
    if found is not None:
        cost = f"INT8 everywhere costs {found['drop_int8']:.2f} points on {found['people']} training people"
        if not found["float_layers"]:
            words.append(f"{cost}, {found['max_drop']:g} are allowed: no layer went back to float")
        else:
            words.append(
                f"{cost}, {found['max_drop']:g} are allowed; in float for that: "
                f"{', '.join(found['float_layers'])} ({found['float_mac_share']:.1%} of the "
                f"multiply-adds), which leaves {found['drop']:.2f}"
            )
    if notes.get("sensitive"):
        words.append(f"layers that INT8 alone costs most in: {'; '.join(notes['sensitive'])}")
    return words


def differences(rows: Sequence[Scored], metric: Metric) -> tuple[Difference, ...]:
    """Every row against the one before; artifacts all against the last stage."""
    stages = [r for r in rows if isinstance(r.row, StageRecord)]
    pairs = list(pairwise(stages))
    pairs += [(stages[-1], r) for r in rows if isinstance(r.row, ArtifactRecord)]
    return tuple(
        _difference(before, after, name)
        for before, after in pairs
        for name in (metric.primary, metric.strict)
    )


def _difference(before: Scored, after: Scored, name: str) -> Difference:
    value, low, high = difference(after.scores[name], before.scores[name])
    return Difference(
        before=before.row.name,
        after=after.row.name,
        metric=name,
        value=round(value, 3),
        ci95=(round(low, 3), round(high, 3)),
        persons=after.scores[name].persons,
    )


def verdict(
    rows: Sequence[Scored],
    metric: Metric,
    *,
    baseline: str | None,
    size_mb: float | None,
    max_drop: float | None,
) -> BudgetVerdict:
    """Does the largest counted file fit, and is the worst artifact within the allowed drop?"""
    artifacts = [r for r in rows if isinstance(r.row, ArtifactRecord)]
    size = drop = None
    if size_mb is not None and artifacts:
        largest = max(artifacts, key=lambda r: r.row.size_bytes or 0).row
        size_bytes = largest.size_bytes or 0
        size = SizeVerdict(
            size_mb=size_mb,
            largest_file=largest.file,  # type: ignore[union-attr]
            largest_size_bytes=size_bytes,
            met=size_bytes <= size_mb * 1e6,
        )
    base = next((r for r in rows if r.row.name == baseline), None)
    if max_drop is not None and artifacts and base is not None:
        worst = min(artifacts, key=lambda r: r.scores[metric.primary].value)
        change = _difference(base, worst, metric.primary)
        low, high = change.ci95 or (change.value, change.value)
        drop = DropVerdict(
            max_drop=max_drop,
            metric=metric.primary,
            baseline=base.row.name,
            compared=worst.row.name,
            drop=0.0 - change.value,
            ci95=(0.0 - high, 0.0 - low),
            met=-change.value <= max_drop,
        )
    return BudgetVerdict(size=size, drop=drop)


def save_json(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=1, sort_keys=True) + "\n")
