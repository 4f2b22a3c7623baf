"""MPII's original mpii_human_pose_v1_u12_1.mat, and head boxes for the JSON lists.

RELEASE.annolist(i): image.name, annorect(k): scale, objpos.{x, y}, x1 y1 x2 y2 (the head's box) and
annopoints.point(j).{x, y, id, is_visible}; RELEASE.img_train(i); RELEASE.single_person{i}: numbers
k of the people who stand apart. Test pictures have no points.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgepose.data.json_labels import stays_inside
from edgepose.data.matlab import field, items, load_mat, number, numeric
from edgepose.data.mpii_json import PIXEL_STD, mpii_person
from edgepose.data.photographs import PADDING, Labels
from edgepose.data.sift import raise_problems
from edgepose.errors import EdgeposeError
from edgepose.skeleton import MPII16

HEAD_SHARE = 0.6  # of the head box's diagonal: PCKh's head size
_SAME_PX = 1.5  # the JSON lists round the centre
_FIX = "give MPII's mpii_human_pose_v1_u12_1.mat, or gt_valid.mat beside HRNet's JSON files"


def read_release(
    path: Path, images: Path, *, separated: bool = True
) -> tuple[list[Labels], dict[str, int]]:
    """The labelled training people of the original file, and how many were left out, by reason.

    separated: only people that the file lists as standing apart
    Raises one EdgeposeError that lists what contradicts the format.
    """
    release = load_mat(path, "RELEASE").get("RELEASE")
    pictures = items(field(release, "annolist"))
    trains = items(field(release, "img_train"))
    alone = items(field(release, "single_person"))
    if not pictures or len(trains) != len(pictures):
        raise EdgeposeError(f"{path} has no RELEASE with annolist and img_train", fix=_FIX)
    if separated and len(alone) != len(pictures):
        raise EdgeposeError(
            f"{path} has no single_person list for each picture",
            fix="set data.separated: false to take everybody",
        )
    skipped: Counter[str] = Counter()
    problems: list[str] = []
    people: list[Labels] = []
    for i, picture in enumerate(pictures):
        if number(trains[i]) != 1:
            skipped["picture of the test set"] += 1
            continue
        name = field(field(picture, "image"), "name")
        if not isinstance(name, str) or not stays_inside(name):
            problems.append(f"annolist({i + 1}) has the image name {name!r}")
            continue
        apart = {number(k) for k in items(alone[i])} if separated else set()
        for k, person in enumerate(items(field(picture, "annorect")), start=1):
            if separated and k not in apart:
                skipped["not standing apart"] += 1
                continue
            found = _person(person, f"{name}/{k}", images / name, name, problems)
            if isinstance(found, str):
                skipped[found] += 1
            elif found is not None:
                people.append(found)
    raise_problems(path, problems, fix="download the file again")
    return people, dict(skipped)


def _person(
    person: Any, sample_id: str, path: Path, image_id: str, problems: list[str]
) -> Labels | str | None:
    """A person, why it is skipped, or None where a problem was added."""
    points = items(field(field(person, "annopoints"), "point"))
    scale, place = number(field(person, "scale")), field(person, "objpos")
    x, y = number(field(place, "x")), number(field(place, "y"))
    if not points:
        return "without keypoints"
    if scale is None or x is None or y is None:
        return "without scale or centre"
    joints = np.full((MPII16.num_joints, 2), -1.0)
    annotated, hidden = np.zeros(MPII16.num_joints, bool), False
    for point in points:
        joint = number(field(point, "id"))
        at = number(field(point, "x")), number(field(point, "y"))
        if joint is None or joint not in range(MPII16.num_joints):
            problems.append(f"{sample_id} has a joint with the id {joint}, not one of 0 to 15")
            return None
        if at[0] is None or at[1] is None or not np.isfinite([at[0], at[1]]).all():
            problems.append(f"{sample_id} has joint {joint:g} at {at}, not finite numbers")
            return None
        if annotated[int(joint)]:
            problems.append(f"{sample_id} has joint {joint:g} twice")
            return None
        joints[int(joint)] = at
        annotated[int(joint)] = True
        hidden |= number(field(point, "is_visible")) == 0
    return mpii_person(
        sample_id=sample_id,
        path=path,
        image_id=image_id,
        center=(x, y),
        scale=scale,
        joints_xy=joints,
        annotated=annotated,
        head_px=_head_px(person),
        tags=frozenset({"occluded"} if hidden else ()),
    )


def _head_px(person: Any) -> float:
    """0.6 x the diagonal of the head's box; nan where there is none."""
    corners = [number(field(person, key)) for key in ("x1", "y1", "x2", "y2")]
    x1, y1, x2, y2 = (math.nan if corner is None else corner for corner in corners)
    size = HEAD_SHARE * math.hypot(x2 - x1, y2 - y1)
    return size if math.isfinite(size) and size > 0 else math.nan


def head_sizes(path: Path, people: Sequence[Labels]) -> list[float]:
    """Head sizes in pixels of the people of a JSON list.

    path: gt_valid.mat (headboxes_src: 2 x 2 x N corners, jnt_missing, in the list's order), or the
        original file, where each person is found by picture, centre and scale
    Raises EdgeposeError where the file does not belong to the list.
    """
    found = load_mat(path, "headboxes_src", "jnt_missing", "RELEASE")
    if "headboxes_src" not in found:
        return _heads_by_place(path, people)
    boxes = numeric(found["headboxes_src"])
    if boxes is not None and boxes.shape == (2, 2) and len(people) == 1:
        boxes = boxes[:, :, None]
    if boxes is None or boxes.shape != (2, 2, len(people)):
        shape = "no numbers" if boxes is None else f"{boxes.shape[-1]} head boxes"
        raise EdgeposeError(f"{path} has {shape}, the list has {len(people)} people", fix=_FIX)
    missing = numeric(found.get("jnt_missing", np.zeros(0)))
    if missing is not None and missing.shape == (MPII16.num_joints, len(people)):
        known = np.stack([person.annotated for person in people], axis=1)
        differ = int((known != (missing == 0)).any(axis=0).sum())
        if differ > len(people) // 10:
            raise EdgeposeError(
                f"{path} is of other people or of another order: {differ} of {len(people)} have "
                "other joints annotated",
                fix=_FIX,
            )
    sizes = HEAD_SHARE * np.linalg.norm(boxes[1] - boxes[0], axis=0)
    return [float(size) if np.isfinite(size) and size > 0 else math.nan for size in sizes]


def _heads_by_place(path: Path, people: Sequence[Labels]) -> list[float]:
    everybody, _ = read_release(path, Path(), separated=False)
    by_image: dict[str, list[Labels]] = {}
    for person in everybody:
        by_image.setdefault(person.image_id, []).append(person)
    sizes, lost = [], []
    for person in people:
        same = [
            other
            for other in by_image.get(person.image_id, ())
            if np.abs(other.center_xy - person.center_xy).max() < _SAME_PX
            and abs(other.size_px - person.size_px) < 0.01 * PIXEL_STD * PADDING
        ]
        if len(same) != 1:
            lost.append(person.sample_id)
        sizes.append(same[0].head_px if len(same) == 1 else math.nan)
    if lost:
        raise EdgeposeError(
            f"{path} does not have {len(lost)} of the {len(people)} people, e.g. {lost[0]}",
            fix=_FIX,
        )
    return sizes
