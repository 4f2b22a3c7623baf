"""From a sample to what the network sees: the crop, and for training its random variations."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from edgepose.data.base import PoseDataset, PoseSample
from edgepose.device.coding import Alignment
from edgepose.device.geometry import apply_affine, crop_matrix, region_wh, resampler
from edgepose.skeleton import Skeleton

_resample, _ = resampler()
HALF_BODY_JOINTS = 8
LOWER_BODY = ("hip", "knee", "ankle", "pelvis", "heel", "toe")
_LUMA = np.array([0.299, 0.587, 0.114])  # Rec. 601 weights of R, G, B


@dataclass(frozen=True)
class Crop:
    """image: (h, w, 3) uint8 RGB; joints_xy: (J, 2) float32 crop pixels; annotated: (J,) bool;
    matrix: (2, 3) float64, image pixels to crop pixels (a mirror included); visible: (J,) bool, None
    where the data does not say."""

    image: NDArray[np.uint8]
    joints_xy: NDArray[np.float32]
    annotated: NDArray[np.bool_]
    matrix: NDArray[np.float64]
    visible: NDArray[np.bool_] | None = None


class Augment(BaseModel):
    """Random variations of a training crop.

    flip:         mirror every second crop
    rotation_deg: largest turn; four crops in ten are not turned
    scale:        range of the factor on the region's size
    shift:        largest move of the region's centre, as a part of its size
    photometric:  strength of colour, noise and blur changes; 0 leaves the pixels alone
    occlusion:    probability of pasting one or two rectangles; covered joints stay annotated
    half_body:    probability of showing the upper or the lower body alone, where enough is annotated
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    flip: bool = True
    rotation_deg: float = Field(30.0, ge=0, le=180)
    scale: tuple[float, float] = (0.8, 1.2)
    shift: float = Field(0.05, ge=0, le=0.5)
    photometric: float = Field(1.0, ge=0, le=2)
    occlusion: float = Field(0.3, ge=0, le=1)
    half_body: float = Field(0.0, ge=0, le=1)

    @model_validator(mode="after")
    def _scale_is_a_range(self) -> Augment:
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError("scale must be [low, high] with 0 < low <= high")
        return self


def crop_sample(
    sample: PoseSample,
    input_hw: tuple[int, int],
    *,
    scale: float = 1.0,
    rotation_deg: float = 0.0,
    shift_xy: tuple[float, float] = (0.0, 0.0),
    flip: bool = False,
    skeleton: Skeleton | None = None,
    alignment: Alignment = "edges",
) -> Crop:
    """The person of a sample at the network's input size.

    scale:     factor on the region's size (> 1: the person gets smaller)
    shift_xy:  move of the region's centre, as a part of its size
    flip:      mirror the crop, x -> w-1-x, and swap the joints that `skeleton` (needed then) pairs
    alignment: how the region lies on the crop's pixels, see `crop_matrix`
    """
    height, width = input_hw
    if height == width:
        region = (sample.size_px, sample.size_px)
    else:
        region = region_wh(sample.box_xywh[2:], sample.size_px, (width, height))
    region = (region[0] * scale, region[1] * scale)
    center = np.asarray(sample.center_xy, np.float64) + np.multiply(shift_xy, region)
    matrix = crop_matrix(
        center, region, (width, height), rotation_deg=rotation_deg, alignment=alignment
    )
    image = _resample(sample.image, matrix, input_hw)
    annotated = sample.annotated.copy()
    joints, visible = sample.joints_xy, sample.visible
    if flip:
        if skeleton is None:
            raise ValueError("flip needs the skeleton: it knows which joints to swap")
        image = np.ascontiguousarray(image[:, ::-1])
        matrix[0] = -matrix[0]
        matrix[0, 2] += width - 1
        index = list(skeleton.flip_index)
        annotated, joints = annotated[index], joints[index]
        visible = None if visible is None else visible[index]
    crop_xy = apply_affine(matrix, joints).astype(np.float32)
    return Crop(image, crop_xy, annotated, matrix, visible)


