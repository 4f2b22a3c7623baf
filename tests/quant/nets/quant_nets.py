"""Every kind of network in small: the blocks are edgepose's own, a few channels wide."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgepose.models.blocks import BasicBlock, Bottleneck, SpatialAttention, norm, stack_blocks
from edgepose.models.hrnet import HighResolutionModule


def _stem(width: int) -> nn.Sequential:
    conv = nn.Conv2d(3, width, 3, stride=2, padding=1, bias=False)
    return nn.Sequential(conv, norm(width), nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1))


class Baseline(nn.Module):
    """Residual blocks, attention on demand, a deconvolution, a 1x1 head."""

    def __init__(self, block: type, num_joints: int, *, attention: bool) -> None:
        super().__init__()
        self.stem = _stem(8)
        self.layer1 = stack_blocks(block, 8, 8, 1)
        width = 8 * block.expansion
        self.layer2 = stack_blocks(block, width, 8, 1, stride=2)
        self.attention = SpatialAttention() if attention else nn.Identity()
        self.up = nn.Sequential(
            nn.ConvTranspose2d(width, 8, 3, stride=2, padding=1, output_padding=1, bias=False),
            norm(8),
            nn.ReLU(),
        )
        self.final_layer = nn.Conv2d(8, num_joints, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.attention(self.layer2(self.layer1(self.stem(x))))
        heatmaps: Tensor = self.final_layer(self.up(x))
        return heatmaps


def basic(num_joints: int) -> nn.Module:
    return Baseline(BasicBlock, num_joints, attention=False)


def bottleneck(num_joints: int) -> nn.Module:
    return Baseline(Bottleneck, num_joints, attention=False)


def attentive(num_joints: int) -> nn.Module:
    return Baseline(BasicBlock, num_joints, attention=True)


class HighResolution(nn.Module):
    """Two resolutions, fused both ways, upsampled to one and concatenated (as HRNet's V2 head)."""

    def __init__(self, num_joints: int) -> None:
        super().__init__()
        self.stem = _stem(8)
        self.down = nn.Sequential(nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.ReLU())
        self.fuse = HighResolutionModule([8, 16], outputs=2)
        self.larger = nn.Upsample(scale_factor=2.0, mode="nearest")
        self.final_layer = nn.Conv2d(24, num_joints, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        high, low = self.fuse([x, self.down(x)])
        heatmaps: Tensor = self.final_layer(torch.cat([high, self.larger(low)], 1))
        return heatmaps
