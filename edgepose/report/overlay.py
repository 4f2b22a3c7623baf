"""Skeletons drawn on photographs."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from edgepose.skeleton import Skeleton

RIGHT_RGB, LEFT_RGB, CENTRE_RGB = (255, 138, 36), (34, 168, 255), (112, 224, 120)
_HALO_RGB, _MIDDLE_RGB = (18, 22, 28), (255, 255, 255)
_HALO_STRENGTH = 0.6
_BITS = 4  # of a pixel, in OpenCV's fixed point
_LEVELS = 5  # steps of opacity, of which 0.35..1 uses four: what is of one step is blended at once
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
    ends, limb_colors, joint_colors = _plan(skeleton)
    limb_levels = levels[ends].min(axis=1)
    edges, bodies = _bodies(points[ends], (width + 2 * _halo_px(width), width))
    for level in np.unique(levels[levels > 0]).tolist():
        seen = np.nonzero(levels == level)[0]
        limbs = np.nonzero(limb_levels == level)[0]
        _paint(
            canvas, edges[limbs], bodies[limbs], [limb_colors[i] for i in limbs.tolist()],
            points[seen], [joint_colors[i] for i in seen.tolist()],
            reach=np.concatenate([points[seen], points[ends[limbs]].reshape(-1, 2)]),
            width_px=width, strength=min(level / _LEVELS, 1.0),
        )  # fmt: skip


@functools.lru_cache(maxsize=16)
def _plan(skeleton: Skeleton) -> tuple[NDArray[np.int64], list[Color], list[Color]]:
    """(limbs (n, 2), their colours, the joints' colours)."""
    limbs = [_limb_color(skeleton.joints[a], skeleton.joints[b]) for a, b in skeleton.limbs]
    ends = np.array(skeleton.limbs, dtype=np.int64).reshape(-1, 2)
    return ends, limbs, [_side_color(joint) for joint in skeleton.joints]


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
    edges: NDArray[np.int32],
    bodies: NDArray[np.int32],
    limb_colors: Sequence[Color],
    joints_xy: NDArray[np.float64],
    joint_colors: Sequence[Color],
    *,
    reach: NDArray[np.float64],
    width_px: float,
    strength: float,
) -> None:
    """Blend limbs and joints of one strength into the canvas, anti-aliased; they do not add up.

    edges, bodies: (n, 4, 2) fixed-point corners of limbs with and without their dark edge;
    reach: (n, 2) points of all
    """
    outer = 0.95 * width_px + _halo_px(width_px)
    height, width = canvas.shape[:2]
    (left, top), (right, bottom) = reach.min(axis=0).tolist(), reach.max(axis=0).tolist()
    x0, y0 = max(0, int(left - outer - 3)), max(0, int(top - outer - 3))
    x1, y1 = min(width, int(right + outer + 4)), min(height, int(bottom + outer + 4))
    if x0 >= x1 or y0 >= y1:
        return
    patch = canvas[y0:y1, x0:x1]
    corner = np.array([x0 << _BITS, y0 << _BITS], dtype=np.int32)
    places = (_fixed(joints_xy) - corner).tolist()
    dark = patch.copy()
    # The dark edge of every limb goes below all of them, so that joints do not cut through lines.
    for edge in edges - corner:
        cv2.fillConvexPoly(dark, edge, _HALO_RGB, cv2.LINE_AA, _BITS)
    _discs(dark, places, outer, [_HALO_RGB] * len(places))
    painted = patch if strength >= 1.0 else np.empty_like(dark)
    cv2.addWeighted(dark, _HALO_STRENGTH, patch, 1.0 - _HALO_STRENGTH, 0.0, dst=painted)
    for body, color in zip(bodies - corner, limb_colors, strict=True):
        cv2.fillConvexPoly(painted, body, color, cv2.LINE_AA, _BITS)
    _discs(painted, places, 0.95 * width_px, joint_colors)
    _discs(painted, places, 0.4 * width_px, [_MIDDLE_RGB] * len(places))
    if strength < 1.0:
        cv2.addWeighted(painted, strength, patch, 1.0 - strength, 0.0, dst=patch)


def _discs(
    image: NDArray[np.uint8],
    places: Sequence[Sequence[int]],
    radius_px: float,
    colors: Sequence[Color],
) -> None:
    """places: (x, y) in fixed point."""
    radius = round(radius_px * (1 << _BITS))
    for (x, y), color in zip(places, colors, strict=True):
        cv2.circle(image, (x, y), radius, color, cv2.FILLED, cv2.LINE_AA, _BITS)


def _bodies(
    lines: NDArray[np.float64], widths_px: Sequence[float]
) -> tuple[NDArray[np.int32], ...]:
    """For each width the fixed-point corners (n, 4, 2) of lines (n, 2, 2), without round ends."""
    along = lines[:, 1] - lines[:, 0]
    length = np.maximum(np.hypot(along[:, 0], along[:, 1]), 1e-9)
    side = 0.5 * along[:, ::-1] * (-1.0, 1.0) / length[:, None]
    ends, signs = lines[:, [0, 1, 1, 0]], np.array([1.0, 1.0, -1.0, -1.0])[:, None]
    return tuple(_fixed(ends + width * signs * side[:, None]) for width in widths_px)


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
