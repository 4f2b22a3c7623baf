"""Skeletons drawn on photographs."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from edgepose.skeleton import Skeleton

RIGHT_RGB, LEFT_RGB, CENTRE_RGB = (255, 138, 36), (34, 168, 255), (112, 224, 120)
_HALO_RGB, _MIDDLE_RGB = (18, 22, 28), (255, 255, 255)
_HALO_STRENGTH = 0.6
_BITS = 4  # of a pixel, in OpenCV's fixed point
_LEVELS = 8  # steps of opacity: what is of one step is blended at once
Color = tuple[int, int, int]
_FARTHEST_PX = 1e5  # beyond it a line is not drawn


def draw_skeletons(
    image: NDArray[np.uint8],
    people_xy: Sequence[NDArray[np.floating]],
    people_scores: Sequence[NDArray[np.floating]],
    skeleton: Skeleton,
    *,
    threshold: float = 0.2,
    full: float = 0.6,
) -> NDArray[np.uint8]:
    """A copy of the image with limbs and joints on it, coloured by the person's own side.

    image:         (H, W, 3) uint8 RGB
    people_xy:     per person (J, 2) image pixels, 0-based, pixel centres at integers
    people_scores: per person (J,) confidence; below `threshold` a joint is not drawn, from there
                   to `full` it fades in; a limb is as confident as the weaker of its ends
    Line width follows each person's size. Joints far outside the image are fine.
    """
    canvas = np.ascontiguousarray(image).copy()
    for xy, scores in zip(people_xy, people_scores, strict=True):
        opacity = fade(np.asarray(scores, dtype=np.float64), threshold=threshold, full=full)
        points = np.asarray(xy, dtype=np.float64)
        opacity = np.where(np.isfinite(points).all(axis=1), opacity, 0.0)
        if (opacity > 0).any():
            _draw_person(canvas, points, opacity, skeleton)
    return canvas


def fade(scores: NDArray[np.float64], *, threshold: float, full: float) -> NDArray[np.float64]:
    """Opacity 0..1 of confidences: 0 below `threshold`, 0.35 at it, 1 from `full` on."""
    rise = np.clip((scores - threshold) / max(full - threshold, 1e-9), 0.0, 1.0)
    return np.where(scores >= threshold, 0.35 + 0.65 * rise, 0.0)


def line_width_px(points: NDArray[np.float64], opacity: NDArray[np.float64]) -> float:
    """Limb width for a person of this size: 1/55 of the extent of the visible joints."""
    seen = points[opacity > 0]
    extent = float(np.ptp(seen, axis=0).max()) if len(seen) > 1 else 40.0
    return float(np.clip(extent / 55.0, 1.2, 14.0))


def _draw_person(
    canvas: NDArray[np.uint8],
    points: NDArray[np.float64],
    opacity: NDArray[np.float64],
    skeleton: Skeleton,
) -> None:
    """Joints and limbs of one opacity at a time, the faintest first: each level costs one copy and two
    blends of its part of the picture, and limbs are never above the joints that they end in."""
    width = line_width_px(points, opacity)
    levels = np.rint(opacity * _LEVELS).astype(int)
    levels[~(np.abs(points).max(axis=1) <= _FARTHEST_PX)] = 0
    points = np.where(levels[:, None] > 0, points, 0.0)
    ends = np.array(skeleton.limbs, dtype=int).reshape(-1, 2)
    limb_levels = levels[ends].min(axis=1)
    bodies = _fixed(_bodies(points[ends], width))
    edges = _fixed(_bodies(points[ends], width + 2 * _halo_px(width)))
    limbs = [
        (level, edges[i], bodies[i], _limb_color(skeleton.joints[a], skeleton.joints[b]))
        for i, ((a, b), level) in enumerate(zip(ends.tolist(), limb_levels.tolist(), strict=True))
    ]
    for level in sorted(set(levels[levels > 0].tolist())):
        seen = np.nonzero(levels == level)[0]
        strokes = [(edge, body, color) for at, edge, body, color in limbs if at == level]
        reach = np.concatenate([points[seen], *(points[ends[limb_levels == level]])])
        _paint(canvas, strokes, points[seen], [_side_color(skeleton.joints[j]) for j in seen],
               reach=reach, width_px=width, strength=min(level / _LEVELS, 1.0))  # fmt: skip


def _halo_px(width_px: float) -> float:
    return max(0.8, 0.35 * width_px)


def _side_color(joint: str) -> tuple[int, int, int]:
    if joint.startswith("right_"):
        return RIGHT_RGB
    return LEFT_RGB if joint.startswith("left_") else CENTRE_RGB


def _limb_color(a: str, b: str) -> tuple[int, int, int]:
    """The side of a limb: that of its ends; centre where they are of different sides."""
    sides = {_side_color(a), _side_color(b)} - {CENTRE_RGB}
    return sides.pop() if len(sides) == 1 else CENTRE_RGB


def _paint(
    canvas: NDArray[np.uint8],
    limbs: Sequence[tuple[NDArray[np.int32], NDArray[np.int32], Color]],
    joints_xy: NDArray[np.float64],
    colors: Sequence[Color],
    *,
    reach: NDArray[np.float64],
    width_px: float,
    strength: float,
) -> None:
    """Blend limbs and joints of one strength into the canvas, anti-aliased; they do not add up.

    limbs: corners (4, 2) of the dark edge and of the limb, fixed point; reach: (n, 2) points of all
    """
    halo = _halo_px(width_px)
    margin = 0.95 * width_px + halo + 2
    height, width = canvas.shape[:2]
    x0, y0 = (int(v) for v in np.clip(np.floor(reach.min(axis=0) - margin), 0, (width, height)))
    x1, y1 = (int(v) for v in np.clip(np.ceil(reach.max(axis=0) + margin) + 1, 0, (width, height)))
    if x0 >= x1 or y0 >= y1:
        return
    patch = canvas[y0:y1, x0:x1]
    offset = np.array([x0, y0], dtype=np.int32) << _BITS
    places = (_fixed(joints_xy) - offset).tolist()
    dark = patch.copy()
    # The dark edge of every limb goes below all of them, so that joints do not cut through lines.
    for edge, _, _ in limbs:
        cv2.fillConvexPoly(dark, edge - offset, _HALO_RGB, cv2.LINE_AA, _BITS)
    _discs(dark, places, 0.95 * width_px + halo, [_HALO_RGB] * len(places))
    painted = patch if strength >= 1.0 else np.empty_like(dark)
    cv2.addWeighted(dark, _HALO_STRENGTH, patch, 1.0 - _HALO_STRENGTH, 0.0, dst=painted)
    for _, body, color in limbs:
        cv2.fillConvexPoly(painted, body - offset, color, cv2.LINE_AA, _BITS)
    _discs(painted, places, 0.95 * width_px, colors)
    _discs(painted, places, 0.4 * width_px, [_MIDDLE_RGB] * len(places))
    if strength < 1.0:
        cv2.addWeighted(painted, strength, patch, 1.0 - strength, 0.0, dst=patch)


def _discs(
    image: NDArray[np.generic],
    places: Sequence[Sequence[int]],
    radius_px: float,
    colors: Sequence[Color],
) -> None:
    """places: (x, y) in fixed point."""
    radius = round(radius_px * (1 << _BITS))
    for (x, y), color in zip(places, colors, strict=True):
        cv2.circle(image, (x, y), radius, color, cv2.FILLED, cv2.LINE_AA, _BITS)


def _bodies(lines: NDArray[np.float64], width_px: float) -> NDArray[np.float64]:
    """(n, 4, 2) corners of lines (n, 2, 2) of this width, without their round ends."""
    along = lines[:, 1] - lines[:, 0]
    length = np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
    side = 0.5 * width_px * np.stack([-along[:, 1], along[:, 0]], axis=1) / length
    corners: NDArray[np.float64] = np.stack(
        [lines[:, 0] + side, lines[:, 1] + side, lines[:, 1] - side, lines[:, 0] - side], axis=1
    )
    return corners


def _fixed(values: NDArray[np.float64]) -> NDArray[np.int32]:
    """OpenCV's fixed-point pixels."""
    fixed: NDArray[np.int32] = np.rint(values * (1 << _BITS)).astype(np.int32)
    return fixed


def png_bytes(image: NDArray[np.uint8]) -> bytes:
    """(H, W, 3) uint8 RGB as a PNG file."""
    done, data = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    if not done:
        raise ValueError(f"OpenCV cannot encode an image of shape {image.shape}")
    return bytes(data)
