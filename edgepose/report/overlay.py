"""Skeletons drawn on photographs."""

from __future__ import annotations

from collections.abc import Sequence

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
    # The dark edge of every limb goes below all of them, so that joints do not cut through lines.
    limbs = [(a, b) for a, b in skeleton.limbs if min(opacity[a], opacity[b]) > 0]
    if limbs:
        ends = points[np.array(limbs)]
        strength = opacity[np.array(limbs)].min(axis=1)
        colors = [_limb_color(skeleton.joints[a], skeleton.joints[b]) for a, b in limbs]
        _paint(canvas, ends, width + 2 * halo, [_HALO_RGB] * len(limbs), 0.55 * strength)
        _paint(canvas, ends, width, colors, 0.95 * strength)
    seen = np.nonzero(opacity > 0)[0]
    discs, strength = points[seen][:, None], opacity[seen]
    colors = [_side_color(skeleton.joints[joint]) for joint in seen]
    _paint(canvas, discs, 1.9 * width + 2 * halo, [_HALO_RGB] * len(seen), 0.7 * strength)
    _paint(canvas, discs, 1.9 * width, colors, strength)
    _paint(canvas, discs, 0.8 * width, [(255, 255, 255)] * len(seen), 0.9 * strength)


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
    strokes: NDArray[np.float64],
    width_px: float,
    colors: Sequence[tuple[int, int, int]],
    strengths: NDArray[np.float64],
) -> None:
    """Blend round-ended lines (n, 2, 2), or discs (n, 1, 2), into the canvas, anti-aliased.

    strengths: (n,) opacity 0..1; strokes of one strength are blended at once and do not add up
    """
    levels = np.rint(strengths * _STRENGTHS).astype(int)
    levels[np.abs(strokes).max(axis=(1, 2)) > _FARTHEST_PX] = 0
    height, width = canvas.shape[:2]
    margin, radius = 0.5 * width_px + 2, round(0.5 * width_px * (1 << _BITS))
    for level in set(levels[levels > 0].tolist()):
        chosen = np.nonzero(levels == level)[0]
        group = strokes[chosen]
        low = np.floor(group.min(axis=(0, 1)) - margin)
        high = np.ceil(group.max(axis=(0, 1)) + margin) + 1
        x0, y0 = (int(v) for v in np.clip(low, 0, (width, height)))
        x1, y1 = (int(v) for v in np.clip(high, 0, (width, height)))
        if x0 >= x1 or y0 >= y1:
            continue
        patch = canvas[y0:y1, x0:x1]
        painted = patch.copy()
        places = group - (x0, y0)
        bodies = _fixed(_bodies(places, width_px)) if group.shape[1] == 2 else None
        for i, ends in enumerate(_fixed(places).tolist()):
            color = colors[chosen[i]]
            if bodies is not None:
                cv2.fillConvexPoly(painted, bodies[i], color, cv2.LINE_AA, _BITS)
            for x, y in ends:
                cv2.circle(painted, (x, y), radius, color, cv2.FILLED, cv2.LINE_AA, _BITS)
        strength = level / _STRENGTHS
        cv2.addWeighted(painted, strength, patch, 1.0 - strength, 0.0, dst=patch)


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
