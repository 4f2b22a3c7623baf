"""A few people of a data set, spread evenly over it."""

from __future__ import annotations

import hashlib

import numpy as np

from edgepose.data.base import PoseDataset, PoseSample


class Part:
    """At most `count` people of `whole`, the same ones every time (PoseDataset)."""

    def __init__(self, whole: PoseDataset, count: int) -> None:
        self.whole, self.skeleton, self.domain = whole, whole.skeleton, whole.domain
        places = np.linspace(0, len(whole) - 1, min(count, len(whole)))
        self.indices = [int(i) for i in np.unique(places.round().astype(int))]
        text = f"part of {whole.fingerprint}: {self.indices}"
        self.fingerprint = hashlib.sha256(text.encode()).hexdigest()

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> PoseSample:
        return self.whole[self.indices[index]]
