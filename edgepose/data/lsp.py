"""Leeds Sports Poses: the 1,000 + 1,000 people of LSP, and LSP-extended for training.

The two files differ: LSP's joints.mat is 3 x 14 x N and its flag says 1 for a hidden joint (all have
positions), LSP-extended's is 14 x 3 x N and its flag says 1 for a joint that was found. Positions
are MATLAB's, 1-based. There are no head boxes, so head sizes are unknown (nan) and no figure from
here is PCKh; what can be had from head top and neck has a name of its own in the metrics.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from edgepose.data.matlab import load_mat, numeric
from edgepose.data.photographs import (
    Labels,
    Photographs,
    around,
    some_of,
    unknown_split,
)
from edgepose.data.sift import MAX_BAD_SHARE, MaxBadShare, raise_problems, sift
from edgepose.device.files import sha256_file
from edgepose.errors import EdgeposeError
from edgepose.skeleton import LSP14

_MARGIN = 0.1  # of the joints' extent, on each side: hands, feet and hair lie beyond the joints
_NAMES = ("im{:04d}.jpg", "im{:05d}.jpg", "im{:05d}.png")
_JOINTS = LSP14.num_joints


class Config(BaseModel):
    """Where LSP lies.

    annotations, images: LSP's joints.mat and the folder with im0001.jpg
    extended_annotations, extended_images: the same of LSP-extended, which only trains
    train_people: so many first people of LSP train, the others are scored
    min_joints: people with fewer annotated joints are skipped and counted (a box needs two)
    calibration_people, max_bad_share: as for COCO files
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    annotations: Path
    images: Path
    extended_annotations: Path | None = None
    extended_images: Path | None = None
    train_people: int = Field(1000, ge=0)
    min_joints: int = Field(4, ge=2)
    calibration_people: int = Field(256, ge=1)
    max_bad_share: MaxBadShare = MAX_BAD_SHARE

    @model_validator(mode="after")
    def _extended_is_both(self) -> Config:
        if (self.extended_annotations is None) != (self.extended_images is None):
            raise ValueError("extended_annotations and extended_images belong together")
        return self


def open_split(config: Config, split: str) -> Photographs:
    """The people of "train", "val" or "calibration" (a fixed part of the training people).

    Raises EdgeposeError for broken files, a split without people, or an unknown split.
    """
    if split not in ("train", "val", "calibration"):
        raise unknown_split(split)
    first = range(config.train_people)
    people = [
        person
        for i, person in enumerate(read_joints(config.annotations, config.images, kind="lsp"))
        if (i in first) == (split != "val")
    ]
    used = [config.annotations]
    if split != "val" and config.extended_annotations and config.extended_images:
        people += read_joints(config.extended_annotations, config.extended_images, kind="extended")
        used.append(config.extended_annotations)
    enough = [p for p in people if int(p.annotated.sum()) >= config.min_joints]
    if not enough:
        raise EdgeposeError(
            f"{used[0]} leaves no person for the {split!r} split",
            fix="change data.train_people (the first so many train) or data.min_joints",
        )
    kept, bad = sift(enough, max_bad_share=config.max_bad_share, source=used[-1])
    if split == "calibration":
        kept = some_of(kept, config.calibration_people)
    skipped = {"too few keypoints": len(people) - len(enough)} if len(people) > len(enough) else {}
    files = " ".join(sha256_file(path) for path in used)
    return Photographs(kept, LSP14, version=f"lsp-v1 {split} {files}", skipped=skipped, bad=bad)


def read_joints(path: Path, images: Path, *, kind: Literal["lsp", "extended"]) -> list[Labels]:
    """Every person of a joints.mat, in order; joints 0-based.

    kind: which of the two files it is; the axes and the flag's meaning depend on it
    Raises EdgeposeError where it is the other one, or holds what is no coordinate.
    """
    if not images.is_dir():
        raise EdgeposeError(
            f"no image folder at {images}", fix="check the path (data.images in a recipe)"
        )
    found = load_mat(path, "joints")
    values = numeric(found["joints"]) if "joints" in found else None
    if values is not None and values.ndim == 2:  # one person: the last axis was squeezed away
        values = values[:, :, None]
    shape = (3, _JOINTS) if kind == "lsp" else (_JOINTS, 3)
    if values is None or values.ndim != 3 or values.shape[:2] != shape:
        what = "no numeric joints" if values is None else " x ".join(map(str, values.shape))
        other = "data.extended_annotations" if kind == "lsp" else "data.annotations"
        raise EdgeposeError(
            f"{path} has {what}, not {shape[0]} x {shape[1]} x people",
            fix=f"give the joints.mat of that data set; the other one belongs to {other}",
        )
    people = np.moveaxis(values, -1, 0)  # (N, 3, 14) or (N, 14, 3)
    people = people.transpose(0, 2, 1) if kind == "lsp" else people
    problems = [
        f"person {i + 1} has {what}"
        for i, person in enumerate(people)
        for what in _faults(person, kind)
    ]
    raise_problems(path, problems, fix="download the file again")
    pattern = next((n for n in _NAMES if (images / n.format(1)).is_file()), _NAMES[0])
    return [
        _labels(person, f"{kind}/{i}", images / pattern.format(i), kind)
        for i, person in enumerate(people, start=1)
    ]


def _faults(person: NDArray[np.float64], kind: str) -> list[str]:
    """What is wrong with (14, 3) numbers; positions of joints that nobody found may be anything."""
    flags = person[:, 2]
    if not np.isin(flags, (0, 1)).all():
        return ["a visibility other than 0 and 1"]
    known = np.ones(_JOINTS, bool) if kind == "lsp" else flags == 1
    wild = ~(np.abs(person[known, :2]) < 1e7)
    return ["coordinates that are not finite numbers"] if wild.any() else []


def _labels(person: NDArray[np.float64], sample_id: str, path: Path, kind: str) -> Labels:
    flags = person[:, 2]
    annotated = np.ones(_JOINTS, bool) if kind == "lsp" else flags == 1
    joints = np.where(annotated[:, None], person[:, :2] - 1, 0.0).astype(np.float32)
    box = np.zeros(4, np.float32)
    if annotated.any():
        low, high = joints[annotated].min(axis=0), joints[annotated].max(axis=0)
        margin = _MARGIN * (high - low)
        box = np.array([*(low - margin), *(high - low + 2 * margin)], np.float32)
    center, size = around(box)
    hidden = kind == "lsp" and bool((flags == 1).any())
    return Labels(
        sample_id=sample_id,
        image_id=sample_id,
        path=path,
        joints_xy=joints,
        annotated=annotated,
        box_xywh=box,
        center_xy=center,
        size_px=size,
        tags=frozenset({"occluded"} if hidden else ()),
    )
