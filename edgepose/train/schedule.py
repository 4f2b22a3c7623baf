"""Learning rate as a pure function of the step, so that a continued run needs no scheduler state."""

from __future__ import annotations

import math
from typing import Literal

Schedule = Literal["one_cycle", "cosine", "constant"]
WARMUP_SHARE = 0.1
FINAL_FACTOR = 0.01


def lr_factor(step: int, *, steps: int, schedule: Schedule) -> float:
    """Factor on the peak learning rate at `step` of `steps` (0-based), in (0, 1].

    one_cycle: linear warm-up over a tenth of the steps, then cosine to 1/100 of the peak
    cosine:    cosine to 1/100 of the peak (1e-3 -> 1e-5), no warm-up
    """
    if schedule == "constant":
        return 1.0
    warmup = max(1, round(WARMUP_SHARE * steps)) if schedule == "one_cycle" else 0
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - 1 - warmup)
    return FINAL_FACTOR + (1 - FINAL_FACTOR) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
