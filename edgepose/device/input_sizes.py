"""Which of several crop sizes a person is looked at with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Tuple

if TYPE_CHECKING:
    from collections.abc import Sequence


def choose_size(box_hw: Tuple[float, float], sizes: Sequence[Tuple[int, int]]) -> Tuple[int, int]:
    """The size whose area is nearest above the person's box, else the largest.

    box_hw: height and width of the box in image pixels, without margin
    sizes:  (height, width) of the crops that the artifact's variants take; of two of equal area the
            first one is taken. A larger size would only magnify the picture.
    """
    if not sizes:
        raise ValueError("no sizes to choose from")
    area = box_hw[0] * box_hw[1]
    enough = [size for size in sizes if size[0] * size[1] >= area]
    if enough:
        return min(enough, key=lambda size: size[0] * size[1])
    return max(sizes, key=lambda size: size[0] * size[1])