def crop_batch(
    samples: Sequence[PoseSample], input_hw: tuple[int, int], *, alignment: Alignment = "edges"
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Plain crops for evaluation: (crops (N, H, W, 3) uint8, matrices (N, 2, 3) float64)."""
    crops = np.empty((len(samples), *input_hw, 3), dtype=np.uint8)
    matrices = np.empty((len(samples), 2, 3))
    for i, sample in enumerate(samples):
        crop = crop_sample(sample, input_hw, alignment=alignment)
        crops[i], matrices[i] = crop.image, crop.matrix
    return crops, matrices


def crop_batches(
    dataset: PoseDataset,
    input_hw: tuple[int, int],
    *,
    batch: int = 16,
    alignment: Alignment = "edges",
) -> Iterator[NDArray[np.uint8]]:
    """Plain crops of a whole data set, (up to `batch`, H, W, 3) uint8 at a time."""
    for start in range(0, len(dataset), batch):
        stop = min(start + batch, len(dataset))
        people = [dataset[i] for i in range(start, stop)]
        yield crop_batch(people, input_hw, alignment=alignment)[0]


@dataclass(frozen=True)
class View:
    """Where a crop is taken: factor on the region's size, turn, move of its centre (part of its size),
    and which half of the body it shows."""

    scale: float
    rotation_deg: float
    shift_xy: tuple[float, float]
    half: Literal["whole", "upper", "lower"] = "whole"


def draw_view(rng: np.random.Generator, config: Augment) -> View:
    """A random view, as `config` allows; the same `rng` state gives the same view."""
    turned = rng.random() < 0.6
    angle = float(rng.uniform(-1, 1)) * config.rotation_deg
    shift = rng.uniform(-config.shift, config.shift, size=2)
    scale = float(rng.uniform(*config.scale))
    half: Literal["whole", "upper", "lower"] = "whole"
    if config.half_body > 0 and rng.random() < config.half_body:
        half = "upper" if rng.random() < 0.5 else "lower"
    return View(
        scale=scale,
        rotation_deg=angle if turned else 0.0,
        shift_xy=(float(shift[0]), float(shift[1])),
        half=half,
    )


def half_body(
    sample: PoseSample, half: Literal["upper", "lower"], skeleton: Skeleton
) -> PoseSample:
    """The sample with its crop region around the annotated joints of one half of the body.

    Left as it is where fewer than HALF_BODY_JOINTS joints are annotated, or fewer than three of that
    half. Source: half_body_transform of HRNet's JointsDataset (centre of the joints, 1.5 x their
    extent).
    """
    lower = np.array([name.endswith(LOWER_BODY) for name in skeleton.joints])
    chosen = sample.annotated & (lower if half == "lower" else ~lower)
    if sample.annotated.sum() < HALF_BODY_JOINTS or chosen.sum() < 3:
        return sample
    joints = sample.joints_xy[chosen]
    extent = joints.max(axis=0) - joints.min(axis=0)
    return dataclasses.replace(
        sample,
        center_xy=joints.mean(axis=0),
        size_px=max(float(extent.max()) * 1.5, 1.0),
        box_xywh=np.concatenate([joints.min(axis=0), np.maximum(extent, 1)]).astype(np.float32),
    )


def crop_view(
    sample: PoseSample,
    input_hw: tuple[int, int],
    view: View,
    *,
    flip: bool = False,
    skeleton: Skeleton | None = None,
    alignment: Alignment = "edges",
) -> Crop:
    """The sample as `view` shows it; `flip` mirrors the crop. A half-body view needs the skeleton."""
    if view.half != "whole":
        if skeleton is None:
            raise ValueError("half a body needs the skeleton: it knows which joints are whose")
        sample = half_body(sample, view.half, skeleton)
    return crop_sample(
        sample,
        input_hw,
        scale=view.scale,
        rotation_deg=view.rotation_deg,
        shift_xy=view.shift_xy,
        flip=flip,
        skeleton=skeleton,
        alignment=alignment,
    )


def draw_flip(rng: np.random.Generator, config: Augment) -> bool:
    """Whether to mirror this crop."""
    return config.flip and bool(rng.random() < 0.5)


def vary(crop: Crop, rng: np.random.Generator, config: Augment) -> Crop:
    """The crop with other pixels (occlusion, colour, noise, blur) and the same geometry."""
    image = crop.image
    if rng.random() < config.occlusion:
        _occlude(image, rng)
    if config.photometric > 0:
        image = _vary_pixels(image, rng, strength=config.photometric)
    return dataclasses.replace(crop, image=image)


def augment(
    sample: PoseSample,
    input_hw: tuple[int, int],
    rng: np.random.Generator,
    config: Augment,
    skeleton: Skeleton,
    *,
    alignment: Alignment = "edges",
) -> Crop:
    """A random variation of the sample's crop; the same `rng` state gives the same crop."""
    view = draw_view(rng, config)
    flip = draw_flip(rng, config)
    crop = crop_view(sample, input_hw, view, flip=flip, skeleton=skeleton, alignment=alignment)
    return vary(crop, rng, config)


