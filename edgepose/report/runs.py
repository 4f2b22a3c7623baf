"""A run or a benchmark that somebody names on the command line."""

from __future__ import annotations

from pathlib import Path

from edgepose.bench.record import BenchRecord, load_record
from edgepose.errors import EdgeposeError
from edgepose.report.record import Report
from edgepose.report.schema import FILE_NAME, load_report

RECORD_NAME = "record.json"
_PARTS = ("model", "artifacts", "report.md", "report.html", "waterfall.png", "people.npz")


def run_folder(path: Path) -> Path:
    """The run folder that a path names, its report.json included; EdgeposeError for anything else."""
    folder = path.parent if path.name == FILE_NAME else path
    if not folder.exists():
        raise EdgeposeError(
            f"{path} is not there", fix="give a run folder, reports/<recipe>/<run> or .../latest"
        )
    if (folder / FILE_NAME).is_file():
        return folder
    left = [name for name in _PARTS if (folder / name).exists()]
    if left:
        raise EdgeposeError(
            f"{folder} is half deleted: {', '.join(left)} is left of a run, {FILE_NAME} is gone",
            fix="copy the run folder again, or run its recipe again (finished stages are kept)",
        )
    fix = "give a run folder, reports/<recipe>/<run>"
    if (folder / "latest" / FILE_NAME).is_file():
        fix = f"give a run of this recipe, e.g. {folder / 'latest'}"
    raise EdgeposeError(f"{folder} is not a run: it holds no {FILE_NAME}", fix=fix)


def whole_run(path: Path) -> tuple[Path, Report]:
    """A run's folder and report; EdgeposeError also where files that the report names are gone."""
    folder = run_folder(path)
    report = load_report(folder)
    files = [file.path for artifact in report.artifacts for file in artifact.files]
    files += ["model/model.json", "model/model.safetensors"]
    gone = [name for name in files if not (folder / name).is_file()]
    if gone:
        more = f" and {len(gone) - 3} more" if len(gone) > 3 else ""
        raise EdgeposeError(
            f"{folder} is half deleted: {len(gone)} of {len(files)} files are gone, "
            f"{', '.join(gone[:3])}{more}",
            fix="copy the run folder again, or run its recipe again (finished stages are kept)",
        )
    return folder, report


def is_record(path: Path) -> bool:
    """Whether a path names a benchmark: record.json, or the folder of one."""
    return path.name == RECORD_NAME or (path / RECORD_NAME).is_file()


def open_record(path: Path) -> BenchRecord:
    """The record in a file or folder."""
    return load_record(path if path.name == RECORD_NAME else path / RECORD_NAME)
