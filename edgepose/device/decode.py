"""From heatmaps to joints: what runs after the network, on the device and when scoring."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np

from .errors import DeviceError
from .geometry import apply_affine, invert_affine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray


def _flat(heatmaps: NDArray[np.floating]) -> NDArray[np.float32]:
    """(N x J, h x w) float32; DeviceError for another shape, NaN or infinity."""
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
    return flat


def find_peaks(
    heatmaps: NDArray[np.floating],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The pixel of each heatmap's maximum and its value: (xy (N, J, 2) float32, score (N, J) float32).

    heatmaps: (N, J, h, w) float
    The lowest index on ties, (0, 0) where the maximum is not positive. Raises DeviceError for NaN or
    infinite heatmaps.
    """
    flat = _flat(heatmaps)
    n, joints, _, w = heatmaps.shape
    peak = flat.argmax(axis=1)
    score = flat[np.arange(n * joints), peak]
    found = score > 0
    px, py = np.where(found, peak % w, 0), np.where(found, peak // w, 0)
    xy = np.stack([px, py], axis=1).astype(np.float32)
    return xy.reshape(n, joints, 2), score.reshape(n, joints)


def decode_heatmaps(
    heatmaps: NDArray[np.floating],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Joint positions and confidences of a batch of heatmaps.

    heatmaps: (N, J, h, w) float
    returns (xy (N, J, 2) float32 heatmap pixels, score (N, J) float32, the maximum)

    The peak (see `find_peaks`), moved a quarter pixel towards the higher neighbour on each axis where
    1 < px < w-1 and 1 < py < h-1. Source: HRNet's lib/core/inference.py.
    """
    peaks, score = find_peaks(heatmaps)
    n, joints, h, w = heatmaps.shape
    flat = np.ascontiguousarray(heatmaps, dtype=np.float32).reshape(n * joints, h * w)
    xy = peaks.reshape(n * joints, 2)
    px, py = xy[:, 0].astype(np.int64), xy[:, 1].astype(np.int64)
    inner = np.nonzero((px > 1) & (px < w - 1) & (py > 1) & (py < h - 1))[0]
    at = py[inner] * w + px[inner]
    xy[inner, 0] += 0.25 * np.sign(flat[inner, at + 1] - flat[inner, at - 1])
    xy[inner, 1] += 0.25 * np.sign(flat[inner, at + w] - flat[inner, at - w])
    return xy.reshape(n, joints, 2), score


BORDER_OF_DARK = 2
"""So many pixels have to lie between a peak and the border for DARK to move it."""


@functools.lru_cache(maxsize=16)
def dark_kernel(sigma: float) -> NDArray[np.float64]:
    """(5, P): row k smooths P pixels around a peak along one axis into the one at k - 2.

    A Gaussian cut off 2.5 sigma away, which sums to one. Made once for a sigma: not to be written to.
    """
    reach = max(1, int(2.5 * sigma + 0.5))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    blur = np.zeros((5, 2 * reach + 5))
    for row in range(5):
        blur[row, row : row + len(kernel)] = kernel
    blur.flags.writeable = False
    return blur


def _log_around(
    heatmaps: NDArray[np.floating], at: NDArray[np.int64], *, sigma: float, floor: float
) -> NDArray[np.float64]:
    """Logarithm of the smoothed maps around the pixels `at` (N x J, 2): (N x J, 5, 5), rows y-2..y+2.

    Smoothed by a Gaussian cut off 2.5 sigma away; outside the map is zero, and nothing is below `floor`.
    """
    n, joints, h, w = heatmaps.shape
    blur = dark_kernel(sigma)
    pad = blur.shape[1] // 2
    padded = np.zeros((n * joints, h + 2 * pad, w + 2 * pad), np.float32)
    padded[:, pad : pad + h, pad : pad + w] = np.asarray(heatmaps).reshape(n * joints, h, w)
    steps = np.arange(2 * pad + 1)
    rows = (at[:, 1, None] + steps)[:, :, None]
    columns = (at[:, 0, None] + steps)[:, None, :]
    patch = padded[np.arange(n * joints)[:, None, None], rows, columns]
    smooth = blur @ patch.astype(np.float64) @ blur.T
    log: NDArray[np.float64] = np.log(np.maximum(smooth, floor))
    return log


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
    at = np.rint(xy).astype(np.int64).reshape(-1, 2)
    top = _log_around(heatmaps, at, sigma=sigma, floor=1e-10)  # the peak in the middle
    dx, dy = 0.5 * (top[:, 2, 3] - top[:, 2, 1]), 0.5 * (top[:, 3, 2] - top[:, 1, 2])
    dxx = 0.25 * (top[:, 2, 4] - 2 * top[:, 2, 2] + top[:, 2, 0])
    dyy = 0.25 * (top[:, 4, 2] - 2 * top[:, 2, 2] + top[:, 0, 2])
    dxy = 0.25 * (top[:, 3, 3] - top[:, 1, 3] - top[:, 3, 1] + top[:, 1, 1])
    curvature = dxx * dyy - dxy * dxy
    end = BORDER_OF_DARK
    inner = (at[:, 0] > 1) & (at[:, 0] < w - end) & (at[:, 1] > 1) & (at[:, 1] < h - end)
    usable = inner & (curvature != 0)
    safe = np.where(usable, curvature, 1.0)
    move = np.stack([dyy * dx - dxy * dy, dxx * dy - dxy * dx], axis=1) / safe[:, None]
    moved = at - np.where(usable[:, None], move, 0.0)
    refined: NDArray[np.float32] = moved.astype(np.float32).reshape(n, joints, 2)
    return refined


def refine_udp(
    heatmaps: NDArray[np.floating], xy: NDArray[np.floating], *, sigma: float
) -> NDArray[np.float32]:
    """As `refine_dark`, with derivatives one pixel apart, up to the border: (N, J, 2) float32.

    Beyond the border the smoothed map is taken to go on as it ends. Source: Huang et al. 2020, "The
    Devil is in the Details" (UDP); MMPose's refine_keypoints_dark_udp.
    """
    n, joints, h, w = heatmaps.shape
    at = np.rint(xy).astype(np.int64).reshape(-1, 2)
    top = _log_around(heatmaps, at, sigma=sigma, floor=1e-3)
    steps, last = np.array([-1, 0, 1]), np.array([w - 1, h - 1])
    near = np.clip(at[:, None, :] + steps[:, None], 0, last) - at[:, None, :] + 2  # (K, 3, 2)
    which = np.arange(n * joints)[:, None, None]
    m = top[which, near[:, :, 1][:, :, None], near[:, :, 0][:, None, :]]  # (K, 3, 3)
    dx, dy = 0.5 * (m[:, 1, 2] - m[:, 1, 0]), 0.5 * (m[:, 2, 1] - m[:, 0, 1])
    tiny = float(np.finfo(np.float32).eps)
    dxx = m[:, 1, 2] - 2 * m[:, 1, 1] + m[:, 1, 0] + tiny
    dyy = m[:, 2, 1] - 2 * m[:, 1, 1] + m[:, 0, 1] + tiny
    sides = m[:, 1, 2] + m[:, 2, 1] + m[:, 1, 0] + m[:, 0, 1]
    dxy = 0.5 * (m[:, 2, 2] + m[:, 0, 0] + 2 * m[:, 1, 1] - sides)
    curvature = dxx * dyy - dxy * dxy
    safe = np.where(curvature != 0, curvature, 1.0)
    move = np.stack([dyy * dx - dxy * dy, dxx * dy - dxy * dx], axis=1) / safe[:, None]
    moved = at - np.where(curvature[:, None] != 0, move, 0.0)
    refined: NDArray[np.float32] = moved.astype(np.float32).reshape(n, joints, 2)
    return refined


def heatmap_to_image_xy(
    xy: NDArray[np.floating], matrix: ArrayLike, stride: ArrayLike
) -> NDArray[np.float32]:
    """Heatmap pixels (N, J, 2) -> image pixels (N, J, 2) float32.

    matrix: crop matrix (2, 3), or one per image (N, 2, 3)
    stride: crop pixels per heatmap pixel, one number or (x, y)
    """
    crop_xy = np.asarray(xy, dtype=np.float64) * np.asarray(stride, dtype=np.float64)
    return apply_affine(invert_affine(matrix), crop_xy).astype(np.float32)


def flip_average(
    heatmaps: NDArray[np.floating],
    flipped_heatmaps: NDArray[np.floating],
    flip_index: Sequence[int],
    *,
    shift: bool = True,
) -> NDArray[np.float32]:
    """Mean of the heatmaps of a crop and of its mirror image, (N, J, h, w) float32.

    flipped_heatmaps: what the network gave for the mirrored crop, as it came out
    flip_index:       (J,) each joint's mirror partner
    shift:            mirrored back, those maps sit one pixel too far left; they are shifted right by
                      one first (not where the first and last pixels of crop and heatmap lie on each
                      other, as in UDP)
    """
    if heatmaps.shape != flipped_heatmaps.shape or len(flip_index) != heatmaps.shape[1]:
        raise DeviceError(
            f"heatmaps {heatmaps.shape}, flipped heatmaps {flipped_heatmaps.shape} and a flip "
            f"index of {len(flip_index)} do not belong together",
            fix="run the same network on the crop and on its mirror image",
        )
    back = np.array(flipped_heatmaps[:, list(flip_index), :, ::-1], dtype=np.float32)
    if shift:
        back[..., 1:] = back[..., :-1].copy()
    mean: NDArray[np.float32] = (heatmaps.astype(np.float32) + back) * np.float32(0.5)
    return mean
