"""What a training minimises: ground truth, the teacher's heatmaps, inner layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from edgepose.train.batches import Batch
from edgepose.train.config import Supervision
from edgepose.train.losses import feature_mse, heatmap_kl, heatmap_mse
from edgepose.train.taps import Taps, channels

Distance = Literal["mse", "kl"]


class GroundTruth(nn.Module):
    """(images, heatmaps, batch) -> the loss against the labels.

    Source: Zhang, Zhu, Ye 2019, "Fast Human Pose Estimation", eq. 5, for its share beside a teacher.
    """

    def __init__(self, *, ohkm: int = 0) -> None:
        super().__init__()
        self.ohkm = ohkm

    def forward(self, images: Tensor, heatmaps: Tensor, batch: Batch) -> Tensor:
        return heatmap_mse(heatmaps, batch.targets, batch.weights, ohkm=self.ohkm)


class TeacherHeatmaps(nn.Module):
    """(images, heatmaps, batch) -> the distance to the teacher's heatmaps.

    They are the batch's own where they come with it; else the teacher is run on the crops. The
    teacher speaks for every joint of every picture, annotated or not.
    """

    def __init__(self, teacher: nn.Module, *, distance: Distance, temperature: float) -> None:
        super().__init__()
        self._teacher = _Frozen(teacher)
        self.distance, self.temperature = distance, temperature

    def forward(self, images: Tensor, heatmaps: Tensor, batch: Batch) -> Tensor:
        soft = self._teacher(images) if batch.teacher is None else batch.teacher
        if self.distance == "kl":
            return heatmap_kl(heatmaps, soft, temperature=self.temperature)
        return 0.5 * (heatmaps.float() - soft).square().mean()


class TeacherFeatures(nn.Module):
    """(images, heatmaps, batch) -> the distance of adapted inner features to the teacher's.

    links: (student layer, teacher layer); a learned 1x1 convolution takes one to the other
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        links: Sequence[tuple[str, str]],
        *,
        input_hw: tuple[int, int] = (64, 64),
    ) -> None:
        super().__init__()
        ours, theirs = [a for a, _ in links], [b for _, b in links]
        widths = channels(student, ours, what="student", input_hw=input_hw)
        wanted = channels(teacher, theirs, what="teacher")
        self.adapters = nn.ModuleList(nn.Conv2d(widths[a], wanted[b], 1) for a, b in links)
        self._taps = Taps(student, ours, what="student")
        self._teacher_taps = Taps(teacher, theirs, what="teacher")
        self._teacher, self._links = _Frozen(teacher), tuple(links)

    def forward(self, images: Tensor, heatmaps: Tensor, batch: Batch) -> Tensor:
        self._teacher(images)
        losses = []
        for adapter, (ours, theirs) in zip(self.adapters, self._links, strict=True):
            target = self._teacher_taps.outputs[theirs]
            adapted = adapter(self._taps.outputs[ours].float())
            if adapted.shape[2:] != target.shape[2:]:
                adapted = interpolate(adapted, target.shape[2:], mode="bilinear")
            losses.append(feature_mse(adapted, target))
        return torch.stack(losses).mean()


class InnerHeads(nn.Module):
    """(images, heatmaps, batch) -> the loss of heads on inner layers, which leave with the training."""

    def __init__(
        self,
        network: nn.Module,
        layers: Sequence[str],
        *,
        num_joints: int,
        input_hw: tuple[int, int] = (64, 64),
    ) -> None:
        super().__init__()
        widths = channels(network, layers, what="network", input_hw=input_hw)
        self.heads = nn.ModuleList(nn.Conv2d(widths[name], num_joints, 1) for name in layers)
        self._taps, self._layers = Taps(network, layers, what="network"), tuple(layers)

    def forward(self, images: Tensor, heatmaps: Tensor, batch: Batch) -> Tensor:
        losses = []
        for head, name in zip(self.heads, self._layers, strict=True):
            found = head(self._taps.outputs[name].float())
            found = interpolate(found, batch.targets.shape[2:], mode="bilinear")
            losses.append(heatmap_mse(found, batch.targets, batch.weights))
        return torch.stack(losses).mean()


class Objective(nn.Module):
    """(images (N, 3, H, W), heatmaps (N, J, h, w), batch) -> scalar: the weighted sum of its terms."""

    def __init__(self, terms: Sequence[tuple[float, nn.Module]]) -> None:
        super().__init__()
        self.weights = tuple(weight for weight, _ in terms)
        self.terms = nn.ModuleList(term for _, term in terms)

    def forward(self, images: Tensor, heatmaps: Tensor, batch: Batch) -> Tensor:
        values = [
            weight * term(images, heatmaps, batch)
            for weight, term in zip(self.weights, self.terms, strict=True)
        ]
        return torch.stack(values).sum()


def supervised(
    network: nn.Module,
    supervision: Supervision | None,
    *,
    num_joints: int,
    input_hw: tuple[int, int] = (64, 64),
) -> list[tuple[float, nn.Module]]:
    """The term of the heads on inner layers, where a recipe asks for them."""
    if supervision is None:
        return []
    heads = InnerHeads(network, supervision.layers, num_joints=num_joints, input_hw=input_hw)
    return [(supervision.weight, heads)]


class _Frozen:
    """A network that is run and never trained: no part of the module that holds it."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        self.network.to(images.device)
        output: Tensor = self.network(images).float()
        return output
