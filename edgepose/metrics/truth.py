"""Labelled people, as every metric takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgepose.skeleton import Skeleton


@dataclass(frozen=True)
class Truth:
    """What predictions are compared with; image pixels.

    xy: (N, J, 2); annotated: (N, J) bool; head_px, area_px2: (N,), nan where unknown;
    box_xywh: (N, 4); images: the image of each person, by name
    """

    xy: NDArray[np.floating]
    annotated: NDArray[np.bool_]
    skeleton: Skeleton
    head_px: NDArray[np.floating]
    area_px2: NDArray[np.floating]
    box_xywh: NDArray[np.floating]
    images: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.xy)

    def people(self, mask: NDArray[np.bool_]) -> Truth:
        """The people that a mask (N,) names."""
        return replace(
            self,
            xy=self.xy[mask],
            annotated=self.annotated[mask],
            head_px=self.head_px[mask],
            area_px2=self.area_px2[mask],
            box_xywh=self.box_xywh[mask],
            images=tuple(name for name, kept in zip(self.images, mask, strict=True) if kept),
        )

    def joints(self, indices: Sequence[int]) -> Truth:
        """The same people with only these joints, in this order."""
        names = tuple(self.skeleton.joints[j] for j in indices)
        part = Skeleton(f"{len(names)} joints of {self.skeleton.name}", names, (), ())
        return replace(
            self,
            xy=self.xy[:, list(indices)],
            annotated=self.annotated[:, list(indices)],
            skeleton=part,
        )
