"""Where people are: outdoors, indoors and plain clutter, drawn around the camera's horizon."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edgepose.data.people.banks import SURFACE, banks
from edgepose.data.people.draws import Draws

Image = NDArray[np.uint8]
RGB = tuple[float, float, float]

_RAMP = (np.arange(256, dtype=np.float32) / 255)[:, None]


@dataclass(frozen=True)
class Stage:
    """What the background has to agree with: rows of the horizon and of the far edge of the floor
    (image px, may be outside), the camera's roll, pixels per metre where the person stands."""

    horizon_y: float
    floor_y: float
    roll_deg: float
    metre_px: float
    ground_y: float


def ramp(low: RGB, high: RGB) -> NDArray[np.uint8]:
    """(256, 3) colours from `low` to `high`."""
    a, b = np.array(low, np.float32), np.array(high, np.float32)
    return np.clip(a + (b - a) * _RAMP, 0, 255).astype(np.uint8)


def patch(d: Draws, kind: str, size_wh: tuple[int, int], zoom: float, low: RGB, high: RGB) -> Image:
    """(h, w, 3) of a surface at a random place; `zoom` > 1 enlarges it."""
    stack = banks().surfaces[kind]
    sheet = stack[d.below(len(stack))]
    w, h = max(size_wh[0], 1), max(size_wh[1], 1)
    cw = min(max(int(w / zoom), 4), SURFACE)
    ch = min(max(int(h / zoom), 4), SURFACE)
    x, y = d.below(SURFACE - cw + 1), d.below(SURFACE - ch + 1)
    crop = sheet[y : y + ch, x : x + cw]
    if d.chance(0.5):
        crop = crop[:, ::-1]
    gray = cv2.resize(np.ascontiguousarray(crop), (w, h), interpolation=cv2.INTER_LINEAR)
    # Four bytes at a time is several times faster than three.
    table = cv2.cvtColor(ramp(low, high)[None], cv2.COLOR_RGB2RGBA).view(np.uint32)[0, :, 0]
    wide = np.take(table, gray.astype(np.uint8, copy=False)).view(np.uint8).reshape(h, w, 4)
    return cv2.cvtColor(wide, cv2.COLOR_RGBA2RGB).astype(np.uint8, copy=False)


def paste(canvas: Image, x0: float, y0: float, x1: float, y1: float, d: Draws, kind: str,
          zoom: float, low: RGB, high: RGB, mask: Image | None = None) -> None:  # fmt: skip
    """A textured rectangle, clipped to the canvas; `mask` (its full size, uint8) cuts a shape."""
    h, w = canvas.shape[:2]
    left, top, right, bottom = round(x0), round(y0), round(x1), round(y1)
    a, b, c, e = max(left, 0), max(top, 0), min(right, w), min(bottom, h)
    if a >= c or b >= e:
        return
    piece = patch(d, kind, (c - a, e - b), zoom, low, high)
    if mask is None:
        canvas[b:e, a:c] = piece
    else:
        cut = mask[b - top : e - top, a - left : c - left]
        cv2.copyTo(piece, cut, canvas[b:e, a:c])


def tone(d: Draws, rgb: RGB, spread: float = 12.0) -> RGB:
    common = d.near(0, spread)
    r, g, b = (min(max(c + common + d.near(0, spread * 0.4), 4.0), 250.0) for c in rgb)
    return (r, g, b)


def pair(d: Draws, rgb: RGB, contrast: float) -> tuple[RGB, RGB]:
    """A darker and a lighter version of a colour."""
    c = tone(d, rgb)
    low, high = (tuple(min(x * f, 252.0) for x in c) for f in (1 - contrast, 1 + contrast))
    return (low[0], low[1], low[2]), (high[0], high[1], high[2])


