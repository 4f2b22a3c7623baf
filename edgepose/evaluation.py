"""Scoring: crops in, joints out, compared with the truth. The same path for every executor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgepose.data.base import PoseDataset, PoseSample
from edgepose.data.crop import crop_batch
from edgepose.device.decode import decode_heatmaps, heatmap_to_image_xy
from edgepose.device.geometry import normalise
from edgepose.metrics.bootstrap import mean_ci, paired_difference_ci
from edgepose.metrics.pckh import PCKh, pckh
from edgepose.models.pose_model import ModelSpec
from edgepose.skeleton import Skeleton

ALPHAS = (0.5, 0.1)
BATCH = 16
Report = Callable[[str, int, int], None]


class Runs(Protocol):
    """Whatever turns crops into heatmaps; artifacts' executors and `TorchExecutor` do."""

    @property
    def description(self) -> str: ...

    def run(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(N, H, W, 3) uint8 RGB -> (N, J, h, w) float32."""
        ...


class TorchExecutor:
    """A torch network (eager, prepared or converted) behind the same interface as an artifact."""

    def __init__(self, network: nn.Module, spec: ModelSpec, *, label: str = "eager") -> None:
        self.network, self.spec, self.label = network, spec, label
        self.device = next(iter(network.parameters()), torch.zeros(0)).device

    @property
    def description(self) -> str:
        return f"torch {torch.__version__.split('+')[0]} {self.label}, {self.device.type}"

    @torch.no_grad()
    def run(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        pre = self.spec.preprocessing
        images = torch.from_numpy(normalise(crops, pre.mean, pre.std)).to(self.device)
        heatmaps: NDArray[np.float32] = self.network(images).float().cpu().numpy()
        return heatmaps


@dataclass(frozen=True)
class EvaluationSet:
    """A data set cropped once for one input size; everything that scoring needs, in arrays.

    crops: (N, H, W, 3) uint8; matrices: (N, 2, 3) image px -> crop px; true_xy: (N, J, 2) image px;
    annotated: (N, J) bool; head_px: (N,); tags: one set of names per person
    """

    crops: NDArray[np.uint8]
    matrices: NDArray[np.float64]
    true_xy: NDArray[np.float32]
    annotated: NDArray[np.bool_]
    head_px: NDArray[np.float32]
    tags: tuple[frozenset[str], ...]
    skeleton: Skeleton
    samples: tuple[PoseSample, ...] = ()

    @classmethod
    def from_dataset(
        cls, dataset: PoseDataset, input_hw: tuple[int, int], *, limit: int | None = None
    ) -> EvaluationSet:
        count = len(dataset) if limit is None else min(limit, len(dataset))
        crops, matrices, samples = [], [], []
        for start in range(0, count, 64):
            chunk = [dataset[i] for i in range(start, min(start + 64, count))]
            crop, matrix = crop_batch(chunk, input_hw)
            crops.append(crop)
            matrices.append(matrix)
            samples += chunk
        return cls(
            crops=np.concatenate(crops),
            matrices=np.concatenate(matrices),
            true_xy=np.stack([s.joints_xy for s in samples]),
            annotated=np.stack([s.annotated for s in samples]),
            head_px=np.array([s.head_px for s in samples], dtype=np.float32),
            tags=tuple(s.tags for s in samples),
            skeleton=dataset.skeleton,
        )

    def __len__(self) -> int:
        return len(self.crops)


@dataclass(frozen=True)
class Joints:
    """What an executor found: crop_xy (N, J, 2) crop px, image_xy (N, J, 2) image px, score (N, J)."""

    crop_xy: NDArray[np.float32]
    image_xy: NDArray[np.float32]
    score: NDArray[np.float32]
    executor: str


def find_joints(
    executor: Runs,
    data: EvaluationSet,
    *,
    stride: int,
    report: Report | None = None,
    label: str = "score",
) -> Joints:
    """Run every crop and decode it, as a device would."""
    xy, scores = [], []
    for start in range(0, len(data), BATCH):
        heatmaps = executor.run(data.crops[start : start + BATCH])
        joints, score = decode_heatmaps(heatmaps)
        xy.append(joints)
        scores.append(score)
        if report is not None:
            report(label, min(start + BATCH, len(data)), len(data))
    heatmap_xy = np.concatenate(xy)
    return Joints(
        crop_xy=(heatmap_xy * stride).astype(np.float32),
        image_xy=heatmap_to_image_xy(heatmap_xy, data.matrices, stride),
        score=np.concatenate(scores),
        executor=executor.description,
    )


def score(joints: Joints, data: EvaluationSet, *, alpha: float) -> PCKh:
    """PCKh of found joints in HRNet's convention; joints that the skeleton does not count left out."""
    counted = np.ones(data.skeleton.num_joints, dtype=bool)
    counted[list(data.skeleton.uncounted)] = False
    return pckh(
        joints.image_xy,
        data.true_xy,
        head_px=data.head_px,
        annotated=data.annotated,
        alpha=alpha,
        counted=counted,
    )


def metrics(joints: Joints, data: EvaluationSet) -> dict[str, dict[str, Any]]:
    """{"pckh@0.5": {value, ci95, per_joint}, "pckh@0.1": ...}; ci95 by bootstrap over persons."""
    result: dict[str, dict[str, Any]] = {}
    for alpha in ALPHAS:
        found = score(joints, data, alpha=alpha)
        low, high = mean_ci(found.correct, found.valid)
        per_joint = {
            name: None if np.isnan(value) else round(float(value), 3)
            for name, value in zip(data.skeleton.joints, found.per_joint, strict=True)
        }
        result[f"pckh@{alpha}"] = {
            "value": round(float(found.mean), 3),
            "ci95": [round(float(low), 3), round(float(high), 3)],
            "per_joint": per_joint,
        }
    return result


def subset_metrics(joints: Joints, data: EvaluationSet) -> dict[str, dict[str, float]]:
    """PCKh of every tagged subset and of the untagged rest: {"occluded": {"persons", "pckh@0.5", ...}}."""
    names = sorted(frozenset().union(*data.tags))
    masks = {name: np.array([name in tags for tags in data.tags]) for name in names}
    masks["plain"] = np.array([not tags for tags in data.tags])
    result = {}
    for name, mask in masks.items():
        if not mask.any():
            continue
        entry = {"persons": float(mask.sum())}
        for alpha in ALPHAS:
            found = score(joints, data, alpha=alpha)
            valid = found.valid[mask]
            entry[f"pckh@{alpha}"] = round(
                100 * float((found.correct[mask] & valid).sum() / max(1, valid.sum())), 3
            )
        result[name] = entry
    return result


def difference(
    after: Joints, before: Joints, data: EvaluationSet, *, alpha: float = 0.5
) -> tuple[float, float, float]:
    """PCKh(after) - PCKh(before) with its paired 95 % interval over persons: (diff, low, high)."""
    a, b = score(after, data, alpha=alpha), score(before, data, alpha=alpha)
    return paired_difference_ci(a.correct, a.valid, b.correct)


@dataclass(frozen=True)
class JointShift:
    """How far an artifact's joints lie from the model's, input px; `off_share`: part of the confident
    joints (heatmap peak of at least 0.2) that are off by more than one pixel."""

    p50: float
    p99: float
    off_share: float
    persons: int


CONFIDENT = 0.2


def joint_shift(artifact: Joints, model: Joints) -> JointShift:
    """Compare the joints of two executors on the same crops."""
    distance = np.linalg.norm(artifact.crop_xy - model.crop_xy, axis=2)
    confident = model.score >= CONFIDENT
    off = float((distance[confident] > 1).mean()) if confident.any() else 0.0
    return JointShift(
        p50=round(float(np.percentile(distance, 50)), 4),
        p99=round(float(np.percentile(distance, 99)), 4),
        off_share=round(off, 5),
        persons=len(distance),
    )
