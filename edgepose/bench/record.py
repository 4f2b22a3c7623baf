"""What a measurement says: latency, conditions, and the record of one benchmark as JSON."""

from __future__ import annotations

import json
import re
from os import PathLike
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from edgepose.device.files import write_atomic
from edgepose.errors import EdgeposeError

RECORD_VERSION: Final = 1


class Strict(BaseModel):
    """Frozen, refuses unknown keys, and refuses NaN: what is not known is `null`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


Document = TypeVar("Document", bound=Strict)


class Origin(Strict):
    """Where a number came from. `where` names the machine or the method."""

    kind: Literal["measured", "estimated", "not_measured"]
    where: str = ""

    def __str__(self) -> str:
        if self.kind == "measured":
            return f"measured on {self.where}"
        if self.kind == "estimated":
            return f"estimated ({self.where})"
        return "not measured"


THIS_HOST = Origin(kind="measured", where="this host")
NOT_MEASURED = Origin(kind="not_measured")


class LatencyMs(Strict):
    """Milliseconds per call of `batch` images. `count` calls were timed after `warmup` calls."""

    p50: float
    p90: float
    p99: float
    mean: float | None = None
    min: float | None = None
    max: float | None = None
    count: int | None = None
    warmup: int | None = None
    batch: int = 1
    threads: int | None = None

    @model_validator(mode="after")
    def _ordered(self) -> LatencyMs:
        if not 0 < self.p50 <= self.p90 <= self.p99:
            raise ValueError("latency needs 0 < p50 <= p90 <= p99")
        return self

    @property
    def fps(self) -> float:
        """Images per second at the median latency."""
        return 1000.0 * self.batch / self.p50


class MetricValue(Strict):
    """One score in percent. `per_joint` holds null where no joint of that name was labelled."""

    value: float
    ci95: tuple[float, float] | None = None
    per_joint: dict[str, float | None] = Field(default_factory=dict)
    persons: int | None = None

    @model_validator(mode="after")
    def _ordered(self) -> MetricValue:
        if self.ci95 is not None and not self.ci95[0] <= self.ci95[1]:
            raise ValueError("ci95 needs low <= high")
        return self


Metrics = dict[str, MetricValue]
"""Scores by name: "pckh@0.5", "pckh@0.1", ..."""


class Conditions(Strict):
    """The machine as it was found; nothing is changed to measure. Null: it could not be read."""

    name: str
    cpu_model: str
    machine: str
    cores: int
    usable_cores: int
    cpu_quota_cores: float | None = None
    isa: tuple[str, ...] = ()
    os: str
    kernel: str
    virtual_machine: bool | None = None
    memory_bytes: int | None = None
    governor: str | None = None
    frequency_mhz: float | None = None
    temperature_c: float | None = None
    load_average: tuple[float, float, float] | None = None
    python: str
    versions: dict[str, str] = Field(default_factory=dict)

    @property
    def isa_short(self) -> str:
        """The widest integer instruction set, which decides how INT8 runs."""
        return self.isa[0] if self.isa else self.machine


class JointDistance(Strict):
    """How far the device's joints lie from this host's own, input px, person by person and joint by
    joint. off_share: part of the confident joints that are off by more than one pixel."""

    p50: float
    p99: float
    off_share: float
    persons: int
    host_executor: str
    host_metrics: Metrics = Field(default_factory=dict)


class DeviceRun(Strict):
    """What a board said of a benchmark that ran on it.

    transport: how it was reached; runtime: what ran there; phases: those that were finished
    board:     as found before: hardware, OS, L4T, JetPack, nvpmodel, jetson_clocks, clocks
    build:     of the engine: seconds, cached, and what it belongs to; {} where none is built
    timings:   per phase batch, warm-up, sensors over time and energy where power is known
    runner_sha256: the file that ran there; connection_drops: connections that broke meanwhile
    """

    transport: str
    runtime: str | None = None
    runner_sha256: str
    phases: tuple[str, ...] = ()
    board: dict[str, Any] = Field(default_factory=dict)
    clocks_after: dict[str, Any] | None = None
    build: dict[str, Any] = Field(default_factory=dict)
    timings: dict[str, Any] = Field(default_factory=dict)
    load_seconds: float | None = None
    first_inference_ms: float | None = None
    peak_memory_bytes: int | None = None
    gpu_memory_used_bytes: int | None = None
    joints_vs_host: JointDistance | None = None
    sent_bytes: int = 0
    connection_drops: int = 0


class BenchRecord(Strict):
    """One artifact, measured: `record.json`.

    model_ms:        inference alone, input tensor in memory
    end_to_end_ms:   from a uint8 frame and a box: crop, normalise, infer, decode, back-project
    *_samples_ms:    every call in the order it was made
    latency_note:    why there is no latency, or what to know about it
    other_load_cores: cores that other processes used while the clock ran
    device:          the board that was measured; None: this host. `conditions` are of whichever ran
    partial:         why the benchmark ended early; what was measured before is in the record
    """

    record_version: Literal[1] = RECORD_VERSION
    artifact: str
    artifact_sha256: str
    target: str
    runtime: str
    precision: str
    executor: str
    counted_file: str
    size_bytes: int
    metrics: Metrics = Field(default_factory=dict)
    persons: int | None = None
    domain: str | None = None
    metrics_origin: Origin = NOT_MEASURED
    model_ms: LatencyMs | None = None
    end_to_end_ms: LatencyMs | None = None
    frame_hw: tuple[int, int] | None = None
    resampler: str | None = None
    latency_origin: Origin = NOT_MEASURED
    latency_note: str | None = None
    quick: bool = False
    model_samples_ms: tuple[float, ...] = ()
    end_to_end_samples_ms: tuple[float, ...] = ()
    other_load_cores: float | None = None
    conditions: Conditions
    conditions_after: Conditions | None = None
    notes: tuple[str, ...] = ()
    command: str | None = None
    device: DeviceRun | None = None
    partial: str | None = None

    @model_validator(mode="after")
    def _explained(self) -> BenchRecord:
        if (self.model_ms is None) != (self.latency_origin.kind == "not_measured"):
            raise ValueError("latency_origin must say whether model_ms was measured")
        if self.model_ms is None and not self.latency_note:
            raise ValueError("a record without latency needs latency_note")
        return self

    @property
    def fps(self) -> float | None:
        """Images per second of the model alone."""
        return None if self.model_ms is None else self.model_ms.fps


def to_json_bytes(document: Strict) -> bytes:
    """Stable, readable JSON with a newline at the end; a list of numbers stays on one line."""
    text = json.dumps(document.model_dump(mode="json"), indent=1, ensure_ascii=False)
    # A raw line break never stands inside a JSON string, so this touches lists of numbers only.
    flat = re.sub(r"\[\n([-+\d.eE,\s]+?)\]", lambda m: f"[{' '.join(m[1].split())}]", text)
    return (flat + "\n").encode()


def read_document(
    path: str | PathLike[str], model: type[Document], *, version_key: str, version: int
) -> Document:
    """Read and check a JSON document; EdgeposeError for what is missing, broken or too new."""
    file = Path(path)
    try:
        data: Any = json.loads(file.read_bytes())
    except OSError as error:
        raise EdgeposeError(
            f"cannot read {file}: {error.strerror or error}",
            fix="give the path of a finished run or record",
        ) from error
    except ValueError as error:
        raise EdgeposeError(
            f"{file} is not JSON: {error}", fix="it may be cut short; run the command again"
        ) from error
    found = data.get(version_key) if isinstance(data, dict) else None
    if found != version:
        raise EdgeposeError(
            f"{file} has {version_key} {found!r}; this edgepose reads {version}",
            fix="run the command again with this version, or use the edgepose that wrote the file",
        )
    try:
        return model.model_validate_json(file.read_bytes())
    except ValidationError as error:
        lines = [
            f"{'.'.join(str(part) for part in item['loc']) or 'document'}: {item['msg']}"
            for item in error.errors()
        ]
        raise EdgeposeError(
            f"{file} does not follow its schema:\n    " + "\n    ".join(lines[:10]),
            fix="write it with edgepose instead of by hand, or run the command again",
        ) from error


def save_record(record: BenchRecord, path: str | PathLike[str]) -> None:
    """Write record.json, atomically."""
    write_atomic(path, to_json_bytes(record))


def load_record(path: str | PathLike[str]) -> BenchRecord:
    """Read record.json; EdgeposeError where it is missing, broken or of another version."""
    return read_document(path, BenchRecord, version_key="record_version", version=RECORD_VERSION)
