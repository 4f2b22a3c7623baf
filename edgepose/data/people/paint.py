"""A person's texture atlas: one TILE x TILE tile per material, with a guard band around each."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from edgepose.data.people.banks import TILE, banks
from edgepose.data.people.body import K
from edgepose.data.people.head import hair_reaches
from edgepose.data.people.wardrobe import RGB, Material, Outfit

GUARD = 8
CELL = TILE + 2 * GUARD


@lru_cache(maxsize=64)
def _hair_mask(style: str) -> NDArray[np.uint16]:
    """(TILE, TILE, 1) share of hair over the head's texture, 0..256."""
    reach = np.array([hair_reaches(style, k) for k in range(K)])
    columns = (np.arange(TILE) + 0.5) / TILE * K
    line = reach[np.rint(columns).astype(int) % K]
    height = 1 - (np.arange(TILE) + 0.5) / TILE
    mask = (255 * (height[:, None] >= line[None, :])).astype(np.uint8)
    soft = cv2.blur(mask, (3, 3)).astype(np.uint16)
    share: NDArray[np.uint16] = (soft + (soft >> 7))[..., None]
    return share


_SHARE = (np.arange(256) >> 5).astype(np.float32)[:, None] / 7  # of the second colour
_FOLD = (np.arange(256) & 31).astype(np.float32)[:, None] / 31


