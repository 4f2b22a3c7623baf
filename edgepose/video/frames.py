"""What a source of pictures gives: frames, numbered and timed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Frame:
    """image: (H, W, 3) uint8 RGB; index: from 0 in its source; time_s: since the source's first frame,
    growing, 0 for pictures; name: the file, or the camera."""

    name: str
    index: int
    time_s: float
    image: NDArray[np.uint8]


class Source(Protocol):
    """name: the file, folder or camera; moving: frames follow each other in time; live: frames that
    nobody takes are lost; fps: nominal, 0 for pictures; count: frames it says to have, 0 if unknown."""

    name: str
    moving: bool
    live: bool
    fps: float
    count: int

    def frames(self) -> Iterator[Frame]:
        """Every frame in order; EdgeposeError where it cannot go on, after the frames before."""
        ...
