"""Reading a COCO keypoint file strictly: everything that is wrong with it is said at once."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepose.data.custom_skeleton import Pairs, make_skeleton, tidy
from edgepose.data.json_labels import FARTHEST, is_id, list_pictures, load_coco, numbers, read_box
from edgepose.data.photographs import Labels, around
from edgepose.data.sift import MAX_BAD_SHARE, NOTHING_BAD, Bad, raise_problems, sift
from edgepose.device.files import sha256_file
from edgepose.errors import EdgeposeError
from edgepose.skeleton import Skeleton

_OVERLAP = 0.1  # part of a person's box that another's box covers: "multi_person"


@dataclass(frozen=True)
class CocoFile:
    """A checked annotation file: its people by image and annotation, and what was left out."""

    path: Path
    sha256: str
    skeleton: Skeleton
    people: list[Labels]
    skipped: Mapping[str, int]
    bad: Bad


def read_coco(
    path: Path,
    images: Path,
    *,
    min_joints: int = 1,
    category: str | None = None,
    flip_pairs: Pairs | None = None,
    max_bad_share: float = MAX_BAD_SHARE,
) -> CocoFile:
    """Read and check a COCO keypoint file whose image names are relative to `images`.

    category:   whose keypoints, where several have some ("person" is taken before others)
    flip_pairs: joint names that a mirror swaps, where left and right in the names do not tell
    Crowds, other categories and people with fewer than `min_joints` annotated joints are skipped
    and counted. What `sift` finds unusable is passed over up to `max_bad_share`. Everything that
    contradicts the format raises one EdgeposeError that lists the problems.
    """
    if not images.is_dir():
        raise EdgeposeError(
            f"no image folder at {images}", fix="check the path (data.images in a recipe)"
        )
    if not path.is_file():
        raise EdgeposeError(
            f"no annotation file at {path}", fix="check the path (data.annotations in a recipe)"
        )
    file = _read(path, images, sha256_file(path), min_joints, category, flip_pairs)
    kept, bad = sift(file.people, max_bad_share=max_bad_share, source=path)
    return replace(file, people=kept, bad=bad)


@lru_cache(maxsize=2)  # train and calibration read the same file, and COCO's is 240 MB
def _read(
    path: Path,
    images: Path,
    sha256: str,
    min_joints: int,
    category: str | None,
    flip_pairs: Pairs | None,
) -> CocoFile:
    content = load_coco(path)
    problems: list[str] = []
    skeleton, category_id = _skeleton_of(content["categories"], path, category, flip_pairs)
    pictures = list_pictures(content["images"], images, problems)
    skipped: Counter[str] = Counter()
    rows: list[tuple[dict[str, Any], _Parsed]] = []
    boxes: dict[object, list[NDArray[np.float32]]] = {}
    for entry, name in _entries(content["annotations"], problems):
        if entry.get("category_id", category_id) != category_id:
            skipped["other category"] += 1
            continue
        if not is_id(entry.get("image_id")) or entry["image_id"] not in pictures:
            problems.append(f"{name} is of image {entry.get('image_id')!r}, which is not listed")
            continue
        parsed = _parse(entry, skeleton, name, problems)
        if parsed is None:
            continue
        boxes.setdefault(entry["image_id"], []).append(parsed.box_xywh)
        if entry.get("iscrowd"):
            skipped["crowd"] += 1
        elif int(parsed.annotated.sum()) < min_joints:
            skipped["too few keypoints" if parsed.annotated.any() else "without keypoints"] += 1
        else:
            rows.append((entry, parsed))
    raise_problems(path, problems, fix="correct the file, or export it again")
    rows.sort(key=lambda row: (_order(row[0]["image_id"]), _order(row[0]["id"])))
    people = [
        _labels(entry, parsed, images, pictures[entry["image_id"]], boxes[entry["image_id"]])
        for entry, parsed in rows
    ]
    if not people:
        raise EdgeposeError(
            f"{path} has no person with keypoints (skipped: {dict(skipped) or 'nothing'})",
            fix="use an annotation file with keypoints, such as COCO's person_keypoints_*.json",
        )
    return CocoFile(path, sha256, skeleton, people, dict(skipped), NOTHING_BAD)


def _entries(annotations: list[Any], problems: list[str]) -> Iterator[tuple[dict[str, Any], str]]:
    """Each annotation with an id of its own, and its name in messages."""
    seen: set[str] = set()
    for position, entry in enumerate(annotations):
        if not isinstance(entry, dict) or not is_id(entry.get("id")):
            problems.append(f"annotations[{position}] has no id")
        elif str(entry["id"]) in seen:
            problems.append(f"annotation {entry['id']} appears twice")
        else:
            seen.add(str(entry["id"]))
            yield entry, f"annotation {entry['id']}"


@dataclass(frozen=True)
class _Parsed:
    joints_xy: NDArray[np.float32]
    annotated: NDArray[np.bool_]
    visible: NDArray[np.bool_]
    box_xywh: NDArray[np.float32]
    area_px2: float
    occluded: bool


def _labels(
    entry: dict[str, Any],
    parsed: _Parsed,
    images: Path,
    picture: tuple[str, tuple[int, int] | None],
    boxes: list[NDArray[np.float32]],
) -> Labels:
    center, size = around(parsed.box_xywh)
    return Labels(
        sample_id=f"{entry['image_id']}/{entry['id']}",
        image_id=str(entry["image_id"]),
        path=images / picture[0],
        joints_xy=parsed.joints_xy,
        annotated=parsed.annotated,
        box_xywh=parsed.box_xywh,
        center_xy=center,
        size_px=size,
        area_px2=parsed.area_px2,
        tags=_tags(parsed, boxes),
        image_hw=picture[1],
        visible=parsed.visible,
    )


def _order(identity: int | str) -> tuple[int, int, str]:
    return (0, identity, "") if isinstance(identity, int) else (1, 0, str(identity))


def _skeleton_of(
    categories: list[Any], path: Path, wanted: str | None, flip_pairs: Pairs | None
) -> tuple[Skeleton, object]:
    """The skeleton that a category with keypoints defines, and that category's id."""
    named = [c for c in categories if isinstance(c, dict) and c.get("keypoints")]
    if wanted is not None or len(named) > 1:
        named = [c for c in named if c.get("name") == (wanted or "person")]
    if len(named) != 1 or "id" not in named[0] or not isinstance(named[0]["keypoints"], list):
        have = sorted({str(c.get("name")) for c in categories if isinstance(c, dict)})
        raise EdgeposeError(
            f"{path} has no single category with keypoint names"
            + (f" called {wanted!r}" if wanted else ""),
            fix='list the joint names as "keypoints" in the category'
            + (f", or name one as data.category ({', '.join(have[:8])})" if have else ""),
        )
    category = named[0]
    names = [tidy(name) for name in category["keypoints"]]
    limbs = category.get("skeleton") or []
    if not isinstance(limbs, list) or not all(
        isinstance(limb, list)
        and len(limb) == 2
        and all(isinstance(i, int) and 1 <= i <= len(names) for i in limb)
        for limb in limbs
    ):
        raise EdgeposeError(
            f"{path}: the category's skeleton is not pairs of keypoint numbers 1 to {len(names)}",
            fix="number the keypoints from 1, as COCO does, or leave the skeleton out",
        )
    made = make_skeleton(
        names,
        [(a - 1, b - 1) for a, b in limbs],
        flip_pairs=flip_pairs,
        label=str(category.get("name", "")),
        source=path,
    )
    return made, category["id"]


def _parse(
    entry: dict[str, Any], skeleton: Skeleton, name: str, problems: list[str]
) -> _Parsed | None:
    box = read_box(entry.get("bbox"))
    if box is None:
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
        checked = numbers(points, 3 * joints)
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
    known = isinstance(area, (int, float)) and 0 < area < FARTHEST**2
    return _Parsed(
        joints_xy=np.where(annotated[:, None], triples[:, :2], 0.0).astype(np.float32),
        annotated=annotated,
        visible=visibility == 2,
        box_xywh=box,
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
