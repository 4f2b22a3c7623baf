"""Predictions and labels of joints in the files that others publish: .npz, .mat, HDF5.

Nothing that is read here is unpickled. Coordinates stay as the file has them; MPII, LSP and what is
predicted for them count from 1.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepose.errors import EdgeposeError
from edgepose.metrics.pck import head_box_px
from edgepose.metrics.truth import Truth
from edgepose.skeleton import LSP14, MPII16, SKELETONS, Skeleton

Arrays = Mapping[str, NDArray[Any]]

PREDICTION_KEYS = ("preds", "pred", "predictions", "xy", "keypoints", "pos_pred_src")
SUFFIXES = (".npz", ".mat", ".h5", ".hdf5")
_UNCOUNTED = ("pelvis", "thorax")
_SHORT = {
    "head": "head_top", "neck": "upper_neck", "pelv": "pelvis", "thor": "thorax", "thrx": "thorax",
    **{side[0] + part[:3]: f"{side}_{part}" for side in ("right", "left")
       for part in ("ankle", "knee", "hip", "wrist", "elbow", "shoulder")},
}  # fmt: skip
"""MPII's short joint names (rank, lkne, ...) and ours."""


@dataclass(frozen=True)
class Labels:
    """truth: labelled people, coordinates as the file has them; base: where they count from;
    format: what the file was taken for"""

    truth: Truth
    base: int
    format: str


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The numeric and text arrays of a file, by name; EdgeposeError for what cannot be read."""
    readers: dict[str, Callable[[Path], dict[str, NDArray[Any]]]] = {
        ".npz": _npz, ".mat": _mat, ".h5": _hdf5, ".hdf5": _hdf5,
    }  # fmt: skip
    if not path.is_file():
        raise EdgeposeError(f"no file at {path}", fix="check the path and its spelling")
    if path.suffix.lower() not in readers:
        raise EdgeposeError(
            f"{path} is of no known format ({path.suffix or 'no suffix'})",
            fix=f"give {', '.join(SUFFIXES)} or a COCO .json",
        )
    return readers[path.suffix.lower()](path)


def _npz(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            if isinstance(stored, np.ndarray):
                raise _broken(path, "one bare array, not an archive")
            arrays = {}
            for name in stored.files:
                try:
                    arrays[name] = stored[name]
                except ValueError as error:
                    raise EdgeposeError(
                        f"{path}: {name} holds pickled Python objects, which are never loaded",
                        fix="save plain numbers: np.savez(file, xy=array_of_floats)",
                    ) from error
            return arrays
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise _broken(path, str(error)) from error


def _mat(path: Path) -> dict[str, NDArray[Any]]:
    import h5py
    import scipy.io

    if h5py.is_hdf5(path):  # MATLAB's version 7.3: axes turned around
        return {name: array.transpose() for name, array in _hdf5(path).items()}
    try:
        stored = scipy.io.loadmat(path)
    except Exception as error:  # scipy has no error of its own for a damaged file
        raise _broken(path, str(error)) from error
    return {name: value for name, value in stored.items() if isinstance(value, np.ndarray)}


def _hdf5(path: Path) -> dict[str, NDArray[Any]]:
    import h5py

    try:
        with h5py.File(path, "r") as stored:
            arrays = {}
            for name, value in stored.items():
                if not isinstance(value, h5py.Dataset):
                    continue
                if h5py.check_string_dtype(value.dtype) is not None:
                    arrays[name] = np.array(value.asstr()[()], dtype=str)
                elif value.dtype.kind in "biuf":
                    arrays[name] = np.asarray(value[()])
            return arrays
    except (OSError, RuntimeError) as error:
        raise _broken(path, str(error)) from error


def _broken(path: Path, what: str) -> EdgeposeError:
    return EdgeposeError(
        f"{path} cannot be read: {what.splitlines()[0][:200] if what else 'it is damaged'}",
        fix="it may be cut short or of another format than its suffix says; copy it again",
    )


def _numbers(path: Path, name: str, array: NDArray[Any]) -> NDArray[np.float64]:
    if array.dtype.kind not in "biuf":
        raise EdgeposeError(
            f"{path}: {name} is of type {array.dtype}, not numbers",
            fix="save plain numbers; objects are never loaded",
        )
    return array.astype(np.float64)


def read_predictions(path: Path) -> NDArray[np.float64]:
    """(N, J, 2) predicted joints as the file counts them.

    Takes the first of preds, pred, predictions, xy, keypoints (N, J, 2 or more) or pos_pred_src
    (J, 2, N): what HRNet, pytorch-pose and the stacked hourglass write.
    """
    arrays = read_arrays(path)
    name = next((key for key in PREDICTION_KEYS if key in arrays), None)
    if name is None:
        raise EdgeposeError(
            f"{path} has no predictions: none of {', '.join(PREDICTION_KEYS)} among "
            f"{_listed(arrays)}",
            fix="save them as xy or preds, (people, joints, 2)",
        )
    xy = _numbers(path, name, arrays[name])
    if name == "pos_pred_src" and xy.ndim == 3:
        xy = xy.transpose(2, 0, 1)
    if xy.ndim != 3 or xy.shape[2] not in (2, 3) or not len(xy):
        raise EdgeposeError(
            f"{path}: {name} has shape {arrays[name].shape}, not (people, joints, 2)",
            fix="save x and y of every joint of every person; a third column is left out",
        )
    xy = xy[:, :, :2]
    if not np.isfinite(xy).all():
        lost = int((~np.isfinite(xy).all(axis=2)).sum())
        raise EdgeposeError(
            f"{path}: {lost} predicted joints are NaN or infinite",
            fix="write 0, 0 for a joint that was not found; it counts as wrong",
        )
    return xy


def read_labels(path: Path) -> Labels:
    """Ground truth of MPII (gt_valid.mat, or its arrays under plain names) or LSP (joints.mat)."""
    arrays = read_arrays(path)
    for keys, take in _FORMATS.items():
        if set(keys) <= set(arrays):
            return take(path, arrays)
    raise EdgeposeError(
        f"{path} is no known ground truth; it has {_listed(arrays)}",
        fix="it needs " + ", or ".join(" + ".join(keys) for keys in _FORMATS),
    )


def _mpii_mat(path: Path, arrays: Arrays) -> Labels:
    """HRNet's gt_valid.mat: jnt_missing (J, N), pos_gt_src (J, 2, N), headboxes_src (2, 2, N)."""
    moved = {
        "xy": _axes(path, arrays, "pos_gt_src", 3).transpose(2, 0, 1),
        "missing": _axes(path, arrays, "jnt_missing", 2).transpose(),
        "headbox": _axes(path, arrays, "headboxes_src", 3).transpose(2, 0, 1),
    }
    names = [str(np.ravel(n)[0]) for n in np.ravel(arrays.get("dataset_joints", np.array([])))]
    if names:
        moved["joint_names"] = np.array(names)
    elif moved["xy"].shape[1] == MPII16.num_joints:
        moved["joint_names"] = np.array(MPII16.joints)
    return _plain(path, moved)


