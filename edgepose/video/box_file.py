"""People's boxes from a COCO file: annotations, or a detector's results."""

from __future__ import annotations

import json
import math
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepose.errors import EdgeposeError
from edgepose.video.boxes import Before
from edgepose.video.frames import Frame

NO_BOXES: NDArray[np.float64] = np.zeros((0, 4))


class BoxFile:
    """Boxes by picture, or by frame of a video.

    An annotation file names pictures by file name; in a list of results, `image_id` is the file's
    stem as text or number (COCO's own pictures), and of a video the frame's index from 0. Crowds,
    other categories than `person` (in results: than 1), boxes without area and results below
    `min_score` are left out. A picture that an annotation file does not know is an error; one
    without results has nobody in it.
    """

    def __init__(self, path: Path, *, min_score: float = 0.3, moving: bool = False) -> None:
        self.path, self.moving = path, moving
        content = _load(path)
        self._names: dict[str, int | str] | None = None
        try:
            if isinstance(content, list):
                self._boxes = _results(content, min_score)
            else:
                self._names, self._boxes = _annotations(content)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise EdgeposeError(
                f"{path} is not a COCO file of boxes ({type(error).__name__}: {error})",
                fix="annotations need images (id, file_name) and annotations (image_id, bbox); "
                "results are a list of image_id, category_id, bbox, score",
            ) from error

    def image_id(self, frame: Frame) -> int | str:
        """The id that the file gives this picture; its stem where the file does not name it."""
        if self.moving:
            return frame.index
        path = PurePath(frame.name)
        if self._names is not None:
            if path.name not in self._names:
                raise EdgeposeError(
                    f"{self.path} does not list the image {path.name}",
                    fix="use the json that belongs to the image, or --box x,y,w,h",
                )
            return self._names[path.name]
        stem = path.stem
        if stem not in self._boxes and stem.isdecimal() and int(stem) in self._boxes:
            return int(stem)
        return stem

    def knows(self, frame: Frame) -> bool:
        return not self.moving or frame.index in self._boxes

    def find(self, frame: Frame, before: Before | None) -> NDArray[np.float64]:
        found = self._boxes.get(self.image_id(frame), [])
        return np.array(found, dtype=np.float64).reshape(-1, 4)


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise EdgeposeError(
            f"cannot read {path}: {error.strerror or error}", fix="check the path"
        ) from error
    except (ValueError, RecursionError) as error:
        raise EdgeposeError(f"{path} is not JSON: {error}", fix="give a COCO json") from error


def _usable(value: Any) -> list[float] | None:
    box = [float(v) for v in value]
    if len(box) != 4:
        raise ValueError(f"a bbox of {len(box)} numbers")
    return box if all(map(math.isfinite, box)) and min(box[2:]) > 0 else None


def _results(content: list[Any], min_score: float) -> dict[int | str, list[list[float]]]:
    boxes: dict[int | str, list[list[float]]] = {}
    for entry in content:
        box = _usable(entry["bbox"])
        person = entry.get("category_id", 1) == 1
        if box is not None and person and float(entry.get("score", 1.0)) >= min_score:
            boxes.setdefault(entry["image_id"], []).append(box)
    return boxes


def _annotations(
    content: dict[str, Any],
) -> tuple[dict[str, int | str], dict[int | str, list[list[float]]]]:
    people = {c["id"] for c in content.get("categories", []) if c.get("name") == "person"}
    names = {PurePosixPath(str(i["file_name"])).name: i["id"] for i in content["images"]}
    boxes: dict[int | str, list[list[float]]] = {identity: [] for identity in names.values()}
    for annotation in content["annotations"]:
        box = _usable(annotation["bbox"])
        person = not people or annotation.get("category_id") in people
        if box is not None and person and not annotation.get("iscrowd"):
            boxes[annotation["image_id"]].append(box)
    return names, boxes
