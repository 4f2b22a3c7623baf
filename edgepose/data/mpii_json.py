"""MPII's people in the JSON lists that HRNet and MMPose use."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgepose.data.json_labels import load_json, stays_inside
from edgepose.data.photographs import PADDING, Labels
from edgepose.data.sift import raise_problems
from edgepose.errors import EdgeposeError
from edgepose.skeleton import MPII16

PIXEL_STD = 200.0  # a scale of 1 is a person of 200 px
_DOWN = 15.0  # pixels that the centre moves down per scale
_FIX = "give train.json or valid.json as HRNet and MMPose publish them"


def mpii_person(
    *,
    sample_id: str,
    path: Path,
    image_id: str,
    center: tuple[float, float],
    scale: float,
    joints_xy: ArrayLike,
    annotated: ArrayLike,
    head_px: float = math.nan,
    tags: frozenset[str] = frozenset(),
) -> Labels:
    """A person from MPII's 1-based labels. Source: HRNet's lib/dataset/mpii.py.

    center: 1-based, (-1, ..) where the file has none; joints_xy: (16, 2), 1-based
    The box is the square of scale x 200 px: MPII has no boxes.
    """
    x, y = center
    margin = 1.0
    if x != -1:
        y, margin = y + _DOWN * scale, PADDING
    middle = np.array([x - 1, y - 1], np.float64)
    side = scale * PIXEL_STD
    known: NDArray[np.bool_] = np.asarray(annotated, bool)
    joints = np.where(known[:, None], np.asarray(joints_xy, np.float64) - 1, 0.0)
    return Labels(
        sample_id=sample_id,
        image_id=image_id,
        path=path,
        joints_xy=joints.astype(np.float32),
        annotated=known,
        box_xywh=np.array([*(middle - side / 2), side, side], np.float32),
        center_xy=middle.astype(np.float32),
        size_px=side * margin,
        head_px=head_px,
        tags=tags,
    )


def read_json(path: Path, images: Path) -> list[Labels]:
    """The people of train.json or valid.json, in the file's order, named "<picture>/<position>".

    Raises one EdgeposeError that lists what contradicts the format.
    """
    content = load_json(path, fix=_FIX)
    if not isinstance(content, list) or not content:
        raise EdgeposeError(f"{path} is not a list of people", fix=_FIX)
    problems: list[str] = []
    people = [
        _person(entry, f"{path.name}[{i}]", i, images, problems) for i, entry in enumerate(content)
    ]
    raise_problems(path, problems, fix="correct the file, or download it again")
    return [person for person in people if person is not None]


def _person(
    entry: Any, name: str, position: int, images: Path, problems: list[str]
) -> Labels | None:
    keys = ("image", "center", "scale", "joints", "joints_vis")
    missing = [key for key in keys if not isinstance(entry, dict) or key not in entry]
    if missing:
        problems.append(f"{name} lacks {', '.join(missing)}")
        return None
    image = entry["image"]
    if not isinstance(image, str) or not stays_inside(image):
        problems.append(f"{name} has the image {image!r}, not a file name in {images}")
        return None
    center, scale = _array(entry["center"], (2,)), _array(entry["scale"], ())
    joints, seen = (
        _array(entry["joints"], (MPII16.num_joints, 2)),
        _array(entry["joints_vis"], (16,)),
    )
    for key, value, words in (
        ("center", center, "x, y"),
        ("scale", scale, "a number"),
        ("joints", joints, "16 pairs of finite numbers"),
        ("joints_vis", seen, "16 numbers"),
    ):
        if value is None:
            problems.append(f"{name} has the {key} {_short(entry[key])}, not {words}")
    if center is None or scale is None or joints is None or seen is None:
        return None
    if not np.isin(seen, (0, 1)).all():
        problems.append(f"{name} has joints_vis other than 0 and 1")
        return None
    return mpii_person(
        sample_id=f"{image}/{position}",
        path=images / image,
        image_id=image,
        center=(float(center[0]), float(center[1])),
        scale=float(scale),
        joints_xy=joints,
        annotated=seen == 1,
    )


def _array(value: object, shape: tuple[int, ...]) -> NDArray[np.float64] | None:
    """Finite numbers of that shape from nested lists, or None."""
    try:
        array = np.asarray(value)
        if array.dtype.kind not in "biuf" or array.shape != shape:
            return None
        numbers = array.astype(np.float64)
    except (ValueError, TypeError, OverflowError):  # ragged, or integers beyond any pixel
        return None
    return numbers if (np.abs(numbers) < 1e7).all() else None


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) < 60 else f"{text[:57]}..."
