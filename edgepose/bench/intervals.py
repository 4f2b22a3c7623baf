"""Intervals of latencies by bootstrap. Neighbouring calls are alike (the clock, the caches and other
work last longer than one call), so whole blocks, turns or runs are drawn, never single calls.

A percentile interval of few units is too narrow; its tails are widened as a t interval's would be
(Hesterberg 2015, "What teachers should know about the bootstrap", the expanded percentile interval).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Array = NDArray[np.float64]

RESAMPLES = 1000
BLOCKS = 20
GRID = 512
LEVEL = 0.99
"""Of a difference: one comparison in a hundred of a thing with itself may be called one."""
MATTERS = 0.01
"""A difference smaller than this is not called one: a new memory layout alone makes as much."""


def tails(units: int, level: float) -> tuple[float, float]:
    """The percentiles (0..100) of bootstrap draws that hold `level`, widened for few units."""
    if units < 2:
        return 0.0, 100.0
    t = float(stats.t.ppf(0.5 + level / 2, units - 1))
    tail = 100.0 * float(stats.norm.cdf(-np.sqrt(units / (units - 1)) * t))
    return tail, 100.0 - tail


def blocks_of(samples_ms: ArrayLike, count: int = BLOCKS) -> list[Array]:
    """Neighbouring samples together, `count` parts of about the same length (fewer of few)."""
    samples = np.asarray(samples_ms, dtype=np.float64)
    return [block for block in np.array_split(samples, min(count, len(samples))) if len(block)]


def mean_interval(
    samples_ms: ArrayLike, *, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """The interval of the mean."""
    blocks = blocks_of(samples_ms)
    sums = np.array([block.sum() for block in blocks])
    counts = np.array([len(block) for block in blocks])
    rows = np.random.default_rng(seed).integers(0, len(blocks), (RESAMPLES, len(blocks)))
    draws = sums[rows].sum(axis=1) / counts[rows].sum(axis=1)
    low, high = np.percentile(draws, tails(len(blocks), level))
    return float(low), float(high)


@dataclass(frozen=True)
class Ratio:
    """A quotient of two latencies, second over first, and its interval.

    units: how many independent units were drawn from; unit: what they are
    """

    value: float
    low: float
    high: float
    level: float
    units: int
    unit: str

    @property
    def differs(self) -> bool:
        """Whether the interval leaves out 1 and the quotient is off it by an amount that matters."""
        return not self.low <= 1.0 <= self.high and abs(self.value - 1.0) >= MATTERS


def paired_ratio(
    turns: Sequence[tuple[Array, Array]], *, level: float = LEVEL, seed: int = 0
) -> Ratio:
    """Of two networks that took turns: the quotient of p50 turn by turn, its mean over the turns of
    each process (logarithms, a quarter trimmed off each end), then over processes.

    turns: per process, (first, second) (rounds, n) milliseconds. Memory falls otherwise in each
    process, so with several of them processes are drawn, and turns within.
    """
    logs = [np.log(np.median(b, axis=1) / np.median(a, axis=1)) for a, b in turns]
    value = float(np.mean([_middle(found[None])[0] for found in logs]))
    rng = np.random.default_rng(seed)
    inner = np.stack(
        [_middle(found[rng.integers(0, len(found), (RESAMPLES, len(found)))]) for found in logs]
    )
    several = len(logs) > 1
    if several:
        rows = rng.integers(0, len(logs), (RESAMPLES, len(logs)))
        draws = np.take_along_axis(inner.T, rows, axis=1).mean(axis=1)
    else:
        draws = inner[0]
    units = len(logs) if several else len(logs[0])
    low, high = np.percentile(draws, tails(units, level))
    unit = "processes" if several else "turns"
    return Ratio(*_exp(value, low, high), level=level, units=units, unit=unit)


def unpaired_ratio(
    first: Sequence[ArrayLike], second: Sequence[ArrayLike], *, level: float = LEVEL, seed: int = 0
) -> Ratio:
    """Of two benchmarks at two times: the quotient of the p50 of all their samples.

    first, second: the samples of each of their runs. With several runs on both sides runs are drawn
    and blocks within them; else blocks only, which cannot know how much runs differ.
    """
    several = min(len(first), len(second)) > 1
    rng = np.random.default_rng(seed)
    draws = [_p50_draws(runs, rng, several=several) for runs in (first, second)]
    value = _p50(second) / _p50(first)
    units = (
        min(len(first), len(second))
        if several
        else min(sum(len(blocks_of(run)) for run in runs) for runs in (first, second))
    )
    low, high = np.percentile(np.log(draws[1] / draws[0]), tails(units, level))
    unit = "runs" if several else "blocks"
    return Ratio(*_exp(float(np.log(value)), low, high), level=level, units=units, unit=unit)


def _exp(*values: float) -> tuple[float, float, float]:
    value, low, high = (float(np.exp(v)) for v in values)
    return value, low, high


def _middle(rows: Array) -> Array:
    """The mean of each row without its lowest and highest quarter."""
    cut = rows.shape[1] // 4
    ordered = np.sort(rows, axis=1)
    return np.asarray(ordered[:, cut : rows.shape[1] - cut].mean(axis=1))


def _p50(runs: Sequence[ArrayLike]) -> float:
    return float(np.median(np.concatenate([np.asarray(run, dtype=np.float64) for run in runs])))


def _p50_draws(runs: Sequence[ArrayLike], rng: np.random.Generator, *, several: bool) -> Array:
    """(RESAMPLES,) the p50 of runs and blocks drawn with replacement, to a GRID-th of the samples."""
    blocks = [blocks_of(run) for run in runs]
    if not several:
        blocks = [[block for run in blocks for block in run]]
    times = rng.multinomial(len(blocks), [1 / len(blocks)] * len(blocks), RESAMPLES)
    drawn = np.concatenate(  # how often each block is drawn, given how often its run is
        [rng.multinomial(len(run) * times[:, i], [1 / len(run)] * len(run))
         for i, run in enumerate(blocks)], axis=1,
    )  # fmt: skip
    flat = [np.sort(block) for run in blocks for block in run]
    grid = np.quantile(np.concatenate(flat), np.linspace(0, 1, GRID + 1))
    below = np.stack([np.searchsorted(block, grid, side="right") for block in flat])
    seen = drawn.astype(np.float64) @ below
    total = drawn @ np.array([len(block) for block in flat])
    return np.asarray(grid[(2 * seen >= total[:, None]).argmax(axis=1)])
