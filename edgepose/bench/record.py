"""What a measurement says: latency, conditions, and the record of one benchmark as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from os import PathLike
from typing import Any, Final, Literal

from pydantic import Field, model_validator

from edgepose.bench.document import Strict as Strict
from edgepose.bench.document import read_document as read_document
from edgepose.bench.document import to_json_bytes as to_json_bytes
from edgepose.bench.engine_layers import EngineLayers
from edgepose.device.files import write_atomic

RECORD_VERSION: Final = 2


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
    """Milliseconds per call of `batch` images. `count` calls were timed after `warmup` calls.

    mean_ci95: of the mean, by bootstrap over blocks of neighbouring calls
    """

    p50: float
    p90: float
    p99: float
    mean: float | None = None
    mean_ci95: tuple[float, float] | None = None
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
    layers:    the engine's layers by precision; None where no engine was built
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
    layers: EngineLayers | None = None
    timings: dict[str, Any] = Field(default_factory=dict)
    load_seconds: float | None = None
    first_inference_ms: float | None = None
    peak_memory_bytes: int | None = None
    gpu_memory_used_bytes: int | None = None
    joints_vs_host: JointDistance | None = None
    sent_bytes: int = 0
    connection_drops: int = 0


class Run(Strict):
    """One process of a benchmark. The record's samples are those of its runs, one after the other.

    load_seconds:      importing the runtime, reading and preparing the model (building apart)
    first_inference_ms: the first call; both together are the cold start
    energy_mj:         per call of the model alone, where the power is known; energy_from: by whom
    """

    model_ms: LatencyMs | None = None
    end_to_end_ms: LatencyMs | None = None
    load_seconds: float | None = None
    first_inference_ms: float | None = None
    peak_memory_bytes: int | None = None
    energy_mj: float | None = None
    energy_from: str | None = None

    @property
    def cold_start_ms(self) -> float | None:
        """From a process without the model to its first result."""
        if self.load_seconds is None or self.first_inference_ms is None:
            return None
        return 1e3 * self.load_seconds + self.first_inference_ms


class LayerEstimate(Strict):
    """One kernel: milliseconds, and its multiply-accumulates."""

    name: str
    kind: str
    ms: float
    macs: int


class LatencyEstimate(Strict):
    """model_ms, and from low to high as far as the estimate may be off; null: never checked.

    origin: how it was found; layers: in order of execution, they add up to model_ms
    """

    model_ms: float
    low_ms: float | None = None
    high_ms: float | None = None
    origin: str
    layers: tuple[LayerEstimate, ...] = Field(min_length=1)

    @property
    def heaviest(self) -> list[LayerEstimate]:
        """Layers, the slowest first."""
        return sorted(self.layers, key=lambda layer: -layer.ms)


class PersonCounts(Strict):
    """Per person, in the data's order: joints that were right, joints that could be scored."""

    right: tuple[int, ...]
    scored: tuple[int, ...]

    @model_validator(mode="after")
    def _possible(self) -> PersonCounts:
        if len(self.right) != len(self.scored):
            raise ValueError("right and scored are not of the same people")
        if any(not 0 <= a <= b for a, b in zip(self.right, self.scored, strict=True)):
            raise ValueError("more joints are right than could be scored")
        return self


class RaceEntry(Strict):
    """One form of an artifact, on the GPU or on a DLA core. Null: it was not measured, `why` says why.

    build_seconds: of the engine (or of loading it, where nothing is built); score: in percent
    stand_in:      executed by something else than what it was made for: its time says nothing of that
    why:           why it was kept, or why not
    """

    form: str
    dla: int | None = None
    executor: str | None = None
    stand_in: bool = False
    build_seconds: float | None = None
    build_cached: bool = False
    p50_ms: float | None = None
    p90_ms: float | None = None
    score: float | None = None
    kept: bool = False
    why: str

    @property
    def label(self) -> str:
        return self.form if self.dla is None else f"{self.form}, DLA {self.dla}"


class Race(Strict):
    """Every form of an artifact, built, timed and scored. metric: what `score` is; max_drop: points
    that the fastest may lie below the counted form, the first entry (or the best, if that failed)."""

    metric: str
    max_drop: float
    entries: tuple[RaceEntry, ...]

    @property
    def kept(self) -> RaceEntry | None:
        return next((entry for entry in self.entries if entry.kept), None)

    @property
    def stand_in(self) -> bool:
        return any(entry.stand_in for entry in self.entries)

    @model_validator(mode="after")
    def _one_is_kept(self) -> Race:
        if sum(entry.kept for entry in self.entries) > 1:
            raise ValueError("a race keeps one form")
        return self


