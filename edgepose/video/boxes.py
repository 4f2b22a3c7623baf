"""Where people are: the whole frame, one box, a file, a detector, or where their joints just were."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from edgepose.errors import EdgeposeError
from edgepose.video.frames import Frame
from edgepose.video.tracking import iou

MARGIN = 0.08  # of the joints' longer side: what people's boxes are wider than their joints, COCO
SEEN = 0.2  # confidence from which a joint counts
_LOST_SHARE = 0.25
_SAME = 0.8  # overlap of two boxes of one person
_LEAST_PX = 4.0
_KEEP = 0.5  # of the size of the box before, against pumping


class Rough(NamedTuple):
    """A person of the frame before, in plain numbers: box x, y, w, h; joints (J, 2); scores (J,)."""

    box_xywh: list[float]
    joints_xy: list[tuple[float, float]]
    scores: list[float]


Before = Sequence[Rough]


class Boxes(Protocol):
    """A way to find boxes."""

    def knows(self, frame: Frame) -> bool:
        """Whether it is worth asking about this frame of a video, rather than following."""
        ...

    def find(self, frame: Frame, before: Before | None) -> NDArray[np.float64]:
        """(K, 4) x, y, w, h in pixels of the frame. before: None at a source's first frame."""
        ...


class WholeFrame:
    """One person who fills the frame; in a video, the first one."""

    def knows(self, frame: Frame) -> bool:
        return frame.index == 0

    def find(self, frame: Frame, before: Before | None) -> NDArray[np.float64]:
        height, width = frame.image.shape[:2]
        return np.array([[0.0, 0.0, width, height]])


class OneBox:
    """The same box in every picture, and in a video's first frame; EdgeposeError where it lies outside."""

    def __init__(self, box_xywh: tuple[float, float, float, float]) -> None:
        self.box_xywh = box_xywh

    def knows(self, frame: Frame) -> bool:
        return frame.index == 0

    def find(self, frame: Frame, before: Before | None) -> NDArray[np.float64]:
        height, width = frame.image.shape[:2]
        x, y, w, h = self.box_xywh
        if x >= width or y >= height or x + w <= 0 or y + h <= 0:
            raise EdgeposeError(
                f"the box {x:g},{y:g},{w:g},{h:g} lies outside {frame.name} "
                f"({width} x {height} pixels)",
                fix="give x,y,width,height in pixels of this image",
            )
        return np.array([self.box_xywh], dtype=np.float64)


class Following:
    """For videos: boxes from `start` in the frames that it knows, else around the joints of the frame
    before; from `start` again when everyone has been lost."""

    def __init__(self, start: Boxes) -> None:
        self.start = start

    def knows(self, frame: Frame) -> bool:
        return True

    def find(self, frame: Frame, before: Before | None) -> NDArray[np.float64]:
        if before is None or self.start.knows(frame):
            return self.start.find(frame, before)
        height, width = frame.image.shape[:2]
        boxes = follow(before, frame_hw=(height, width))
        return boxes if len(boxes) else self.start.find(frame, before)


def follow(before: Before, *, frame_hw: tuple[int, int]) -> NDArray[np.float64]:
    """(K', 4) boxes of the next frame; people with too few joints, or seen twice, are left out."""
    height, width = frame_hw
    kept: list[list[float]] = []
    # Plain numbers: this runs between two frames, where a dozen calls of numpy would be felt.
    for old, joints, scores in before:
        seen = [xy for xy, score in zip(joints, scores, strict=True) if score >= SEEN]
        if len(seen) < max(2, _LOST_SHARE * len(scores)):
            continue
        xs, ys = zip(*seen, strict=True)
        x0, y0, x1, y1 = min(xs), min(ys), max(xs), max(ys)
        margin = 2 * MARGIN * max(x1 - x0, y1 - y0)
        w = _KEEP * old[2] + (1.0 - _KEEP) * (x1 - x0 + margin)
        h = _KEEP * old[3] + (1.0 - _KEEP) * (y1 - y0 + margin)
        x, y = 0.5 * (x0 + x1 - w), 0.5 * (y0 + y1 - h)
        inside = x < width and y < height and x + w > 0 and y + h > 0
        new = not kept or iou([[x, y, w, h]], kept).max() < _SAME
        if inside and new and min(w, h) >= _LEAST_PX:
            kept.append([x, y, w, h])
    return np.array(kept, dtype=np.float64).reshape(-1, 4)