def _packed(rgb: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """(h, w, 3) uint8 -> (h, w) RGBA in one number each, which copies several times faster."""
    wide: NDArray[np.uint32] = cv2.cvtColor(rgb, cv2.COLOR_RGB2RGBA).view(np.uint32)[..., 0]
    return wide


def _cloth(pair: tuple[RGB, RGB], pattern: int, folds: int, depth: float) -> NDArray[np.uint32]:
    """(TILE, TILE) packed: two colours mixed by a pattern, darker and lighter by folds. Eight steps of
    the pattern and 32 of the folds make one table of 256 colours."""
    b = banks()
    first, second = (np.array(rgb, np.float32) for rgb in pair)
    table = (first + (second - first) * _SHARE) * (_FOLD * np.float32(depth) + (1 - 0.5 * depth))
    index = b.patterns[pattern] | b.folds[folds % len(b.folds)]
    colours = _packed(np.clip(table, 0, 255).astype(np.uint8)[None])[0]
    cloth: NDArray[np.uint32] = np.take(colours, index)
    return cloth


def _scaled(rgb: RGB, factor: float) -> RGB:
    return (min(rgb[0] * factor, 255.0), min(rgb[1] * factor, 255.0), min(rgb[2] * factor, 255.0))


def _whole(rgb: RGB) -> tuple[int, int, int]:
    return (round(rgb[0]), round(rgb[1]), round(rgb[2]))


def _dot(tile: NDArray[np.uint8], x: float, y: float, rx: float, ry: float, rgb: RGB) -> None:
    cv2.ellipse(
        tile, (round(x * 16), round(y * 16)), (round(rx * 16), round(ry * 16)),
        0, 0, 360, rgb, -1, cv2.LINE_AA, 4,
    )  # fmt: skip


def _face(o: Outfit) -> NDArray[np.uint8]:
    skin, hair = o.skin_rgb, o.hair_rgb
    tile = np.empty((TILE, TILE, 3), np.uint8)
    tile[:] = _whole(skin)
    dark = _scaled(skin, 0.62)
    mid = TILE / 2
    for side in (-1, 1):
        _dot(tile, mid + side * 16.0, 31, 2.2, 4.0, _scaled(skin, 0.86))  # ears
        _dot(
            tile,
            mid + side * 6.5,
            42,
            3.2,
            3.6,
            (min(skin[0] * 1.04, 255), *_scaled(skin, 0.95)[1:]),
        )
    if o.beard:
        _dot(tile, mid, 52, 10.5, 11, _scaled(hair, 0.9))
        _dot(tile, mid, 45, 5.0, 4.0, skin)
    for side in (-1, 1):
        x = mid + side * 4.9
        _dot(tile, x, 31, 3.1, 2.6, dark)  # socket
        _dot(tile, x, 31.2, 2.2, 1.5, (240, 238, 234))
        _dot(tile, x + 0.2, 31.2, 1.2, 1.6, (34, 26, 22))
        _dot(tile, x, 26.6, 3.0, 0.9, _scaled(hair, 0.75))  # brow
    _dot(tile, mid, 36, 1.1, 5.0, _scaled(skin, 1.08))
    _dot(tile, mid, 40.8, 2.6, 1.2, dark)
    lips: RGB = (min(skin[0] * 0.80 + 22, 255), skin[1] * 0.52, skin[2] * 0.54)
    _dot(tile, mid, 47.5, 3.4 + 0.3 * o.face, 1.3 + 0.25 * (o.face % 2), lips)
    if o.face == 3:
        _dot(tile, mid, 47.5, 2.6, 0.6, (235, 230, 226))
    return tile


def _one(rgb: RGB) -> np.uint32:
    r, g, b = _whole(rgb)
    return np.uint32(_packed(np.array([[(r, g, b)]], np.uint8))[0, 0])


def atlas(o: Outfit) -> NDArray[np.uint8]:
    """(CELL * materials, CELL, 4) RGBA uint8; wraps around in x, edges repeated in y."""
    out = np.empty((len(Material), CELL, CELL), np.uint32)
    tiles = out[:, GUARD:-GUARD, GUARD:-GUARD]
    folds = o.folds
    tiles[: Material.LEG + 1] = _cloth((o.skin_rgb, o.skin_rgb), 0, folds, 0.10)
    shoe, sole = _one(o.shoe_rgb[0]), _one(o.shoe_rgb[1])
    if o.socks > 0:
        tiles[Material.LEG, round((0.98 - 0.46 * o.socks) * TILE) :] = sole
    tiles[Material.GLOVE] = shoe
    tiles[Material.TOP] = _cloth(o.top_rgb, o.top_pattern, folds, 0.42)
    tiles[Material.SLEEVE] = _cloth(o.sleeve_rgb, o.top_pattern, folds + 3, 0.42)
    tiles[Material.BOTTOM] = _cloth(o.bottom_rgb, o.bottom_pattern, folds + 5, 0.40)
    tiles[Material.SHOE] = shoe
    edge = TILE * 11 // 64
    tiles[Material.SHOE, :, :edge] = sole
    tiles[Material.SHOE, :, TILE - edge :] = sole
    hair = _cloth((o.hair_rgb, _scaled(o.hair_rgb, 1.3)), 0, folds + 7, 0.55)
    tiles[Material.HAIR] = hair
    tiles[Material.HEAD] = _packed(_head(o, hair.view(np.uint8).reshape(TILE, TILE, 4)[..., :3]))
    tiles[Material.HAT] = _one(o.hat_rgb)
    out[:, :GUARD, GUARD:-GUARD] = tiles[:, :1]
    out[:, -GUARD:, GUARD:-GUARD] = tiles[:, -1:]
    out[:, :, :GUARD] = out[:, :, TILE : TILE + GUARD]
    out[:, :, -GUARD:] = out[:, :, GUARD : 2 * GUARD]
    return out.view(np.uint8).reshape(len(Material) * CELL, CELL, 4)


def _head(o: Outfit, hair: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(TILE, TILE, 3): the face under hair and hat."""
    share = _hair_mask(o.hair if o.hair in ("bald", "medium", "long") else "short")
    head = ((_face(o) * (256 - share) + hair * share) >> 8).astype(np.uint8)
    if o.hat_line < 1.0:
        line = round((1 - o.hat_line) * TILE)
        head[:line] = _whole(o.hat_rgb)
        head[line - 2 : line] = head[line - 2 : line] // 4 * 3
    return head
