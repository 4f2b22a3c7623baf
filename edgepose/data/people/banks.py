"""Textures made once per process from a fixed seed: noise, cloth patterns, walls, leaves, grain.

All are uint8 so that what is drawn with them does not depend on the processor's float units.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from edgepose.data.people.draws import Draws, seed_for

Gray = NDArray[np.uint8]
TILE = 64
SURFACE = 256


@dataclass(frozen=True)
class Banks:
    """patterns, folds: (n, TILE, TILE), their values in the upper 3 and lower 5 bits;
    surfaces: name -> (n, SURFACE, SURFACE);
    grain: (512, 512, 3) int16, bell-shaped, standard deviation 32."""

    patterns: NDArray[np.uint8]
    folds: NDArray[np.uint8]
    surfaces: dict[str, NDArray[np.uint8]]
    grain: NDArray[np.int16]


def octaves(d: Draws, side: int, *, coarsest: int, count: int, fall: float = 0.55) -> Gray:
    """Tileable-looking smooth noise: `count` octaves from `coarsest` cells, stretched to 0..255."""
    total = np.zeros((side, side), np.int64)
    cells, weight = coarsest, 1.0
    for _ in range(count):
        grid = (d.noise_array((cells, cells)) * 255).astype(np.uint8)
        layer = cv2.resize(grid, (side, side), interpolation=cv2.INTER_CUBIC)
        total += layer.astype(np.int64) * int(weight * 256)
        cells, weight = min(cells * 2, side), weight * fall
    low, high = int(total.min()), int(total.max())
    return ((total - low) * 255 // max(high - low, 1)).astype(np.uint8)


def _patterns(d: Draws) -> NDArray[np.uint8]:
    y, x = np.mgrid[0:TILE, 0:TILE]
    out: list[NDArray[np.int64]] = [np.zeros((TILE, TILE), np.int64)] * 5  # plain is common
    for period, width in ((8, 4), (12, 4), (16, 8), (22, 6)):
        out.append(255 * (y % period < width))
    for period, width in ((6, 2), (10, 4), (16, 5)):
        out.append(255 * (x * 64 // 64 % period < width))
    for period, width in ((10, 3), (16, 5), (21, 8)):
        out.append(110 * (y % period < width) + 110 * (x % period < width))
    for period, radius in ((8, 2), (16, 5)):
        dy, dx = y % period - period // 2, (x + period // 2 * (y // period % 2)) % period
        dx = dx - period // 2
        out.append(255 * (dy * dy + dx * dx <= radius * radius))
    for coarse in (5, 9, 16):
        noise = octaves(d, TILE, coarsest=coarse, count=2).astype(np.int64)
        out.append(255 * (noise > 128))
    out.append(octaves(d, TILE, coarsest=32, count=1).astype(np.int64) // 3)  # knit, tweed
    out.append(255 * ((x + y) % 16 < 6))
    out.append(255 * (np.abs(x - 32) < 5))  # open jacket, shirt below
    out.append(255 * (np.abs(x - 32) < 1))  # zip
    out.append(255 * (y > 24))  # two halves
    out.append(255 * ((y > 18) & (y < 28)))  # chest band
    out.append(y * 4)  # gradient
    for shape in range(4):  # a print on the chest
        sheet = np.zeros((TILE, TILE), np.uint8)
        if shape == 0:
            cv2.circle(sheet, (32, 22), 6, 255, -1)
        elif shape == 1:
            cv2.rectangle(sheet, (26, 16), (38, 27), 255, -1)
        elif shape == 2:
            for row in (17, 22, 27):
                cv2.line(sheet, (26, row), (26 + 3 + d.below(10), row), 255, 2)
        else:
            blob = octaves(d, TILE, coarsest=14, count=1)
            sheet[14:30, 25:39] = 255 * (blob[14:30, 25:39] > 120)
        out.append(sheet.astype(np.int64))
    stack = np.clip(np.stack(out), 0, 255).astype(np.uint8)
    return np.stack([cv2.blur(tile, (2, 2)) & np.uint8(0xE0) for tile in stack])


def _folds(d: Draws) -> NDArray[np.uint8]:
    out = []
    for n in range(16):
        wide = octaves(d, TILE * 2, coarsest=5 + n % 4, count=3)
        tall = cv2.resize(wide[: TILE * (1 + n % 2)], (TILE, TILE), interpolation=cv2.INTER_AREA)
        out.append(tall.astype(np.uint8) >> 3)
    return np.stack(out)


def _bricks(d: Draws, width: int, height: int) -> Gray:
    base = octaves(d, SURFACE, coarsest=32, count=3) // 4
    wall = base + 110
    for row in range(0, SURFACE, height):
        shift = width // 2 * (row // height % 2)
        for col in range(-shift, SURFACE, width):
            tone = d.below(60)
            wall[row : row + height, max(col, 0) : max(col + width, 0)] += np.uint8(tone)
            wall[row : row + height, max(col, 0) : max(col, 0) + 2] = 60
        wall[row : row + 2] = 60
    return wall.astype(np.uint8)


def _planks(d: Draws, width: int) -> Gray:
    grain = cv2.resize(octaves(d, SURFACE, coarsest=64, count=2)[:, :24], (SURFACE, SURFACE))
    wood = (grain // 3 + 90).astype(np.uint8)
    for row in range(0, SURFACE, width):
        wood[row : row + width] += np.uint8(d.below(60))
        wood[row : row + 1 + (width > 20)] = 50
    return wood


def _leaves(d: Draws, size: int) -> Gray:
    sheet = np.full((SURFACE, SURFACE), 40, np.uint8)
    for n in range(5200 // size):
        tone = 40 + n * 190 * size // 5200 + d.below(30)
        centre = (d.below(SURFACE), d.below(SURFACE))
        axes = (2 + d.below(size), 1 + d.below(max(size // 2, 1)))
        cv2.ellipse(sheet, centre, axes, d.between(0, 180), 0, 360, min(tone, 255), -1)
    return sheet


def _surfaces(d: Draws) -> dict[str, NDArray[np.uint8]]:
    def many(count: int, coarsest: int, octave_count: int, fall: float = 0.55) -> NDArray[np.uint8]:
        return np.stack([
            octaves(d, SURFACE, coarsest=coarsest + n, count=octave_count, fall=fall)
            for n in range(count)
        ])  # fmt: skip

    blocks = []
    for n in range(4):  # window fronts
        sheet = (octaves(d, SURFACE, coarsest=16, count=3) // 6 + 150).astype(np.uint8)
        step_x, step_y = 18 + 6 * n, 24 + 5 * n
        for top in range(6, SURFACE - step_y, step_y):
            for left in range(4, SURFACE - step_x, step_x):
                tone = 40 + d.below(70)
                sheet[top : top + step_y * 2 // 3, left : left + step_x * 2 // 3] = tone
        blocks.append(sheet)
    return {
        "cloud": many(6, 3, 5),
        "soil": many(6, 10, 5, 0.8),
        "grit": many(4, 40, 3, 0.9),
        "plaster": many(4, 4, 6, 0.5),
        "leaf": np.stack([_leaves(d, s) for s in (3, 4, 6, 9, 12, 15)]),
        "brick": np.stack([_bricks(d, w, h) for w, h in ((24, 10), (36, 14), (48, 32), (64, 64))]),
        "plank": np.stack([_planks(d, w) for w in (10, 16, 26, 40)]),
        "block": np.stack(blocks),
    }


@lru_cache(maxsize=1)
def banks() -> Banks:
    """The banks, made on first use (about a second)."""
    d = Draws(seed_for("edgepose banks", 1))
    bell = (
        d.noise_array((512, 512, 3)) + d.noise_array((512, 512, 3)) + d.noise_array((512, 512, 3))
    )
    return Banks(
        patterns=_patterns(d),
        folds=_folds(d),
        surfaces=_surfaces(d),
        grain=np.rint((bell - 1.5) * 64).astype(np.int16),
    )
