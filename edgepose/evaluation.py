"""Scoring: crops in, joints out, compared with the truth. The same path for every executor."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgepose.data.base import PoseDataset, PoseSample
from edgepose.data.crop import crop_batch
from edgepose.device.codec import HeatmapCodec
from edgepose.device.coding import Alignment
from edgepose.device.decode import heatmap_to_image_xy
from edgepose.device.geometry import normalise
from edgepose.errors import EdgeposeError
from edgepose.metrics.metric import Metric, Score
from edgepose.metrics.truth import Truth
from edgepose.models.pose_model import ModelSpec
from edgepose.progress import Progress
from edgepose.skeleton import Skeleton

BATCH = 16
HEATMAPS = "heatmaps"  # what an executor gives that does not say otherwise
FLIP_TEST = ", flip test"  # what ran the crops and their mirror images says so
_NO_IMAGE = np.zeros((0, 0, 3), dtype=np.uint8)


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
        if not np.isfinite(heatmaps).all():
            raise EdgeposeError(
                f"the activations of {self._first_infinite(images)} are not finite",
                fix="check the checkpoint's weights and the input's normalisation; lower the learning "
                "rate if they come from a training",
            )
        return heatmaps

    def _first_infinite(self, images: Tensor) -> str:
        """The first layer that gives NaN or infinity."""
        found: list[str] = []

        def watch(name: str) -> Callable[..., None]:
            def look(module: nn.Module, inputs: Any, output: Any) -> None:
                if isinstance(output, Tensor) and not torch.isfinite(output).all():
                    found.append(name)

            return look

        leaves = [(n, m) for n, m in self.network.named_modules() if n and not list(m.children())]
        hooks = [layer.register_forward_hook(watch(name)) for name, layer in leaves]
        self.network(images)
        for hook in hooks:
            hook.remove()
        return found[0] if found else "the last layer"


def truth_of(samples: Sequence[PoseSample], skeleton: Skeleton) -> Truth:
    """The labels of samples. A sample called "image/annotation" is of that image."""
    return Truth(
        xy=np.stack([s.joints_xy for s in samples]),
        annotated=np.stack([s.annotated for s in samples]),
        skeleton=skeleton,
        head_px=np.array([s.head_px for s in samples], dtype=np.float32),
        area_px2=np.array([s.area_px2 for s in samples], dtype=np.float64),
        box_xywh=np.stack([s.box_xywh for s in samples]).astype(np.float64),
        images=tuple(s.sample_id.rpartition("/")[0] or s.sample_id for s in samples),
    )


def labels_of(dataset: PoseDataset, *, limit: int = 16) -> Truth:
    """The labels of a few people spread over a data set: enough to see what they allow."""
    indices = np.unique(np.linspace(0, len(dataset) - 1, min(limit, len(dataset))).astype(int))
    return truth_of([dataset[int(i)] for i in indices], dataset.skeleton)


@dataclass(frozen=True)
class EvaluationSet:
    """A data set cropped once for one input size; everything that scoring needs, in arrays.

    crops: (N, H, W, 3) uint8; matrices: (N, 2, 3) image px -> crop px; truth: the labels;
    tags: one set of names per person; alignment: how the crops lie on their regions
    """

    crops: NDArray[np.uint8]
    matrices: NDArray[np.float64]
    truth: Truth
    tags: tuple[frozenset[str], ...]
    alignment: Alignment = "edges"

    @classmethod
    def from_dataset(
        cls, dataset: PoseDataset, input_hw: tuple[int, int], *, alignment: Alignment = "edges"
    ) -> EvaluationSet:
        crops, matrices, people = [], [], []
        for start in range(0, len(dataset), 64):
            chunk = [dataset[i] for i in range(start, min(start + 64, len(dataset)))]
            crop, matrix = crop_batch(chunk, input_hw, alignment=alignment)
            crops.append(crop)
            matrices.append(matrix)
            # Photographs are large: nothing of them stays but the crop.
            people += [replace(sample, image=_NO_IMAGE) for sample in chunk]
        return cls(
            crops=np.concatenate(crops),
            matrices=np.concatenate(matrices),
            truth=truth_of(people, dataset.skeleton),
            tags=tuple(person.tags for person in people),
            alignment=alignment,
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


def heatmaps_of(
    executor: Runs,
    crops: NDArray[np.uint8],
    *,
    codec: HeatmapCodec,
    flip_index: Sequence[int] | None = None,
) -> NDArray[np.float32]:
    """(N, H, W, 3) uint8 crops -> (N, J, h, w) float32; with `flip_index` the mean with what the
    mirrored crops give (twice the work)."""
    heatmaps = executor.run(crops)
    if flip_index is None:
        return heatmaps
    mirrored = executor.run(np.ascontiguousarray(crops[:, :, ::-1]))
    return codec.flip_average(heatmaps, mirrored, flip_index)


def find_joints(
    executor: Runs,
    data: EvaluationSet,
    *,
    codec: HeatmapCodec,
    flip_index: Sequence[int] | None = None,
    report: Progress | None = None,
    label: str = "score",
    batch: int = BATCH,
) -> Joints:
    """Run every crop and decode it; an executor that gives joints has decoded them itself.

    flip_index: (J,) each joint's mirror partner: a flip test, see `heatmaps_of`; None: as a device
    batch:      crops at once
    """
    if getattr(executor, "gives", HEATMAPS) != HEATMAPS:
        return _given_joints(
            executor, data, flip=flip_index is not None, report=report, label=label, batch=batch
        )
    if data.alignment != codec.alignment:
        raise ValueError(f"crops lie by {data.alignment}, the {codec.coding} coding needs others")
    xy, scores, heatmap_hw = [], [], (0, 0)
    for start in range(0, len(data), batch):
        crops = data.crops[start : start + batch]
        heatmaps = heatmaps_of(executor, crops, codec=codec, flip_index=flip_index)
        heatmap_hw = heatmaps.shape[2], heatmaps.shape[3]
        joints, score = codec.decode(heatmaps)
        xy.append(joints)
        scores.append(score)
        if report is not None:
            report(label, min(start + batch, len(data)), len(data))
    heatmap_xy = np.concatenate(xy)
    return Joints(
        crop_xy=codec.crop_xy(heatmap_xy, heatmap_hw),
        image_xy=codec.image_xy(heatmap_xy, data.matrices, heatmap_hw),
        score=np.concatenate(scores),
        executor=executor.description + ("" if flip_index is None else FLIP_TEST),
    )


def _given_joints(
    executor: Runs,
    data: EvaluationSet,
    *,
    flip: bool,
    report: Progress | None,
    label: str,
    batch: int,
) -> Joints:
    """What a whole-pose graph gives: (N, J, 3), x and y in crop pixels, score."""
    if flip:
        raise EdgeposeError(
            "a whole-pose graph gives no heatmaps to average with the mirrored crop's",
            fix="leave the flip test out, or score the form that gives heatmaps",
        )
    parts = []
    for start in range(0, len(data), batch):
        parts.append(executor.run(data.crops[start : start + batch]))
        if report is not None:
            report(label, min(start + batch, len(data)), len(data))
    found = np.concatenate(parts)
    crop_xy = np.ascontiguousarray(found[..., :2])
    return Joints(
        crop_xy=crop_xy,
        image_xy=heatmap_to_image_xy(crop_xy, data.matrices, 1.0),
        score=np.ascontiguousarray(found[..., 2]),
        executor=executor.description,
    )


def score(joints: Joints, data: EvaluationSet, metric: Metric) -> dict[str, Score]:
    """The metric's two scores of found joints, by name."""
    return metric.score(joints.image_xy, joints.score, data.truth)


