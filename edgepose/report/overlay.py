"""Skeletons drawn on photographs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edgepose.skeleton import Skeleton

RIGHT_RGB, LEFT_RGB, CENTRE_RGB = (255, 138, 36), (34, 168, 255), (112, 224, 120)
_HALO_RGB = (18, 22, 28)
_BITS = 4  # of a pixel, in OpenCV's fixed point
_STRENGTHS = 16  # steps of opacity: strokes of one step are blended at once
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
    width = line_width_px(points, opacity)
    halo = max(0.8, 0.35 * width)
    limbs = [(a, b, min(opacity[a], opacity[b])) for a, b in skeleton.limbs]
    limbs = [limb for limb in limbs if limb[2] > 0]
    # The dark edge of every limb goes below all of them, so that joints do not cut through lines.
    edges, lines = [], []
    for a, b, strength in limbs:
        ends = points[a], points[b]
        edges.append(_Stroke(*ends, width + 2 * halo, _HALO_RGB, 0.55 * strength))
        color = _limb_color(skeleton.joints[a], skeleton.joints[b])
        lines.append(_Stroke(*ends, width, color, 0.95 * strength))
    rims, discs, cores = [], [], []
    for joint, strength in enumerate(opacity):
        if strength > 0:
            p = points[joint]
            color = _side_color(skeleton.joints[joint])
            rims.append(_Stroke(p, p, 1.9 * width + 2 * halo, _HALO_RGB, 0.7 * strength))
            discs.append(_Stroke(p, p, 1.9 * width, color, strength))
            cores.append(_Stroke(p, p, 0.8 * width, (255, 255, 255), 0.9 * strength))
    for layer in (edges, lines, rims, discs, cores):
        _paint(canvas, layer)


def _side_color(joint: str) -> tuple[int, int, int]:
    if joint.startswith("right_"):
        return RIGHT_RGB
    return LEFT_RGB if joint.startswith("left_") else CENTRE_RGB


def _limb_color(a: str, b: str) -> tuple[int, int, int]:
    """The side of a limb: that of its ends; centre where they are of different sides."""
    sides = {_side_color(a), _side_color(b)} - {CENTRE_RGB}
    return sides.pop() if len(sides) == 1 else CENTRE_RGB


@dataclass(frozen=True)
class _Stroke:
    """A round-ended line, or a disc where start is end. strength: opacity 0..1."""

    start: NDArray[np.float64]
    end: NDArray[np.float64]
    width_px: float
    color: tuple[int, int, int]
    strength: float


def _paint(canvas: NDArray[np.uint8], strokes: Sequence[_Stroke]) -> None:
    """Blend strokes into the canvas, anti-aliased; those of one strength do not add up."""
    groups: dict[int, list[_Stroke]] = {}
    for stroke in strokes:
        if max(np.abs(stroke.start).max(), np.abs(stroke.end).max()) <= _FARTHEST_PX:
            groups.setdefault(round(stroke.strength * _STRENGTHS), []).append(stroke)
    height, width = canvas.shape[:2]
    for level, group in groups.items():
        ends = np.array([(stroke.start, stroke.end) for stroke in group]).reshape(-1, 2)
        margin = 0.5 * max(stroke.width_px for stroke in group) + 2
        low, high = np.floor(ends.min(axis=0) - margin), np.ceil(ends.max(axis=0) + margin) + 1
        x0, y0 = (int(v) for v in np.clip(low, 0, (width, height)))
        x1, y1 = (int(v) for v in np.clip(high, 0, (width, height)))
        if x0 >= x1 or y0 >= y1:
            continue
        patch = canvas[y0:y1, x0:x1]
        painted = patch.copy()
        for stroke in group:
            _line(painted, stroke, np.array((x0, y0)))
        strength = level / _STRENGTHS
        cv2.addWeighted(painted, strength, patch, 1.0 - strength, 0.0, dst=patch)


def _line(patch: NDArray[np.uint8], stroke: _Stroke, corner_xy: NDArray[np.int64]) -> None:
    a, b, half = stroke.start - corner_xy, stroke.end - corner_xy, 0.5 * stroke.width_px
    along = b - a
    length = float(np.hypot(*along))
    if length > 0:
        side = half * np.array([-along[1], along[0]]) / length
        corners = np.stack([a + side, b + side, b - side, a - side])
        cv2.fillConvexPoly(patch, _fixed(corners), stroke.color, cv2.LINE_AA, _BITS)
    radius = int(_fixed(np.array(half)))
    for point in (a, b) if length > 0 else (a,):
        x, y = _fixed(point).tolist()
        cv2.circle(patch, (x, y), radius, stroke.color, cv2.FILLED, cv2.LINE_AA, _BITS)


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