def _plain(path: Path, arrays: Arrays) -> Labels:
    """xy (N, J, 2), missing (N, J), joint_names (J,), headbox (N, 2, 2) where there is one."""
    xy, missing = _axes(path, arrays, "xy", 3), _axes(path, arrays, "missing", 2)
    if "joint_names" not in arrays:
        raise EdgeposeError(
            f"{path} does not name its {xy.shape[1]} joints; skeletons are not guessed from counts",
            fix="save joint_names beside xy, e.g. rank, rkne, ..., or our names",
        )
    head = None
    if "headbox" in arrays:
        head = head_box_px(
            _shaped(path, "headbox", _axes(path, arrays, "headbox", 3), (len(xy), 2, 2))
        )
    names = [str(name) for name in arrays["joint_names"].ravel()]
    return _labels(path, xy, missing == 0, _skeleton(path, names), head, "labels and head boxes")


def _lsp(path: Path, arrays: Arrays) -> Labels:
    """LSP's joints.mat: (3, 14, N), every joint labelled; LSP-extended's: (14, 3, N), 1 if labelled."""
    joints = _axes(path, arrays, "joints", 3)
    if joints.shape[:2] == (3, 14):
        xy, known = joints[:2].transpose(2, 1, 0), np.ones(joints.shape[:0:-1], dtype=bool)
    elif joints.shape[:2] == (14, 3):
        xy, known = joints[:, :2].transpose(2, 0, 1), joints[:, 2].transpose() > 0
    else:
        raise EdgeposeError(
            f"{path}: joints has shape {joints.shape}, not LSP's (3, 14, N) or (14, 3, N)",
            fix="give the joints.mat that came with the data set",
        )
    return _labels(path, xy, known, LSP14, None, "LSP joints, person-centric")


