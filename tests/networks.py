"""Small networks that several rooms' tests share, and weights for them that nobody trained."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgepose.models.blocks import BasicBlock, norm, stack_blocks
from edgepose.models.pose_model import ModelSpec, PoseModel

SHORT = "tests.networks:Short"


class Short(nn.Module):
    """ResNet-18 cut short, its names kept: a block with an identity, one with a projection, and two
    deconvolutions. Tracing and converting it takes a third of the time, (N, 3, H, W) -> H/4, W/4."""

    def __init__(self, num_joints: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 7, stride=2, padding=3, bias=False)
        self.bn1 = norm(16)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = stack_blocks(BasicBlock, 16, 16, 1)
        self.layer2 = stack_blocks(BasicBlock, 16, 32, 1, stride=4)
        layers: list[nn.Module] = []
        for _ in range(2):
            up = nn.ConvTranspose2d(32, 32, 4, stride=2, padding=1, bias=False)
            layers += [up, norm(32), nn.ReLU()]
        self.deconv_layers = nn.Sequential(*layers)
        self.final_layer = nn.Conv2d(32, num_joints, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        heatmaps: Tensor = self.final_layer(self.deconv_layers(self.layer2(self.layer1(x))))
        return heatmaps


def lively(network: nn.Module, *, seed: int) -> nn.Module:
    """`network` with random weights that give heatmaps of about unit size, statistics as of a training."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for key, value in network.state_dict().items():
            if value.ndim == 4:
                fan_in = value[0].numel() / (4 if "deconv" in key else 1)
                value.copy_(torch.randn(value.shape, generator=generator) * (2 / fan_in) ** 0.5)
            elif "running_var" in key or (value.ndim == 1 and key.endswith("weight")):
                value.copy_(0.75 + 0.5 * torch.rand(value.shape, generator=generator))
            elif value.ndim == 1:
                value.copy_(torch.randn(value.shape, generator=generator) * 0.1)
    return network


def short(
    input_hw: tuple[int, int] = (64, 64), *, joints: int = 16, seed: int = 3, domain: str = "noise"
) -> PoseModel:
    """`Short` with lively weights; domain: of the data that trained it, if anything had."""
    spec = ModelSpec(SHORT, joints, input_hw, "mpii16", domain=domain)
    return PoseModel(spec, {}).with_module(lively(Short(joints), seed=seed))
