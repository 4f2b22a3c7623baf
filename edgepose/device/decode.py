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


def refine_dark(
    heatmaps: NDArray[np.floating], xy: NDArray[np.floating], *, sigma: float
) -> NDArray[np.float32]:
    """Sub-pixel joints from the shape of each peak: (N, J, 2) float32 heatmap pixels.

    heatmaps: (N, J, h, w); xy: (N, J, 2) whole pixels, the peaks; sigma: of the training target
    The map is smoothed with the target's own Gaussian; where its logarithm is taken for a parabola,
    the top is at peak - H^-1 g. A peak within two pixels of the border, or without a top, stays.
    Source: Zhang et al. 2020, "Distribution-Aware Coordinate Representation" (DARK), eq. 5 to 9;
    derivatives as in its code (two pixels apart for the second ones).
    """
    n, joints, h, w = heatmaps.shape
    reach, at = max(1, int(2.5 * sigma + 0.5)), np.rint(xy).astype(np.int64).reshape(-1, 2)
    pad = reach + 2
    flat = np.asarray(heatmaps, np.float32).reshape(n * joints, h, w)
    padded = np.pad(flat, ((0, 0), (pad, pad), (pad, pad)))
    steps = np.arange(-pad, pad + 1) + pad
    rows = (at[:, 1, None] + steps)[:, :, None]
    columns = (at[:, 0, None] + steps)[:, None, :]
    patch = padded[np.arange(n * joints)[:, None, None], rows, columns]
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    blur = np.zeros((5, 2 * pad + 1))  # (5, 2 pad + 1): a row of it is the kernel, moved
    for row in range(5):
        blur[row, row : row + len(kernel)] = kernel
    smooth = np.einsum("ay,kyx,bx->kab", blur, patch.astype(np.float64), blur, optimize=True)
    top = np.log(np.maximum(smooth, 1e-10))  # (K, 5, 5), the peak in the middle
    dx, dy = 0.5 * (top[:, 2, 3] - top[:, 2, 1]), 0.5 * (top[:, 3, 2] - top[:, 1, 2])
    dxx = 0.25 * (top[:, 2, 4] - 2 * top[:, 2, 2] + top[:, 2, 0])
    dyy = 0.25 * (top[:, 4, 2] - 2 * top[:, 2, 2] + top[:, 0, 2])
    dxy = 0.25 * (top[:, 3, 3] - top[:, 1, 3] - top[:, 3, 1] + top[:, 1, 1])
    curvature = dxx * dyy - dxy * dxy
    inner = (at[:, 0] > 1) & (at[:, 0] < w - 2) & (at[:, 1] > 1) & (at[:, 1] < h - 2)
    usable = inner & (curvature != 0)
    safe = np.where(usable, curvature, 1.0)
    move = np.stack([dyy * dx - dxy * dy, dxx * dy - dxy * dx], axis=1) / safe[:, None]
    moved = at - np.where(usable[:, None], move, 0.0)
    refined: NDArray[np.float32] = moved.astype(np.float32).reshape(n, joints, 2)
    return refined


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
