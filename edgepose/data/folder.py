"""Pictures without labels: for calibration, and for learning from a teacher alone."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from edgepose.data.custom_skeleton import Definition, skeleton_of
from edgepose.data.images import IMAGE_SUFFIXES, Picture
from edgepose.data.json_labels import list_pictures, load_json, read_box
from edgepose.data.photographs import PADDING, Labels, Photographs, around, unknown_split
from edgepose.data.sift import MAX_BAD_SHARE, MaxBadShare, look_at, raise_problems, sift
from edgepose.errors import EdgeposeError
from edgepose.skeleton import Skeleton

_BOXES_FIX = 'write {"a.jpg": [[x, y, width, height], ...]}, or give a COCO file with bboxes'


class Pictures(BaseModel):
    """root: folder of pictures, read in order of their names, subfolders included;
    boxes: json with the people's boxes, {"a.jpg": [[x, y, width, height], ...]} with names relative
        to `root`, or a COCO file; without it, the whole picture is one person's box
    domain: what the pictures show; max_bad_share: part of the pictures that may be unusable"""

    model_config = ConfigDict(frozen=True, extra="forbid")

    root: Path
    boxes: Path | None = None
    domain: str = "photographs"
    max_bad_share: MaxBadShare = MAX_BAD_SHARE


class Config(Pictures):
    """As Pictures, and: skeleton: the model's, since pictures name none: a name, or joints, limbs and
    flip_pairs."""

    skeleton: str | Definition = "mpii16"


def open_split(config: Config, split: str) -> Photographs:
    """The folder as "calibration" or "train" data; EdgeposeError for "val", which needs labels.

    No joint is annotated: labels weigh nothing in a training on it, a teacher's heatmaps do.
    """
    if split == "val":
        raise EdgeposeError(
            "data.source: folder has no labels, so nothing can be scored on it",
            fix="use it for calibration and distillation; score on a labelled source such as coco",
        )
    if split not in ("train", "calibration"):
        raise unknown_split(split)
    return open_folder(config)


def open_folder(config: Config) -> Photographs:
    """Every person of a folder: those that `boxes` lists, or one who fills each picture."""
    return open_pictures(config, skeleton_of(config.skeleton, source="data.skeleton"))


def open_pictures(config: Pictures, skeleton: Skeleton) -> Photographs:
    """The same with joints named by the caller."""
    root = config.root
    if not root.is_dir():
        raise EdgeposeError(f"no image folder at {root}", fix="check its root")
    paths = _pictures(root)
    skipped: dict[str, int] = {}
    if config.boxes is None:
        looks = look_at(paths)
        people = [_whole(path, root, looks[path], skeleton) for path in paths]
    else:
        boxes = _read_boxes(config.boxes, root)
        people = [
            _boxed(root, name, k, box, skeleton)
            for name in sorted(boxes)
            for k, box in enumerate(boxes[name])
        ]
        without = len(paths) - len({root / name for name, own in boxes.items() if own} & set(paths))
        skipped = {"picture without a box": without} if without else {}
        if not people:
            raise EdgeposeError(f"{config.boxes} lists no box", fix=_BOXES_FIX)
    kept, bad = sift(people, max_bad_share=config.max_bad_share, source=root)
    if not kept:
        raise EdgeposeError(
            f"{root} holds no picture that can be used: {bad.text}", fix="replace the pictures"
        )
    found = look_at({person.path for person in kept})
    seen = [f"{person.sample_id} {found[person.path]} {person.box_xywh}" for person in kept]
    digest = hashlib.sha256("\n".join(seen).encode()).hexdigest()
    return Photographs(
        kept,
        skeleton,
        version=f"folder-v2 {digest}",
        domain=config.domain,
        skipped=skipped,
        bad=bad,
    )


def _pictures(root: Path) -> list[Path]:
    paths = sorted(
        path
        for path in root.rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(root).parts)
    )
    if not paths:
        raise EdgeposeError(
            f"{root} holds no images", fix=f"add pictures of people ({', '.join(IMAGE_SUFFIXES)})"
        )
    return paths


def _person(
    path: Path, sample_id: str, box: NDArray[np.float32], skeleton: Skeleton, padding: float
) -> Labels:
    center, size = around(box, padding=padding)
    return Labels(
        sample_id=sample_id,
        image_id=path.name,
        path=path,
        joints_xy=np.zeros((skeleton.num_joints, 2), np.float32),
        annotated=np.zeros(skeleton.num_joints, bool),
        box_xywh=box,
        center_xy=center,
        size_px=size,
    )


def _whole(path: Path, root: Path, picture: Picture | str, skeleton: Skeleton) -> Labels:
    height, width = (0, 0) if isinstance(picture, str) else picture.hw
    box = np.array([0, 0, width, height], np.float32)
    return _person(path, path.relative_to(root).as_posix(), box, skeleton, 1.0)


def _boxed(root: Path, name: str, k: int, box: NDArray[np.float32], skeleton: Skeleton) -> Labels:
    return _person(root / name, f"{name}/{k}", box, skeleton, PADDING)


def _read_boxes(path: Path, root: Path) -> dict[str, list[NDArray[np.float32]]]:
    """File name -> boxes; EdgeposeError that lists what is no box or no picture's name."""
    content = load_json(path, fix=_BOXES_FIX)
    if not isinstance(content, dict):
        raise EdgeposeError(f"{path} is not a JSON object", fix=_BOXES_FIX)
    rows: dict[str, list[Any]] = {}
    problems: list[str] = []
    if isinstance(content.get("annotations"), list) and isinstance(content.get("images"), list):
        pictures = list_pictures(content["images"], root, problems)
        for i, entry in enumerate(content["annotations"]):
            image_id = entry.get("image_id") if isinstance(entry, dict) else None
            if not isinstance(image_id, (int, str)) or image_id not in pictures:
                problems.append(f"annotations[{i}] is of image {image_id!r}, which is not listed")
            elif not entry.get("iscrowd"):
                rows.setdefault(pictures[image_id][0], []).append(entry.get("bbox"))
    else:
        places = [{"id": name, "file_name": name} for name in content]
        list_pictures(places, root, problems)
        for name, own in content.items():
            if isinstance(own, list):
                rows[name] = own
            else:
                problems.append(f"{name} has {own!r:.60}, not a list of boxes")
    boxes: dict[str, list[NDArray[np.float32]]] = {}
    for name, own in rows.items():
        for value in own:
            box = read_box(value)
            if box is None:
                problems.append(f"{name} has the box {value!r:.60}, not x, y, width, height")
            else:
                boxes.setdefault(name, []).append(box)
    raise_problems(path, problems, fix=_BOXES_FIX)
    return boxes
