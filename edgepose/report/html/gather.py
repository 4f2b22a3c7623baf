"""What a run folder holds beside report.json that its page can show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from edgepose.bench.record import BenchRecord, load_record
from edgepose.device.files import sha256_file
from edgepose.errors import EdgeposeError
from edgepose.report.layers import Layer, model_layers
from edgepose.report.people import FILE_NAME, People, load_people
from edgepose.report.record import Report

Value = TypeVar("Value")


@dataclass(frozen=True)
class FileCheck:
    """The artifacts' files against the report: their number, and paths that are gone or changed."""

    count: int
    missing: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Extras:
    """Everything of a page that is not in the report. left_out: what is missing, and why."""

    files: FileCheck = FileCheck(0)
    people: People | None = None
    layers: tuple[Layer, ...] = ()
    benches: dict[str, BenchRecord] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()


def check_files(report: Report, folder: Path) -> FileCheck:
    """Compare the files of every artifact with the SHA-256 that the report names."""
    files = [file for artifact in report.artifacts for file in artifact.files]
    missing = [file.path for file in files if not (folder / file.path).is_file()]
    changed = [
        file.path
        for file in files
        if file.path not in missing and sha256_file(folder / file.path) != file.sha256
    ]
    return FileCheck(len(files), tuple(missing), tuple(changed))


def gather(report: Report, folder: Path) -> Extras:
    """Read what there is; what is not there or cannot be read is named in `left_out`."""
    left_out: list[str] = []

    def attempt(read: Callable[[], Value | None], what: str, absent: str) -> Value | None:
        try:
            value = read()
        except EdgeposeError as error:
            left_out.append(f"{what}: {error.problem}")
            return None
        if value is None:
            left_out.append(f"{what}: {absent}")
        return value

    people = attempt(
        lambda: load_people(folder / FILE_NAME),
        "the curve over thresholds and pictures of people",
        f"{FILE_NAME} is not in the run folder",
    )
    if people is not None and not {row.name for row in report.rows} & set(people.found):
        people = None
        left_out.append(f"the curve and pictures: {FILE_NAME} is of another run")
    layers = attempt(
        lambda: model_layers(folder / "model") if (folder / "model").is_dir() else None,
        "the network layer by layer",
        "model/ is not in the run folder",
    )
    benches: dict[str, BenchRecord] = {}
    for path in sorted(folder.glob("bench-*/record.json")):
        record = attempt(lambda path=path: load_record(path), path.parent.name, "empty")  # type: ignore[misc]
        if record is not None:
            benches[path.parent.name] = record
    return Extras(
        check_files(report, folder), people, tuple(layers or ()), benches, tuple(left_out)
    )