Environment = dict[str, str | int | float | None]
"""What two latencies must have in common to be compared, by name."""


def environment_hash(environment: Mapping[str, Any]) -> str:
    """SHA-256 over the sorted entries."""
    return sha256(json.dumps(dict(environment), sort_keys=True).encode()).hexdigest()


class BenchRecord(Strict):
    """One artifact, measured: `record.json`.

    model_ms:        inference alone, input tensor in memory
    end_to_end_ms:   from a uint8 frame and a box: crop, normalise, infer, decode, back-project
    *_samples_ms:    every call in the order it was made
    latency_note:    why there is no latency, or what to know about it
    estimate:        what the model would take on its target, where that was not reached
    other_load_cores: cores that other processes used while the clock ran
    runs:            processes that were timed; empty: the one that wrote this
    input_hw, gives: crop size, and "heatmaps" or the "joints" read off them in the graph
    per_person:      of scores that are shares of joints, for paired comparisons on the same data
    data_sha256:     of the labels and crops' places that were scored
    compute_units:   Core ML's own latencies of the model alone, by compute unit; model_ms is "ALL"'s
    environment:     see bench/environment.py; environment_sha256: its hash
    device:          the board that was measured; None: this host. `conditions` are of whichever ran
    partial:         why the benchmark ended early; what was measured before is in the record
    form:            which of the artifact's forms was measured; None: the counted one
    race:            the artifact's forms against each other; `form` is then the kept one
    """

    record_version: Literal[2] = RECORD_VERSION
    artifact: str
    artifact_sha256: str
    target: str
    runtime: str
    precision: str
    executor: str
    counted_file: str
    size_bytes: int
    input_hw: tuple[int, int] | None = None
    gives: Literal["heatmaps", "joints"] = "heatmaps"
    metrics: Metrics = Field(default_factory=dict)
    persons: int | None = None
    domain: str | None = None
    per_person: dict[str, PersonCounts] = Field(default_factory=dict)
    data_sha256: str | None = None
    metrics_origin: Origin = NOT_MEASURED
    model_ms: LatencyMs | None = None
    end_to_end_ms: LatencyMs | None = None
    frame_hw: tuple[int, int] | None = None
    resampler: str | None = None
    latency_origin: Origin = NOT_MEASURED
    latency_note: str | None = None
    estimate: LatencyEstimate | None = None
    compute_units: dict[str, LatencyMs] = Field(default_factory=dict)
    quick: bool = False
    model_samples_ms: tuple[float, ...] = ()
    end_to_end_samples_ms: tuple[float, ...] = ()
    runs: tuple[Run, ...] = ()
    other_load_cores: float | None = None
    environment: Environment
    environment_sha256: str
    conditions: Conditions
    conditions_after: Conditions | None = None
    notes: tuple[str, ...] = ()
    command: str | None = None
    device: DeviceRun | None = None
    partial: str | None = None
    form: str | None = None
    race: Race | None = None

    @model_validator(mode="after")
    def _explained(self) -> BenchRecord:
        if (self.model_ms is None) != (self.latency_origin.kind == "not_measured"):
            raise ValueError("latency_origin must say whether model_ms was measured")
        if self.model_ms is None and not self.latency_note:
            raise ValueError("a record without latency needs latency_note")
        if environment_hash(self.environment) != self.environment_sha256:
            raise ValueError("environment_sha256 is not the hash of environment")
        return self

    @property
    def spread(self) -> float | None:
        """(highest - lowest) / median of the runs' p50; None where there are not two."""
        p50 = sorted(run.model_ms.p50 for run in self.runs if run.model_ms is not None)
        if len(p50) < 2:
            return None
        middle = (p50[(len(p50) - 1) // 2] + p50[len(p50) // 2]) / 2
        return (p50[-1] - p50[0]) / middle

    @property
    def fps(self) -> float | None:
        """Images per second of the model alone."""
        return None if self.model_ms is None else self.model_ms.fps


def save_record(record: BenchRecord, path: str | PathLike[str]) -> None:
    """Write record.json, atomically."""
    write_atomic(path, to_json_bytes(record))


def load_record(path: str | PathLike[str]) -> BenchRecord:
    """Read record.json; EdgeposeError where it is missing, broken or of another version."""
    return read_document(path, BenchRecord, version_key="record_version", version=RECORD_VERSION)
