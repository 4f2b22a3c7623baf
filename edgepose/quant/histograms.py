"""Calibration by histogram: which bound to clip at, three answers.

torchao's observers know the largest value and the least squared error over ranges that they widen
batch by batch; here the counts are exact, so that no result depends on how images were cut into
batches, and percentile and entropy are read off the same counts.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgepose.quant.observers import MaxGrid

BINS = 2048
CANDIDATES = 256
PERCENTILE = 99.99
LEVELS = 128
"""Codes that a magnitude can have, and the fewest bins that entropy looks at."""


class HistogramGrid(MaxGrid):
    """Counts |x| over [0, top), a power of two that doubles when it is exceeded.

    The first bin is left out of every answer: a ReLU's zeros cost nothing under any bound.
    """

    counts: Tensor
    top: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.register_buffer("counts", torch.zeros(BINS, dtype=torch.float64))
        self.register_buffer("top", torch.zeros(1))

    def observe(self, x: Tensor) -> None:
        largest = self.largest(x)
        self.seen.copy_(torch.maximum(self.seen, largest))
        if not largest > 0:
            return
        if not self.top.item() > 0:
            self.top.copy_(torch.exp2(torch.ceil(torch.log2(largest))))
        while largest > self.top:
            pairs = self.counts.reshape(-1, 2).sum(1)
            self.counts.copy_(torch.cat([pairs, torch.zeros_like(pairs)]))
            self.top.mul_(2)
        bins = x.detach().abs().mul_(BINS / self.top.item()).to(torch.int32).flatten()
        bins.clamp_(max=BINS - 1)
        self.counts.add_(torch.bincount(bins, minlength=BINS))

    def bound(self) -> Tensor:
        if not self.seen.item() > 0 or not self.counts[1:].any():
            return self.seen
        return torch.minimum(self.clip(self.top.item() / BINS).float().reshape(1), self.seen)

    @abstractmethod
    def clip(self, width: float) -> Tensor:
        """The largest |x| to represent, a scalar; `width` of a bin. May exceed what was seen."""


class MseGrid(HistogramGrid):
    """The bound with the least squared error, rounding and clipping together."""

    def clip(self, width: float) -> Tensor:
        centres = (torch.arange(BINS, dtype=torch.float64) + 0.5) * width
        bounds = self.seen.double() * torch.arange(1, CANDIDATES + 1) / CANDIDATES
        steps = bounds[:, None] / self.quant_max
        codes = torch.round(centres / steps).clamp_max(self.quant_max)
        errors = ((codes * steps - centres).square() * self.counts)[:, 1:].sum(1)
        return bounds[errors.argmin()]


class PercentileGrid(HistogramGrid):
    """The bound that 99.99 % of the values (zeros not counted) lie within."""

    def clip(self, width: float) -> Tensor:
        below = self.counts[1:].cumsum(0)
        first = torch.searchsorted(below, below[-1] * (PERCENTILE / 100))
        return (first + 2) * width  # the upper edge of that bin


class EntropyGrid(HistogramGrid):
    """The bound under which the rounded distribution tells least apart from the real one.

    Kullback-Leibler divergence of the clipped histogram from itself in 128 steps. Source: Migacz
    2017, "8-bit inference with TensorRT".
    """

    def clip(self, width: float) -> Tensor:
        counts = self.counts[1:]
        last = int(counts.nonzero()[-1]) + 1
        stops = sorted({round(s) for s in np.linspace(min(LEVELS, last), last, CANDIDATES)})
        divergences = torch.stack([_divergence(counts, stop) for stop in stops])
        return torch.tensor((stops[int(divergences.argmin())] + 1) * width)


def _divergence(counts: Tensor, stop: int) -> Tensor:
    """KL(p || q), a scalar, of counts clipped to the first `stop` bins.

    p: what lies beyond is added to the last bin; q: each step spread over the bins that it covers
    """
    p = counts[:stop].clone()
    inside = counts[:stop]
    p[-1] += counts[stop:].sum()
    step = torch.arange(stop) * LEVELS // stop
    filled = (p > 0).double()
    sums = torch.zeros(LEVELS, dtype=torch.float64).index_add(0, step, inside)
    spread = torch.zeros(LEVELS, dtype=torch.float64).index_add(0, step, filled)
    q = filled * (sums / spread.clamp_min(1))[step]
    p, q = p / p.sum(), q / q.sum().clamp_min(1e-300)
    # A last bin that holds nothing but what was clipped has no q: as unlikely as one value is.
    q = torch.where((p > 0) & (q == 0), 1.0 / counts.sum(), q)
    divergence: Tensor = torch.special.xlogy(p, p / q.clamp_min(1e-300)).sum()
    return divergence
