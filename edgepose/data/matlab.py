"""Reading MATLAB files: one message for every way in which a file can fail to be one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepose.errors import EdgeposeError


def load_mat(path: Path, *keys: str) -> dict[str, Any]:
    """The named variables of a .mat file (those that it has), structs as objects with attributes.

    Raises EdgeposeError for a file that is missing, of MATLAB 7.3's HDF5 kind, or damaged.
    """
    from scipy.io import loadmat

    if not path.is_file():
        raise EdgeposeError(f"no annotation file at {path}", fix="check the path in data")
    try:
        found: dict[str, Any] = loadmat(
            path, variable_names=list(keys), struct_as_record=False, squeeze_me=True
        )
    except NotImplementedError as error:
        raise EdgeposeError(
            f"{path} is in MATLAB's 7.3 (HDF5) format",
            fix="save it in MATLAB with `save -v7`, or take the file as it was published",
        ) from error
    except Exception as error:  # SciPy's reader raises whatever a damaged file leads it to
        raise EdgeposeError(
            f"{path} is not a MATLAB file, or it is damaged ({type(error).__name__}: {error})",
            fix="copy or download it again",
        ) from error
    return {key: found[key] for key in keys if key in found}


def field(struct: Any, name: str) -> Any:
    """A field of a struct; None where there is none, or an empty one."""
    value = getattr(struct, name, None)
    return None if isinstance(value, np.ndarray) and value.size == 0 else value


def items(value: Any) -> list[Any]:
    """What a field of one or more structs holds: squeezing makes one of a list of one."""
    if value is None:
        return []
    return list(value.ravel()) if isinstance(value, np.ndarray) else [value]


def number(value: Any) -> float | None:
    """A single number, also where the file has it as text; None for anything else."""
    try:
        array = np.asarray(value)
        return float(array.reshape(())) if array.dtype != bool else float(bool(array))
    except (TypeError, ValueError, OverflowError):
        return None


def numeric(value: Any) -> NDArray[np.float64] | None:
    """An array of real numbers as float64, None where it holds anything else."""
    array = np.asarray(value)
    return array.astype(np.float64) if array.dtype.kind in "biuf" else None
