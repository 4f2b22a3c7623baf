"""Training batches that are a function of (seed, position) alone.

Whatever number of workers, and wherever a killed run continues, position p of a run is always the same
picture with the same augmentation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from edgepose.data.base import PoseDataset
from edgepose.data.codec import encode_batch, mirror_heatmaps
from edgepose.data.crop import Augment, Crop, augment, crop_view, draw_flip, vary
from edgepose.device.codec import HeatmapCodec
from edgepose.train.config import TargetSigma
from edgepose.train.target import confidence, target_sigma
from edgepose.train.teacher_cache import TeacherCache


@dataclass(frozen=True)
class Batch:
    """crops: (N, 3, H, W) uint8 RGB; targets: (N, J, h, w) float32; weights: (N, J) float32, 0 or 1;
    teacher: (N, J, h, w) float32, the teacher's kept heatmaps of these crops, or None."""

    crops: Tensor
    targets: Tensor
    weights: Tensor
    teacher: Tensor | None = None


@dataclass(frozen=True)
class Item:
    """A crop, and what the teacher said of it where that is kept: (J, h, w) float32."""

    crop: Crop
    teacher: NDArray[np.float32] | None = None


class _Crops(Dataset[Item]):
    """Item p: the p-th picture of a shuffled, endlessly repeated data set, augmented.

    With a teacher cache the crop lies where the epoch's view does; all else stays random.
    """

    def __init__(
        self,
        dataset: PoseDataset,
        *,
        input_hw: tuple[int, int],
        codec: HeatmapCodec,
        augment_config: Augment,
        seed: int,
        teacher: TeacherCache | None,
    ) -> None:
        self.dataset, self.input_hw, self.codec = dataset, input_hw, codec
        self.augment_config, self.seed, self.teacher = augment_config, seed, teacher
        self._epoch, self._order = -1, np.empty(0, dtype=np.int64)

    def __getitem__(self, position: int) -> Item:
        epoch, offset = divmod(position, len(self.dataset))
        if epoch != self._epoch:
            self._order = np.random.default_rng((self.seed, 1, epoch)).permutation(
                len(self.dataset)
            )
            self._epoch = epoch
        rng = np.random.default_rng((self.seed, 2, position))
        index, config = int(self._order[offset]), self.augment_config
        sample, skeleton = self.dataset[index], self.dataset.skeleton
        alignment = self.codec.alignment
        if self.teacher is None:
            return Item(augment(sample, self.input_hw, rng, config, skeleton, alignment=alignment))
        number = epoch % self.teacher.views
        view, flip = self.teacher.view(index, number), draw_flip(rng, config)
        crop = crop_view(
            sample, self.input_hw, view, flip=flip, skeleton=skeleton, alignment=alignment
        )
        heatmaps = self.teacher.heatmaps(index, number)
        if flip:
            heatmaps = mirror_heatmaps(heatmaps, flip_index=skeleton.flip_index, codec=self.codec)
        return Item(vary(crop, rng, config), heatmaps)


@dataclass(frozen=True)
class _Collate:
    codec: HeatmapCodec
    target: TargetSigma
    joints: tuple[str, ...]

    def __call__(self, items: Sequence[Item]) -> tuple[Tensor, ...]:
        crops = [item.crop for item in items]
        height, width = crops[0].image.shape[:2]
        heatmap_hw = height // self.codec.stride, width // self.codec.stride
        plain = self.codec.sigma_px(heatmap_hw)
        sigma: float | NDArray[np.float64] = plain
        if not self.target.is_off:
            sure = [confidence(i.crop.annotated, i.crop.visible, i.teacher) for i in items]
            sigma = target_sigma(
                plain, config=self.target, joints=self.joints, confidences=np.stack(sure)
            )
        targets, weights = encode_batch(
            np.stack([crop.joints_xy for crop in crops]),
            np.stack([crop.annotated for crop in crops]),
            heatmap_hw=heatmap_hw,
            stride=self.codec.pitch_xy(heatmap_hw),
            sigma=sigma,
            coding=self.codec.coding,
        )
        images = np.stack([crop.image for crop in crops]).transpose(0, 3, 1, 2)
        soft = [item.teacher for item in items if item.teacher is not None]
        return (
            torch.from_numpy(np.ascontiguousarray(images)),
            torch.from_numpy(targets),
            torch.from_numpy(weights),
            *([torch.from_numpy(np.stack(soft))] if soft else []),
        )


def _one_thread_each(_: int) -> None:
    cv2.setNumThreads(0)
    torch.set_num_threads(1)


def make_loader(
    dataset: PoseDataset,
    *,
    positions: range,
    input_hw: tuple[int, int],
    batch_size: int,
    codec: HeatmapCodec,
    augment_config: Augment,
    seed: int,
    workers: int = 0,
    teacher: TeacherCache | None = None,
    target: TargetSigma | None = None,
) -> DataLoader[tuple[Tensor, ...]]:
    """Batches (crops, targets, weights, and the teacher's heatmaps where they are kept), in order."""
    crops = _Crops(
        dataset,
        input_hw=input_hw,
        codec=codec,
        augment_config=augment_config,
        seed=seed,
        teacher=teacher,
    )
    return DataLoader(
        crops,  # type: ignore[arg-type]
        batch_size=batch_size,
        sampler=positions,
        collate_fn=_Collate(codec, target or TargetSigma(), tuple(dataset.skeleton.joints)),
        num_workers=workers,
        persistent_workers=False,
        worker_init_fn=_one_thread_each if workers else None,
        multiprocessing_context="spawn" if workers else None,
    )
