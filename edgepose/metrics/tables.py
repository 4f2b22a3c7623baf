"""A prediction file scored against a label file, no model run: PCK tables or COCO's figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepose.errors import EdgeposeError
from edgepose.metrics.coco_files import score_coco
from edgepose.metrics.files import Labels, read_labels, read_predictions
from edgepose.metrics.metric import METRICS, Metric, natural
from edgepose.metrics.pck import (
    CONVENTIONS,
    CURVE,
    GROUPS,
    LSP_GROUPS,
    PRINTED_AS_STRICT,
    Pck,
    counted_joints,
    group_table,
    pck,
)
from edgepose.skeleton import LSP14

JSON = ".json"


def score_files(
    predictions: Path,
    ground_truth: Path,
    *,
    convention: str | None = None,
    coordinate_base: int | None = None,
    metric: str | None = None,
) -> dict[str, Any]:
    """Scores of a prediction file; JSON values.

    convention:      "hrnet", "pytorch-pose" or "mmpose"; None: each of them
    coordinate_base: what the predictions count pixels from; None: as the ground truth does (MPII
                     and LSP from 1, COCO from 0)
    metric:          None: the first that the labels allow
    Raises EdgeposeError for a file that cannot be read, is of other people, or is of another kind.
    """
    kinds = {path.suffix.lower() == JSON for path in (predictions, ground_truth)}
    if len(kinds) == 2:
        raise EdgeposeError(
            f"{predictions.name} and {ground_truth.name} are of two kinds",
            fix="give COCO results with COCO labels (.json), or arrays (.npz, .mat, .h5) with arrays",
        )
    coco = kinds == {True}
    base = 0 if coco else 1
    given = base if coordinate_base is None else coordinate_base
    header = {
        "predictions": predictions.name,
        "ground_truth": ground_truth.name,
        "coordinate_base": {"predictions": given, "ground_truth": base, "added_px": base - given},
    }
    if coco:
        if convention is not None or metric not in (None, "oks_ap"):
            raise EdgeposeError(
                f"COCO files are scored by OKS, not by {convention or metric}",
                fix="leave out --convention and --metric",
            )
        return {**header, **score_coco(predictions, ground_truth, shift_px=base - given)}
    labels = read_labels(ground_truth)
    xy = read_predictions(predictions) + (base - given)
    _check_same(xy, labels, predictions, ground_truth)
    return {**header, **score_arrays(xy, labels, convention=convention, metric=metric)}


def score_arrays(
    xy: NDArray[np.float64],
    labels: Labels,
    *,
    convention: str | None = None,
    metric: str | None = None,
) -> dict[str, Any]:
    """PCK tables of predictions (N, J, 2) in the labels' base; JSON values."""
    truth = labels.truth
    chosen = natural(truth) if metric is None else METRICS[metric]
    chosen.check(truth)
    if chosen.alphas is None:
        raise EdgeposeError(
            f"{chosen.word} needs COCO files", fix="give COCO results and labels (.json)"
        )
    names = tuple(CONVENTIONS) if convention is None else (convention,)
    return {
        "metric": chosen.word,
        "size": chosen.size,
        "format": labels.format,
        "persons": len(truth),
        "scored_joints": int(truth.annotated[:, counted_joints(truth.skeleton)].sum()),
        "skeleton": truth.skeleton.name,
        "joints": list(truth.skeleton.joints),
        "conventions": {name: _convention(xy, labels, chosen, name) for name in names},
    }


def _convention(
    xy: NDArray[np.float64], labels: Labels, metric: Metric, convention: str
) -> dict[str, Any]:
    truth, (alpha, strict) = labels.truth, metric.alphas or (0.5, 0.1)
    assert metric.size_px is not None, "a metric with thresholds has a size"
    size_px, counted = metric.size_px(truth), counted_joints(truth.skeleton)

    def at(threshold: float) -> Pck:
        return pck(
            xy,
            truth.xy,
            size_px=size_px,
            annotated=truth.annotated,
            alpha=threshold,
            counted=counted,
            convention=convention,
        )

    curve = [_row(at(threshold), labels) for threshold in CURVE]
    found: dict[str, Any] = {
        metric.primary: _row(at(alpha), labels),
        metric.strict: _row(at(strict), labels),
    }
    if metric.word == "pckh" and convention in PRINTED_AS_STRICT:
        printed = PRINTED_AS_STRICT[convention]
        found["printed_as_0.1"] = {"threshold": printed, "mean": _row(at(printed), labels)["mean"]}
    found["curve"] = {
        "thresholds": list(CURVE),
        "mean": [row["mean"] for row in curve],
        "groups": {name: [row["groups"][name] for row in curve] for name in curve[0]["groups"]},
    }
    return found


def _row(result: Pck, labels: Labels) -> dict[str, Any]:
    skeleton = labels.truth.skeleton
    groups = group_table(result.per_joint, skeleton, LSP_GROUPS if skeleton == LSP14 else GROUPS)
    return {
        "mean": _number(result.mean),
        "groups": {name: _number(value) for name, value in groups.items()},
        "per_joint": dict(
            zip(skeleton.joints, map(_number, result.per_joint.tolist()), strict=True)
        ),
    }


def _number(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 3)


def _check_same(
    xy: NDArray[np.float64], labels: Labels, predictions: Path, ground_truth: Path
) -> None:
    parts: Sequence[tuple[str, int, int]] = (
        ("people", len(xy), len(labels.truth)),
        ("joints", xy.shape[1], labels.truth.skeleton.num_joints),
    )
    for what, found, wanted in parts:
        if found != wanted:
            raise EdgeposeError(
                f"{predictions.name} has {found:,} {what}, {ground_truth.name} has {wanted:,}",
                fix="give predictions and labels of the same people, in one order",
            )
