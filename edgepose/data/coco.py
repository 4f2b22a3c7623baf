"""People with keypoints from a COCO annotation file and a folder of images."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from edgepose.data.base import PoseSample
from edgepose.data.coco_file import CocoFile, Person, read_coco
from edgepose.data.images import read_image
from edgepose.device.geometry import box_to_crop
from edgepose.errors import EdgeposeError
from edgepose.skeleton import Skeleton

PADDING = 1.25  # HRNet widens COCO boxes by this


class Config(BaseModel):
    """Where the people are and how they are split.

    annotations, images: the COCO json and the folder that its file names are relative to
    val_annotations, val_images: a validation set of its own (images default to `images`);
        without it, images are split by a hash of their id
    train_fraction: part of the images that trains when there is no val_annotations; 0 scores all
    calibration_people: at most so many training people calibrate (never scored ones)
    min_joints: people with fewer annotated joints are skipped and counted
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    annotations: Path
    images: Path
    val_annotations: Path | None = None
    val_images: Path | None = None
    train_fraction: float = Field(0.8, ge=0, le=1)
    calibration_people: int = Field(256, ge=1)
    min_joints: int = Field(1, ge=1)

    @model_validator(mode="after")
    def _val_images_need_annotations(self) -> Config:
        if self.val_images is not None and self.val_annotations is None:
            raise ValueError("val_images needs val_annotations beside it")
        return self


class CocoDataset:
    """People of one split, in order of image id and annotation id.

    skipped: how many annotations of the file were left out, by reason
    """

    domain = "photographs"

    def __init__(self, file: CocoFile, people: list[Person], label: str) -> None:
        self.skeleton: Skeleton = file.skeleton
        self.skipped = dict(file.skipped)
        self._people = people
        self._folder = file.images
        self._last: tuple[Path, NDArray[np.uint8]] | None = None
        digest = hashlib.sha256(f"coco-v1 {label} {file.sha256}\n".encode())
        for person in people:
            size_bytes = (self._folder / person.file_name).stat().st_size
            digest.update(f"{person.annotation_id} {person.file_name} {size_bytes}\n".encode())
        self.fingerprint = digest.hexdigest()

    def __len__(self) -> int:
        return len(self._people)

    def __getitem__(self, index: int) -> PoseSample:
        person = self._people[index]
        center, size = box_to_crop(person.box_xywh, padding=PADDING)
        return PoseSample(
            image=self._image(person),
            joints_xy=person.joints_xy.copy(),
            annotated=person.annotated.copy(),
            box_xywh=person.box_xywh.copy(),
            center_xy=center.astype(np.float32),
            size_px=size,
            head_px=math.nan,  # COCO has no head boxes
            area_px2=person.area_px2,
            sample_id=f"{person.image_id}/{person.annotation_id}",
            tags=person.tags,
        )

    def _image(self, person: Person) -> NDArray[np.uint8]:
        """The person's image, read-only: people of one image follow each other and share it."""
        path = self._folder / person.file_name
        if self._last is not None and self._last[0] == path:
            return self._last[1]
        image = read_image(path)
        if person.image_hw is not None and image.shape[:2] != person.image_hw:
            raise EdgeposeError(
                f"{path} is {image.shape[1]} x {image.shape[0]} pixels, its annotation says "
                f"{person.image_hw[1]} x {person.image_hw[0]}",
                fix="use the images that were annotated; an EXIF turn is applied before comparing",
            )
        image.flags.writeable = False
        self._last = (path, image)
        return image


def open_split(config: Config, split: str) -> CocoDataset:
    """The people of "train", "val" or "calibration" (a fixed part of the training people).

    Raises EdgeposeError for a broken file, a split without people, or an unknown split.
    """
    own_val = config.val_annotations is not None
    if split == "val" and config.val_annotations is not None:
        file = read_coco(
            config.val_annotations, config.val_images or config.images, min_joints=config.min_joints
        )
        people = file.people
    elif split in ("train", "val", "calibration"):
        file = read_coco(config.annotations, config.images, min_joints=config.min_joints)
        fraction = 1.0 if own_val else config.train_fraction
        people = [p for p in file.people if (_unit(p.image_id) < fraction) == (split != "val")]
    else:
        raise EdgeposeError(f"unknown split {split!r}", fix="use train, val or calibration")
    if split == "calibration":
        chosen = sorted(people, key=lambda p: _unit(f"calibration {p.annotation_id}"))
        kept = {p.annotation_id for p in chosen[: config.calibration_people]}
        people = [p for p in people if p.annotation_id in kept]
    if not people:
        raise EdgeposeError(
            f"no person of {file.path} falls into the {split!r} split "
            f"({len(file.people)} usable people, train_fraction {config.train_fraction:g})",
            fix="change data.train_fraction, or give data.val_annotations",
        )
    label = f"{split} {config.train_fraction!r} {own_val} {config.calibration_people}"
    return CocoDataset(file, people, label)


def _unit(key: object) -> float:
    """A fixed number in [0, 1) for a key, the same on every machine."""
    return int.from_bytes(hashlib.sha256(str(key).encode()).digest()[:8], "big") / 2.0**64
