"""The One-Euro filter: still joints do not shake, fast ones do not lag."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field


class Config(BaseModel):
    """min_cutoff: Hz, of a joint at rest: lower shakes less; d_cutoff: Hz, of the speed;
    beta: Hz per (box side per second): higher lags less in motion. The speed is in sides of the
    person's box, so that the same numbers suit near and far people."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_cutoff: float = Field(2.0, gt=0)
    beta: float = Field(20.0, ge=0)
    d_cutoff: float = Field(1.0, gt=0)


def alpha(cutoff_hz: NDArray[np.float64] | float, dt_s: float) -> NDArray[np.float64]:
    """Weight of the new value in exponential smoothing with this cutoff frequency."""
    tau = 1.0 / (2.0 * math.pi * np.asarray(cutoff_hz, dtype=np.float64))
    return np.asarray(1.0 / (1.0 + tau / dt_s))


@dataclass
class _State:
    time_s: float
    xy: NDArray[np.float64]
    speed: NDArray[np.float64]
    known: NDArray[np.bool_]


class OneEuro:
    """Joints of one person over time. Source: Casiez, Roussel, Vogel 2012 (CHI), its equations."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._state: _State | None = None

    def __call__(
        self,
        xy: NDArray[np.floating],
        time_s: float,
        *,
        seen: NDArray[np.bool_],
        side_px: float = 1.0,
    ) -> NDArray[np.float32]:
        """(J, 2) pixels, smoothed. time_s: after that of the call before; side_px: of the box.

        seen: (J,) joints to smooth; the others pass as they are and start afresh when seen again.
        """
        new = np.asarray(xy, dtype=np.float64)
        old = self._state
        if old is None:
            self._state = _State(time_s, new, np.zeros_like(new), seen.copy())
            return new.astype(np.float32)
        dt = time_s - old.time_s
        if dt <= 0:
            raise ValueError(f"time does not pass: {old.time_s} s, then {time_s} s")
        speed = (new - old.xy) / dt
        weight = alpha(self.config.d_cutoff, dt)
        speed = weight * speed + (1.0 - weight) * old.speed
        pace = np.linalg.norm(speed, axis=1, keepdims=True) / side_px
        weight = alpha(self.config.min_cutoff + self.config.beta * pace, dt)
        smooth = weight * new + (1.0 - weight) * old.xy
        both = (seen & old.known)[:, None]
        out = np.where(both, smooth, new)
        self._state = _State(time_s, out, np.where(both, speed, 0.0), seen.copy())
        return out.astype(np.float32)
