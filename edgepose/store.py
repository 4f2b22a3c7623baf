"""Finished work, kept under a key of everything that went into it.

An item is a folder that appears whole or not at all, and is made again where files of it are gone.
Asking for one that exists costs nothing; asking for one whose making was interrupted continues in the
same work folder.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgepose.device.files import replace_folder, write_atomic
from edgepose.errors import EdgeposeError

Make = Callable[[Path, Path], None]
INPUTS = "inputs.json"
FILES = "files.json"


def digest(values: Mapping[str, Any]) -> str:
    """Hex key of JSON values, independent of the order of their keys."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _sizes(folder: Path) -> dict[str, int]:
    """{path in `folder`: bytes} of an item's own files."""
    return {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in (INPUTS, FILES)
    }


def _whole(folder: Path) -> bool:
    """Whether an item is finished and nobody removed or cut a file of it since."""
    if not (folder / INPUTS).exists():
        return False
    try:
        return bool(json.loads((folder / FILES).read_text()) == _sizes(folder))
    except (OSError, ValueError):
        return False


class Store:
    """Items in one folder: `<name>-<key>/`, and `<name>-<key>.work/` while one is being made."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    def has(self, name: str, inputs: Mapping[str, Any]) -> bool:
        return _whole(self.root / f"{name}-{digest(inputs)[:16]}")

    def item(self, name: str, inputs: Mapping[str, Any], make: Make) -> Path:
        """The folder of an item; `make(work, out)` fills `out` and may keep checkpoints in `work`."""
        final = self.root / f"{name}-{digest(inputs)[:16]}"
        work = final.with_name(final.name + ".work")
        if _whole(final):
            shutil.rmtree(work, ignore_errors=True)  # killed between finishing and clearing up
            return final
        out = work / "out"
        try:
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir(parents=True)
        except OSError as error:
            raise EdgeposeError(
                f"cannot write to {self.root}: {error.strerror}",
                fix="free some space, or choose another folder with --out",
            ) from error
        make(work, out)
        write_atomic(out / FILES, json.dumps(_sizes(out), indent=1).encode() + b"\n")
        write_atomic(out / INPUTS, json.dumps(inputs, indent=1, sort_keys=True).encode() + b"\n")
        replace_folder(out, final)
        shutil.rmtree(work, ignore_errors=True)
        return final

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the store for this process; EdgeposeError where another one holds it."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            stream = (self.root / ".lock").open("w")
        except OSError as error:
            raise EdgeposeError(
                f"cannot write to {self.root}: {error.strerror}",
                fix="free some space, or choose another folder with --out",
            ) from error
        with stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise EdgeposeError(
                    f"another edgepose run is working in {self.root}",
                    fix="wait for it, or choose another folder with --out",
                ) from error
            yield
