"""Losses on heatmaps."""

from __future__ import annotations

from torch import Tensor


def heatmap_mse(predicted: Tensor, target: Tensor, weights: Tensor, *, ohkm: int = 0) -> Tensor:
    """Mean over joints of 1/2 x mean squared error, each joint times its weight.

    predicted, target: (N, J, h, w) float; weights: (N, J) float
    ohkm: the mean is over the `ohkm` worst joints of each person (0, or J and more: all of them)
    Source: JointsMSELoss and JointsOHKMMSELoss of HRNet (`lib/core/loss.py`).
    """
    per_joint = (predicted.float() - target).square().mean(dim=(2, 3)) * weights.square()
    if 0 < ohkm < per_joint.shape[1]:
        per_joint = per_joint.topk(ohkm, dim=1).values
    return 0.5 * per_joint.mean()


def heatmap_kl(predicted: Tensor, teacher: Tensor, *, temperature: float) -> Tensor:
    """Mean over joints of temperature^2 x KL(teacher || predicted), heatmaps as distributions.

    predicted, teacher: (N, J, h, w) float. Each map's softmax over its positions at `temperature`
    says where the joint is. Source: Hinton et al. 2015, over positions instead of classes.
    """
    log_p = (teacher.float() / temperature).flatten(2).log_softmax(dim=2)
    log_q = (predicted.float() / temperature).flatten(2).log_softmax(dim=2)
    return temperature**2 * (log_p.exp() * (log_p - log_q)).sum(dim=2).mean()


def feature_mse(adapted: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared error between feature maps (N, C, h, w), in units of the teacher's variance.

    Source: Romero et al. 2015, "FitNets", eq. 3; the variance makes the weight independent of scale.
    """
    target = teacher.float()
    return (adapted.float() - target).square().mean() / target.var().clamp_min(1e-12)
