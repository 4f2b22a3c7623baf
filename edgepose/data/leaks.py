"""Pictures that two splits share: by the bytes of their files, and by what they look like.

The perceptual hash is ours, 64 bits in numpy (`images.dhash`): the usual package for it brings a
wavelet library along, and this takes eight lines. A near hash is only a suspicion; it counts once
the pictures, made 32 x 32, correlate. Mirrored copies are found as well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgepose.data.images import read_image

SAME, ALIKE, MIRRORED = "same file", "looks the same", "mirrored"
NEAR_BITS = 8  # of 64; unrelated pictures differ in about 32
ALIKE_FROM = 0.95  # correlation of the 32 x 32 pictures
_LISTED = 50  # leaks that are named; all are counted
_ROWS = 512  # hashes compared at a time
_REVERSED = np.array([int(f"{i:08b}"[::-1], 2) for i in range(256)], np.uint8)


@dataclass(frozen=True, eq=False)
class Shot:
    """One picture. digest: SHA-256 of its file, or of its pixels; source: the file, or (H, W) grey."""

    name: str
    dhash: int
    digest: str
    source: Path | NDArray[np.uint8]


def find_leaks(splits: Mapping[str, Sequence[Shot]]) -> dict[str, Any]:
    """{"shared": {"train / val": {kind: count}}, "leaks": the first ones that touch "val"}.

    Calibration may share pictures with training: it reads no labels, and what it sees is not
    scored. Anything shared with "val" is a leak.
    """
    shared: dict[str, dict[str, int]] = {}
    leaks: list[dict[str, str]] = []
    for a, b in combinations(splits, 2):
        found = _pairs(splits[a], splits[b])
        shared[f"{a} / {b}"] = dict(Counter(kind for kind, _, _ in found))
        if "val" in (a, b):
            leaks += [{"kind": kind, a: x.name, b: y.name} for kind, x, y in found]
    return {"shared": shared, "leak_count": len(leaks), "leaks": leaks[:_LISTED]}


def _pairs(first: Sequence[Shot], second: Sequence[Shot]) -> list[tuple[str, Shot, Shot]]:
    """Pictures of both lists that are one, each pair once: the surest reason counts."""
    by_digest = {shot.digest: shot for shot in first}
    found = [(SAME, by_digest[shot.digest], shot) for shot in second if shot.digest in by_digest]
    told = {(a.digest, b.digest) for _, a, b in found}
    thumbnail = lru_cache(maxsize=4096)(_thumbnail)
    ours, theirs = _hashes(first), _hashes(second)
    for kind, hashes in ((ALIKE, theirs), (MIRRORED, mirrored(theirs))):
        for start in range(0, len(ours), _ROWS):
            bits = np.bitwise_count(ours[start : start + _ROWS, None] ^ hashes[None])
            for i, j in np.argwhere(bits <= NEAR_BITS).tolist():
                a, b = first[start + i], second[j]
                if (a.digest, b.digest) in told:
                    continue
                there = thumbnail(b)
                if _resemble(thumbnail(a), there[:, ::-1] if kind == MIRRORED else there):
                    told.add((a.digest, b.digest))
                    found.append((kind, a, b))
    return found


def _hashes(shots: Sequence[Shot]) -> NDArray[np.uint64]:
    return np.array([shot.dhash for shot in shots], dtype=np.uint64)


def mirrored(hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The hashes of the mirrored pictures: each row's bits turned round, each answer turned over."""
    rows = hashes.astype(">u8").view(np.uint8)
    turned: NDArray[np.uint64] = _REVERSED[~rows].view(">u8").astype(np.uint64)
    return turned


def _thumbnail(shot: Shot) -> NDArray[np.float32]:
    grey = shot.source
    if isinstance(grey, Path):
        grey = np.asarray(cv2.cvtColor(read_image(grey), cv2.COLOR_RGB2GRAY), np.uint8)
    return cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)


def _resemble(a: NDArray[np.float32], b: NDArray[np.float32]) -> bool:
    """Whether two pictures correlate; one without any contrast resembles nothing."""
    x, y = a - a.mean(), b - b.mean()
    norm = float(np.linalg.norm(x) * np.linalg.norm(y))
    return norm > 0 and float((x * y).sum()) >= ALIKE_FROM * norm
