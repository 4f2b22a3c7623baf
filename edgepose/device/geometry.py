"""From a person's box to the network's input: crop matrix, resampling, normalisation.

Coordinates are pixels, 0-based, pixel centres at integers, (x, y) order; a matrix is (2, 3) and
maps image pixels to crop pixels. The host trains and scores with this file, boards run a copy of
it: Python 3.8, numpy, and OpenCV only where it happens to be there.
"""

from __future__ import annotations

import importlib
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import DeviceError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, NDArray

    from .coding import Alignment

    Resampler = Callable[[NDArray[np.uint8], ArrayLike, Sequence[int]], NDArray[np.uint8]]


def box_to_crop(box_xywh: ArrayLike, *, padding: float = 1.25) -> tuple[NDArray[np.float64], float]:
    """The square region that covers a person's box: (center_xy (2,), size_px).

    box_xywh: (4,) left, top, width, height in image pixels; `padding` widens the longer side.
    Raises DeviceError for a box without area or with a value that is not a number.
    """
    box = np.asarray(box_xywh, dtype=np.float64)
    values = box.tolist()
    if box.shape != (4,) or not all(map(math.isfinite, values)) or min(values[2:]) <= 0:
        raise DeviceError(
            f"not a person's box: {values}",
            fix="give x,y,width,height in pixels with a positive width and height",
        )
    x, y, w, h = values
    return np.array([x + 0.5 * w, y + 0.5 * h]), padding * max(w, h)


def region_wh(box_wh: ArrayLike, size_px: float, out_wh: Sequence[int]) -> tuple[float, float]:
    """Width and height of the crop region for an output that need not be square.

    box_wh:  (2,) the person's box; size_px: side of the square region, margin included.
    The region has the output's aspect ratio and covers the box with the square's margin; for a
    square output it is the square itself. Source: how HRNet prepares COCO boxes for 256x192.
    """
    width, height = np.asarray(box_wh, dtype=np.float64).tolist()
    longest = max(width, height)
    if not (longest > 0 and size_px > 0):
        raise DeviceError(
            f"the crop region is empty: box {width} x {height}, size {size_px}",
            fix="give a box and a crop size that are larger than zero",
        )
    aspect = float(out_wh[0]) / float(out_wh[1])
    region_w = max(width, height * aspect) * (float(size_px) / longest)
    return region_w, region_w / aspect


def crop_matrix(
    center_xy: ArrayLike,
    size_wh: Sequence[float],
    out_wh: Sequence[int],
    *,
    rotation_deg: float = 0.0,
    alignment: Alignment = "edges",
) -> NDArray[np.float64]:
    """(2, 3) float64 from image pixels to crop pixels.

    center_xy:    (2,) image pixels
    size_wh:      region in image pixels
    rotation_deg: turns the region clockwise on the screen, so the picture turns counter-clockwise
    alignment:    "edges": the centre goes to (out_w / 2, out_h / 2); one factor, out_w / size_w,
                  scales both axes. "centers": the centre goes to that of the crop's pixels,
                  ((out_w - 1) / 2, (out_h - 1) / 2), and the region spans from the first pixel's
                  centre to the last one's: the factors are (out_w - 1) / size_w, (out_h - 1) / size_h
    Sources: the crop of SimpleBaseline and HRNet (their `get_affine_transform`); Huang et al. 2020.
    """
    # Plain numbers: in a video this runs between two frames, where each call of numpy would be felt.
    center = np.asarray(center_xy, dtype=np.float64)
    point = center.tolist()
    factor = float(out_wh[0]) / float(size_wh[0]) if size_wh[0] else math.nan
    factor_y = factor
    if alignment == "centers":
        factor = (float(out_wh[0]) - 1.0) / float(size_wh[0]) if size_wh[0] else math.nan
        factor_y = (float(out_wh[1]) - 1.0) / float(size_wh[1]) if size_wh[1] else math.nan
    if center.shape != (2,) or not all(map(math.isfinite, (*point, factor, factor_y))):
        raise DeviceError(
            f"no crop around center {point} of size {tuple(size_wh)}",
            fix="give a finite centre and a size larger than zero",
        )
    x, y = point
    angle = math.radians(rotation_deg)
    cos, sin = math.cos(angle), math.sin(angle)
    xx, xy, yx, yy = factor * cos, factor * sin, -(factor_y * sin), factor_y * cos
    inset = float(alignment == "centers")
    to_x = 0.5 * (out_wh[0] - inset) - (xx * x + xy * y)
    to_y = 0.5 * (out_wh[1] - inset) - (yx * x + yy * y)
    return np.array([[xx, xy, to_x], [yx, yy, to_y]], dtype=np.float64)


def invert_affine(matrix: ArrayLike) -> NDArray[np.float64]:
    """The inverse of (..., 2, 3) affine matrices; DeviceError where there is none."""
    m = np.asarray(matrix, dtype=np.float64)
    a, b, c, d = m[..., 0, 0], m[..., 0, 1], m[..., 1, 0], m[..., 1, 1]
    determinant = a * d - b * c
    if not np.isfinite(m).all() or (determinant == 0).any():
        raise DeviceError(
            f"the crop matrix cannot be inverted: {m.tolist()}",
            fix="check the box and the crop size; both must be finite and larger than zero",
        )
    out = np.empty_like(m)
    out[..., 0, 0], out[..., 0, 1] = d / determinant, -b / determinant
    out[..., 1, 0], out[..., 1, 1] = -c / determinant, a / determinant
    out[..., 2] = -(out[..., :2] @ m[..., 2:])[..., 0]
    return out


