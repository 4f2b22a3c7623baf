"""Joints as heatmaps: the training target. The way back is `edgepose.device.codec`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgepose.device.codec import HeatmapCodec
from edgepose.device.coding import Coding
from edgepose.errors import EdgeposeError


def encode_batch(
    joints_xy: NDArray[np.floating],
    annotated: NDArray[np.bool_],
    *,
    heatmap_hw: tuple[int, int],
    stride: ArrayLike,
    sigma: ArrayLike,
    coding: Coding = "standard",
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Heatmaps and loss weights of a batch of people.

    joints_xy: (N, J, 2) crop pixels; annotated: (N, J)
    stride:    crop pixels per heatmap pixel, one number or (x, y)
    sigma:     of the Gaussian in heatmap pixels, one number or (N, J)
    returns (heatmaps (N, J, h, w) float32, weights (N, J) float32 of 0 and 1)

    standard: the peak is 1 at int(x / stride + 0.5); the Gaussian is cut off 3 sigma from it. Weight
              0, and an empty heatmap, for a joint that is not annotated or whose window misses the
              heatmap. Source: HRNet's JointsDataset.generate_target.
    udp:      as standard, but the Gaussian's own centre is x / stride. Source: MMPose's
              generate_udp_gaussian_heatmaps.
    dark:     the Gaussian's centre is x / stride and it is not cut off. Weight 0 where x / stride
              lies 3 sigma before the first pixel (and one more) or behind the last one. Source:
              MMPose's generate_unbiased_gaussian_heatmaps, as HRNet-DARK.
    Raises EdgeposeError for an annotated joint that is not a number.
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
    spread = np.broadcast_to(np.asarray(sigma, dtype=np.float64), known.shape)
    radius = (3 * spread).astype(np.int64)
    widest = int(radius.max(initial=0))
    far = 4.0 * (height + width + widest)  # beyond any window; keeps the integers small
    place = np.where(known[..., None], joints / np.asarray(stride, dtype=np.float64), -far)
    peak = np.clip(place + 0.5, -far, far).astype(np.int64)  # truncates towards zero, like int()
    extent = np.array([width, height])
    if coding == "dark":
        reach = 3 * spread[..., None]
        inside = (place + reach + 1 >= 0) & (place - reach < extent)
    else:
        inside = (peak + radius[..., None] >= 0) & (peak - radius[..., None] < extent)
    touches = inside.all(axis=-1)
    weights = (known & touches).astype(np.float32)
    center = peak if coding == "standard" else np.clip(place, -far, far)

    def profile(axis: int, length: int) -> NDArray[np.float32]:
        offset = np.arange(length) - center[..., axis, None]
        gauss = np.exp(-(offset * offset) / (2.0 * spread * spread)[..., None])
        if coding != "dark":
            steps = offset if coding == "standard" else np.arange(length) - peak[..., axis, None]
            gauss = np.where(np.abs(steps) <= radius[..., None], gauss, 0.0)
        return gauss.astype(np.float32)

    rows = profile(1, height) * weights[..., None]
    columns = profile(0, width)
    return rows[..., :, None] * columns[..., None, :], weights


def encode_heatmaps(
    joints_xy: NDArray[np.floating],
    annotated: NDArray[np.bool_],
    *,
    heatmap_hw: tuple[int, int],
    stride: ArrayLike,
    sigma: ArrayLike,
    coding: Coding = "standard",
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """One person: (J, 2) crop pixels -> (heatmaps (J, h, w), weights (J,)); see `encode_batch`."""
    heatmaps, weights = encode_batch(
        np.asarray(joints_xy)[None],
        np.asarray(annotated)[None],
        heatmap_hw=heatmap_hw,
        stride=stride,
        sigma=sigma,
        coding=coding,
    )
    return heatmaps[0], weights[0]


def mirror_heatmaps(
    heatmaps: NDArray[np.floating], *, flip_index: Sequence[int], codec: HeatmapCodec
) -> NDArray[np.float32]:
    """What the heatmaps of a crop become when the crop is mirrored: (J, h, w) -> (J, h, w) float32.

    Mirrored crop pixels are W-1-x, so with x = stride * u a joint at column u moves to
    w - u - 1/stride: the reversed map lies 1 - 1/stride columns further right, which linear
    interpolation does (the flip test's whole pixel leaves it 1/stride off). With "centers" the
    reversed map lies right as it is.
    """
    reverse = np.asarray(heatmaps, np.float32)[list(flip_index), :, ::-1]
    if codec.alignment == "centers":
        return np.ascontiguousarray(reverse)
    before = np.concatenate([reverse[..., :1], reverse[..., :-1]], axis=-1)
    part = np.float32(1.0 / codec.stride)
    return (part * reverse + (1 - part) * before).astype(np.float32)
