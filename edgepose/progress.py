"""How work tells how far it is; and as lines of text, for logs and pipes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

INTERVAL_S = 15.0

Progress = Callable[[str, int, int], None]
"""What is being done, how much of it is done, of how much."""


@dataclass
class _Work:
    first: int
    started: float
    told: float
    ended: bool = False


def duration(seconds: float) -> str:
    """ "42 s", "3:05 min" or "2:10:00 h"."""
    whole = max(0, round(seconds))
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    if hours:
        return f"{hours}:{minutes:02}:{rest:02} h"
    return f"{minutes}:{rest:02} min" if minutes else f"{rest} s"


class Lines:
    """A progress report (what, done, total) that writes a line when a piece of work begins, one every
    15 seconds with the time left, and one when it ends."""

    def __init__(
        self, write: Callable[[str], object], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._write, self._clock = write, clock
        self._works: dict[str, _Work] = {}

    def __call__(self, what: str, done: int, total: int) -> None:
        now, work = self._clock(), self._works.get(what)
        if work is None or (work.ended and done < total):
            work = self._works[what] = _Work(first=done, started=now, told=now)
            if done < total:
                self._write(f"{what}: {done} of {total}")
                return
        if work.ended:
            return
        elapsed = now - work.started
        if done >= total:
            work.ended = True
            self._write(f"{what}: {done} of {total} after {duration(elapsed)}")
        elif now - work.told >= INTERVAL_S:
            work.told = now
            left = ""
            if done > work.first:
                rest = elapsed / (done - work.first) * (total - done)
                left = f", {duration(rest)} left"
            self._write(f"{what}: {done} of {total}{left}")