_GROUNDS: tuple[tuple[str, RGB, float], ...] = (
    ("soil", (98, 122, 62), 0.35), ("soil", (70, 96, 48), 0.4), ("grit", (122, 120, 118), 0.22),
    ("grit", (92, 92, 96), 0.25), ("soil", (176, 156, 120), 0.2), ("grit", (164, 158, 150), 0.18),
    ("soil", (206, 190, 156), 0.12), ("plaster", (210, 214, 222), 0.1),
    ("brick", (140, 120, 108), 0.25), ("soil", (118, 94, 70), 0.35),
)  # fmt: skip
_FLOORS: tuple[tuple[str, RGB, float], ...] = (
    ("plank", (152, 112, 74), 0.3), ("plank", (196, 160, 118), 0.22), ("plank", (92, 66, 48), 0.3),
    ("brick", (176, 172, 166), 0.15), ("plaster", (122, 116, 112), 0.15),
    ("grit", (104, 100, 110), 0.2), ("plaster", (150, 70, 62), 0.25),
    ("plaster", (80, 96, 120), 0.25),
)  # fmt: skip
_WALLS: tuple[tuple[str, RGB, float], ...] = (
    ("plaster", (216, 210, 198), 0.08), ("plaster", (186, 196, 204), 0.08),
    ("plaster", (160, 178, 160), 0.1), ("plaster", (226, 222, 218), 0.06),
    ("plaster", (196, 162, 132), 0.1), ("plaster", (110, 122, 140), 0.12),
    ("brick", (160, 92, 70), 0.35), ("brick", (190, 184, 176), 0.2), ("plank", (150, 116, 82), 0.3),
    ("plaster", (88, 84, 90), 0.15),
)  # fmt: skip
_LEAF: tuple[RGB, ...] = ((58, 88, 40), (78, 110, 52), (44, 70, 44), (110, 118, 58), (132, 100, 48))
_THINGS: tuple[RGB, ...] = (
    (140, 98, 62), (88, 62, 44), (196, 192, 186), (58, 60, 66), (150, 42, 42), (48, 82, 132),
    (206, 178, 120), (96, 116, 96), (226, 224, 218), (120, 120, 126),
)  # fmt: skip


def _ground(canvas: Image, d: Draws, stage: Stage, kinds: tuple[tuple[str, RGB, float], ...],
            edge_y: float) -> None:  # fmt: skip
    size = canvas.shape[0]
    slope = math.tan(math.radians(stage.roll_deg)) * size / 2
    if edge_y - abs(slope) >= size:
        return
    kind, rgb, contrast = d.pick(kinds)
    low, high = pair(d, rgb, contrast)
    top = max(int(edge_y - abs(slope)), 0)
    zoom = d.between(0.5, 1.4)
    piece = patch(d, kind, (size, size - top), zoom, low, high)
    # Ground far away is finer: squeeze the upper half.
    if size - top > 24:
        near = cv2.resize(piece, (size, 2 * (size - top)), interpolation=cv2.INTER_LINEAR)
        half = (size - top) // 3
        piece[half:] = near[half : size - top]
    mask = np.zeros((size, size), np.uint8)
    polygon = [(-1, edge_y - slope), (size, edge_y + slope), (size, size), (-1, size)]
    cv2.fillConvexPoly(mask, np.rint(np.array(polygon)).astype(np.int32), 255)
    cv2.copyTo(piece, mask[top:], canvas[top:])


