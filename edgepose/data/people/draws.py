"""Random numbers that never change: our own transforms over PCG64's guaranteed raw stream."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")
_BLOCK = 384


def seed_for(*parts: str | int) -> int:
    """128-bit seed of a tuple of names and numbers: SHA-256 over "a/b/c"."""
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big")


class Draws:
    """A stream of draws from one seed.

    numpy's Generator may change its distributions between versions; the raw 64-bit stream of a
    BitGenerator may not. Every draw here is a few exact IEEE operations on that stream.
    """

    def __init__(self, seed: int) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence(seed))
        self._pool: list[float] = []

    def unit(self) -> float:
        """Uniform in [0, 1), 53 bits."""
        if not self._pool:
            raw = self._bits.random_raw(_BLOCK)
            self._pool = ((raw >> np.uint64(11)) * 2.0**-53).tolist()
        return self._pool.pop()

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * self.unit()

    def near(self, mean: float, spread: float) -> float:
        """Bell-shaped around `mean`, standard deviation `spread`, never beyond 3 of them."""
        return mean + spread * 2.0 * (self.unit() + self.unit() + self.unit() - 1.5)

    def chance(self, probability: float) -> bool:
        return self.unit() < probability

    def below(self, count: int) -> int:
        """An integer in [0, count)."""
        return int(self.unit() * count)

    def sign(self) -> float:
        return 1.0 if self.unit() < 0.5 else -1.0

    def pick(self, items: Sequence[T]) -> T:
        return items[int(self.unit() * len(items))]

    def weighted(self, items: Sequence[tuple[T, float]]) -> T:
        """One of (item, weight) pairs; weights are relative."""
        left = self.unit() * sum(weight for _, weight in items)
        for item, weight in items:
            left -= weight
            if left < 0:
                return item
        return items[-1][0]

    def noise_array(self, shape: tuple[int, ...]) -> np.ndarray:
        """float64 array, uniform in [0, 1)."""
        raw = self._bits.random_raw(int(np.prod(shape)))
        return ((raw >> np.uint64(11)) * 2.0**-53).reshape(shape)
