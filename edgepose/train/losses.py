"""Heatmap losses."""

from __future__ import annotations

from torch import Tensor


def heatmap_mse(predicted: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Mean over joints of 1/2 x mean squared error, each joint times its weight.

    predicted, target: (N, J, h, w) float; weights: (N, J) float
    Source: JointsMSELoss of SimpleBaseline and HRNet (`lib/core/loss.py`).
    """
    per_joint = (predicted.float() - target).square().mean(dim=(2, 3))
    return 0.5 * (per_joint * weights.square()).mean()


def distillation(
    predicted: Tensor, target: Tensor, teacher: Tensor, weights: Tensor, *, alpha: float
) -> Tensor:
    """(1 - alpha) x loss against ground truth + alpha x loss against the teacher's heatmaps.

    The teacher speaks for every joint of every picture, annotated or not.
    Source: Zhang, Zhu, Ye 2019, "Fast Human Pose Estimation", eq. 5.
    """
    soft = 0.5 * (predicted.float() - teacher).square().mean()
    return (1 - alpha) * heatmap_mse(predicted, target, weights) + alpha * soft
