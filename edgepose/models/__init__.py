"""Pose networks: one file per architecture, official key names, true parameter counts."""

from __future__ import annotations

import re

from torch import nn

from edgepose.errors import EdgeposeError
from edgepose.models.hrnet import HRNet
from edgepose.models.own import is_own, make
from edgepose.models.resnet import LAYOUTS, PoseResNet

ARCHITECTURES: tuple[str, ...] = (
    *(f"resnet{depth}" for depth in LAYOUTS),
    *(f"resnet{depth}_attention" for depth in LAYOUTS),
    *(f"hrnet_w{width}" for width in (18, 32, 48)),
)
ANY_WIDTH = re.compile(r"hrnet_w([1-9]\d{0,3})")


def known(arch: str) -> bool:
    """Whether `build` takes this name: a listed one, an HRNet of any width, or an import path."""
    return arch in ARCHITECTURES or bool(ANY_WIDTH.fullmatch(arch)) or is_own(arch)


def build(arch: str, *, num_joints: int) -> nn.Module:
    """A freshly initialised network, e.g. `build("resnet18", num_joints=16)`.

    arch: one of `ARCHITECTURES`, "hrnet_w" with another width, or "package.module:name" (own.py)
    (N, 3, H, W) float32 normalised RGB -> (N, num_joints, H/4, W/4) float32; H and W multiples of 32.
    Raises EdgeposeError for any other name.
    """
    if not known(arch):
        raise EdgeposeError(
            f"unknown architecture {arch!r}",
            fix=f"use one of {', '.join(ARCHITECTURES)}, or package.module:name of your own",
        )
    if num_joints < 1:
        raise EdgeposeError(f"num_joints is {num_joints}", fix="give at least one joint")
    if is_own(arch):
        return make(arch, num_joints=num_joints)
    if arch.startswith("resnet"):
        depth, _, variant = arch.removeprefix("resnet").partition("_")
        return PoseResNet(int(depth), num_joints, attention=variant == "attention")
    return HRNet(int(arch.removeprefix("hrnet_w")), num_joints)
