"""From heatmaps to joints: what runs after the network, on the device and when scoring."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .errors import DeviceError
from .geometry import apply_affine, invert_affine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray


def decode_heatmaps(
    heatmaps: NDArray[np.floating],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Joint positions and confidences of a batch of heatmaps.

    heatmaps: (N, J, h, w) float
    returns (xy (N, J, 2) float32 heatmap pixels, score (N, J) float32, the maximum)

    The pixel of the maximum (lowest index on ties), (0, 0) where the maximum is not positive, moved
    a quarter pixel towards the higher neighbour on each axis where 1 < px < w-1 and 1 < py < h-1.
    Raises DeviceError for NaN or infinite heatmaps. Source: HRNet's lib/core/inference.py.
    """
    if heatmaps.ndim != 4 or heatmaps.shape[2] == 0 or heatmaps.shape[3] == 0:
        raise DeviceError(
            f"heatmaps have shape {heatmaps.shape}, not (N, J, h, w)",
            fix="give the network's output as it is, with its batch axis",
        )
    n, joints, h, w = heatmaps.shape
    flat = np.ascontiguousarray(heatmaps, dtype=np.float32).reshape(n * joints, h * w)
    if not np.isfinite(flat).all():
        broken = int((~np.isfinite(flat).all(axis=1)).sum())
        raise DeviceError(
            f"{broken} of {n * joints} heatmaps hold NaN or infinity",
            fix="check the model's weights and its input scaling; such an output has no joints",
        )
    rows = np.arange(n * joints)
    peak = flat.argmax(axis=1)
    score = flat[rows, peak]
    found = score > 0
    px, py = np.where(found, peak % w, 0), np.where(found, peak // w, 0)
    xy = np.stack([px, py], axis=1).astype(np.float32)
    inner = np.nonzero((px > 1) & (px < w - 1) & (py > 1) & (py < h - 1))[0]
    at = peak[inner]
    xy[inner, 0] += 0.25 * np.sign(flat[inner, at + 1] - flat[inner, at - 1])
    xy[inner, 1] += 0.25 * np.sign(flat[inner, at + w] - flat[inner, at - w])
    return xy.reshape(n, joints, 2), score.reshape(n, joints)


def heatmap_to_image_xy(
    xy: NDArray[np.floating], matrix: ArrayLike, stride: float
) -> NDArray[np.float32]:
    """Heatmap pixels (N, J, 2) -> image pixels (N, J, 2) float32.

    matrix: crop matrix (2, 3), or one per image (N, 2, 3); stride: crop pixels per heatmap pixel.
    """
    crop_xy = np.asarray(xy, dtype=np.float64) * float(stride)
    return apply_affine(invert_affine(matrix), crop_xy).astype(np.float32)


def flip_average(
    heatmaps: NDArray[np.floating],
    flipped_heatmaps: NDArray[np.floating],
    flip_index: Sequence[int],
) -> NDArray[np.float32]:
    """Mean of the heatmaps of a crop and of its mirror image, (N, J, h, w) float32.

    flipped_heatmaps: what the network gave for the mirrored crop, as it came out
    flip_index:       (J,) each joint's mirror partner
    Mirrored back, those maps sit one pixel too far left; they are shifted right by one first.
    """
    if heatmaps.shape != flipped_heatmaps.shape or len(flip_index) != heatmaps.shape[1]:
        raise DeviceError(
            f"heatmaps {heatmaps.shape}, flipped heatmaps {flipped_heatmaps.shape} and a flip "
            f"index of {len(flip_index)} do not belong together",
            fix="run the same network on the crop and on its mirror image",
        )
    back = np.array(flipped_heatmaps[:, list(flip_index), :, ::-1], dtype=np.float32)
    back[..., 1:] = back[..., :-1].copy()
    mean: NDArray[np.float32] = (heatmaps.astype(np.float32) + back) * np.float32(0.5)
    return mean