def _occlude(image: NDArray[np.uint8], rng: np.random.Generator) -> None:
    """Paint one or two rectangles, a colour or noise, sides of 10 to 35 % of the crop's."""
    height, width = image.shape[:2]
    for _ in range(int(rng.integers(1, 3))):
        h, w = (max(1, int(rng.uniform(0.1, 0.35) * side)) for side in (height, width))
        top, left = int(rng.integers(0, height - h + 1)), int(rng.integers(0, width - w + 1))
        size = (h, w, 3) if rng.random() < 0.5 else (1, 1, 3)
        image[top : top + h, left : left + w] = rng.integers(0, 256, size, dtype=np.uint8)


def _colour_matrix(rng: np.random.Generator, strength: float) -> NDArray[np.float64]:
    """(3, 4) on RGB: saturation, a slight turn of the hue, contrast around grey, brightness."""
    saturation, contrast = 1.0 + strength * rng.uniform(-0.4, 0.4, size=2)
    brightness = strength * rng.uniform(-40.0, 40.0)
    tint = 1.0 + strength * rng.uniform(-0.08, 0.08, size=3)
    angle = strength * rng.uniform(-0.25, 0.25)
    # A turn around the grey axis (Rodrigues), so that greys stay grey.
    cross = np.array([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3.0)
    hue = np.eye(3) * np.cos(angle) + cross * np.sin(angle) + (1 - np.cos(angle)) / 3.0
    saturate = saturation * np.eye(3) + (1 - saturation) * _LUMA
    linear = contrast * (tint[:, None] * (saturate @ hue))
    offset = np.full((3, 1), 128.0 * (1 - contrast) + brightness)
    return np.concatenate([linear, offset], axis=1)


def _vary_pixels(
    image: NDArray[np.uint8], rng: np.random.Generator, *, strength: float
) -> NDArray[np.uint8]:
    """Colour on four crops in five, noise on three in ten, blur on one in ten."""
    if rng.random() < 0.8:
        image = np.asarray(cv2.transform(image, _colour_matrix(rng, strength)), np.uint8)
    kind = rng.random()
    if kind < 0.1:
        blur_px = float(strength * rng.uniform(0.4, 1.4)) * image.shape[0] / 128.0
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), max(blur_px, 0.1)), np.uint8)
    elif kind < 0.4:
        noise = rng.standard_normal(image.shape, dtype=np.float32)
        noise *= np.float32(strength * rng.uniform(2.0, 12.0))
        noise += image
        image = np.rint(np.clip(noise, 0.0, 255.0, out=noise), out=noise).astype(np.uint8)
    return image
