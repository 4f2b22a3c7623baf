"""Networks whose latency on a device was published, to check the estimate against."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgepose.cost.layers import LayerCost, kernel_costs
from edgepose.models.blocks import Add
from edgepose.models.resnet import PoseResNet
from edgepose.target import Precision


class _Backbone(nn.Module):
    """The ResNet of a SimpleBaseline, (N, 3, H, W) -> (N, 512 or 2048, H/32, W/32)."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        whole = PoseResNet(depth, 1)
        self.layers = nn.Sequential(
            whole.conv1, whole.maxpool, whole.layer1, whole.layer2, whole.layer3, whole.layer4
        )

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.layers(x)
        return features


class _Classifier(nn.Module):
    """ResNet-50 of MLPerf: backbone, mean, 1000 classes (the last layer as a 1x1 convolution)."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone, self.pool = _Backbone(50), nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Conv2d(2048, 1000, 1)

    def forward(self, x: Tensor) -> Tensor:
        classes: Tensor = self.fc(self.pool(self.backbone(x)))
        return classes


class _Concat(nn.Module):
    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return torch.cat([a, b], dim=1)


class _Dense(nn.Module):
    """Huang et al. 2017, one layer: norm, 1x1 to 128, 3x3 to 32, appended to its input."""

    def __init__(self, cin: int) -> None:
        super().__init__()
        self.norm, self.reduce = (
            nn.MaxPool2d(1),
            nn.Conv2d(cin, 128, 1),
        )  # the norm is a kernel here
        self.grow, self.concat = nn.Conv2d(128, 32, 3, padding=1), _Concat()

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.concat(x, self.grow(self.reduce(self.norm(x))))
        return output


def _densenet121() -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 7, 2, 3), nn.MaxPool2d(3, 2, 1)]
    width = 64
    for number, count in enumerate((6, 12, 24, 16)):
        for _ in range(count):
            layers.append(_Dense(width))
            width += 32
        if number < 3:
            layers += [nn.MaxPool2d(1), nn.Conv2d(width, width // 2, 1), nn.AvgPool2d(2)]
            width //= 2
    return nn.Sequential(*layers)


class _Branch(nn.Module):
    """One of trt_pose's two heads: three deconvolutions to 256, an attention map, a 1x1."""

    def __init__(self, cin: int, outputs: int) -> None:
        super().__init__()
        self.up = nn.Sequential(*(nn.ConvTranspose2d(c, 256, 4, 2, 1) for c in (cin, 256, 256)))
        self.attention, self.times = nn.Conv2d(256, 256, 3, padding=1), Add()
        self.head = nn.Conv2d(256, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.up(x)
        output: Tensor = self.head(self.times(x, self.attention(x)))
        return output


class _TrtPose(nn.Module):
    """trt_pose's "baseline_att": a backbone, 18 confidence maps, 42 part affinities."""

    def __init__(self, backbone: nn.Module, channels: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.confidence, self.affinity = _Branch(channels, 18), _Branch(channels, 42)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.backbone(x)
        return self.confidence(x), self.affinity(x)


@dataclass(frozen=True)
class Point:
    """One published latency, one image at a time, of the GPU alone."""

    device: str
    name: str
    precision: Precision
    latency_ms: float
    source: str
    build: Callable[[], nn.Module]
    input_hw: tuple[int, int]

    def costs(self) -> list[LayerCost]:
        with torch.device("meta"):
            return kernel_costs(self.build(), input_hw=self.input_hw)


_TRT_POSE = "NVIDIA-AI-IOT/trt_pose, README, Jetson Xavier"
POINTS = (
    Point(
        "jetson-xavier", "ResNet-50, 224x224, INT8", "int8", 2.115,
        "MLPerf Inference v0.7, AGX_Xavier_TRT, single stream, mean", _Classifier, (224, 224),
    ),
    Point(
        "jetson-xavier", "trt_pose ResNet-18, 224x224, FP16", "fp16", 1000 / 251, _TRT_POSE,
        lambda: _TrtPose(_Backbone(18), 512), (224, 224),
    ),
    Point(
        "jetson-xavier", "trt_pose DenseNet-121, 256x256, FP16", "fp16", 1000 / 101, _TRT_POSE,
        lambda: _TrtPose(_densenet121(), 1024), (256, 256),
    ),
)  # fmt: skip
