"""PCK: the percentage of joints that lie within a part of the person's size. PCKh: of the head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgepose.errors import EdgeposeError
from edgepose.skeleton import Skeleton

CONVENTIONS: Mapping[str, tuple[bool, bool]] = {
    # name: (an error equal to the threshold counts, joints weigh as often as they are annotated)
    "hrnet": (True, True),
    "pytorch-pose": (False, False),
    "mmpose": (False, True),
}

PRINTED_AS_STRICT: Mapping[str, float] = {"hrnet": 0.11, "mmpose": 0.10}
"""The threshold behind what each prints as its @0.1: HRNet reads entry 11 of 0, .01, .02, ..."""

CURVE: Sequence[float] = tuple(i / 100 for i in range(51))

GROUPS: Mapping[str, tuple[str, ...]] = {
    "Head": ("head_top",),
    "Sho": ("right_shoulder", "left_shoulder"),
    "Elb": ("right_elbow", "left_elbow"),
    "Wri": ("right_wrist", "left_wrist"),
    "Hip": ("right_hip", "left_hip"),
    "Kne": ("right_knee", "left_knee"),
    "Ank": ("right_ankle", "left_ankle"),
}
LSP_GROUPS: Mapping[str, tuple[str, ...]] = {**GROUPS, "Head": ("upper_neck", "head_top")}
"""LSP's tables: Head is the mean of neck and head top (as in the PCK code of eval_pose)."""


@dataclass(frozen=True)
class Pck:
    """per_joint: (J,) percent, nan for a joint that nobody has annotated, uncounted joints included
    mean:      percent over the counted joints, nan where there is none
    correct:   (N, J) bool, annotated and within the threshold, uncounted joints included
    valid:     (N, J) bool, what enters the mean: annotated, counted, with a known size.
               100 x correct[valid].mean() is a weighted mean.
    alpha, convention: as asked for
    """

    per_joint: NDArray[np.float64]
    mean: float
    correct: NDArray[np.bool_]
    valid: NDArray[np.bool_]
    alpha: float
    convention: str


def pck(
    pred_xy: ArrayLike,
    true_xy: ArrayLike,
    *,
    size_px: ArrayLike,
    annotated: ArrayLike,
    alpha: float = 0.5,
    counted: ArrayLike | None = None,
    convention: str = "hrnet",
) -> Pck:
    """Percentage of correct keypoints, normalised by a size of each person.

    pred_xy, true_xy: (N, J, 2) float, original-image pixels, both 0-based or both 1-based
    size_px:          (N,) float, what alpha is a part of; people for whom it is not finite and
                      positive are left out. For PCKh: 0.6 x head-box diagonal, or
                      `head_segment_px`; for LSP's PCK: `torso_px`; without either: `longer_side_px`
    annotated:        (N, J) bool; occluded joints with a label are annotated
    counted:          (J,) bool, joints that enter the mean (default: all); for MPII without pelvis
                      and thorax: `counted_joints(MPII16)`
    convention:       "hrnet" (error <= threshold, mean weighted by joint counts) | "mmpose" (<,
                      weighted) | "pytorch-pose" (<, unweighted mean over joints)
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
    size = np.asarray(size_px, dtype=np.float64)
    known = np.asarray(annotated, dtype=bool)
    people, joints = known.shape if known.ndim == 2 else (0, 0)
    enters = np.ones(joints, dtype=bool) if counted is None else np.asarray(counted, dtype=bool)
    wanted = {
        "pred_xy": (predicted, (people, joints, 2)),
        "true_xy": (true, (people, joints, 2)),
        "size_px": (size, (people,)),
        "counted": (enters, (joints,)),
        "annotated": (known, (people, joints)),
    }
    for name, (array, shape) in wanted.items():
        if array.shape != shape:
            raise EdgeposeError(
                f"{name} has shape {array.shape} where annotated has {known.shape}",
                fix="give xy (N, J, 2), size_px (N,) and annotated (N, J) of the same people",
            )
    usable = known & (np.isfinite(size) & (size > 0))[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        error = np.linalg.norm(predicted - true, axis=-1) / size[:, None]
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
    return Pck(per_joint, mean, correct, usable & enters, alpha, convention)


def head_box_px(headbox: ArrayLike) -> NDArray[np.float64]:
    """(N,) head sizes of (N, 2, 2) head boxes, corner by corner: 0.6 x the diagonal (MPII)."""
    corners = np.asarray(headbox, dtype=np.float64)
    size: NDArray[np.float64] = 0.6 * np.linalg.norm(corners[:, 1] - corners[:, 0], axis=-1)
    return size


def head_segment_px(
    true_xy: ArrayLike, annotated: ArrayLike, skeleton: Skeleton
) -> NDArray[np.float64]:
    """(N,) head sizes where there is no head box: |head_top - upper_neck|, nan without both.

    The factor is 1: "50 % of the head segment length" (Andriluka et al. 2014). MPII's own head
    size is 0.6 x the diagonal of a box, another length, so the scores go by another name.
    """
    return _between(true_xy, annotated, skeleton, ("head_top", "upper_neck"))


def torso_px(true_xy: ArrayLike, annotated: ArrayLike, skeleton: Skeleton) -> NDArray[np.float64]:
    """(N,) torso sizes: |left shoulder - right hip|, sides as the person has them; nan without both.

    Source: LSP's PCK@0.2, person-centric labels (Yang and Ramanan 2013).
    """
    return _between(true_xy, annotated, skeleton, ("left_shoulder", "right_hip"))


def longer_side_px(box_xywh: ArrayLike) -> NDArray[np.float64]:
    """(N,) the longer side of each person's box (N, 4). It needs no special joint and no head box."""
    boxes = np.asarray(box_xywh, dtype=np.float64)
    side: NDArray[np.float64] = boxes[:, 2:].max(axis=1)
    return side


def _between(
    true_xy: ArrayLike, annotated: ArrayLike, skeleton: Skeleton, ends: tuple[str, str]
) -> NDArray[np.float64]:
    lacking = [name for name in ends if name not in skeleton.joints]
    if lacking:
        raise EdgeposeError(
            f"{skeleton.name} has no joint {' and no '.join(lacking)}",
            fix="use a metric that measures people another way, e.g. pck_box",
        )
    a, b = (skeleton.joints.index(name) for name in ends)
    true, known = np.asarray(true_xy, dtype=np.float64), np.asarray(annotated, dtype=bool)
    length = np.linalg.norm(true[:, a] - true[:, b], axis=-1)
    return np.where(known[:, a] & known[:, b], length, np.nan)


def counted_joints(skeleton: Skeleton) -> NDArray[np.bool_]:
    """(J,) bool: the joints that enter a mean score; False for MPII's pelvis and thorax."""
    counted = np.ones(skeleton.num_joints, dtype=bool)
    counted[list(skeleton.uncounted)] = False
    return counted


def group_table(
    per_joint: ArrayLike, skeleton: Skeleton, groups: Mapping[str, tuple[str, ...]] = GROUPS
) -> dict[str, float]:
    """Head, Sho, Elb, Wri, Hip, Kne, Ank: the mean of right and left, percent.

    Groups whose joints the skeleton does not have are left out; nan where nobody is annotated.
    """
    values = np.asarray(per_joint, dtype=np.float64)
    table = {}
    for group, names in groups.items():
        if all(name in skeleton.joints for name in names):
            table[group] = float(np.mean([values[skeleton.joints.index(n)] for n in names]))
    return table
