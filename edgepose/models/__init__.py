"""Pose networks: one file per architecture, official key names, true parameter counts."""

from __future__ import annotations

from torch import nn

from edgepose.errors import EdgeposeError
from edgepose.models.hrnet import HRNet
from edgepose.models.resnet import LAYOUTS, PoseResNet

ARCHITECTURES: tuple[str, ...] = (
    *(f"resnet{depth}" for depth in LAYOUTS),
    *(f"hrnet_w{width}" for width in (18, 32, 48)),
)


def build(arch: str, *, num_joints: int) -> nn.Module:
    """A freshly initialised network, e.g. `build("resnet18", num_joints=16)`.

    (N, 3, H, W) float32 normalised RGB -> (N, num_joints, H/4, W/4) float32; H and W multiples of 32.
    Raises EdgeposeError for a name that is not in `ARCHITECTURES`.
    """
    if arch not in ARCHITECTURES:
        raise EdgeposeError(
            f"unknown architecture {arch!r}", fix=f"use one of {', '.join(ARCHITECTURES)}"
        )
    if num_joints < 1:
        raise EdgeposeError(f"num_joints is {num_joints}", fix="give at least one joint")
    if arch.startswith("resnet"):
        return PoseResNet(int(arch.removeprefix("resnet")), num_joints)
    return HRNet(int(arch.removeprefix("hrnet_w")), num_joints)
