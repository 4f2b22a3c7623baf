"""Joints as heatmaps: the training target. The way back is `edgepose.device.decode`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgepose.errors import EdgeposeError


def sigma_for(heatmap_hw: tuple[int, int], sigma_at_64: float = 2.0) -> float:
    """Gaussian sigma in heatmap pixels: grows with the heatmap's longer side, never below 1.

    2 for 64x64 and 64x48, 3 for 96x72 (as HRNet trains them), 1 for 32x32 and smaller.
    """
    return max(1.0, sigma_at_64 * max(heatmap_hw) / 64.0)


def encode_batch(
    joints_xy: NDArray[np.floating],
    annotated: NDArray[np.bool_],
    *,
    heatmap_hw: tuple[int, int],
    stride: float,
    sigma: float,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Heatmaps and loss weights of a batch of people.

    joints_xy: (N, J, 2) crop pixels; annotated: (N, J)
    returns (heatmaps (N, J, h, w) float32, weights (N, J) float32 of 0 and 1)

    The peak is 1 at int(x / stride + 0.5); the Gaussian is cut off 3 sigma from it. Weight 0, and
    an empty heatmap, for a joint that is not annotated or whose window misses the heatmap.
    Raises EdgeposeError for an annotated joint that is not a number.
    Source: HRNet's JointsDataset.generate_target.
    """
    joints = np.asarray(joints_xy, dtype=np.float64)
    known = np.asarray(annotated, dtype=bool)
    if joints.ndim != 3 or joints.shape[2] != 2 or known.shape != joints.shape[:2]:
        raise ValueError(f"joints {joints.shape} and annotated {known.shape} are not (N, J, 2)")
    finite = np.isfinite(joints).all(axis=-1)
    if (known & ~finite).any():
        raise EdgeposeError(
            f"{int((known & ~finite).sum())} annotated joints have no finite coordinates",
            fix="mark joints without coordinates as not annotated",
        )
    height, width = heatmap_hw
    radius = int(3 * sigma)
    far = 4.0 * (height + width + radius)  # beyond any window; keeps the integers small
    scaled = np.where(known[..., None], joints / stride + 0.5, -far)
    peak = np.clip(scaled, -far, far).astype(np.int64)  # truncates towards zero, like int()
    extent = np.array([width, height])
    touches = ((peak + radius >= 0) & (peak - radius < extent)).all(axis=-1)
    weights = (known & touches).astype(np.float32)

    def profile(centers: NDArray[np.int64], length: int) -> NDArray[np.float32]:
        offset = np.arange(length) - centers[..., None]
        gauss = np.exp(-(offset * offset) / (2.0 * sigma * sigma))
        return np.where(np.abs(offset) <= radius, gauss, 0.0).astype(np.float32)

    rows = profile(peak[..., 1], height) * weights[..., None]
    columns = profile(peak[..., 0], width)
    return rows[..., :, None] * columns[..., None, :], weights


def encode_heatmaps(
    joints_xy: NDArray[np.floating],
    annotated: NDArray[np.bool_],
    *,
    heatmap_hw: tuple[int, int],
    stride: float,
    sigma: float,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """One person: (J, 2) crop pixels -> (heatmaps (J, h, w), weights (J,)); see `encode_batch`."""
    heatmaps, weights = encode_batch(
        np.asarray(joints_xy)[None],
        np.asarray(annotated)[None],
        heatmap_hw=heatmap_hw,
        stride=stride,
        sigma=sigma,
    )
    return heatmaps[0], weights[0]


def mirror_heatmaps(
    heatmaps: NDArray[np.floating], *, flip_index: Sequence[int], stride: int
) -> NDArray[np.float32]:
    """What the heatmaps of a crop become when the crop is mirrored: (J, h, w) -> (J, h, w) float32.

    Mirrored crop pixels are W-1-x, so with x = stride * u a joint at column u moves to
    w - u - 1/stride: the reversed map lies 1 - 1/stride columns further right, which linear
    interpolation does (the flip test's whole pixel leaves it 1/stride off).
    """
    reverse = np.asarray(heatmaps, np.float32)[list(flip_index), :, ::-1]
    before = np.concatenate([reverse[..., :1], reverse[..., :-1]], axis=-1)
    part = np.float32(1.0 / stride)
    return (part * reverse + (1 - part) * before).astype(np.float32)
