"""Object keypoint similarity of each person. AP over many people is `metrics.coco_ap`."""

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


def sigmas_of(joints: Sequence[str]) -> NDArray[np.float64]:
    """(J,) COCO's sigmas by joint name; EdgeposeError for joints that COCO has none for."""
    unknown = [name for name in joints if name not in COCO_SIGMAS]
    if unknown:
        raise EdgeposeError(
            f"COCO has no OKS sigma for {', '.join(unknown)}",
            fix="score only the joints that the skeleton shares with coco17, or by another metric",
        )
    return np.array([COCO_SIGMAS[name] for name in joints])


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
    error, known = _errors(pred_xy, true_xy, annotated, joints)
    area = np.asarray(area_px2, dtype=np.float64)
    if area.shape != (len(known),):
        raise EdgeposeError(
            f"area_px2 has shape {area.shape} for {len(known)} people", fix="give one area each"
        )
    sized = np.isfinite(area) & (area > 0)
    variance = (2.0 * sigmas_of(joints)) ** 2
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
