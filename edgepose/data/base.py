"""What every data source gives: images with one person of interest and its joints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgepose.skeleton import Skeleton


@dataclass(frozen=True)
class PoseSample:
    """One person in one image. Coordinates: image pixels, 0-based, pixel centres at integers.

    image:      (H, W, 3) uint8, RGB
    joints_xy:  (J, 2) float32
    annotated:  (J,) bool; occluded but labelled joints are annotated
    visible:    (J,) bool, False where a labelled joint is occluded; None where the data does not say
    box_xywh:   (4,) float32, the person's box
    center_xy:  (2,) float32, centre of the crop region
    size_px:    side of the square crop region, margin included (HRNet's scale x 200)
    head_px:    0.6 x head-box diagonal, pixels; nan where unknown
    area_px2:   person area for OKS, square pixels; nan where unknown
    tags:       subsets that are scored apart, e.g. {"occluded", "multi_person"}
    """

    image: NDArray[np.uint8]
    joints_xy: NDArray[np.float32]
    annotated: NDArray[np.bool_]
    box_xywh: NDArray[np.float32]
    center_xy: NDArray[np.float32]
    size_px: float
    head_px: float
    area_px2: float
    sample_id: str
    tags: frozenset[str] = frozenset()
    visible: NDArray[np.bool_] | None = None


class PoseDataset(Protocol):
    """An indexed set of samples of one skeleton and one domain.

    domain:      what the pictures are ("synthetic-people-v1", "photographs"); calibrating a model
                 on another domain than it was trained on warns
    fingerprint: hash of everything that decides the content; part of the resume key
    """

    skeleton: Skeleton
    domain: str
    fingerprint: str

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> PoseSample: ...


SPLITS: Sequence[str] = ("train", "val", "calibration")
