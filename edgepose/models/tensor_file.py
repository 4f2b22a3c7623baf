"""A file of tensors -> a flat dict of finite float32 tensors. Nothing in the file is ever executed.

`.safetensors`, and what `torch.save` writes (both its formats): a plain state dict, or one inside
`{"state_dict": ...}`. The rest of a training checkpoint (optimizer, log history, arrays in MMPose's
`meta`) is read over: known harmless classes become inert stand-ins, any other class is refused.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor

from edgepose.errors import EdgeposeError

SUFFIXES = (".pth", ".pt", ".tar", ".ckpt", ".bin", ".safetensors")
CONTAINERS = ("state_dict", "model_state_dict", "model")
MAX_KEYS = 100_000


class _Inert:
    """Stands in for an object that a checkpoint carries beside its tensors; forgets everything."""

    def __new__(cls, *_: Any, **__: Any) -> _Inert:
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        """Whatever it is called with is dropped."""

    def __setstate__(self, state: object) -> None:
        """What it is to remember is dropped."""


_NUMPY = ("numpy.core.multiarray", "numpy._core.multiarray")
_DTYPES = (
    "Bool",
    "Int8",
    "UInt8",
    "Int16",
    "Int32",
    "Int64",
    "Float16",
    "Float32",
    "Float64",
    "Str",
)
STAND_INS = (
    *(f"{room}.{name}" for room in _NUMPY for name in ("_reconstruct", "scalar")),
    *("numpy.ndarray", "numpy.dtype"),
    *(f"numpy.dtypes.{name}DType" for name in _DTYPES),
    "mmengine.logging.history_buffer.HistoryBuffer",
    *("builtins.getattr", "getattr"),  # how pickle names the buffer's methods; never the real one
)
"""What MMPose's and HRNet's training checkpoints hold beside tensors, by pickle's names."""

_CODE = re.compile(r"GLOBAL (\S+)")
_CODE_WORDS = (
    "GLOBAL",
    "reduce",
    "Can only",
    "Unsupported operand",
    "TorchScript",
    "persistent id",
)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint file by key, contiguous, on the CPU; floats as float32.

    Raises EdgeposeError for a file that is not there, is damaged, holds anything that would have to
    be executed, holds no tensors, or holds a NaN or an infinity (naming the keys).
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        entries = _safetensors(path) if path.suffix == ".safetensors" else _state_dict(path)
    except OSError as error:
        raise EdgeposeError(
            f"cannot read {path}: {error.strerror or error}", fix="check the path"
        ) from error
    return _checked(entries, path, size)


def _safetensors(path: Path) -> dict[str, Any]:
    try:
        tensors: dict[str, Any] = load_safetensors(path.read_bytes())
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise EdgeposeError(
            f"{path} is damaged or no safetensors file: {error}", fix="fetch the file again, whole"
        ) from error
    return tensors


def _state_dict(path: Path) -> dict[str, Any]:
    """The mapping of names to tensors in what `torch.save` wrote."""
    stand_ins: Any = [(_Inert, name) for name in STAND_INS]
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(stand_ins):
            warnings.simplefilter("ignore")
            content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # a damaged file can fail in any way the reader knows
        raise _unreadable(path, error) from error
    for name in CONTAINERS:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
            break
    if not isinstance(content, Mapping):
        raise EdgeposeError(
            f"{path} holds a {type(content).__name__}, not a state dict",
            fix="save model.state_dict(), or {'state_dict': model.state_dict()}",
        )
    return dict(content)


def _unreadable(path: Path, error: Exception) -> EdgeposeError:
    text = " ".join(str(error).split())
    if not any(word in text for word in _CODE_WORDS):
        said = re.split(r"\. |\n", str(error).strip())[0][:200]
        return EdgeposeError(
            f"{path} is truncated, damaged or no checkpoint" + (f": {said}" if " " in said else ""),
            fix="fetch the file again, whole; give a .pth, .pt or .safetensors file",
        )
    named = _CODE.search(text)
    what = f" ({named[1]})" if named else " (TorchScript)" if "TorchScript" in text else ""
    return EdgeposeError(
        f"{path} holds pickled Python objects{what} beside tensors, or is damaged; "
        "such objects can run code, so the file is refused",
        fix="save model.state_dict() alone, where the file was made",
    )


def _checked(entries: Mapping[Any, Any], path: Path, size: int) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    strange: list[str] = []
    for key, value in entries.items():
        if not isinstance(key, str) or not isinstance(value, Tensor) or len(tensors) > MAX_KEYS:
            strange.append(str(key)[:80])
        elif value.layout is not torch.strided or value.is_complex() or value.is_quantized:
            strange.append(f"{key} ({value.dtype}, {value.layout})")
        elif value.numel() * value.element_size() > size:  # strides that repeat a few bytes
            strange.append(f"{key} (larger than its file)")
        else:
            plain = value.detach()
            tensors[key] = (plain.float() if plain.is_floating_point() else plain).contiguous()
    if strange or not tensors:
        found = f": {_some(strange)} is no plain tensor" if strange else ", it is empty"
        raise EdgeposeError(
            f"{path} holds no state dict of plain tensors{found}",
            fix="save model.state_dict(), or {'state_dict': model.state_dict()}",
        )
    bad = [key for key, value in tensors.items() if not torch.isfinite(value).all()]
    if bad:
        raise EdgeposeError(
            f"{path}: {len(bad)} of {len(tensors)} tensors hold NaN or infinity: {_some(bad)}",
            fix="take a checkpoint from before the training diverged",
        )
    return tensors


def _some(names: list[str], limit: int = 8) -> str:
    """A list, capped."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
