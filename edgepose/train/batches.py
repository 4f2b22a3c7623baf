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
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from edgepose.data.base import PoseDataset
from edgepose.data.codec import encode_batch, sigma_for
from edgepose.data.crop import Augment, Crop, augment
from edgepose.models.pose_model import HeatmapCodec


@dataclass(frozen=True)
class Batch:
    """crops: (N, 3, H, W) uint8 RGB; targets: (N, J, h, w) float32; weights: (N, J) float32, 0 or 1."""

    crops: Tensor
    targets: Tensor
    weights: Tensor


class _Crops(Dataset[Crop]):
    """Item p: the p-th picture of a shuffled, endlessly repeated data set, augmented."""

    def __init__(
        self,
        dataset: PoseDataset,
        *,
        input_hw: tuple[int, int],
        augment_config: Augment,
        seed: int,
    ) -> None:
        self.dataset, self.input_hw = dataset, input_hw
        self.augment_config, self.seed = augment_config, seed
        self._epoch, self._order = -1, np.empty(0, dtype=np.int64)

    def __getitem__(self, position: int) -> Crop:
        epoch, offset = divmod(position, len(self.dataset))
        if epoch != self._epoch:
            self._order = np.random.default_rng((self.seed, 1, epoch)).permutation(
                len(self.dataset)
            )
            self._epoch = epoch
        rng = np.random.default_rng((self.seed, 2, position))
        sample = self.dataset[int(self._order[offset])]
        return augment(sample, self.input_hw, rng, self.augment_config, self.dataset.skeleton)


@dataclass(frozen=True)
class _Collate:
    codec: HeatmapCodec

    def __call__(self, crops: Sequence[Crop]) -> tuple[Tensor, Tensor, Tensor]:
        height, width = crops[0].image.shape[:2]
        heatmap_hw = height // self.codec.stride, width // self.codec.stride
        targets, weights = encode_batch(
            np.stack([crop.joints_xy for crop in crops]),
            np.stack([crop.annotated for crop in crops]),
            heatmap_hw=heatmap_hw,
            stride=self.codec.stride,
            sigma=sigma_for(heatmap_hw, self.codec.sigma),
        )
        images = np.stack([crop.image for crop in crops]).transpose(0, 3, 1, 2)
        return (
            torch.from_numpy(np.ascontiguousarray(images)),
            torch.from_numpy(targets),
            torch.from_numpy(weights),
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
) -> DataLoader[tuple[Tensor, Tensor, Tensor]]:
    """Batches (crops, targets, weights) for the given positions, in order."""
    return DataLoader(
        _Crops(dataset, input_hw=input_hw, augment_config=augment_config, seed=seed),  # type: ignore[arg-type]
        batch_size=batch_size,
        sampler=positions,
        collate_fn=_Collate(codec),
        num_workers=workers,
        persistent_workers=False,
        worker_init_fn=_one_thread_each if workers else None,
        multiprocessing_context="spawn" if workers else None,
    )