def metric_values(scores: Mapping[str, Score], skeleton: Skeleton) -> dict[str, dict[str, Any]]:
    """{"pckh@0.5": {value, ci95, per_joint, persons}, ...}; ci95 by bootstrap."""
    result: dict[str, dict[str, Any]] = {}
    for name, found in scores.items():
        low, high = found.ci95
        joints = (
            {}
            if found.per_joint is None
            else dict(zip(skeleton.joints, found.per_joint.tolist(), strict=True))
        )
        result[name] = {
            "value": round(found.value, 3),
            "ci95": [round(low, 3), round(high, 3)],
            "per_joint": {
                joint: None if np.isnan(value) else round(value, 3)
                for joint, value in joints.items()
            },
            "persons": found.persons,
        }
    return result


def subset_values(
    joints: Joints, data: EvaluationSet, metric: Metric
) -> dict[str, dict[str, float]]:
    """Scores of every tagged subset and of the untagged rest: {"occluded": {"persons", ...}}.

    A subset in which nobody can be scored is left out.
    """
    names = sorted(frozenset().union(*data.tags))
    masks = {name: np.array([name in tags for tags in data.tags]) for name in names}
    masks["plain"] = np.array([not tags for tags in data.tags])
    result = {}
    for name, mask in masks.items():
        part = data.truth.people(mask)
        if not mask.any() or metric.lack(part) is not None:
            continue
        found = metric.compute(joints.image_xy[mask], joints.score[mask], part)
        values = {key: round(value.value, 3) for key, value in found.items()}
        result[name] = {"persons": float(mask.sum()), **values}
    return result


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
