"""Were the times steady? Drift, throttling and outliers, named."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, List

import numpy as np

if TYPE_CHECKING:
    from typing import Optional

    from numpy.typing import NDArray

OUTLIER = 3.0  # times the median
SLOWED = 0.9  # a clock below this part of what it was


def drift(samples_ms: NDArray[np.float64], *, tolerance: float = 0.05) -> Optional[float]:
    """Median of the last third over that of the first, less 1; None within `tolerance` or for few."""
    third = len(samples_ms) // 3
    if third < 10:
        return None
    change = float(np.median(samples_ms[-third:]) / np.median(samples_ms[:third]) - 1)
    return change if abs(change) > tolerance else None


def throttling(before: Dict[str, Any], after: Dict[str, Any]) -> List[str]:
    """What board.read_clocks says against steady clocks between two moments."""
    found = []
    if before["throttle_count"] is not None and after["throttle_count"] is not None:
        times = after["throttle_count"] - before["throttle_count"]
        if times > 0:
            found.append("the CPU was throttled {:.0f} times".format(times))
    for name, state in after["cooling"].items():
        if state > before["cooling"].get(name, 0):
            found.append("cooling by {} rose to step {:.0f}".format(name, state))
    if before["gpu_hz"] and after["gpu_hz"] and after["gpu_hz"] < SLOWED * before["gpu_hz"]:
        found.append(
            "the GPU clock fell from {:.0f} to {:.0f} MHz".format(
                before["gpu_hz"] / 1e6, after["gpu_hz"] / 1e6
            )
        )
    return found


def steadiness_notes(
    what: str, samples_ms: NDArray[np.float64], before: Dict[str, Any], after: Dict[str, Any]
) -> List[str]:
    """Sentences for the record; none where the times were steady. before, after: read_clocks."""
    notes = []
    causes = throttling(before, after)
    change = drift(samples_ms)
    if causes:
        notes.append("throttling ({}): {}".format(what, "; ".join(causes)))
    if change is not None:
        word = "slower" if change > 0 else "faster"
        cause = "" if causes else "; the machine throttled, or other work came and went"
        notes.append(
            "drift ({}): the last third of the calls was {:.0%} {} than the first{}".format(
                what, abs(change), word, cause
            )
        )
    if len(samples_ms):
        far = float((samples_ms > OUTLIER * np.median(samples_ms)).mean())
        if far > 0.01:
            notes.append(
                "outliers ({}): {:.1%} of the calls took over {:g} times the median".format(
                    what, far, OUTLIER
                )
            )
    return notes


def spread_note(p50_ms: List[float], *, tolerance: float = 0.05) -> List[str]:
    """A sentence where the medians of independent runs lie further apart than `tolerance`."""
    if len(p50_ms) < 2:
        return []
    apart = (max(p50_ms) - min(p50_ms)) / float(np.median(p50_ms))
    if apart <= tolerance:
        return []
    return [
        "spread: the p50 of {} runs lie {:.0%} apart; a difference smaller than that says "
        "nothing".format(len(p50_ms), apart)
    ]
