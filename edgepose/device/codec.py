"""How joints stand in heatmaps: which crop belongs to a coding, how its heatmaps are read.

standard: Gaussians on whole heatmap pixels, read as the peak and a quarter pixel (HRNet)
dark:     Gaussians on the real position, read from the peak's shape (Zhang et al. 2020)
udp:      as dark; crop and heatmap are measured between the centres of their first and last pixels,
          so that a mirrored heatmap is the mirrored crop's (Huang et al. 2020)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .coding import Alignment, Coding, alignment_of
from .decode import (
    decode_heatmaps,
    find_peaks,
    flip_average,
    heatmap_to_image_xy,
    refine_dark,
    refine_udp,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray


def sigma_for(heatmap_hw: tuple[int, int], sigma_at_64: float = 2.0) -> float:
    """Gaussian sigma in heatmap pixels: grows with the heatmap's longer side, never below 1.

    2 for 64x64 and 64x48, 3 for 96x72 (as HRNet trains them), 1 for 32x32 and smaller.
    """
    return max(1.0, sigma_at_64 * max(heatmap_hw) / 64.0)


@dataclass(frozen=True)
class HeatmapCodec:
    """stride: input px per heatmap px; sigma: of the target Gaussian on a 64x64 heatmap, heatmap px
    (it scales with the heatmap, never below 1); coding: see above."""

    stride: int = 4
    sigma: float = 2.0
    coding: Coding = "standard"

    @property
    def alignment(self) -> Alignment:
        """How its crops lie, see `geometry.crop_matrix`."""
        return alignment_of(self.coding)

    def sigma_px(self, heatmap_hw: tuple[int, int]) -> float:
        """Sigma of the target Gaussian on a heatmap of this size."""
        return sigma_for(heatmap_hw, self.sigma)

    def pitch_xy(self, heatmap_hw: tuple[int, int]) -> tuple[float, float]:
        """Crop pixels per heatmap pixel along x and along y."""
        if self.alignment == "edges":
            return float(self.stride), float(self.stride)
        h, w = heatmap_hw
        x, y = ((self.stride * n - 1) / max(n - 1, 1) for n in (w, h))
        return x, y

    def decode(
        self, heatmaps: NDArray[np.floating]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(N, J, h, w) -> (xy (N, J, 2) float32 heatmap pixels, score (N, J) float32, the maximum)."""
        if self.coding == "standard":
            return decode_heatmaps(heatmaps)
        xy, score = find_peaks(heatmaps)
        refine = refine_dark if self.coding == "dark" else refine_udp
        sigma = self.sigma_px((heatmaps.shape[2], heatmaps.shape[3]))
        return refine(heatmaps, xy, sigma=sigma), score

    def crop_xy(self, xy: NDArray[np.floating], heatmap_hw: tuple[int, int]) -> NDArray[np.float32]:
        """Heatmap pixels (N, J, 2) -> crop pixels (N, J, 2) float32."""
        return (xy * np.asarray(self.pitch_xy(heatmap_hw), xy.dtype)).astype(np.float32)

    def image_xy(
        self, xy: NDArray[np.floating], matrix: ArrayLike, heatmap_hw: tuple[int, int]
    ) -> NDArray[np.float32]:
        """Heatmap pixels (N, J, 2) -> image pixels; matrix: (2, 3), or one per image (N, 2, 3)."""
        return heatmap_to_image_xy(xy, matrix, self.pitch_xy(heatmap_hw))

    def flip_average(
        self,
        heatmaps: NDArray[np.floating],
        flipped_heatmaps: NDArray[np.floating],
        flip_index: Sequence[int],
    ) -> NDArray[np.float32]:
        """The flip test: see `decode.flip_average`."""
        return flip_average(heatmaps, flipped_heatmaps, flip_index, shift=self.alignment == "edges")
