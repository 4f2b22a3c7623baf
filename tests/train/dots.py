"""A data set of noise, for tests of the loop and of what it reads."""

from __future__ import annotations

import numpy as np

from edgepose.data.base import PoseSample
from edgepose.skeleton import MPII16


class Dots:
    """Pictures of noise with random joints."""

    skeleton, domain, fingerprint = MPII16, "test", "dots"

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> PoseSample:
        rng = np.random.default_rng(index)
        return PoseSample(
            image=rng.integers(0, 256, (40, 40, 3), dtype=np.uint8),
            joints_xy=rng.uniform(5, 35, (16, 2)).astype(np.float32),
            annotated=rng.random(16) < 0.9,
            box_xywh=np.array([5, 5, 30, 30], dtype=np.float32),
            center_xy=np.array([20, 20], dtype=np.float32),
            size_px=36.0,
            head_px=5.0,
            area_px2=900.0,
            sample_id=str(index),
        )
