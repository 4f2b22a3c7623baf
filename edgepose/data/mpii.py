"""MPII Human Pose: HRNet's and MMPose's JSON annotations, or the original MATLAB file.

Conventions of HRNet's lib/dataset/mpii.py: 1-based labels become 0-based; the centre goes down by
15 x scale and the scale grows by a quarter, because the person's region was drawn too tight and too
high; scale x 200 px is the side of the crop; the head size is 0.6 x the head box's diagonal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field, model_validator

from edgepose.data.mpii_json import read_json
from edgepose.data.mpii_mat import head_sizes, read_release
from edgepose.data.photographs import (
    Labels,
    Photographs,
    some_of,
    split_by_image,
    unknown_split,
)
from edgepose.data.sift import MAX_BAD_SHARE, MaxBadShare, sift
from edgepose.device.files import sha256_file
from edgepose.errors import EdgeposeError
from edgepose.skeleton import MPII16


class Config(BaseModel):
    """Where MPII lies and how it is split.

    annotations: train.json of HRNet or MMPose, or mpii_human_pose_v1_u12_1.mat; images: the folder
        of its pictures
    val_annotations: valid.json, the 2,958 people that papers score on; without it, images are split
        by a hash of their name. Pictures that it names never train, whatever `annotations` lists.
    head_boxes: head boxes of the people in val_annotations, for PCKh: gt_valid.mat, or the original
        .mat. Not needed where `annotations` is the original .mat; without one, head sizes are
        unknown.
    separated: of the original .mat, only people that stand apart (its single_person lists)
    train_fraction, calibration_people, max_bad_share: as for COCO files
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    annotations: Path
    images: Path
    val_annotations: Path | None = None
    head_boxes: Path | None = None
    separated: bool = True
    train_fraction: float = Field(0.9, ge=0, le=1)
    calibration_people: int = Field(256, ge=1)
    max_bad_share: MaxBadShare = MAX_BAD_SHARE

    @model_validator(mode="after")
    def _head_boxes_are_somebodys(self) -> Config:
        if self.head_boxes is not None and self.val_annotations is None:
            raise ValueError("head_boxes needs val_annotations beside it: whose heads are they?")
        return self


class _People(NamedTuple):
    people: list[Labels]
    skipped: dict[str, int]


def open_split(config: Config, split: str) -> Photographs:
    """The people of "train", "val" or "calibration" (a fixed part of the training people).

    Raises EdgeposeError for broken files, a split without people, or an unknown split.
    """
    if split not in ("train", "val", "calibration"):
        raise unknown_split(split)
    used = [config.annotations]
    if config.val_annotations is None:
        found = _read(config.annotations, config)
        people = split_by_image(found.people, split, train_fraction=config.train_fraction)
        found = _People(people, found.skipped)
    elif split == "val":
        used = [config.val_annotations]
        found = _read(config.val_annotations, config)
        heads = config.head_boxes or (config.annotations if _is_mat(config.annotations) else None)
        if heads is not None:
            used.append(heads)
            sizes = head_sizes(heads, found.people)
            people = [replace(p, head_px=s) for p, s in zip(found.people, sizes, strict=True)]
            found = _People(people, found.skipped)
    else:
        used.append(config.val_annotations)
        found = _without(
            _read(config.annotations, config), _read(config.val_annotations, config).people
        )
    if not found.people:
        raise EdgeposeError(
            f"{used[0]} leaves no person for the {split!r} split (skipped: {found.skipped})",
            fix="change data.train_fraction, or give data.val_annotations",
        )
    people, bad = sift(found.people, max_bad_share=config.max_bad_share, source=used[0])
    if split == "calibration":
        people = some_of(people, config.calibration_people)
    files = " ".join(sha256_file(path) for path in used)
    return Photographs(
        people, MPII16, version=f"mpii-v1 {split} {files}", skipped=found.skipped, bad=bad
    )


def _is_mat(path: Path) -> bool:
    return path.suffix.lower() == ".mat"


def _read(path: Path, config: Config) -> _People:
    if not config.images.is_dir():
        raise EdgeposeError(
            f"no image folder at {config.images}", fix="check the path (data.images in a recipe)"
        )
    if _is_mat(path):
        return _People(*read_release(path, config.images, separated=config.separated))
    return _People(read_json(path, config.images), {})


def _without(found: _People, val: Sequence[Labels]) -> _People:
    """The people whose picture the validation set does not have."""
    taken = {person.image_id for person in val}
    kept = [person for person in found.people if person.image_id not in taken]
    skipped = dict(found.skipped)
    if len(kept) < len(found.people):
        skipped["picture of the validation set"] = len(found.people) - len(kept)
    return _People(kept, skipped)
