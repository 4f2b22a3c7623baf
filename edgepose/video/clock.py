"""How long it took: the networks alone, and everything."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

WINDOW = 30


@dataclass(frozen=True)
class Timing:
    """Of a whole source, from before its first frame was asked for to the last file written.

    wall_s includes reading, drawing and writing; inference_s and detector_s are inside the networks
    """

    frames: int
    people: int
    wall_s: float
    inference_s: float
    detector_s: float

    @property
    def inference_share(self) -> float:
        """Part of the time that went into networks, 0..1."""
        return (self.inference_s + self.detector_s) / self.wall_s if self.wall_s > 0 else 0.0

    @property
    def frames_per_s(self) -> float:
        return self.frames / self.wall_s if self.wall_s > 0 else 0.0

    @property
    def text(self) -> str:
        """One line: networks and whole, per frame."""
        each = 1e3 / max(self.frames, 1)
        networks = self.inference_s + self.detector_s
        many = "" if self.frames == 1 else "s"
        return (
            f"{self.frames} frame{many} in {self.wall_s:.1f} s: networks {networks * each:.1f} ms, "
            f"whole {self.wall_s * each:.1f} ms a frame ({self.frames_per_s:.1f} FPS), "
            f"{self.inference_share:.0%} in networks"
        )


class Clock:
    """Means over the last 30 frames, for the screen."""

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self._now = now
        self._marks: deque[tuple[float, float]] = deque([(now(), 0.0)], maxlen=WINDOW + 1)

    def frame(self, networks_s: float) -> str:
        """A frame is done; networks_s: inside networks, since the beginning. The line to show."""
        self._marks.append((self._now(), networks_s))
        (begin, before), (end, after) = self._marks[0], self._marks[-1]
        count = len(self._marks) - 1
        whole = max(end - begin, 1e-9) / count
        return (
            f"network {1e3 * (after - before) / count:.1f} ms   whole {1e3 * whole:.1f} ms   "
            f"{1.0 / whole:.1f} FPS"
        )
