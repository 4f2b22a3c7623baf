"""What cannot be used is counted, named and passed over up to a stated share, then refused.

One rule for every source: the file must be there and decode from its first byte to its last, have
the size that its labels say, and the person's box must be a box that touches the picture.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from edgepose.data.images import Picture, examine
from edgepose.device.errors import DeviceError
from edgepose.device.files import write_atomic
from edgepose.errors import EdgeposeError

if TYPE_CHECKING:
    from edgepose.data.photographs import Labels

MaxBadShare = Annotated[float, Field(ge=0, le=1)]
MAX_BAD_SHARE = 0.01
_SHOWN = 10  # problems listed before "and N more"
_NAMED = 3  # examples per reason
_GIGANTIC = 10.0  # times the picture's longer side; MPII's largest people reach about 3
_WORTH_KEEPING = 256  # looks at pictures that are remembered on disk; fewer take under a second
_KNOWN: dict[Path, tuple[tuple[int, int], Picture | str]] = {}  # path -> (size, mtime), what it is


@dataclass(frozen=True)
class Bad:
    """total: people before; counts: how many were left out, by reason; examples: the first ones."""

    total: int
    counts: Mapping[str, int]
    examples: Mapping[str, tuple[str, ...]]

    @property
    def count(self) -> int:
        return sum(self.counts.values())

    @property
    def text(self) -> str:
        """E.g. "3 of 900 people left out: 2 image missing (a.jpg, b.jpg); 1 box without area (7)"."""
        reasons = []
        for reason, count in self.counts.items():
            names = self.examples[reason]
            more = ", ..." if count > len(names) else ""
            reasons.append(f"{count} {reason} ({', '.join(names)}{more})")
        return f"{self.count} of {self.total} people left out: {'; '.join(reasons)}"


NOTHING_BAD = Bad(0, {}, {})


def sift(
    people: Sequence[Labels], *, max_bad_share: float, source: object
) -> tuple[list[Labels], Bad]:
    """The people that can be used, and what was passed over.

    source: the file or folder, for the message
    Raises EdgeposeError where more than `max_bad_share` of the people cannot be used.
    """
    pictures = look_at({person.path for person in people})
    kept: list[Labels] = []
    counts: Counter[str] = Counter()
    examples: dict[str, list[str]] = {}
    for person in people:
        found = pictures[person.path]
        if isinstance(found, str):
            fault, name = found, person.path.name
        elif person.image_hw not in (None, found.hw):
            fault, name = "image of another size than labelled", _sizes(person, found)
        else:
            fault, name = box_fault(person.box_xywh, found.hw), person.sample_id
        if not fault:
            kept.append(person)
            continue
        counts[fault] += 1
        names = examples.setdefault(fault, [])
        if name not in names and len(names) < _NAMED:
            names.append(name)
    bad = Bad(len(people), dict(counts), {key: tuple(value) for key, value in examples.items()})
    if bad.count > max_bad_share * len(people):
        raise EdgeposeError(
            f"{source}: {bad.text}; that is {100 * bad.count / len(people):.3g} %, the limit is "
            f"{100 * max_bad_share:.3g} %",
            fix="restore the files, correct the labels, or raise data.max_bad_share",
        )
    return kept, bad


def box_fault(box_xywh: NDArray[np.float32], image_hw: tuple[int, int]) -> str:
    """Why a box cannot be a person's in a picture of that size; empty where it can."""
    x, y, w, h = (float(v) for v in box_xywh)
    height, width = image_hw
    if not np.isfinite([x, y, w, h]).all():
        return "box not a number"
    if min(w, h) <= 0:
        return "box without area"
    if x >= width or y >= height or x + w <= 0 or y + h <= 0:
        return "box outside the image"
    if max(w, h) > _GIGANTIC * max(height, width):
        return f"box over {_GIGANTIC:g} images large"
    return ""


def _sizes(person: Labels, picture: Picture) -> str:
    (height, width), (h, w) = picture.hw, person.image_hw or (0, 0)
    return f"{person.path.name}: {width} x {height}, not {w} x {h}"


def look_at(paths: Iterable[Path]) -> dict[Path, Picture | str]:
    """What each file holds, or what is wrong with it; every file is decoded once and remembered."""
    marks = {path: _mark(path) for path in sorted(set(paths))}
    for folder in {path.parent for path in marks}:
        if not any(path.parent == folder for path in _KNOWN):
            _KNOWN.update(_remembered(folder))
    fresh = [path for path, mark in marks.items() if mark and _KNOWN.get(path, ((), ""))[0] != mark]
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:  # decoding leaves the interpreter's lock
        for path, found in zip(fresh, pool.map(_look, fresh), strict=True):
            mark = marks[path]
            assert mark is not None, "a fresh path has a mark"
            _KNOWN[path] = (mark, found)
    if len(fresh) >= _WORTH_KEEPING:
        for folder in {path.parent for path in fresh}:
            _remember(folder)
    return {path: _KNOWN[path][1] if mark else "image missing" for path, mark in marks.items()}


def _mark(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except (OSError, ValueError):  # ValueError: a name with a zero byte
        return None
    return status.st_size, status.st_mtime_ns


def _look(path: Path) -> Picture | str:
    try:
        return examine(path)
    except EdgeposeError:
        return "image broken"


def _memory(folder: Path) -> Path:
    root = Path(os.environ.get("EDGEPOSE_CACHE", Path.home() / ".cache" / "edgepose"))
    return root / "pictures" / f"{hashlib.sha256(str(folder.resolve()).encode()).hexdigest()}.json"


def _remembered(folder: Path) -> dict[Path, tuple[tuple[int, int], Picture | str]]:
    """What was found out about a folder's files; nothing where the note is gone or damaged."""
    try:
        rows = json.loads(_memory(folder).read_bytes())
        return {
            folder / name: (
                (size, mtime),
                found if isinstance(found, str) else Picture((found[0], found[1]), found[2]),
            )
            for name, size, mtime, found in rows
        }
    except (OSError, ValueError, TypeError, IndexError):
        return {}


def _remember(folder: Path) -> None:
    rows = [
        [path.name, *mark, found if isinstance(found, str) else [*found.hw, found.dhash]]
        for path, (mark, found) in _KNOWN.items()
        if path.parent == folder
    ]
    try:
        write_atomic(_memory(folder), json.dumps(rows).encode())
    except DeviceError:
        return  # a full or read-only disk costs a second look next time, nothing else


def raise_problems(path: Path, problems: Sequence[str], *, fix: str) -> None:
    """One EdgeposeError that lists what contradicts a file's format; nothing without problems."""
    if problems:
        more = f"\n  and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise EdgeposeError(
            f"{path} has {len(problems)} problem{'s' * (len(problems) > 1)}:\n  "
            + "\n  ".join(problems[:_SHOWN])
            + more,
            fix=fix,
        )
