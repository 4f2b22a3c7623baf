"""report.json on disk: strict reading, atomic writing, JSON Schema."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from edgepose.bench.record import Metrics, MetricValue, read_document, to_json_bytes
from edgepose.device.files import write_atomic
from edgepose.report.record import SCHEMA_VERSION, Report

FILE_NAME = "report.json"


def load_report(path: str | PathLike[str]) -> Report:
    """The report in `path`, a report.json or a run folder that holds one.

    EdgeposeError where it is missing, not JSON, of another schema_version or not valid.
    """
    file = Path(path)
    if file.is_dir():
        file = file / FILE_NAME
    return read_document(file, Report, version_key="schema_version", version=SCHEMA_VERSION)


def save_report(report: Report, path: str | PathLike[str]) -> None:
    """Write report.json, atomically."""
    write_atomic(path, to_json_bytes(report))


def json_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of report.json as this version writes it."""
    schema = Report.model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def subsets_from(scores: Mapping[str, Mapping[str, float]]) -> dict[str, Metrics]:
    """{"occluded": {"persons": 143, "pckh@0.5": 79.1}} (evaluation) -> scores by subset."""
    return {
        subset: {
            name: MetricValue(value=value, persons=int(entry["persons"]))
            for name, value in entry.items()
            if name != "persons"
        }
        for subset, entry in scores.items()
    }
