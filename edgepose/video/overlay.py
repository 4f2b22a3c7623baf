"""What is drawn on a frame: skeletons, the people's numbers, measured figures."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from edgepose.predict import Prediction
from edgepose.report.overlay import draw_skeletons
from edgepose.skeleton import Skeleton
from edgepose.video.boxes import SEEN

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_INK, _PLATE = (245, 247, 250), (18, 22, 28)


def draw(
    image: NDArray[np.uint8],
    people: Sequence[Prediction],
    skeleton: Skeleton,
    *,
    threshold: float = SEEN,
    figures: str | None = None,
) -> NDArray[np.uint8]:
    """A copy of the (H, W, 3) RGB image with everyone's skeleton and, in a video, number.

    threshold: joints below are not drawn; figures: a line of text for the upper left corner
    """
    canvas = draw_skeletons(
        image,
        [p.joints_xy for p in people],
        [p.scores for p in people],
        skeleton,
        threshold=threshold,
    )
    for person in people:
        seen = person.joints_xy[person.scores >= threshold]
        if person.track is not None and len(seen):
            top = seen[seen[:, 1].argmin()]
            _tag(canvas, str(person.track), (float(top[0]), float(top[1])))
    if figures:
        _figures(canvas, figures)
    return canvas


def _scale(canvas: NDArray[np.uint8]) -> float:
    return float(np.clip(min(canvas.shape[:2]) / 900.0, 0.35, 1.2))


def _text_size(text: str, scale: float) -> tuple[int, int, int]:
    """Width, height and what is below the line, px. Figures are alike wide, so that it is asked once
    for a line whose figures change with every frame: OpenCV takes 0.1 ms for it."""
    return _size_of("".join("0" if c.isdigit() else c for c in text), scale)


@functools.lru_cache(maxsize=256)
def _size_of(text: str, scale: float) -> tuple[int, int, int]:
    (width, height), below = cv2.getTextSize(text, _FONT, scale, 1)
    return width, height, below


def _tag(canvas: NDArray[np.uint8], text: str, top_xy: tuple[float, float]) -> None:
    """The number on a dark plate above a joint, moved into the picture."""
    height, width = canvas.shape[:2]
    scale = _scale(canvas)
    w, h, _ = _text_size(text, scale)
    pad, lift = max(2, round(5 * scale)), round(26 * scale) + 4
    x = int(np.clip(top_xy[0] - w / 2, pad, max(width - w - pad, pad)))
    y = int(np.clip(top_xy[1] - lift, h + pad, max(height - pad, h + pad)))
    _plate(canvas, text, (x, y), scale, pad)


def _figures(canvas: NDArray[np.uint8], text: str) -> None:
    """In the upper left corner; in a narrow frame smaller, then the last figure alone."""
    scale, short = _scale(canvas), text.rsplit("   ", 1)[-1]
    for line, size in ((text, scale), (text, 0.35), (short, scale), (short, 0.35)):
        w, h, _ = _text_size(line, size)
        pad = max(2, round(6 * size))
        if w + 4 * pad <= canvas.shape[1]:
            _plate(canvas, line, (2 * pad, h + 2 * pad), size, pad)
            return


def _plate(
    canvas: NDArray[np.uint8], text: str, at: tuple[int, int], scale: float, pad: int
) -> None:
    w, h, below = _text_size(text, scale)
    x, y = at
    x0, y0, x1, y1 = max(x - pad, 0), max(y - h - pad, 0), x + w + pad, y + below // 2 + pad
    patch = canvas[y0:y1, x0:x1]
    cv2.addWeighted(np.full_like(patch, _PLATE), 0.65, patch, 0.35, 0.0, dst=patch)
    cv2.putText(canvas, text, at, _FONT, scale, _INK, 1, cv2.LINE_AA)
