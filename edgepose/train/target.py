"""How wide a joint's target Gaussian is: by the joint, and by how sure one can be of its place."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgepose.metrics.oks import COCO_SIGMAS
from edgepose.train.config import TargetSigma

OCCLUDED = 0.5  # confidence in a label that the annotator could not see


def joint_factors(joints: Sequence[str]) -> NDArray[np.float64]:
    """(J,) COCO's spread of annotators per joint over its mean; 1 for a joint that COCO has none for."""
    known = {name: COCO_SIGMAS[name] for name in joints if name in COCO_SIGMAS}
    mean = sum(known.values()) / max(len(known), 1)
    return np.array([known[name] / mean if name in known else 1.0 for name in joints])


def confidence(
    annotated: NDArray[np.bool_],
    visible: NDArray[np.bool_] | None,
    teacher: NDArray[np.floating] | None,
) -> NDArray[np.float64]:
    """(J,) in 0..1: the teacher's peak; without a teacher 1, and OCCLUDED where the data says hidden.

    teacher: (J, h, w), what it found on this crop
    """
    if teacher is not None:
        peak: NDArray[np.float64] = np.clip(teacher.max(axis=(1, 2)), 0.0, 1.0).astype(np.float64)
        return peak
    seen = np.ones(annotated.shape, bool) if visible is None else visible
    return np.where(seen, 1.0, OCCLUDED)


def target_sigma(
    sigma: float,
    *,
    config: TargetSigma,
    joints: Sequence[str],
    confidences: NDArray[np.floating],
) -> NDArray[np.float64]:
    """(N, J) sigma of the target Gaussians in heatmap pixels, never below 1.

    sigma: without `config`; confidences: (N, J) in 0..1
    """
    factors = joint_factors(joints) if config.per_joint else np.ones(len(joints))
    unsure = 1.0 + config.confidence * (1.0 - np.asarray(confidences, np.float64))
    return np.maximum(sigma * factors * unsure, 1.0)
