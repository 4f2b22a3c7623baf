"""Object keypoint similarity, and what compares skeletons that share only some joints, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgepose.errors import EdgeposeError

_BY_PART = {
    "nose": 0.026, "eye": 0.025, "ear": 0.035, "shoulder": 0.079, "elbow": 0.072, "wrist": 0.062,
    "hip": 0.107, "knee": 0.087, "ankle": 0.089,
}  # fmt: skip

COCO_SIGMAS: Mapping[str, float] = {
    name: sigma
    for part, sigma in _BY_PART.items()
    for name in ((part,) if part == "nose" else (f"left_{part}", f"right_{part}"))
}
"""COCO's spread of annotators per joint, as a part of the square root of the person's area."""

AP_THRESHOLDS: Sequence[float] = tuple(float(t) for t in np.linspace(0.5, 0.95, 10))


def oks(
    pred_xy: ArrayLike,
    true_xy: ArrayLike,
    *,
    annotated: ArrayLike,
    area_px2: ArrayLike,
    joints: Sequence[str],
) -> NDArray[np.float64]:
    """Object keypoint similarity of each person, (N,) in [0, 1].

    pred_xy, true_xy: (N, J, 2) image pixels; annotated: (N, J) bool; area_px2: (N,) person area
    joints:           (J,) names; the joints that both skeletons share, in one order
    nan for a person without an annotated joint or a known, positive area; leave those out.
    Raises EdgeposeError for joints that COCO has no sigma for.
    Source: COCO's keypoint evaluation (computeOks in pycocotools).
    """
    unknown = [name for name in joints if name not in COCO_SIGMAS]
    if unknown:
        raise EdgeposeError(
            f"COCO has no OKS sigma for {', '.join(unknown)}",
            fix="score only the joints that the skeleton shares with coco17",
        )
    error, known = _errors(pred_xy, true_xy, annotated, joints)
    area = np.asarray(area_px2, dtype=np.float64)
    if area.shape != (len(known),):
        raise EdgeposeError(
            f"area_px2 has shape {area.shape} for {len(known)} people", fix="give one area each"
        )
    sized = np.isfinite(area) & (area > 0)
    variance = (2.0 * np.array([COCO_SIGMAS[name] for name in joints])) ** 2
    safe = np.where(sized, area, 1.0) + np.spacing(1.0)
    likeness = np.where(known, np.exp(-(error**2) / (2.0 * variance * safe[:, None])), 0.0)
    counts = known.sum(axis=1)
    result = np.full(len(known), np.nan)
    np.divide(likeness.sum(axis=1), counts, out=result, where=(counts > 0) & sized)
    return result


def mean_oks(values: ArrayLike) -> float:
    """Mean over the people that have an OKS, nan where nobody has."""
    array = np.asarray(values, dtype=np.float64)
    return float(array[np.isfinite(array)].mean()) if np.isfinite(array).any() else float("nan")


def oks_ap(values: ArrayLike, score: ArrayLike) -> float:
    """Average precision over OKS thresholds .50:.05:.95, percent, where boxes are given.

    values: (N,) OKS of each person with the prediction made in that person's own box; nan is left
    out. score: (N,) the prediction's confidence. Every prediction answers for its own person, so
    a person can be missed but never taken by another's prediction. nan where nobody has an OKS.
    Source: COCOeval.accumulate (101 recall points, precision made monotone).
    """
    similarity = np.asarray(values, dtype=np.float64)
    confidence = np.asarray(score, dtype=np.float64)
    if similarity.shape != confidence.shape or similarity.ndim != 1:
        raise EdgeposeError(
            f"{similarity.shape} OKS values and {confidence.shape} scores", fix="give one each"
        )
    known = np.isfinite(similarity)
    if not known.any():
        return float("nan")
    order = np.argsort(-confidence[known], kind="stable")
    similarity = similarity[known][order]
    people = len(similarity)
    averages = []
    for threshold in AP_THRESHOLDS:
        hits = np.cumsum(similarity >= min(threshold, 1 - 1e-10))
        precision = hits / (np.arange(people) + 1 + np.spacing(1.0))
        precision = np.maximum.accumulate(precision[::-1])[::-1]
        first = np.searchsorted(hits / people, np.linspace(0.0, 1.0, 101), side="left")
        reached = first < people
        averages.append(np.where(reached, precision[np.minimum(first, people - 1)], 0.0).mean())
    return float(100.0 * np.mean(averages))


def pck_box_longer_side(
    pred_xy: ArrayLike,
    true_xy: ArrayLike,
    *,
    annotated: ArrayLike,
    box_xywh: ArrayLike,
    joints: Sequence[str],
    alpha: float = 0.2,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], float]:
    """PCK normalised by the longer side of the person's box: (correct, valid, percent).

    A joint is right when its error is at most alpha x max(box width, box height). It needs no head
    box, so it can be computed on COCO; its figures are not comparable with PCKh.
    pred_xy, true_xy: (N, J, 2) image pixels; annotated: (N, J); box_xywh: (N, 4)
    correct, valid: (N, J) bool, for intervals with metrics.bootstrap; percent is nan if none valid
    """
    error, known = _errors(pred_xy, true_xy, annotated, joints)
    boxes = np.asarray(box_xywh, dtype=np.float64)
    if boxes.shape != (len(known), 4):
        raise EdgeposeError(
            f"box_xywh has shape {boxes.shape} for {len(known)} people", fix="give (N, 4) boxes"
        )
    longest = boxes[:, 2:].max(axis=1)
    valid = known & (longest > 0)[:, None]
    correct = valid & (error <= alpha * longest[:, None])
    percent = 100.0 * correct.sum() / valid.sum() if valid.any() else np.nan
    return correct, valid, float(percent)


def _errors(
    pred_xy: ArrayLike, true_xy: ArrayLike, annotated: ArrayLike, joints: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Distances (N, J) in pixels, infinite where a prediction is no number; annotated as bool."""
    known = np.asarray(annotated, dtype=bool)
    predicted = np.asarray(pred_xy, dtype=np.float64)
    true = np.asarray(true_xy, dtype=np.float64)
    shape = (*known.shape, 2)
    if known.ndim != 2 or known.shape[1] != len(joints) or {predicted.shape, true.shape} != {shape}:
        raise EdgeposeError(
            f"positions {predicted.shape} and {true.shape}, annotated {known.shape} and "
            f"{len(joints)} joint names do not belong together",
            fix="pick the shared joints from both skeletons with skeleton.shared_joints",
        )
    error = np.linalg.norm(predicted - true, axis=-1)
    return np.where(np.isnan(error), np.inf, error), known
