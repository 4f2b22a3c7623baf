"""Who is who from frame to frame: boxes that overlap most are of the same person."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy.optimize import linear_sum_assignment


class Config(BaseModel):
    """min_iou: overlap below which two boxes are not of one person; max_age: frames for which a person
    out of sight keeps the number."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_iou: float = Field(0.3, gt=0, le=1)
    max_age: int = Field(30, ge=0)


def iou(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """(N, 4) and (M, 4) boxes x, y, w, h -> (N, M) intersection over union, 0..1."""
    first = np.asarray(a, dtype=np.float64).reshape(-1, 4)[:, None]
    second = np.asarray(b, dtype=np.float64).reshape(-1, 4)[None]
    low = np.maximum(first[..., :2], second[..., :2])
    high = np.minimum(first[..., :2] + first[..., 2:], second[..., :2] + second[..., 2:])
    shared = np.prod(np.clip(high - low, 0.0, None), axis=-1)
    union = np.prod(first[..., 2:], axis=-1) + np.prod(second[..., 2:], axis=-1) - shared
    return np.asarray(shared / np.maximum(union, 1e-12))


class Tracker:
    """Numbers people from 1 in the order of their coming; a number is never given twice."""

    def __init__(self, config: Config | None = None) -> None:
        self.config = config or Config()
        self._boxes: dict[int, NDArray[np.float64]] = {}
        self._ages: dict[int, int] = {}
        self._next = 1

    def knows(self, number: int) -> bool:
        """Whether the person may still come back under this number."""
        return number in self._boxes

    def update(self, boxes_xywh: ArrayLike) -> list[int]:
        """The numbers of the next frame's (K, 4) boxes, by the assignment of greatest overlap."""
        boxes = np.asarray(boxes_xywh, dtype=np.float64).reshape(-1, 4)
        known = list(self._boxes)
        numbers = [0] * len(boxes)
        if known and len(boxes):
            overlap = iou(np.stack([self._boxes[n] for n in known]), boxes)
            # Pairs that are too far apart count nothing, so that they cannot cost a good pair.
            gain = np.where(overlap >= self.config.min_iou, overlap, 0.0)
            for row, column in zip(*linear_sum_assignment(gain, maximize=True), strict=True):
                if gain[row, column] > 0:
                    numbers[column] = known[row]
        for column, number in enumerate(numbers):
            if number == 0:
                numbers[column], self._next = self._next, self._next + 1
        self._ages = {n: age + 1 for n, age in self._ages.items()}
        for number, box in zip(numbers, boxes, strict=True):
            self._boxes[number], self._ages[number] = box, 0
        for number in [n for n, age in self._ages.items() if age > self.config.max_age]:
            del self._boxes[number], self._ages[number]
        return numbers
