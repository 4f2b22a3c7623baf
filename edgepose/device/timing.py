"""Latency by a monotonic clock: warm-up until it settles, every raw sample kept."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .errors import DeviceError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

SETTLED = 0.05  # warm-up ends when the medians of two windows in a row differ by less than this


@dataclass(frozen=True)
class Timing:
    """samples_ms:    (R,) float64, every timed call in order, milliseconds
    warmup_calls:  calls made before
    settled:       False where the warm-up ended at its limit with the times still drifting
    """

    samples_ms: NDArray[np.float64]
    warmup_calls: int
    settled: bool

    def percentile_ms(self, q: float) -> float:
        """The q-th percentile (0 to 100), linear between samples, as numpy computes it."""
        return float(np.percentile(self.samples_ms, q))

    @property
    def p50_ms(self) -> float:
        return self.percentile_ms(50)

    @property
    def p90_ms(self) -> float:
        return self.percentile_ms(90)

    @property
    def p99_ms(self) -> float:
        return self.percentile_ms(99)

    @property
    def mean_ms(self) -> float:
        return float(self.samples_ms.mean())

    @property
    def min_ms(self) -> float:
        return float(self.samples_ms.min())

    @property
    def count(self) -> int:
        return int(self.samples_ms.size)


def measure(
    fn: Callable[[], object],
    *,
    warmup: int = 10,
    max_warmup: int = 200,
    repeats: int = 50,
    min_seconds: float = 0.0,
    clock: Callable[[], int] = time.perf_counter_ns,
    keep: Callable[[int], None] | None = None,
) -> Timing:
    """Time calls of `fn`, which must return only when its work is done (device synchronised).

    warmup:      calls before timing; more follow, up to `max_warmup`, until the median of the last
                 `warmup` calls is within 5 % of that of the `warmup` calls before. 0: no warm-up
    repeats, min_seconds: timing goes on until both are reached
    clock:       nanoseconds, monotonic
    keep:        called with each timed call's nanoseconds, outside of what is timed
    Raises DeviceError for a count that makes no sense or a clock that runs backwards.
    """
    if warmup < 0 or repeats < 1 or not 0 <= min_seconds < float("inf"):
        raise DeviceError(
            f"cannot time {repeats} calls after {warmup} warm-up calls for {min_seconds} s",
            fix="use at least one repeat, and no negative counts or times",
        )

    def one_call() -> int:
        start = clock()
        fn()
        elapsed = clock() - start
        if elapsed < 0:
            raise DeviceError("the clock ran backwards", fix="give a monotonic clock")
        return elapsed

    warm = [one_call() for _ in range(warmup)]
    settled = warmup == 0
    while not settled and len(warm) < max_warmup:
        warm.append(one_call())
        if len(warm) >= 2 * warmup:
            before = float(np.median(warm[-2 * warmup : -warmup]))
            settled = abs(float(np.median(warm[-warmup:])) - before) <= SETTLED * before
    samples: list[int] = []
    begin = clock()
    while len(samples) < repeats or clock() - begin < min_seconds * 1e9:
        samples.append(one_call())
        if keep is not None:
            keep(samples[-1])
    return Timing(np.array(samples, dtype=np.float64) / 1e6, len(warm), settled)
