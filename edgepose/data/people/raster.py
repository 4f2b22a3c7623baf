"""Mesh to pixels: quads painted far to near into an index image, then shaded all at once.

OpenCV paints each visible quad's number at twice the frame's resolution; texture coordinates and
shade are linear over a quad, so one gather gives them for every covered pixel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgepose.data.people.banks import TILE
from edgepose.data.people.body import K, Mesh
from edgepose.data.people.camera import Camera
from edgepose.data.people.light import Light
from edgepose.data.people.paint import CELL, GUARD

SUPER = 2
_FRACTION_BITS = 4
_WIDE = 4096


@dataclass(frozen=True)
class Layer:
    """A person's pixels: rgb (h, w, 3) uint8 premultiplied by alpha (h, w) uint8, at x, y."""

    rgb: NDArray[np.uint8]
    alpha: NDArray[np.uint8]
    x: int
    y: int
    depth_m: float


_AROUND = np.array([(k, (k + 1) % K) for k in range(K)])
_FACE_ON = 0.3  # twice the least area, in fine pixels, that a quad must cover to be painted


def _quads(first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int64]:
    """(4, S * K) vertex numbers of the quads between rings `first` and `second`."""
    near, far = _AROUND[:, 0], _AROUND[:, 1]
    a, b = first[:, None] * K, second[:, None] * K
    return np.stack([a + near, a + far, b + far, b + near]).reshape(4, -1)


def _gradients(table: NDArray[np.float32], column: int, a: Sequence[NDArray[Any]],
               plane: Sequence[NDArray[Any]]) -> None:  # fmt: skip
    """Fill table[1:, column : column + 3] with the coefficients of x, y, 1 that `a`, four corner
    values, take over the quads described by `plane`."""
    d1x, d1y, d2x, d2y, inverse, mx, my = plane
    a1, a2 = a[2] - a[0], a[3] - a[1]
    gx = (a1 * d2y - a2 * d1y) * inverse
    gy = (a2 * d1x - a1 * d2x) * inverse
    # A sliver seen edge-on must not extrapolate: at most its own range per pixel.
    span = np.maximum(np.abs(a1), np.abs(a2))
    steep = np.maximum(np.abs(gx), np.abs(gy))
    limit = np.minimum(span / np.maximum(steep, 1e-12), 1.0)
    gx *= limit
    gy *= limit
    table[1:, column] = gx
    table[1:, column + 1] = gy
    table[1:, column + 2] = (a[0] + a[1] + a[2] + a[3]) * 0.25 - gx * mx - gy * my


