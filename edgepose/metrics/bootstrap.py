"""Intervals by resampling persons: joints of one person stand and fall together."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgepose.errors import EdgeposeError

_BLOCK = 2_000_000  # drawn persons held in memory at a time


def mean_ci(
    correct: ArrayLike,
    valid: ArrayLike,
    *,
    seed: int = 0,
    resamples: int = 1000,
    level: float = 0.95,
) -> tuple[float, float]:
    """Percentile bootstrap interval of 100 x sum(correct) / sum(valid), resampling persons.

    correct: (N, J) bool, or a score in [0, 1]; valid: (N, J) bool, the cells that count
    returns (low, high) in percent; (nan, nan) where nothing is valid
    """
    (hits,), counts = _per_person([correct], valid)
    if not len(counts):
        return float("nan"), float("nan")
    draws = np.concatenate(
        [hits[rows].sum(axis=1) / counts[rows].sum(axis=1)
         for rows in _draws(len(counts), seed, resamples)]
    )  # fmt: skip
    return _interval(100.0 * draws, level)


def paired_difference_ci(
    correct_a: ArrayLike,
    valid: ArrayLike,
    correct_b: ArrayLike,
    *,
    seed: int = 0,
    resamples: int = 1000,
    level: float = 0.95,
) -> tuple[float, float, float]:
    """The score of a minus the score of b on the same persons: (difference, low, high), points.

    correct_a, correct_b: (N, J) bool, or scores in [0, 1]; valid: (N, J) bool, for both
    Each resample takes the same persons for both, so what they share cancels out.
    """
    (hits_a, hits_b), counts = _per_person([correct_a, correct_b], valid)
    if not len(counts):
        return float("nan"), float("nan"), float("nan")
    gain = hits_a - hits_b
    draws = np.concatenate(
        [gain[rows].sum(axis=1) / counts[rows].sum(axis=1)
         for rows in _draws(len(counts), seed, resamples)]
    )  # fmt: skip
    return (float(100.0 * gain.sum() / counts.sum()), *_interval(100.0 * draws, level))


def _per_person(
    scores: list[ArrayLike], valid: ArrayLike
) -> tuple[list[NDArray[np.float64]], NDArray[np.float64]]:
    """Sums per person of each score and of `valid`, without persons that have nothing valid."""
    cells = np.asarray(valid, dtype=bool)
    sums = []
    for score in scores:
        values = np.asarray(score, dtype=np.float64)
        if values.shape != cells.shape or cells.ndim != 2:
            raise EdgeposeError(
                f"scores {values.shape} and valid {cells.shape} are not one (N, J)",
                fix="give scores of the same persons and joints",
            )
        sums.append(np.where(cells, values, 0.0).sum(axis=1))
    counts = cells.sum(axis=1).astype(np.float64)
    return [s[counts > 0] for s in sums], counts[counts > 0]


def _draws(people: int, seed: int, resamples: int) -> Iterator[NDArray[np.int64]]:
    """Blocks (r, people) of persons drawn with replacement, `resamples` rows in all."""
    rng = np.random.default_rng(seed)
    step = max(1, _BLOCK // people)
    for start in range(0, resamples, step):
        yield rng.integers(0, people, size=(min(step, resamples - start), people))


def _interval(draws: NDArray[np.float64], level: float) -> tuple[float, float]:
    tail = 50.0 * (1.0 - level)
    low, high = np.percentile(draws, [tail, 100.0 - tail])
    return float(low), float(high)
