"""What common detectors give, told apart by the shapes of their outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepose.errors import EdgeposeError

_STRIDES = (8, 16, 32)
_LOG_LIMIT = 12.0
READ = (
    "(1, 4 + classes, N) as YOLOv8 and v11 export; (1, N, 5 + classes) as YOLOv5 and YOLOX; "
    "(1, N, 6) x, y, x, y, score, class or (N, 7) image, x, y, x, y, class, score after NMS; "
    "boxes (N, 4), labels (N) and scores (N) as torchvision and SSD; "
    "dets (1, N, 5) x, y, x, y, score and labels (1, N) as MMDetection"
)


@dataclass(frozen=True)
class Detections:
    """boxes_xyxy (N, 4) pixels of the network's input; scores (N,) of the asked class, 0 where it is
    another; suppressed: the network has removed doubles already."""

    boxes_xyxy: NDArray[np.float64]
    scores: NDArray[np.float64]
    suppressed: bool


def read_outputs(
    outputs: Mapping[str, NDArray[Any]], *, input_hw: tuple[int, int], person: int
) -> Detections:
    """outputs: by name, for one picture; person: index of the class to keep.

    EdgeposeError, naming what was seen and what is read, for anything else.
    """
    arrays = {name: np.asarray(value) for name, value in outputs.items()}
    if len(arrays) == 1:
        found = _single(np.asarray(next(iter(arrays.values()))), input_hw, person)
    else:
        found = _several(arrays, input_hw, person)
    if found is None:
        seen = ", ".join(f"{n} {v.dtype} {v.shape}" for n, v in arrays.items())
        raise EdgeposeError(
            f"the detector's outputs are none that edgepose reads: {seen}",
            fix=f"export it with one of: {READ}; or give boxes by --boxes",
        )
    return found


def is_mmdetection(outputs: Mapping[str, NDArray[Any]]) -> bool:
    """Two outputs, dets (1, N, 5) and labels (1, N), as mmdeploy writes them."""
    shapes = sorted((np.shape(v) for v in outputs.values()), key=len)
    return (
        len(shapes) == 2
        and len(shapes[0]) == 2
        and shapes[1] == (*shapes[0], 5)
        and shapes[0][0] == 1
    )


def _single(value: NDArray[Any], input_hw: tuple[int, int], person: int) -> Detections | None:
    if value.ndim == 2 and value.shape[1] == 7:  # image, x, y, x, y, class, score
        rows = value.astype(np.float64)
        return _classed(rows[:, 1:5], rows[:, 5], rows[:, 6], person)
    if value.ndim != 3 or value.shape[0] != 1:
        return None
    rows = value[0].astype(np.float64)
    count, width = rows.shape
    cells = sum((input_hw[0] // s) * (input_hw[1] // s) for s in _STRIDES)
    if width >= 6 and count in (cells, 3 * cells):
        return _one_stage(rows, input_hw, person, grid=count == cells)
    if width == 6:
        return _classed(rows[:, :4], rows[:, 5], rows[:, 4], person)
    if 5 <= count < width:
        columns = rows.T
        scores = _class_column(columns[:, 4:], person)
        return Detections(_corners(columns[:, :4]), scores, suppressed=False)
    return None


def _one_stage(
    rows: NDArray[np.float64], input_hw: tuple[int, int], person: int, *, grid: bool
) -> Detections:
    """x, y, w, h, objectness, classes. YOLOX's own export leaves boxes on the grid: x, y in cells from
    the cell's corner, w, h as logarithms. No such logarithm passes 12, which would be a million
    pixels; among thousands of boxes in pixels one always does."""
    boxes = rows[:, :4]
    if grid and boxes[:, 2:].max() < _LOG_LIMIT:
        corners, strides = [], []
        for stride in _STRIDES:
            y, x = np.mgrid[: input_hw[0] // stride, : input_hw[1] // stride]
            corners.append(np.stack([x.ravel(), y.ravel()], axis=1))
            strides.append(np.full((x.size, 1), stride))
        scale = np.concatenate(strides)
        centers = (boxes[:, :2] + np.concatenate(corners)) * scale
        boxes = np.concatenate([centers, np.exp(boxes[:, 2:]) * scale], axis=1)
    scores = rows[:, 4] * _class_column(rows[:, 5:], person)
    return Detections(_corners(boxes), scores, suppressed=False)


def _several(
    arrays: Mapping[str, NDArray[Any]], input_hw: tuple[int, int], person: int
) -> Detections | None:
    """boxes, labels, scores and possibly a count; by shape, and by name where shapes are alike."""
    flat = {n: v[0] if v.ndim > 1 and v.shape[0] == 1 else v for n, v in arrays.items()}
    if is_mmdetection(arrays):
        (dets,) = (v.astype(np.float64) for v in flat.values() if v.ndim == 2)
        (classes,) = (v for v in flat.values() if v.ndim == 1)
        return _classed(dets[:, :4], classes, dets[:, 4], person)
    boxes = [n for n, v in flat.items() if v.ndim == 2 and v.shape[1] == 4]
    if len(boxes) != 1:
        return None
    count = len(flat[boxes[0]])
    lists = {n: v for n, v in flat.items() if v.ndim == 1 and len(v) == count and n != boxes[0]}
    whole = [n for n, v in lists.items() if np.issubdtype(v.dtype, np.integer)]
    labels = whole or [n for n in lists if "label" in n.lower() or "class" in n.lower()]
    scores = [n for n in lists if n not in labels]
    if count == 1:  # a number of detections looks like a list of one
        scores = [n for n in scores if "num" not in n.lower()] or scores
    if len(labels) != 1 or len(scores) != 1:
        return None
    corners = flat[boxes[0]].astype(np.float64)
    if "detection_boxes" in boxes[0]:  # TensorFlow's: y before x
        corners = corners[:, [1, 0, 3, 2]]
    if len(corners) and np.abs(corners).max() <= 2.0:  # parts of the picture
        corners = corners * [input_hw[1], input_hw[0], input_hw[1], input_hw[0]]
    return _classed(corners, flat[labels[0]], flat[scores[0]], person)


def _classed(
    corners: NDArray[np.float64], classes: NDArray[Any], scores: NDArray[Any], person: int
) -> Detections:
    kept = np.where(np.rint(classes) == person, scores, 0.0).astype(np.float64)
    return Detections(corners, kept, suppressed=True)


def _class_column(scores: NDArray[np.float64], person: int) -> NDArray[np.float64]:
    if person >= scores.shape[1]:
        raise EdgeposeError(
            f"the detector has {scores.shape[1]} classes, there is no number {person}",
            fix=f"give --detector-class 0 to {scores.shape[1] - 1}",
        )
    column: NDArray[np.float64] = scores[:, person]
    return column


def _corners(center_wh: NDArray[np.float64]) -> NDArray[np.float64]:
    """x, y of the centre, width, height -> x, y, x, y."""
    half = 0.5 * center_wh[:, 2:]
    return np.concatenate([center_wh[:, :2] - half, center_wh[:, :2] + half], axis=1)
