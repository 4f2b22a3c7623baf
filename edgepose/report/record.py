"""report.json as values: what a run did, what came out, and where each number comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from pydantic import Field, model_validator

from edgepose.bench.record import (
    NOT_MEASURED,
    THIS_HOST,
    Conditions,
    LatencyMs,
    Metrics,
    Origin,
    Strict,
)
from edgepose.report.costs import Int8Costs, PruneCosts

SCHEMA_VERSION: Final = 2


class Measured(Strict):
    """What a model or an artifact has in common: scores, size, speed, and who computed them.

    metrics:   scores by name in percent; subsets: the same by subset ("occluded", ...)
    params, macs: parameters; multiply-adds of one inference, true ones
    executor:  what ran it, e.g. "ONNX Runtime 1.31.1 CPU AVX512-VNNI"
    host:      the machine that computed the scores
    fps:       1000 / latency_ms.p50 at batch 1, filled in where a latency is there
    """

    name: str
    metrics: Metrics = Field(default_factory=dict)
    subsets: dict[str, Metrics] = Field(default_factory=dict)
    metrics_origin: Origin = THIS_HOST
    params: int | None = None
    macs: int | None = None
    size_bytes: int | None = None
    latency_ms: LatencyMs | None = None
    latency_origin: Origin = NOT_MEASURED
    latency_note: str | None = None
    fps: float | None = None
    executor: str
    host: str
    notes: tuple[str, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _fill_fps(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and data.get("fps") is None and data.get("latency_ms"):
            latency = LatencyMs.model_validate(data["latency_ms"])
            return {**data, "fps": latency.fps}
        return data

    @model_validator(mode="after")
    def _explained(self) -> Measured:
        if (self.latency_ms is None) != (self.latency_origin.kind == "not_measured"):
            raise ValueError(f"{self.name}: latency_origin must say how latency_ms was obtained")
        if self.latency_ms is None and not self.latency_note:
            raise ValueError(f"{self.name}: latency_ms is null, so latency_note must say why")
        if self.fps is not None and (
            self.latency_ms is None or abs(self.fps / self.latency_ms.fps - 1) > 0.005
        ):
            raise ValueError(f"{self.name}: fps does not follow from latency_ms.p50")
        return self


class TrainingHistory(Strict):
    """How a stage trained. loss: (step, loss) pairs, thinned; scores: (step, metric, percent)."""

    steps: int
    images: int | None = None
    batch: int | None = None
    loss: tuple[tuple[int, float], ...] = ()
    scores: tuple[tuple[int, str, float], ...] = ()


class StageRecord(Measured):
    """One row of the waterfall: the model that a stage gave back, as a float or simulated model.

    sensitivity: what each layer was found to cost alone, where the stage asked
    """

    role: Literal["teacher", "student", "stage"] = "stage"
    precision: str = "fp32"
    weights_sha256: str | None = None
    duration_s: float | None = None
    history: TrainingHistory | None = None
    sensitivity: PruneCosts | Int8Costs | None = Field(default=None, discriminator="kind")


class FileRecord(Strict):
    """One file of an artifact. `path` is relative to the run folder; `counted` for the budget."""

    path: str
    role: str
    sha256: str
    size_bytes: int
    counted: bool = True


class JointShiftPx(Strict):
    """How far decoded joints lie from those of the model before export, input-crop pixels.

    off_share: part of the confident joints that are off by more than one pixel, 0..1
    """

    p50: float
    p99: float
    off_share: float | None = None
    persons: int | None = None
    against: str | None = None


class VariantRecord(Strict):
    """Another variant of an artifact's network, executed at its own size; file: relative to the run
    folder; size_bytes: of that file or package, which several variants can share."""

    input_hw: tuple[int, int]
    batch: int
    gives: Literal["heatmaps", "joints"]
    file: str
    size_bytes: int
    executor: str
    metrics: Metrics = Field(default_factory=dict)
    joint_shift_px: JointShiftPx | None = None


class ArtifactRecord(Measured):
    """An exported file: size_bytes counts the files that ship; scores come from running them."""

    target: str
    runtime: str
    precision: str
    file: str
    files: tuple[FileRecord, ...] = ()
    joint_shift_px: JointShiftPx | None = None
    integer_mac_share: float | None = Field(default=None, ge=0, le=1)
    variants: tuple[VariantRecord, ...] = ()


class Difference(Strict):
    """`after` minus `before` in percent points; ci95: paired bootstrap (Report.interval_over)."""

    before: str
    after: str
    metric: str
    value: float
    ci95: tuple[float, float] | None = None
    persons: int | None = None


class SizeVerdict(Strict):
    """Does the largest counted file fit? size_mb is in 10^6 bytes."""

    size_mb: float
    largest_file: str
    largest_size_bytes: int
    met: bool


class DropVerdict(Strict):
    """Is the accuracy lost within what the recipe allows? drop > 0 means worse than `baseline`."""

    max_drop: float
    metric: str
    baseline: str
    compared: str
    drop: float
    ci95: tuple[float, float] | None = None
    met: bool


class BudgetVerdict(Strict):
    """The recipe's budget and what became of it; null where it asked for nothing."""

    size: SizeVerdict | None = None
    drop: DropVerdict | None = None


