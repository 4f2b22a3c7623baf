"""What label files in JSON have in common: loading, lists of pictures, ids, boxes, numbers."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepose.errors import EdgeposeError

FARTHEST = 1e7  # pixels; beyond it, and for nan, a number is no coordinate


def load_json(path: Path, *, fix: str) -> Any:
    """The content of a JSON file; EdgeposeError where it is none."""
    if not path.is_file():
        raise EdgeposeError(
            f"no annotation file at {path}", fix="check the path (data.annotations in a recipe)"
        )
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise EdgeposeError(f"{path} is not JSON ({error})", fix=fix) from error


def load_coco(
    path: Path, *, keys: tuple[str, ...] = ("images", "annotations", "categories")
) -> dict[str, list[Any]]:
    """The lists of a COCO file; EdgeposeError where one is missing."""
    content = load_json(path, fix="give a COCO keypoint annotation file")
    missing = [
        key
        for key in keys
        if not isinstance(content, dict) or not isinstance(content.get(key), list)
    ]
    if missing:
        raise EdgeposeError(
            f"{path} lacks the list{'s' * (len(missing) > 1)} {', '.join(missing)}",
            fix=f"give a COCO annotation file ({', '.join(keys)})",
        )
    return dict(content)


def is_id(value: object) -> bool:
    return isinstance(value, (int, str)) and not isinstance(value, bool)


def list_pictures(
    entries: list[Any], folder: Path, problems: list[str]
) -> dict[object, tuple[str, tuple[int, int] | None]]:
    """Image id -> (file name, (height, width) or None where the file does not say)."""
    pictures: dict[object, tuple[str, tuple[int, int] | None]] = {}
    for position, entry in enumerate(entries):
        if not isinstance(entry, dict) or not {"id", "file_name"} <= set(entry):
            problems.append(f"images[{position}] has no id or no file_name")
            continue
        identity, name = entry["id"], str(entry["file_name"])
        if not is_id(identity):
            problems.append(f"images[{position}] has the id {identity!r}, not a number or a text")
        elif identity in pictures:
            problems.append(f"image {identity} appears twice")
        elif not stays_inside(name):
            problems.append(f"image {identity} has the file name {name!r}, outside {folder}")
        else:
            height, width = entry.get("height"), entry.get("width")
            size = None
            if isinstance(height, int) and isinstance(width, int) and min(height, width) > 0:
                size = (height, width)
            pictures[identity] = (name, size)
    return pictures


def stays_inside(name: str) -> bool:
    """Whether a file name cannot leave the folder that it is relative to."""
    parts = PurePosixPath(name.replace("\\", "/"))
    return bool(name) and not parts.is_absolute() and ".." not in parts.parts


def numbers(value: object, count: int, *, finite: bool = True) -> NDArray[np.float64] | None:
    """`count` numbers as an array, or None; if `finite`, ones that can be pixels."""
    if not isinstance(value, list) or len(value) != count:
        return None
    if not all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in value):
        return None
    if finite and not all(abs(v) < FARTHEST for v in value):
        return None
    return np.array([min(max(v, -1e30), 1e30) if v == v else v for v in value], dtype=np.float64)


def read_box(value: object) -> NDArray[np.float32] | None:
    """A bbox as (4,) float32, None where it is not four numbers; `sift` looks at what they say."""
    box = numbers(value, 4, finite=False)
    return None if box is None else box.astype(np.float32)
