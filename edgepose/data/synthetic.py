"""Synthetic people v1, the embedded data set: drawn on demand, the same bytes every time.

A sample's seed is SHA-256 over (version, split, index): splits cannot share seeds, and an image
does not depend on which images were drawn before it. The version is frozen: `FROZEN_SHA256` was
recorded before any reported training, and any change of the pictures is a new version.
"""

from __future__ import annotations

import hashlib

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from edgepose.data.base import SPLITS, PoseDataset, PoseSample
from edgepose.data.people.draws import seed_for
from edgepose.data.people.scene import draw_scene
from edgepose.errors import EdgeposeError
from edgepose.skeleton import MPII16, Skeleton

VERSION = "synthetic-people-v1"
RENDERED = True  # samples cost time to draw: the pipeline keeps them on disk
FROZEN_PX = 128
FROZEN_COUNT = 8
# Recorded on 21 November 2026, before any reported training.
FROZEN_SHA256 = "5c79b46289d73ee3d6b2374f9798aee1786d3517cd17534357b9c399c002bdd7"
FROZEN_LABELS_SHA256 = "cf0d4e5bfe52ca5d03d9c7f40a06b0677a7ce9e69f42363c22726e7fe0e146d2"


class Config(BaseModel):
    """Rendered people, frozen as synthetic-people-v1.

    train, val, calibration: how many samples each split has
    frame_px: the side of their square frames
    val_from_train: score on the first training samples instead, to see whether a network that is
        made to memorise them can (recipes/memorise.yaml); no figure of accuracy comes from that
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    train: int = Field(12000, ge=0)
    val: int = Field(500, ge=0)
    calibration: int = Field(128, ge=0)
    frame_px: int = Field(160, ge=32, le=1024)
    val_from_train: bool = False


def sample_seed(split: str, index: int) -> int:
    """The 128-bit seed of one sample."""
    return seed_for(VERSION, split, index)


class SyntheticPeople:
    """A split of synthetic people; samples are drawn when asked for (PoseDataset)."""

    skeleton: Skeleton = MPII16
    domain: str = VERSION

    def __init__(self, split: str, count: int, frame_px: int) -> None:
        self.split, self.count, self.frame_px = split, count, frame_px
        key = f"{VERSION}/{FROZEN_SHA256}/{split}/{count}/{frame_px}"
        self.fingerprint = hashlib.sha256(key.encode()).hexdigest()

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> PoseSample:
        if not 0 <= index < self.count:
            raise IndexError(f"sample {index} of {self.count} in {self.split}")
        return draw_scene(
            sample_seed(self.split, index), self.frame_px, f"{VERSION}/{self.split}/{index:06d}"
        )


def open_split(config: Config, split: str) -> PoseDataset:
    """The samples of `split`: train, val or calibration; EdgeposeError for any other name."""
    if split not in SPLITS:
        raise EdgeposeError(f"unknown split {split!r}", fix=f"use one of {', '.join(SPLITS)}")
    count = int(getattr(config, split))
    if split == "val" and config.val_from_train:
        return SyntheticPeople("train", min(count, config.train), config.frame_px)
    return SyntheticPeople(split, count, config.frame_px)


def label_bytes(sample: PoseSample) -> bytes:
    """A sample's labels as text at 0.01 px: equal wherever the drawing is equal to the eye."""
    numbers = [*sample.joints_xy.ravel(), *sample.box_xywh, *sample.center_xy,
               sample.size_px, sample.head_px]  # fmt: skip
    text = " ".join(f"{float(n):.2f}" for n in numbers)
    seen = "".join("01"[int(a)] for a in sample.annotated)
    return f"{text} {seen} {','.join(sorted(sample.tags))}\n".encode()


def frozen_samples() -> list[PoseSample]:
    """The first samples of every split at FROZEN_PX, which the hashes are taken over."""
    config = Config(train=FROZEN_COUNT, val=FROZEN_COUNT, calibration=FROZEN_COUNT,
                    frame_px=FROZEN_PX)  # fmt: skip
    return [sample for split in SPLITS for sample in _all(open_split(config, split))]


def _all(dataset: PoseDataset) -> list[PoseSample]:
    return [dataset[i] for i in range(len(dataset))]


def labels_hash(samples: list[PoseSample]) -> str:
    """SHA-256 over the labels alone, at 0.01 px."""
    return hashlib.sha256(b"".join(label_bytes(s) for s in samples)).hexdigest()


def thumbnails(samples: list[PoseSample]) -> np.ndarray:
    """(n, 16, 16, 3) uint8: what must stay equal within a few grey levels on any processor."""
    return np.stack([
        cv2.resize(s.image, (16, 16), interpolation=cv2.INTER_AREA) for s in samples
    ]).astype(np.uint8)  # fmt: skip


def frozen_hash() -> str:
    """SHA-256 over labels and every byte of the frozen samples' images; compare FROZEN_SHA256."""
    samples = frozen_samples()
    digest = hashlib.sha256(labels_hash(samples).encode())
    for sample in samples:
        digest.update(hashlib.sha256(sample.image.tobytes()).digest())
    return digest.hexdigest()
