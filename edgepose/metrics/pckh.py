"""PCKh: the percentage of joints that lie within a part of the head size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgepose.errors import EdgeposeError
from edgepose.skeleton import Skeleton

CONVENTIONS: Mapping[str, tuple[bool, bool]] = {
    # name: (an error equal to the threshold counts, joints weigh as often as they are annotated)
    "hrnet": (True, True),
    "mmpose": (False, True),
    "pytorch-pose": (False, False),
}

GROUPS: Mapping[str, tuple[str, ...]] = {
    "Head": ("head_top",),
    "Sho": ("right_shoulder", "left_shoulder"),
    "Elb": ("right_elbow", "left_elbow"),
    "Wri": ("right_wrist", "left_wrist"),
    "Hip": ("right_hip", "left_hip"),
    "Kne": ("right_knee", "left_knee"),
    "Ank": ("right_ankle", "left_ankle"),
}


@dataclass(frozen=True)
class PCKh:
    """per_joint: (J,) percent, nan for a joint that nobody has annotated, uncounted joints included
    mean:      percent over the counted joints, nan where there is none
    correct:   (N, J) bool, annotated and within the threshold, uncounted joints included
    valid:     (N, J) bool, what enters the mean: annotated, counted, with a known head size.
               mean_ci(correct, valid) gives the interval of a weighted mean.
    alpha, convention: as asked for
    """

    per_joint: NDArray[np.float64]
    mean: float
    correct: NDArray[np.bool_]
    valid: NDArray[np.bool_]
    alpha: float
    convention: str


def pckh(
    pred_xy: ArrayLike,
    true_xy: ArrayLike,
    *,
    head_px: ArrayLike,
    annotated: ArrayLike,
    alpha: float = 0.5,
    counted: ArrayLike | None = None,
    convention: str = "hrnet",
) -> PCKh:
    """Percentage of correct keypoints, normalised by head size.

    pred_xy, true_xy: (N, J, 2) float, original-image pixels, both 0-based or both 1-based
    head_px:          (N,) float, 0.6 x head-box diagonal in pixels; people for whom it is not
                      finite and positive are left out
    annotated:        (N, J) bool; occluded joints with a label are annotated
    alpha:            threshold in head sizes
    counted:          (J,) bool, joints that enter the mean (default: all); for MPII without pelvis
                      and thorax: `counted_joints(MPII16)`
    convention:       "hrnet" (error <= threshold, mean weighted by joint counts) | "mmpose" (<,
                      weighted) | "pytorch-pose" (<, unweighted mean over joints). What HRNet prints
                      as Mean@0.1 is alpha=0.11.
    A prediction that is not a number is wrong. Raises EdgeposeError for an unknown convention or
    shapes that do not fit. Source: Andriluka et al. 2014; counts as HRNet's lib/dataset/mpii.py.
    """
    if convention not in CONVENTIONS:
        raise EdgeposeError(
            f"unknown PCKh convention {convention!r}", fix=f"use one of {', '.join(CONVENTIONS)}"
        )
    inclusive, weighted = CONVENTIONS[convention]
    predicted = np.asarray(pred_xy, dtype=np.float64)
    true = np.asarray(true_xy, dtype=np.float64)
    head = np.asarray(head_px, dtype=np.float64)
    known = np.asarray(annotated, dtype=bool)
    people, joints = known.shape if known.ndim == 2 else (0, 0)
    enters = np.ones(joints, dtype=bool) if counted is None else np.asarray(counted, dtype=bool)
    wanted = {
        "pred_xy": (predicted, (people, joints, 2)),
        "true_xy": (true, (people, joints, 2)),
        "head_px": (head, (people,)),
        "counted": (enters, (joints,)),
        "annotated": (known, (people, joints)),
    }
    for name, (array, shape) in wanted.items():
        if array.shape != shape:
            raise EdgeposeError(
                f"{name} has shape {array.shape} where annotated has {known.shape}",
                fix="give xy (N, J, 2), head_px (N,) and annotated (N, J) of the same people",
            )
    usable = known & (np.isfinite(head) & (head > 0))[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        error = np.linalg.norm(predicted - true, axis=-1) / head[:, None]
        close = error <= alpha if inclusive else error < alpha
    correct = usable & close
    counts = usable.sum(axis=0)
    per_joint = np.full(joints, np.nan)
    np.divide(100.0 * correct.sum(axis=0), counts, out=per_joint, where=counts > 0)
    scored = enters & (counts > 0)
    if not scored.any():
        mean = float("nan")
    elif weighted:
        mean = float(100.0 * correct[:, scored].sum() / counts[scored].sum())
    else:
        mean = float(per_joint[scored].mean())
    return PCKh(per_joint, mean, correct, usable & enters, alpha, convention)


def counted_joints(skeleton: Skeleton) -> NDArray[np.bool_]:
    """(J,) bool: the joints that enter a mean score; False for MPII's pelvis and thorax."""
    counted = np.ones(skeleton.num_joints, dtype=bool)
    counted[list(skeleton.uncounted)] = False
    return counted


def group_table(per_joint: ArrayLike, skeleton: Skeleton) -> dict[str, float]:
    """Head, Sho, Elb, Wri, Hip, Kne, Ank: the mean of right and left, percent.

    Groups whose joints the skeleton does not have are left out; nan where nobody is annotated.
    """
    values = np.asarray(per_joint, dtype=np.float64)
    table = {}
    for group, names in GROUPS.items():
        if all(name in skeleton.joints for name in names):
            table[group] = float(np.mean([values[skeleton.joints.index(n)] for n in names]))
    return table
