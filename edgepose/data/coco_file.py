"""Reading a COCO keypoint file strictly: everything that is wrong with it is said at once."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepose.device.files import sha256_file
from edgepose.errors import EdgeposeError
from edgepose.skeleton import SKELETONS, Skeleton

_SHOWN = 10  # problems listed before "and N more"
_FARTHEST = 1e7  # pixels; beyond it, and for nan, a number is no coordinate
_OVERLAP = 0.1  # part of a person's box that another's box covers: "multi_person"


@dataclass(frozen=True)
class Person:
    """One annotated person; coordinates in image pixels as the file has them (0-based).

    joints_xy (J, 2) float32, zero where not annotated; annotated (J,) bool;
    box_xywh (4,) float32; area_px2 is nan where the file has none
    """

    annotation_id: int
    image_id: int | str
    file_name: str
    image_hw: tuple[int, int] | None
    joints_xy: NDArray[np.float32]
    annotated: NDArray[np.bool_]
    box_xywh: NDArray[np.float32]
    area_px2: float
    tags: frozenset[str]


@dataclass(frozen=True)
class CocoFile:
    """A checked annotation file: its people by image and annotation, and what was left out."""

    path: Path
    images: Path
    sha256: str
    skeleton: Skeleton
    people: list[Person]
    skipped: Mapping[str, int]


def read_coco(path: Path, images: Path, *, min_joints: int = 1) -> CocoFile:
    """Read and check a COCO keypoint file whose image names are relative to `images`.

    Crowds, other categories, boxes without area and people with fewer than `min_joints` annotated
    joints are skipped and counted. Everything that contradicts the format or names a missing image
    raises one EdgeposeError that lists the problems.
    """
    content = _load(path)
    if not images.is_dir():
        raise EdgeposeError(f"no image folder at {images}", fix="check data.images")
    problems: list[str] = []
    skeleton, category = _skeleton_of(content["categories"], path)
    pictures = _pictures(content["images"], images, problems)
    skipped: Counter[str] = Counter()
    rows: list[tuple[dict[str, Any], _Parsed]] = []
    seen: set[object] = set()
    boxes: dict[object, list[NDArray[np.float32]]] = {}
    for position, entry in enumerate(content["annotations"]):
        if not isinstance(entry, dict) or not _is_id(entry.get("id")):
            problems.append(f"annotations[{position}] has no id")
            continue
        name = f"annotation {entry['id']}"
        if str(entry["id"]) in seen:
            problems.append(f"{name} appears twice")
            continue
        seen.add(str(entry["id"]))
        if entry.get("category_id", category) != category:
            skipped["other category"] += 1
            continue
        if not _is_id(entry.get("image_id")) or entry["image_id"] not in pictures:
            problems.append(f"{name} is of image {entry.get('image_id')!r}, which is not listed")
            continue
        parsed = _parse(entry, skeleton, name, problems)
        if parsed is None:
            continue
        boxes.setdefault(entry["image_id"], []).append(parsed.box_xywh)
        if entry.get("iscrowd"):
            skipped["crowd"] += 1
        elif min(parsed.box_xywh[2:]) <= 0:
            skipped["box without area"] += 1
        elif int(parsed.annotated.sum()) < min_joints:
            skipped["too few keypoints" if parsed.annotated.any() else "without keypoints"] += 1
        else:
            rows.append((entry, parsed))
    for image_id in {entry["image_id"]: None for entry, _ in rows}:
        if not (images / pictures[image_id][0]).is_file():
            problems.append(f"image {pictures[image_id][0]} is missing from {images}")
    if problems:
        more = f"\n  and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise EdgeposeError(
            f"{path} has {len(problems)} problem{'s' * (len(problems) > 1)}:\n  "
            + "\n  ".join(problems[:_SHOWN])
            + more,
            fix="correct the file, or point data.images at the right folder",
        )
    people = [
        Person(
            annotation_id=entry["id"],
            image_id=entry["image_id"],
            file_name=pictures[entry["image_id"]][0],
            image_hw=pictures[entry["image_id"]][1],
            joints_xy=parsed.joints_xy,
            annotated=parsed.annotated,
            box_xywh=parsed.box_xywh,
            area_px2=parsed.area_px2,
            tags=_tags(parsed, boxes[entry["image_id"]]),
        )
        for entry, parsed in rows
    ]
    people.sort(key=lambda p: (_order(p.image_id), _order(p.annotation_id)))
    if not people:
        raise EdgeposeError(
            f"{path} has no person with keypoints (skipped: {dict(skipped) or 'nothing'})",
            fix="use an annotation file with keypoints, such as COCO's person_keypoints_*.json",
        )
    return CocoFile(path, images, sha256_file(path), skeleton, people, dict(skipped))


@dataclass(frozen=True)
class _Parsed:
    joints_xy: NDArray[np.float32]
    annotated: NDArray[np.bool_]
    box_xywh: NDArray[np.float32]
    area_px2: float
    occluded: bool


def _is_id(value: object) -> bool:
    return isinstance(value, (int, str)) and not isinstance(value, bool)


def _order(identity: int | str) -> tuple[int, int, str]:
    return (0, identity, "") if isinstance(identity, int) else (1, 0, str(identity))


def _load(path: Path) -> dict[str, list[Any]]:
    if not path.is_file():
        raise EdgeposeError(f"no annotation file at {path}", fix="check data.annotations")
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise EdgeposeError(
            f"{path} is not JSON ({error})", fix="give a COCO keypoint annotation file"
        ) from error
    missing = [
        key
        for key in ("images", "annotations", "categories")
        if not isinstance(content, dict) or not isinstance(content.get(key), list)
    ]
    if missing:
        raise EdgeposeError(
            f"{path} lacks the list{'s' * (len(missing) > 1)} {', '.join(missing)}",
            fix="give a COCO keypoint annotation file (images, annotations, categories)",
        )
    return dict(content)


def _skeleton_of(categories: list[Any], path: Path) -> tuple[Skeleton, object]:
    """The skeleton whose joint names the category with keypoints lists, and its category id."""
    named = [c for c in categories if isinstance(c, dict) and c.get("keypoints")]
    if len(named) > 1:
        named = [c for c in named if c.get("name") == "person"]
    if len(named) != 1 or "id" not in named[0] or not isinstance(named[0]["keypoints"], list):
        raise EdgeposeError(
            f"{path} has no single category with keypoint names",
            fix='list the joint names as "keypoints" in the person category',
        )
    names = tuple(
        str(n).strip().lower().replace(" ", "_").replace("-", "_") for n in named[0]["keypoints"]
    )
    for candidate in SKELETONS.values():
        if candidate.joints == names:
            return candidate, named[0]["id"]
    nearest = max(SKELETONS.values(), key=lambda s: len(set(s.joints) & set(names)))
    wrong = [f"{a!r} where {nearest.name} has {b!r}"
             for a, b in zip(names, nearest.joints, strict=False) if a != b]  # fmt: skip
    detail = wrong[0] if wrong else f"{len(names)} names, {nearest.name} has {nearest.num_joints}"
    raise EdgeposeError(
        f"{path}: its keypoints are no known skeleton ({detail})",
        fix=f"name and order the joints as one of {', '.join(SKELETONS)}",
    )


def _pictures(
    entries: list[Any], folder: Path, problems: list[str]
) -> dict[object, tuple[str, tuple[int, int] | None]]:
    """Image id -> (file name, (height, width) or None where the file does not say)."""
    pictures: dict[object, tuple[str, tuple[int, int] | None]] = {}
    for position, entry in enumerate(entries):
        if not isinstance(entry, dict) or not {"id", "file_name"} <= set(entry):
            problems.append(f"images[{position}] has no id or no file_name")
            continue
        identity, name = entry["id"], str(entry["file_name"])
        parts = PurePosixPath(name.replace("\\", "/"))
        if not _is_id(identity):
            problems.append(f"images[{position}] has the id {identity!r}, not a number or a text")
        elif identity in pictures:
            problems.append(f"image {identity} appears twice")
        elif parts.is_absolute() or ".." in parts.parts:
            problems.append(f"image {identity} has the file name {name!r}, outside {folder}")
        else:
            height, width = entry.get("height"), entry.get("width")
            size = None
            if isinstance(height, int) and isinstance(width, int) and min(height, width) > 0:
                size = (height, width)
            pictures[identity] = (name, size)
    return pictures


def _numbers(value: object, count: int) -> NDArray[np.float64] | None:
    """`count` numbers that can be pixels as an array, or None."""
    if not isinstance(value, list) or len(value) != count:
        return None
    if not all(isinstance(v, (int, float)) and abs(v) < _FARTHEST for v in value):
        return None
    return np.array(value, dtype=np.float64)


def _parse(
    entry: dict[str, Any], skeleton: Skeleton, name: str, problems: list[str]
) -> _Parsed | None:
    box = _numbers(entry.get("bbox"), 4)
    if box is None or min(box[2:]) < 0:
        problems.append(f"{name} has the bbox {entry.get('bbox')!r}, not x, y, width, height")
        return None
    joints = skeleton.num_joints
    points = entry.get("keypoints")
    if points is None:
        values = np.zeros(3 * joints)
    elif isinstance(points, list) and len(points) != 3 * joints:
        problems.append(
            f"{name} has {len(points)} keypoint numbers; {skeleton.name} needs {3 * joints}"
        )
        return None
    else:
        checked = _numbers(points, 3 * joints)
        if checked is None:
            problems.append(f"{name} has keypoints that are not finite numbers")
            return None
        values = checked
    triples = values.reshape(joints, 3)
    visibility = triples[:, 2]
    if not np.isin(visibility, (0, 1, 2)).all():
        problems.append(f"{name} has a keypoint visibility other than 0, 1, 2")
        return None
    annotated = visibility > 0
    area = entry.get("area")
    known = isinstance(area, (int, float)) and 0 < area < _FARTHEST**2
    return _Parsed(
        joints_xy=np.where(annotated[:, None], triples[:, :2], 0.0).astype(np.float32),
        annotated=annotated,
        box_xywh=box.astype(np.float32),
        area_px2=float(area) if isinstance(area, (int, float)) and known else math.nan,
        occluded=bool((visibility == 1).any()),
    )


def _tags(person: _Parsed, boxes: list[NDArray[np.float32]]) -> frozenset[str]:
    """ "occluded": a labelled joint is hidden; "multi_person": another's box covers a tenth."""
    tags = {"occluded"} if person.occluded else set()
    x, y, w, h = (float(v) for v in person.box_xywh)
    for other in boxes:
        if other is person.box_xywh:
            continue
        u, v, p, q = (float(value) for value in other)
        across = max(0.0, min(x + w, u + p) - max(x, u))
        down = max(0.0, min(y + h, v + q) - max(y, v))
        if across * down > _OVERLAP * w * h:
            tags.add("multi_person")
    return frozenset(tags)
