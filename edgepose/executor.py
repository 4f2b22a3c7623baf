"""What runs an artifact on this machine."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Executor(Protocol):
    """Heatmaps from crops. `description` says what computed them and with which instructions.

    `run` is `infer(prepare(crops))`: preparation is what happens before the model file sees numbers
    (normalisation, unless the graph does it), so that a timer can hold the two apart.
    """

    @property
    def description(self) -> str: ...

    def run(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """crops (N, H, W, 3) RGB 0..255 -> heatmaps (N, J, h, w)."""
        ...

    def prepare(self, crops: NDArray[np.uint8]) -> Any:
        """What `infer` takes for these crops."""
        ...

    def infer(self, prepared: Any) -> NDArray[np.float32]:
        """The model alone: heatmaps (N, J, h, w)."""
        ...
