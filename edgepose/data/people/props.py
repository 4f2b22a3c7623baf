"""Things that stand in front of people, seats under them, shadows on the ground."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from edgepose.data.people.background import _LEAF, _THINGS, Image, foliage_mask, pair, patch
from edgepose.data.people.camera import Camera
from edgepose.data.people.draws import Draws
from edgepose.data.people.light import Light

Box = tuple[float, float, float, float]  # x0, y0, x1, y1 in image pixels


def _lay(canvas: Image, hidden: Image, mask: Image, texture: Image, x: int, y: int) -> None:
    """Paste `texture` where `mask`, at (x, y), clipped; mark it in `hidden`."""
    size = canvas.shape[0]
    h, w = mask.shape
    a, b, c, e = max(x, 0), max(y, 0), min(x + w, size), min(y + h, size)
    if a >= c or b >= e:
        return
    cut = np.ascontiguousarray(mask[b - y : e - y, a - x : c - x])
    cv2.copyTo(np.ascontiguousarray(texture[b - y : e - y, a - x : c - x]), cut, canvas[b:e, a:c])
    hidden[b:e, a:c] |= cut


def _slab(canvas: Image, hidden: Image, d: Draws, box: Box, kind: str, *, top_share: float) -> None:
    """A box-like thing: a front with a texture and a lighter top edge."""
    x0, y0, x1, y1 = (round(c) for c in box)
    w, h = max(x1 - x0, 2), max(y1 - y0, 2)
    low, high = pair(d, d.pick(_THINGS), 0.22)
    texture = patch(d, kind, (w, h), d.between(0.6, 1.5), low, high)
    top = int(h * top_share)
    if top:
        lit = np.minimum(texture[:top].astype(np.uint16) * 5 // 4 + 12, 255)
        texture[:top] = lit.astype(np.uint8)
    side = int(w * d.between(0.0, 0.25))
    if side:
        texture[:, :side] = texture[:, :side] // 4 * 3
    _lay(canvas, hidden, np.full((h, w), 255, np.uint8), texture, x0, y0)


def draw_occluder(canvas: Image, hidden: Image, d: Draws, box: Box) -> None:
    """One thing in front of the person whose image box is `box`; `hidden` (uint8) gains it."""
    size = canvas.shape[0]
    x0, y0, x1, y1 = box
    w, h = x1 - x0, y1 - y0
    what = d.weighted((("table", 4), ("pole", 2.2), ("plant", 2.6), ("wall", 1.5), ("rail", 1),
                       ("thing", 2.2)))  # fmt: skip
    span = max(w, 0.35 * h)
    if what == "table":
        top = y1 - d.between(0.18, 0.45) * h
        left = x0 - d.between(-0.15, 0.7) * span
        _slab(canvas, hidden, d, (left, top, left + d.between(0.7, 1.7) * span,
              y1 + d.between(0.0, 0.5) * h), d.pick(("plank", "plaster")),
              top_share=d.between(0.04, 0.2))  # fmt: skip
    elif what == "pole":
        x = d.between(x0, x1)
        half = d.between(0.02, 0.055) * size
        _slab(canvas, hidden, d, (x - half, -2, x + half, size + 2),
              d.pick(("plaster", "soil", "plank")), top_share=0)  # fmt: skip
    elif what == "plant":
        pw, ph = int(d.between(0.4, 0.9) * span) + 4, int(d.between(0.25, 0.55) * h) + 4
        x = d.between(x0 - 0.4 * pw, x1 - 0.6 * pw)
        mask = foliage_mask(d, pw, ph, bushy=11)
        texture = patch(d, "leaf", (pw, ph), d.between(0.5, 1.3), *pair(d, d.pick(_LEAF), 0.5))
        _lay(canvas, hidden, mask, texture, round(x), round(y1 - ph * d.between(0.6, 1.0)))
    elif what == "wall":
        left = d.chance(0.5)
        edge = d.between(0.12, 0.42) * w
        bounds = (-2.0, -2.0, x0 + edge, size + 2.0) if left else (x1 - edge, -2.0, size + 2.0,
                                                                   size + 2.0)  # fmt: skip
        _slab(canvas, hidden, d, bounds, d.pick(("brick", "plaster", "plank")), top_share=0)
    elif what == "rail":
        top, bar = y1 - d.between(0.3, 0.55) * h, max(d.between(0.012, 0.03) * size, 1)
        for n in range(3):
            y = top + n * d.between(0.10, 0.14) * h
            _slab(canvas, hidden, d, (-2, y, size + 2, y + bar), "plaster", top_share=0.3)
    else:
        tw, th = d.between(0.2, 0.5) * span, d.between(0.12, 0.3) * h
        x, y = d.between(x0, x1 - 0.5 * tw), d.between(y0 + 0.15 * h, y1 - 0.5 * th)
        mask = np.zeros((round(th) + 2, round(tw) + 2), np.uint8)
        centre = (round(tw / 2), round(th / 2))
        cv2.ellipse(mask, centre, centre, d.near(0, 15), 0, 360, 255, -1)
        if d.chance(0.5):
            mask[:] = 255
        texture = patch(d, d.pick(("plaster", "soil", "block")), (mask.shape[1], mask.shape[0]),
                        d.between(0.5, 1.5), *pair(d, d.pick(_THINGS), 0.3))  # fmt: skip
        _lay(canvas, hidden, mask, texture, round(x), round(y))


class Seat:
    """A block under a sitting person: the faces behind the legs first, those before them later."""

    def __init__(self, d: Draws, camera: Camera, *, half_width: float, back_z: float,
                 front_z: float, top_y: float) -> None:  # fmt: skip
        corners = np.array([
            (x, y, z) for x in (-half_width, half_width) for y in (0.0, top_y)
            for z in (back_z, front_z)
        ])  # fmt: skip
        xy, _ = camera.project(corners)
        self._xy = np.rint(xy * 16).astype(np.int32)
        low, high = pair(d, d.pick(_THINGS), 0.2)
        shade = d.between(0.6, 0.85)
        self._top = high
        self._side = low
        self._dark = (low[0] * shade, low[1] * shade, low[2] * shade)
        _, _, towards = camera.axes()
        self._towards = towards
        self._above = camera.elevation_deg > 0

    def _face(self, canvas: Image, hidden: Image | None, index: tuple[int, ...],
              rgb: tuple[float, float, float]) -> None:  # fmt: skip
        polygon = self._xy[list(index)]
        cv2.fillConvexPoly(canvas, polygon, rgb, cv2.LINE_AA, 4)
        if hidden is not None:
            cv2.fillConvexPoly(hidden, polygon, 255, 8, 4)

    def behind(self, canvas: Image) -> None:
        if self._above:
            self._face(canvas, None, (2, 3, 7, 6), self._top)
        if self._towards[2] > 0:
            self._face(canvas, None, (1, 3, 7, 5), self._side)
            self._flank(canvas, None)

    def before(self, canvas: Image, hidden: Image) -> None:
        if self._towards[2] <= 0:
            self._flank(canvas, hidden)
            self._face(canvas, hidden, (0, 2, 6, 4), self._side)

    def _flank(self, canvas: Image, hidden: Image | None) -> None:
        index = (4, 5, 7, 6) if self._towards[0] > 0 else (0, 1, 3, 2)
        self._face(canvas, hidden, index, self._dark)


def cast_shadow(canvas: Image, camera: Camera, light: Light, bones: NDArray[np.float64],
                widths_m: NDArray[np.float64], metre_px: float) -> None:  # fmt: skip
    """Darken the ground where bones ((n, 2, 3) world) keep the light away; soft in soft light."""
    size = canvas.shape[0]
    lx, ly, lz = light.direction
    sun = np.array((lx / ly, 0.0, lz / ly))
    reach = 0.25 + 0.75 * light.hard  # soft light casts its shadow near the feet only
    flat = bones.copy()
    height = np.maximum(bones[..., 1:2], 0.0)
    flat -= height * sun * reach
    flat[..., 1] = 0.0
    xy, depth = camera.project(flat)
    if float(depth.min()) < 0.4:
        return
    scale = 2
    mask = np.zeros((size // scale + 1, size // scale + 1), np.uint8)
    xy = np.clip(xy / scale, -4 * size, 4 * size)
    dark = round(40 + 95 * light.hard)
    for (a, b), width in zip(np.rint(xy).astype(int).tolist(), widths_m.tolist(), strict=True):
        thick = max(int(width * metre_px / scale), 1)
        cv2.line(mask, tuple(a), tuple(b), dark, min(thick, 255))
    blur = max((1.2 - light.hard) * 0.09 * metre_px / scale, 0.6)
    mask = cv2.GaussianBlur(mask, (0, 0), min(blur, 12.0)).astype(np.uint8)
    full = cv2.resize(mask, (size, size), interpolation=cv2.INTER_LINEAR)
    rows, columns = np.flatnonzero(full.max(axis=1)), np.flatnonzero(full.max(axis=0))
    if len(rows):
        part = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        keep = (255 - full[part]).astype(np.uint16)[..., None]
        canvas[part] = (canvas[part] * keep // 255).astype(np.uint8)


def ground_row(camera: Camera, behind_m: float) -> float:
    """Image row of the ground `behind_m` metres behind the target."""
    a = math.radians(camera.azimuth_deg)
    x = camera.target[0] - behind_m * math.sin(a)
    z = camera.target[2] - behind_m * math.cos(a)
    xy, _ = camera.project(np.array([(x, 0.0, z)]))
    return float(xy[0, 1])
