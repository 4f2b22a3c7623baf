"""People (or anything else with keypoints) from a COCO annotation file and a folder of images."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, model_validator

from edgepose.data.coco_file import CocoFile, read_coco
from edgepose.data.custom_skeleton import Pairs
from edgepose.data.photographs import (
    Photographs,
    some_of,
    split_by_image,
    unknown_split,
    with_joints,
)
from edgepose.data.sift import MAX_BAD_SHARE, MaxBadShare
from edgepose.errors import EdgeposeError
from edgepose.skeleton import skeleton as named_skeleton


class Config(BaseModel):
    """Where the people are and how they are split.

    annotations, images: the COCO json and the folder that its file names are relative to
    val_annotations, val_images: a validation set of its own (images default to `images`);
        without it, images are split by a hash of their id
    category: whose keypoints, where several categories have some and none is called "person"
    flip_pairs: pairs of joint names that a mirror swaps, for joints whose names do not say left and
        right; [] where it swaps none. The skeletons that we know need no pairs.
    train_fraction: part of the images that trains when there is no val_annotations; 0 scores all
    calibration_people: at most so many training people calibrate (never scored ones)
    val_people: at most so many are scored, null: all
    skeleton: take the joints of this skeleton, by name; those that the file has not count as not
        annotated, so that a network with other joints can be scored on the shared ones
    min_joints: people with fewer annotated joints are skipped and counted
    max_bad_share: part of the people whose image or box may be unusable before the file is refused
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    annotations: Path
    images: Path
    val_annotations: Path | None = None
    val_images: Path | None = None
    category: str | None = None
    flip_pairs: Pairs | None = None
    train_fraction: float = Field(0.8, ge=0, le=1)
    calibration_people: int = Field(256, ge=1)
    val_people: int | None = Field(None, ge=1)
    skeleton: str | None = None
    min_joints: int = Field(1, ge=1)
    max_bad_share: MaxBadShare = MAX_BAD_SHARE

    @model_validator(mode="after")
    def _val_images_need_annotations(self) -> Config:
        if self.val_images is not None and self.val_annotations is None:
            raise ValueError("val_images needs val_annotations beside it")
        return self


def open_split(config: Config, split: str) -> Photographs:
    """The people of "train", "val" or "calibration" (a fixed part of the training people).

    Raises EdgeposeError for a broken file, a split without people, or an unknown split.
    """
    if split not in ("train", "val", "calibration"):
        raise unknown_split(split)
    own_val = config.val_annotations is not None
    if split == "val" and config.val_annotations is not None:
        file = _read(config, config.val_annotations, config.val_images or config.images)
        people = file.people
    else:
        file = _read(config, config.annotations, config.images)
        fraction = 1.0 if own_val else config.train_fraction
        people = split_by_image(file.people, split, train_fraction=fraction)
    if split == "calibration":
        people = some_of(people, config.calibration_people)
    if split == "val" and config.val_people is not None:
        people = some_of(people, config.val_people, salt="val")
    if not people:
        raise EdgeposeError(
            f"no person of {file.path} falls into the {split!r} split "
            f"({len(file.people)} usable people, train_fraction {config.train_fraction:g})",
            fix="change data.train_fraction, or give data.val_annotations",
        )
    joints = file.skeleton
    if config.skeleton is not None:
        joints = named_skeleton(config.skeleton)
        people = with_joints(people, file.skeleton, joints)
    version = f"coco-v2 {split} {config.train_fraction!r} {own_val} {config.calibration_people}"
    return Photographs(
        people,
        joints,
        version=f"{version} {file.sha256}",
        skipped=file.skipped,
        bad=file.bad,
    )


def _read(config: Config, annotations: Path, images: Path) -> CocoFile:
    return read_coco(
        annotations,
        images,
        min_joints=config.min_joints,
        category=config.category,
        flip_pairs=config.flip_pairs,
        max_bad_share=config.max_bad_share,
    )