_FORMATS: Mapping[tuple[str, ...], Callable[[Path, Arrays], Labels]] = {
    ("pos_gt_src", "jnt_missing", "headboxes_src"): _mpii_mat,
    ("xy", "missing"): _plain,
    ("joints",): _lsp,
}


def _labels(
    path: Path,
    xy: NDArray[np.float64],
    annotated: NDArray[np.bool_],
    skeleton: Skeleton,
    head_px: NDArray[np.float64] | None,
    format: str,
) -> Labels:
    people = len(xy)
    _shaped(path, "the joints", xy, (people, skeleton.num_joints, 2))
    _shaped(path, "missing", annotated, (people, skeleton.num_joints))
    lost = annotated & ~np.isfinite(xy).all(axis=2)
    if lost.any() or not annotated.any():
        what = (
            f"{int(lost.sum())} labelled joints are NaN" if lost.any() else "no joint is labelled"
        )
        raise EdgeposeError(f"{path}: {what}", fix="mark joints without coordinates as missing")
    unknown = np.full(people, np.nan)
    truth = Truth(
        xy=xy,
        annotated=annotated,
        skeleton=skeleton,
        head_px=unknown if head_px is None else head_px,
        area_px2=unknown,
        box_xywh=np.full((people, 4), np.nan),
        images=tuple(str(i) for i in range(people)),
    )
    return Labels(truth, 1, format)


def _axes(path: Path, arrays: Arrays, name: str, ndim: int) -> NDArray[np.float64]:
    array = _numbers(path, name, arrays[name])
    if array.ndim != ndim or not array.size:
        raise EdgeposeError(
            f"{path}: {name} has shape {array.shape}, not {ndim} axes",
            fix="give the file as it was published",
        )
    return array


def _shaped(path: Path, name: str, array: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    if array.shape != shape:
        raise EdgeposeError(
            f"{path}: {name} has shape {array.shape} where {shape} belongs",
            fix="its arrays must be of the same people and joints",
        )
    return array


def _skeleton(path: Path, names: list[str]) -> Skeleton:
    """The skeleton of these joint names; one of its own for names that no skeleton has."""
    joints = tuple(_SHORT.get(name.strip().lower(), name.strip()) for name in names)
    if len(set(joints)) != len(joints):
        raise EdgeposeError(f"{path} names a joint twice", fix="give every joint its own name")
    for known in SKELETONS.values():
        if known.joints == joints:
            return known
    uncounted = tuple(j for j, name in enumerate(joints) if name in _UNCOUNTED)
    return Skeleton(f"{len(joints)} named joints", joints, (), (), uncounted)


def _listed(arrays: Arrays) -> str:
    names = [name for name in arrays if not name.startswith("__")]
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "") if names else "nothing"
