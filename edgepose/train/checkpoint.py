"""A training's state on disk, so that a killed run continues."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from edgepose.device.files import write_atomic
from edgepose.errors import EdgeposeError


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values, whole or not at all."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomic(path, buffer.getvalue())


def load_state(path: Path, restore: Callable[[dict[str, Any]], None], *, label: str) -> None:
    """Give what `save_state` wrote to `restore`; nothing happens where there is no file.

    Raises EdgeposeError where the file is damaged or `restore` cannot use it.
    """
    if not path.exists():
        return
    try:
        restore(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # a damaged file makes the unpickler raise almost anything
        raise EdgeposeError(
            f"{label}: the checkpoint {path} is damaged ({type(error).__name__})",
            fix="remove that file; the stage then starts anew",
        ) from error


def state_step(path: Path) -> int:
    """The step that a checkpoint was written after; 0 where there is none."""
    if not path.exists():
        return 0
    return int(torch.load(path, map_location="cpu", weights_only=True)["progress"]["step"])
