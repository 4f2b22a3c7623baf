"""Finished work, kept under a key of everything that went into it.

An item is a folder that appears whole or not at all, and is made again where files of it are gone.
Asking for one that exists costs nothing; asking for one whose making was interrupted continues in the
same work folder. Where several processes share a run, the first one makes, and the others wait.
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
from edgepose.processes import ALONE, Processes

Make = Callable[[Path, Path], None]
Join = Callable[[Path], object]
INPUTS = "inputs.json"
FILES = "files.json"


def digest(values: Mapping[str, Any]) -> str:
    """Hex key of JSON values, independent of the order of their keys."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


class Kept(dict[str, Any]):
    """Values that an item kept; EdgeposeError for one that it does not have, as where an older edgepose
    of the same version made it."""

    def __init__(self, values: Mapping[str, Any], item: Path) -> None:
        super().__init__(values)
        self._item = item

    def __missing__(self, key: str) -> Any:
        raise EdgeposeError(
            f"{self._item} was kept by another edgepose: it does not say {key!r}",
            fix=f"remove {self._item}; the same command then makes it again",
        )


def read_kept(path: Path) -> Kept:
    """The JSON values in a file of an item, see `Kept`; in JSON objects inside them, too."""
    kept: Kept = json.loads(path.read_text(), object_hook=lambda values: Kept(values, path.parent))
    return kept


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

    def __init__(self, root: Path, processes: Processes = ALONE) -> None:
        self.root, self.processes = Path(root), processes

    def has(self, name: str, inputs: Mapping[str, Any]) -> bool:
        return _whole(self.root / f"{name}-{digest(inputs)[:16]}")

    def item(
        self, name: str, inputs: Mapping[str, Any], make: Make, *, join: Join | None = None
    ) -> Path:
        """The folder of an item; `make(work, out)` fills `out` and may keep checkpoints in `work`.

        join(work): what the other processes do meanwhile, where making takes all of them
        """
        final = self.root / f"{name}-{digest(inputs)[:16]}"
        work = final.with_name(final.name + ".work")
        if not self.processes.first(lambda: _whole(final)):
            if self.processes.is_first:
                self._make(final, work, inputs, make)
            elif join is not None:
                join(work)
            self.processes.wait()
        if self.processes.is_first:  # also of one killed between finishing and clearing up
            shutil.rmtree(work, ignore_errors=True)
        return final

    def _make(self, final: Path, work: Path, inputs: Mapping[str, Any], make: Make) -> None:
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

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the store for this run; EdgeposeError where another one holds it."""
        if not self.processes.is_first:
            yield
            return
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