def apply_affine(matrix: ArrayLike, xy: ArrayLike) -> NDArray[np.float64]:
    """Points (..., K, 2) through (2, 3), or (N, K, 2) through (N, 2, 3); also one (2,) point."""
    m = np.asarray(matrix, dtype=np.float64)
    points = np.asarray(xy, dtype=np.float64)
    linear, offset = m[..., :2], m[..., 2]
    if m.ndim > 2:
        offset = offset[..., None, :]
    return np.asarray(points @ np.swapaxes(linear, -1, -2) + offset)


def warp_affine_numpy(
    image: NDArray[np.uint8], matrix: ArrayLike, out_hw: Sequence[int]
) -> NDArray[np.uint8]:
    """Bilinear crop with a zero border: (H, W, C) uint8 -> (out_h, out_w, C) uint8.

    Samples at exact coordinates and rounds once, as OpenCV 5 does with INTER_LINEAR (equal to one
    grey level). OpenCV up to 4.x first rounds the coordinates to 1/32 pixel.
    """
    height, width = image.shape[:2]
    out_h, out_w = int(out_hw[0]), int(out_hw[1])
    back = invert_affine(matrix)
    columns = np.arange(out_w, dtype=np.float64)
    rows = np.arange(out_h, dtype=np.float64)[:, None]
    # At -1 and at `size` every tap is border: clipping changes nothing and bounds the index.
    x = np.clip(back[0, 0] * columns + (back[0, 1] * rows + back[0, 2]), -1.0, width)
    y = np.clip(back[1, 0] * columns + (back[1, 1] * rows + back[1, 2]), -1.0, height)
    left, top = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    fx = (x - left).astype(np.float32)[..., None]
    fy = (y - top).astype(np.float32)[..., None]
    x0, y0 = int(left.min()), int(top.min())
    x1, y1 = int(left.max()) + 2, int(top.max()) + 2  # one past the last tap
    # Copy only what is touched, with a zero border: the cost does not grow with the image.
    patch = np.zeros((y1 - y0, x1 - x0, image.shape[2]), dtype=np.float32)
    sx0, sy0, sx1, sy1 = max(x0, 0), max(y0, 0), min(x1, width), min(y1, height)
    if sx0 < sx1 and sy0 < sy1:
        patch[sy0 - y0 : sy1 - y0, sx0 - x0 : sx1 - x0] = image[sy0:sy1, sx0:sx1]
    pitch = patch.shape[1]
    flat = patch.reshape(-1, patch.shape[2])
    index = (top - y0) * pitch + (left - x0)
    upper = flat[index]
    upper += (flat[index + 1] - upper) * fx
    index += pitch
    lower = flat[index]
    lower += (flat[index + 1] - lower) * fx
    upper += (lower - upper) * fy
    return np.asarray(np.rint(upper, out=upper), dtype=np.uint8)


def resampler() -> tuple[Resampler, str]:
    """The crop function to use here and its name: OpenCV where it can be imported, else numpy.

    The function takes (image (H, W, 3) uint8, matrix (2, 3), out_hw) and gives (out_h, out_w, 3).
    """
    try:
        opencv: Any = importlib.import_module("cv2")  # a guest, never a dependency
    except ImportError:
        return warp_affine_numpy, "numpy " + np.__version__

    def warp_affine_opencv(
        image: NDArray[np.uint8], matrix: ArrayLike, out_hw: Sequence[int]
    ) -> NDArray[np.uint8]:
        crop: NDArray[np.uint8] = opencv.warpAffine(
            image,
            np.asarray(matrix, dtype=np.float64),
            (int(out_hw[1]), int(out_hw[0])),
            flags=opencv.INTER_LINEAR,
            borderMode=opencv.BORDER_CONSTANT,
        )
        return crop

    return warp_affine_opencv, "OpenCV " + str(opencv.__version__)


def normalise(
    crops: NDArray[np.uint8], mean: Sequence[float], std: Sequence[float]
) -> NDArray[np.float32]:
    """(N, H, W, C) uint8 -> (N, C, H, W) float32 contiguous: (value / 255 - mean) / std."""
    if crops.ndim != 4 or crops.shape[3] != len(mean) or crops.dtype != np.uint8:
        raise DeviceError(
            f"crops are {crops.dtype} {crops.shape}, not uint8 (N, H, W, {len(mean)})",
            fix="stack uint8 RGB crops of one size along the first axis",
        )
    n, height, width, channels = crops.shape
    out = np.empty((n, channels, height, width), dtype=np.float32)
    for c in range(channels):
        plane = out[:, c]
        np.multiply(crops[..., c], np.float32(1.0 / (255.0 * std[c])), out=plane)
        plane -= np.float32(mean[c] / std[c])
    return out


def network_input(
    crops: NDArray[np.uint8],
    *,
    color: str,
    where: str,
    mean: Sequence[float],
    std: Sequence[float],
) -> NDArray[Any]:
    """crops: (N, H, W, 3) RGB -> normalised (N, 3, H, W) float32 in the network's colour order; the crops
    themselves, in that order, where the graph normalises."""
    ordered = crops if color == "RGB" else crops[..., ::-1]
    if where == "graph":
        return np.ascontiguousarray(ordered)
    return normalise(ordered, mean, std)