def _sky(canvas: Image, d: Draws) -> None:
    size = canvas.shape[0]
    top: RGB = d.pick(((92, 142, 206), (140, 176, 216), (182, 190, 200), (120, 132, 150),
                       (214, 170, 140), (198, 214, 230)))  # fmt: skip
    cloud = patch(d, "cloud", (size, size), d.between(0.6, 2.5), tone(d, top), (236, 236, 236))
    fade = ramp((255, 255, 255), (0, 0, 0))[:: max(256 // size, 1)][:size, 0].astype(np.uint16)
    fade = np.resize(fade, size)[:, None, None]
    pale = np.array(tone(d, (228, 228, 224), 8), np.uint16)
    canvas[:] = ((cloud * (128 + fade // 2) + pale * (127 - fade // 2)) // 255).astype(np.uint8)


def foliage_mask(d: Draws, width: int, height: int, *, bushy: int) -> Image:
    """A leafy outline: overlapping discs, uint8."""
    mask = np.zeros((max(height, 1), max(width, 1)), np.uint8)
    for _ in range(bushy):
        r = max(int(min(width, height) * d.between(0.16, 0.34)), 1)
        x = d.between(r, max(width - r, r + 1))
        y = d.between(r, max(height - r, r + 1))
        cv2.circle(mask, (int(x), int(y)), r, 255, -1)
    return mask


def _outdoor(canvas: Image, d: Draws, stage: Stage) -> None:
    size = canvas.shape[0]
    horizon = stage.horizon_y
    _sky(canvas, d)
    m = stage.metre_px
    if horizon > -0.3 * size:
        if d.chance(0.45):  # buildings
            x = -d.between(0, 0.3) * size
            while x < size:
                w, h = d.between(0.25, 0.8) * size, d.between(0.2, 0.9) * size
                low, high = pair(d, d.pick(((176, 160, 144), (150, 140, 136), (120, 128, 140),
                                            (170, 110, 90), (206, 200, 190))), 0.3)  # fmt: skip
                paste(canvas, x, horizon - h, x + w, horizon + 0.04 * size, d,
                      "block" if d.chance(0.75) else "brick", d.between(0.5, 1.6),
                      low, high)  # fmt: skip
                x += w + (d.between(0, 0.3) * size if d.chance(0.5) else 0)
        if d.chance(0.6):  # trees along the horizon
            h = d.between(0.08, 0.5) * size
            low, high = pair(d, d.pick(_LEAF), 0.55)
            w = int(size * 1.1)
            mask = foliage_mask(d, w, int(h * 1.2) + 2, bushy=16)
            mask[int(h * 0.6) :] = 255
            paste(canvas, 0, horizon - h, w, horizon - h + mask.shape[0], d, "leaf",
                  d.between(0.3, 0.8), low, high, mask)  # fmt: skip
    _ground(canvas, d, stage, _GROUNDS, horizon)
    if d.chance(0.25):  # path or pitch lines
        colour = tone(d, d.pick(((224, 224, 218), (150, 146, 140), (110, 104, 98))))
        y = max(horizon, 0) + d.between(0.05, 0.6) * size
        tilt = d.near(0, 0.12) * size
        cv2.line(canvas, (-4, round(y - tilt)), (size + 4, round(y + tilt)), colour,
                 1 + d.below(max(size // 40, 1)), cv2.LINE_AA)  # fmt: skip
    for _ in range(d.below(4)):  # trees, bushes, posts, walls
        x, foot = d.between(-0.1, 1.1) * size, stage.ground_y - d.between(0.03, 0.5) * m
        what = d.below(4)
        low, high = pair(d, d.pick(_LEAF), 0.5)
        if what == 0:
            trunk = d.between(0.08, 0.25) * m
            bark = pair(d, (92, 72, 56), 0.4)
            paste(canvas, x - trunk, -4, x + trunk, foot, d, "soil", 0.5, *bark)
            w = int(d.between(1.0, 2.6) * m)
            mask = foliage_mask(d, w, w, bushy=9)
            paste(canvas, x - w / 2, foot - 2.2 * m - w / 2, x + w / 2, foot - 2.2 * m + w / 2, d,
                  "leaf", 0.5, low, high, mask)  # fmt: skip
        elif what == 1:
            w, h = int(d.between(0.5, 1.6) * m), int(d.between(0.4, 1.2) * m)
            mask = foliage_mask(d, w, h, bushy=8)
            paste(canvas, x - w / 2, foot - h, x - w / 2 + mask.shape[1], foot, d, "leaf",
                  d.between(0.3, 0.8), low, high, mask)  # fmt: skip
        elif what == 2:
            w = d.between(0.02, 0.08) * m
            paste(canvas, x - w, foot - 3 * m, x + w, foot, d, "plaster", 1.0,
                  *pair(d, d.pick(_THINGS), 0.15))  # fmt: skip
        else:
            h = d.between(0.5, 1.3) * m
            paste(canvas, x, foot - h, x + d.between(0.6, 3) * m, foot, d,
                  d.pick(("brick", "plank", "plaster")), d.between(0.5, 1.2),
                  *pair(d, d.pick(_THINGS), 0.25))  # fmt: skip


def _indoor(canvas: Image, d: Draws, stage: Stage) -> None:
    size, m = canvas.shape[0], stage.metre_px
    kind, rgb, contrast = d.pick(_WALLS)
    paste(canvas, 0, 0, size, size, d, kind, d.between(0.6, 1.6), *pair(d, rgb, contrast))
    floor = stage.floor_y
    if d.chance(0.3):  # curtain or panelling
        x = d.between(-0.2, 0.9) * size
        stripes = patch(d, "plank", (size, max(int(d.between(0.3, 1.0) * size), 2)), 1.0,
                        *pair(d, d.pick(_THINGS), 0.3))  # fmt: skip
        turned = np.ascontiguousarray(stripes.transpose(1, 0, 2))
        a, b = max(int(x), 0), min(int(x) + turned.shape[1], size)
        if b > a:
            canvas[:, a:b] = turned[:, : b - a]
    for _ in range(d.below(4)):  # windows, pictures, shelves
        w, h = d.between(0.3, 1.5) * m, d.between(0.3, 1.3) * m
        x, y = d.between(-0.1, 1.0) * size, floor - d.between(1.0, 2.4) * m
        frame = max(0.04 * m, 1)
        paste(canvas, x - frame, y - frame, x + w + frame, y + h + frame, d, "plaster", 1.0,
              *pair(d, d.pick(_THINGS), 0.1))  # fmt: skip
        low, high = pair(d, d.pick(((200, 214, 226), (120, 140, 160), *_THINGS)), 0.4)
        paste(canvas, x, y, x + w, y + h, d, d.pick(("cloud", "leaf", "block", "soil")),
              d.between(0.4, 1.2), low, high)  # fmt: skip
    _ground(canvas, d, stage, _FLOORS, floor)
    skirting = round(floor)
    if 0 < skirting < size and abs(stage.roll_deg) < 3:
        canvas[max(skirting - max(int(0.08 * m), 1), 0) : skirting] = [
            round(c) for c in tone(d, d.pick(((226, 222, 214), (98, 72, 52), (60, 58, 58))))
        ]
    for _ in range(d.below(4)):  # furniture
        w, h = d.between(0.3, 1.7) * m, d.between(0.35, 1.7) * m
        x, foot = d.between(-0.2, 1.0) * size, floor + d.between(-0.02, 0.25) * m
        low, high = pair(d, d.pick(_THINGS), 0.25)
        paste(canvas, x, foot - h, x + w, foot, d, d.pick(("plank", "plaster", "plaster")),
              d.between(0.6, 1.4), low, high)  # fmt: skip
        lid = tuple(min(c * 1.2, 250) for c in high)
        paste(canvas, x, foot - h - 0.08 * m, x + w, foot - h, d, "plaster", 1.0,
              high, (lid[0], lid[1], lid[2]))  # fmt: skip
        if d.chance(0.5):
            cv2.line(canvas, (round(x + w / 2), round(foot - h)), (round(x + w / 2), round(foot)),
                     low, 1)  # fmt: skip


def _clutter(canvas: Image, d: Draws, stage: Stage) -> None:
    size = canvas.shape[0]
    kinds = ("cloud", "soil", "leaf", "grit", "brick", "block", "plank", "plaster")
    first = tone(d, d.pick(_THINGS), 25)
    paste(canvas, 0, 0, size, size, d, d.pick(kinds), d.between(0.4, 2.5), first,
          tone(d, d.pick(_THINGS), 25))  # fmt: skip
    _ground(canvas, d, stage, _GROUNDS + _FLOORS, stage.floor_y)
    for _ in range(2 + d.below(6)):
        w, h = d.between(0.05, 0.5) * size, d.between(0.05, 0.5) * size
        x, y = d.between(-0.1, 1) * size, d.between(-0.1, 1) * size
        mask = None
        if d.chance(0.6):
            mask = np.zeros((round(y + h) - round(y) + 1, round(x + w) - round(x) + 1), np.uint8)
            cv2.ellipse(mask, (round(w / 2), round(h / 2)), (round(w / 2), round(h / 2)),
                        d.near(0, 10), 0, 360, 255, -1)  # fmt: skip
        paste(canvas, x, y, x + w, y + h, d, d.pick(kinds), d.between(0.4, 2.0),
              *pair(d, d.pick(_THINGS + _LEAF), 0.35), mask)  # fmt: skip
    for _ in range(d.below(5)):
        a = (d.below(size), d.below(size))
        b = (a[0] + round(d.near(0, 0.25) * size), a[1] + round(d.near(0, 0.25) * size))
        cv2.line(canvas, a, b, tone(d, d.pick(_THINGS), 25), 1 + d.below(max(size // 16, 2)),
                 cv2.LINE_AA)  # fmt: skip


def draw_background(d: Draws, stage: Stage, frame_px: int, *, outdoor: bool) -> Image:
    """(frame_px, frame_px, 3) uint8 RGB."""
    canvas = np.empty((frame_px, frame_px, 3), np.uint8)
    if d.chance(0.13):
        _clutter(canvas, d, stage)
    elif outdoor:
        _outdoor(canvas, d, stage)
    else:
        _indoor(canvas, d, stage)
    blur = d.between(0.0, 1.6) * frame_px / 128 if d.chance(0.7) else 0.0
    if blur > 0.3:
        canvas = cv2.GaussianBlur(canvas, (0, 0), blur).astype(np.uint8)
    return canvas
