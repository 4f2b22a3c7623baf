"""Joint angles from three joints each, and their range of motion over a video."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgepose.skeleton import Skeleton

_PARTS = {
    "knee": ("hip", "knee", "ankle"),
    "hip": ("shoulder", "hip", "knee"),
    "elbow": ("shoulder", "elbow", "wrist"),
    "shoulder": ("elbow", "shoulder", "hip"),
}
KINDS = tuple(_PARTS)


@dataclass(frozen=True)
class Angle:
    """The angle at joint `at` between the lines to `ends`, indices into the skeleton's joints."""

    name: str
    at: int
    ends: tuple[int, int]


def angles_of(skeleton: Skeleton) -> tuple[Angle, ...]:
    """Knees, hips, elbows and shoulders, right then left, of which the skeleton has all three joints
    (named right_hip and so on)."""
    found = []
    for kind, parts in _PARTS.items():
        for side in ("right", "left"):
            names = [f"{side}_{part}" for part in parts]
            if all(name in skeleton.joints for name in names):
                a, at, b = (skeleton.joints.index(name) for name in names)
                found.append(Angle(f"{side}_{kind}", at, (a, b)))
    return tuple(found)


def measure_angles(
    xy: NDArray[np.floating],
    scores: NDArray[np.floating],
    angles: Sequence[Angle],
    *,
    threshold: float = 0.2,
) -> NDArray[np.float64]:
    """(A,) degrees 0..180 in the picture's plane; nan where a joint is below `threshold`, or two of
    them are at one place. xy: (J, 2) pixels; scores: (J,)."""
    out = np.full(len(angles), np.nan)
    points, sure = np.asarray(xy, dtype=np.float64), np.asarray(scores) >= threshold
    for i, angle in enumerate(angles):
        a, b = (points[end] - points[angle.at] for end in angle.ends)
        if sure[[angle.at, *angle.ends]].all() and a.any() and b.any():
            cross = a[0] * b[1] - a[1] * b[0]
            out[i] = np.degrees(np.arctan2(abs(cross), float(a @ b)))
    return out


@dataclass(frozen=True)
class Motion:
    """Range of motion of one angle of one person. frames: in which it was seen."""

    person: int
    angle: str
    frames: int
    min_deg: float
    max_deg: float
    median_deg: float

    @property
    def range_deg(self) -> float:
        return self.max_deg - self.min_deg


def ranges(degrees: Mapping[int, NDArray[np.float64]], angles: Sequence[Angle]) -> list[Motion]:
    """degrees: per person (frames, A), nan where unseen. Angles that were never seen are left out."""
    found = []
    for person, values in degrees.items():
        for column, angle in enumerate(angles):
            seen = values[:, column][~np.isnan(values[:, column])]
            if len(seen):
                low, high, middle = float(seen.min()), float(seen.max()), float(np.median(seen))
                found.append(Motion(person, angle.name, len(seen), low, high, middle))
    return found
