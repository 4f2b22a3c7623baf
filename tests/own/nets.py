"""Networks that are no part of edgepose, as a user would write them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Tiny(nn.Module):
    """Two strided convolutions, a residual sum, a deconvolution, a 1x1 head called `joints`."""

    def __init__(self, num_joints: int, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(2 * width), nn.ReLU(),
        )  # fmt: skip
        self.a = nn.Conv2d(2 * width, 2 * width, 3, padding=1, bias=False)
        self.a_norm = nn.BatchNorm2d(2 * width)
        self.depthwise = nn.Conv2d(2 * width, 2 * width, 3, padding=1, groups=2 * width)
        self.up = nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1, bias=False)
        self.up_norm = nn.BatchNorm2d(width)
        self.joints = nn.Conv2d(width, num_joints, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = F.relu(self.a_norm(self.a(x)) + self.depthwise(x))
        heatmaps: Tensor = self.joints(F.relu(self.up_norm(self.up(x))))
        return heatmaps


def make_tiny(num_joints: int) -> nn.Module:
    return Tiny(num_joints)


def sixteen() -> nn.Module:
    return Tiny(16, width=8)


ready = Tiny(16, width=8)
number = 3


def fails() -> nn.Module:
    raise ValueError("no weights here")


def not_a_network() -> int:
    return 3


class Undecided(Tiny):
    """Looks at the values of its input."""

    def forward(self, x: Tensor) -> Tensor:
        if x.mean() > 0:
            x = -x
        return super().forward(x)


class Scaled(Tiny):
    """Has a parameter that is of no layer."""

    def __init__(self, num_joints: int) -> None:
        super().__init__(num_joints)
        self.gain = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.gain


class GroupedDeconvolution(Tiny):
    def __init__(self, num_joints: int) -> None:
        super().__init__(num_joints)
        self.up = nn.ConvTranspose2d(32, 16, 2, stride=2, groups=2, bias=False)


class LooseNorm(Tiny):
    """A batch norm that follows no convolution."""

    def __init__(self, num_joints: int) -> None:
        super().__init__(num_joints)
        self.first = nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.first(x))


class TwoOutputs(Tiny):
    def forward(self, x: Tensor) -> Tensor:
        heatmaps = super().forward(x)
        return heatmaps, heatmaps  # type: ignore[return-value]


class Uneven(Tiny):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)[:, :, :, ::2]


class Broken(Tiny):
    def forward(self, x: Tensor) -> Tensor:
        return self.joints(x)
