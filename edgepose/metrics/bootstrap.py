"""Intervals by resampling persons: joints of one person stand and fall together.

Every score of the same people draws the same people in the same order, so that the draws of two
scores can be subtracted one by one: what both share cancels out.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgepose.errors import EdgeposeError

RESAMPLES = 1000
_BLOCK = 2_000_000  # drawn persons held in memory at a time


def percent_draws(
    correct: ArrayLike, valid: ArrayLike, *, seed: int = 0, resamples: int = RESAMPLES
) -> NDArray[np.float64]:
    """(resamples,) 100 x sum(correct) / sum(valid), each over persons drawn with replacement.

    correct: (N, J) bool, or a score in [0, 1]; valid: (N, J) bool, the cells that count
    nan where nothing is valid. Persons without a valid cell are never drawn.
    """
    hits, counts = _per_person(correct, valid)
    if not len(counts):
        return np.full(resamples, np.nan)
    return 100.0 * np.concatenate(
        [hits[rows].sum(axis=1) / counts[rows].sum(axis=1)
         for rows in draw_rows(len(counts), seed, resamples)]
    )  # fmt: skip


def draw_rows(units: int, seed: int, resamples: int) -> Iterator[NDArray[np.int64]]:
    """Blocks (r, units) of units drawn with replacement, `resamples` rows in all."""
    rng = np.random.default_rng(seed)
    step = max(1, _BLOCK // units)
    for start in range(0, resamples, step):
        yield rng.integers(0, units, size=(min(step, resamples - start), units))


def interval(draws: NDArray[np.float64], level: float = 0.95) -> tuple[float, float]:
    """The percentile interval of draws, (low, high); (nan, nan) where there is no number."""
    if not np.isfinite(draws).any():
        return float("nan"), float("nan")
    tail = 50.0 * (1.0 - level)
    low, high = np.nanpercentile(draws, [tail, 100.0 - tail])
    return float(low), float(high)


def _per_person(
    score: ArrayLike, valid: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sums per person of the score and of `valid`, without persons that have nothing valid."""
    cells = np.asarray(valid, dtype=bool)
    values = np.asarray(score, dtype=np.float64)
    if values.shape != cells.shape or cells.ndim != 2:
        raise EdgeposeError(
            f"scores {values.shape} and valid {cells.shape} are not one (N, J)",
            fix="give scores of the same persons and joints",
        )
    counts = cells.sum(axis=1).astype(np.float64)
    return np.where(cells, values, 0.0).sum(axis=1)[counts > 0], counts[counts > 0]