class RecipeRecord(Strict):
    """The recipe, with everything that it extended and overrode resolved."""

    name: str
    sha256: str
    description: str = ""
    path: str | None = None
    resolved: dict[str, Any] = Field(default_factory=dict)


class TeacherRecord(Strict):
    """What taught the student. note: e.g. "the embedded teacher is not HRNet-W48 yet"."""

    name: str
    arch: str
    source: str
    sha256: str | None = None
    score: Metrics = Field(default_factory=dict)
    note: str | None = None


class StudentRecord(Strict):
    """What the student started from; starting_weights_sha256 is null for random weights."""

    arch: str
    input_hw: tuple[int, int]
    skeleton: str
    starting_weights: str = "random"
    starting_weights_sha256: str | None = None


class CalibrationRecord(Strict):
    """The images that chose the INT8 ranges, and what is doubtful about them."""

    source: str
    domain: str
    images: int
    fingerprint: str | None = None
    warnings: tuple[str, ...] = ()


class DataRecord(Strict):
    """What it was trained and scored on. counts: images per split."""

    source: str
    domain: str
    fingerprint: str
    skeleton: str
    counts: dict[str, int] = Field(default_factory=dict)
    subset_counts: dict[str, int] = Field(default_factory=dict)
    fingerprints: dict[str, str] = Field(default_factory=dict)
    calibration: CalibrationRecord | None = None


class Report(Strict):
    """One run of one recipe. See docs/adr/0008-numbers-with-origin.md for the rules it keeps.

    metric: the recipe's word; budgets and drops are in primary_metric, secondary_metric is stricter
    interval_over: what the bootstrap of every interval draws
    """

    schema_version: Literal[2] = SCHEMA_VERSION
    edgepose_version: str
    run_id: str
    recipe: RecipeRecord
    seed: int
    metric: str = "pckh"
    primary_metric: str = "pckh@0.5"
    secondary_metric: str = "pckh@0.1"
    metric_convention: str = ""
    interval_over: Literal["persons", "images"] = "persons"
    started: str | None = None
    duration_s: float | None = None
    versions: dict[str, str] = Field(default_factory=dict)
    host: Conditions
    teacher: TeacherRecord | None = None
    student: StudentRecord | None = None
    data: DataRecord
    stages: tuple[StageRecord, ...]
    artifacts: tuple[ArtifactRecord, ...] = ()
    differences: tuple[Difference, ...] = ()
    budget: BudgetVerdict = BudgetVerdict()
    warnings: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _names(self) -> Report:
        names = [row.name for row in self.rows]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(f"stages and artifacts need names of their own; twice: {twice}")
        for difference in self.differences:
            unknown = {difference.before, difference.after} - set(names)
            if unknown:
                raise ValueError(f"differences name {sorted(unknown)}, which is no stage")
        return self

    @property
    def rows(self) -> tuple[Measured, ...]:
        """Every row of the table in order: teacher, student, stages, artifacts."""
        return (*self.stages, *self.artifacts)

    @property
    def all_warnings(self) -> tuple[str, ...]:
        """The run's warnings and the calibration set's, without repeats."""
        calibration = self.data.calibration
        both = (*self.warnings, *(calibration.warnings if calibration else ()))
        return tuple(dict.fromkeys(both))


def thin(points: Sequence[tuple[int, float]], limit: int = 200) -> tuple[tuple[int, float], ...]:
    """At most `limit` of (step, value), evenly spread, first and last always among them."""
    if limit < 2:
        raise ValueError("limit must be at least 2")
    if len(points) <= limit:
        return tuple(points)
    last = len(points) - 1
    return tuple(points[round(i * last / (limit - 1))] for i in range(limit))
