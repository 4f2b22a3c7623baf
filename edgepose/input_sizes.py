"""Which of several input sizes a person is worth."""

from __future__ import annotations

from collections.abc import Sequence


def choose_size(box_hw: tuple[float, float], sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The size whose area is nearest above that of the person's box, else the largest.

    box_hw: height and width of the box, image pixels; sizes: (height, width) of crops, pixels
    """
    if not sizes:
        raise ValueError("no sizes to choose from")
    ordered = sorted(sizes, key=lambda hw: hw[0] * hw[1])
    enough = [hw for hw in ordered if hw[0] * hw[1] >= box_hw[0] * box_hw[1]]
    return enough[0] if enough else ordered[-1]
