"""The evaluation pack: crops and what is true about them, in one npz file without pickle."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Dict

import numpy as np

from .errors import DeviceError

if TYPE_CHECKING:
    from numpy.typing import NDArray

VERSION = 1
_KEYS = ("version", "crops", "matrices", "true_xy", "annotated", "head_px")


@dataclass(frozen=True)
class Pack:
    """crops (N, H, W, 3) uint8 RGB; matrices (N, 2, 3) float64 image px -> crop px;
    true_xy (N, J, 2) float32 image px, annotated (N, J) bool, head_px (N,) float32, nan: unknown"""

    crops: NDArray[np.uint8]
    matrices: NDArray[np.float64]
    true_xy: NDArray[np.float32]
    annotated: NDArray[np.bool_]
    head_px: NDArray[np.float32]


def pack_bytes(pack: Pack) -> bytes:
    """The file's content; the same arrays give the same bytes."""
    stream = io.BytesIO()
    np.savez_compressed(
        stream, version=np.array(VERSION), crops=pack.crops, matrices=pack.matrices,
        true_xy=pack.true_xy, annotated=pack.annotated, head_px=pack.head_px,
    )  # fmt: skip
    return stream.getvalue()


def read_pack(path: str) -> Pack:
    """Read and check a pack; DeviceError for what is not one."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays: Dict[str, NDArray[np.generic]] = {key: archive[key] for key in _KEYS}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DeviceError(
            "{} is not an evaluation pack: {}".format(path, error),
            fix="let `edgepose bench --device` write and send it",
        ) from error
    crops, matrices = arrays["crops"], arrays["matrices"]
    good = (
        int(arrays["version"]) == VERSION
        and crops.dtype == np.uint8
        and crops.ndim == 4
        and crops.shape[3] == 3
        and matrices.shape == (len(crops), 2, 3)
        and len(arrays["true_xy"]) == len(arrays["annotated"]) == len(crops) > 0
    )
    if not good:
        raise DeviceError(
            "{} is an evaluation pack of another version or with broken arrays".format(path),
            fix="use the runner and the pack of one edgepose",
        )
    return Pack(
        crops=np.asarray(crops, dtype=np.uint8),
        matrices=np.asarray(matrices, dtype=np.float64),
        true_xy=np.asarray(arrays["true_xy"], dtype=np.float32),
        annotated=np.asarray(arrays["annotated"], dtype=np.bool_),
        head_px=np.asarray(arrays["head_px"], dtype=np.float32),
    )