def render(mesh: Mesh, places: NDArray[np.float64], normals: NDArray[np.float64], camera: Camera,
           light: Light, atlas: NDArray[np.uint8], frame_px: int) -> Layer | None:  # fmt: skip
    """The part of a person inside the frame, or None when there is none."""
    xy, depth = camera.project(places)
    x, y = xy[..., 0], xy[..., 1]
    left, top = max(math.floor(x.min()) - 1, 0), max(math.floor(y.min()) - 1, 0)
    width = min(math.ceil(x.max()) + 2, frame_px) - left
    height = min(math.ceil(y.max()) + 2, frame_px) - top
    if width < 2 or height < 2:
        return None
    fine_x, fine_y = (x - left + 0.5) * SUPER - 0.5, (y - top + 0.5) * SUPER - 0.5

    segments = np.array(mesh.segments)
    corners = _quads(segments[:, 0], segments[:, 1])
    px, py = np.take(fine_x, corners), np.take(fine_y, corners)
    d1x, d1y, d2x, d2y = px[2] - px[0], py[2] - py[0], px[3] - px[1], py[3] - py[1]
    det = d1x * d2y - d1y * d2x
    seen = np.flatnonzero(
        (det < -_FACE_ON) | ((np.repeat(segments[:, 3], K) == 2) & (det > _FACE_ON))
    )
    far = np.take(depth, corners[:, seen])
    far = far[0] + far[1] + far[2] + far[3]
    order = np.argsort(-far, kind="stable")
    seen = seen[order]
    corners, px, py, det = corners[:, seen], px[:, seen], py[:, seen], det[seen]

    plane = (d1x[seen], d1y[seen], d2x[seen], d2y[seen], 1.0 / det,
             (px[0] + px[1] + px[2] + px[3]) * 0.25,
             (py[0] + py[1] + py[2] + py[3]) * 0.25)  # fmt: skip
    segment, vertex = seen // K, seen % K
    table = np.zeros((len(seen) + 1, 9), np.float32)
    u = (vertex * (TILE / K)) + (GUARD - 0.5)
    _gradients(table, 0, (u, u + TILE / K, u + TILE / K, u), plane)
    base = segments[:, 2] * CELL + (GUARD - 0.5)
    v = np.array(mesh.v) * TILE
    vi, vj = (base + v[segments[:, 0]])[segment], (base + v[segments[:, 1]])[segment]
    _gradients(table, 3, (vi, vi, vj, vj), plane)
    shade = light.shade(normals, np.array(mesh.ambient)[:, None]).reshape(-1)[corners]
    shade *= np.where(det > 0, 0.6, 1.0)
    _gradients(table, 6, tuple(shade), plane)

    index = np.zeros((height * SUPER, width * SUPER), np.int32)
    fixed = np.rint(np.stack([px, py], axis=-1) * (1 << _FRACTION_BITS)).astype(np.int32)
    fixed = np.ascontiguousarray(fixed.transpose(1, 0, 2))
    for number, quad in enumerate(fixed, start=1):
        cv2.fillConvexPoly(index, quad, number, 8, _FRACTION_BITS)

    flat = index.reshape(-1)
    covered = np.flatnonzero(flat)
    if not len(covered):
        return None
    row, col = np.divmod(covered, width * SUPER)
    c = np.take(table, flat[covered], axis=0)
    i, j = col.astype(np.float32), row.astype(np.float32)
    texel = _sample(atlas, c[:, 0] * i + c[:, 1] * j + c[:, 2], c[:, 3] * i + c[:, 4] * j + c[:, 5])
    glow = np.clip((c[:, 6] * i + c[:, 7] * j + c[:, 8]) * 128, 0, 255).astype(np.uint8)
    lit = texel * np.take(light.table, glow, axis=0)
    np.minimum(lit, 255, out=lit)
    dot = lit.astype(np.uint8)
    dot[:, 3] = 255
    paint = np.zeros(flat.size, np.uint32)
    paint[covered] = dot.view(np.uint32)[:, 0]  # four bytes at once
    small = cv2.resize(
        paint.view(np.uint8).reshape(height * SUPER, width * SUPER, 4), (width, height),
        interpolation=cv2.INTER_AREA,
    ).astype(np.uint8, copy=False)  # fmt: skip
    return Layer(small[..., :3], small[..., 3], left, top, float(far.mean()) / 4)


def _sample(atlas: NDArray[np.uint8], u: NDArray[np.float32], v: NDArray[np.float32]
            ) -> NDArray[np.uint8]:  # fmt: skip
    """(n, 4) uint8 bilinear samples (OpenCV's remap wants rows of limited length)."""
    count = len(u)
    rows = -(-count // _WIDE)
    maps = np.zeros((2, rows * _WIDE), np.float32)
    maps[0, :count], maps[1, :count] = u, v
    grid = maps.reshape(2, rows, _WIDE)
    out = cv2.remap(atlas, grid[0], grid[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return out.astype(np.uint8, copy=False).reshape(-1, 4)[:count]


def composite(canvas: NDArray[np.uint8], layer: Layer) -> None:
    """Lay `layer` over `canvas` (uint8, in place)."""
    h, w = layer.alpha.shape
    region = canvas[layer.y : layer.y + h, layer.x : layer.x + w]
    keep = (255 - layer.alpha).astype(np.uint16)[..., None]
    region[:] = layer.rgb + ((region * keep + 127) // 255).astype(np.uint8)
