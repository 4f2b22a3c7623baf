"""Residual blocks with torchvision's key names.

Every ReLU and every sum is a submodule of its own, so that a quantizer can name the tensor that it
produces (`layer1.0.add`) and nothing depends on the order in which a graph was traced.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

BN_MOMENTUM = 0.1


class Add(nn.Module):
    """Sum of two (N, C, H, W) tensors."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return a + b


def conv(cin: int, cout: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """A bias-free convolution with "same" padding for odd kernels."""
    return nn.Conv2d(cin, cout, kernel, stride=stride, padding=kernel // 2, bias=False)


def norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, momentum=BN_MOMENTUM)


def shortcut(cin: int, cout: int, stride: int) -> nn.Sequential | None:
    """1x1 projection where the shapes of the two branches differ, else None (identity)."""
    if stride == 1 and cin == cout:
        return None
    return nn.Sequential(conv(cin, cout, 1, stride), norm(cout))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions (He et al. 2016)."""

    expansion = 1

    def __init__(self, cin: int, planes: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = conv(cin, planes, 3, stride)
        self.bn1 = norm(planes)
        self.relu1 = nn.ReLU()
        self.conv2 = conv(planes, planes, 3)
        self.bn2 = norm(planes)
        self.downsample = shortcut(cin, planes, stride)
        self.add = Add()
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu1(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        y = self.add(y, x if self.downsample is None else self.downsample(x))
        output: Tensor = self.relu2(y)
        return output


class Bottleneck(nn.Module):
    """1x1 - 3x3 - 1x1 with the stride on the 3x3 (torchvision, HRNet, SimpleBaseline)."""

    expansion = 4

    def __init__(self, cin: int, planes: int, stride: int = 1) -> None:
        super().__init__()
        cout = planes * self.expansion
        self.conv1 = conv(cin, planes, 1)
        self.bn1 = norm(planes)
        self.relu1 = nn.ReLU()
        self.conv2 = conv(planes, planes, 3, stride)
        self.bn2 = norm(planes)
        self.relu2 = nn.ReLU()
        self.conv3 = conv(planes, cout, 1)
        self.bn3 = norm(cout)
        self.downsample = shortcut(cin, cout, stride)
        self.add = Add()
        self.relu3 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu1(self.bn1(self.conv1(x)))
        y = self.relu2(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        y = self.add(y, x if self.downsample is None else self.downsample(x))
        output: Tensor = self.relu3(y)
        return output


class SpatialAttention(nn.Module):
    """(N, C, H, W) times a map in (0, 1) that is the same for all channels.

    Mean and maximum over the channels -> 7x7 convolution -> sigmoid. Source: Woo et al. 2018, "CBAM",
    eq. 3. It has no width of its own: C does not appear in its weights.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 7, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        seen = torch.cat([x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)], dim=1)
        return x * torch.sigmoid(self.conv(seen))


def stack_blocks(
    block: type[BasicBlock] | type[Bottleneck], cin: int, planes: int, count: int, stride: int = 1
) -> nn.Sequential:
    """`count` blocks in a row; the first one changes stride and channels."""
    first = block(cin, planes, stride)
    rest = [block(planes * block.expansion, planes) for _ in range(count - 1)]
    return nn.Sequential(first, *rest)
