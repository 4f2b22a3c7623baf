"""Everything that a finished run says about itself: report.json, .md and .html, waterfall.png."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import Any

import edgepose
from edgepose.bench.conditions import library_versions, read_conditions, source_commit
from edgepose.device.files import write_atomic
from edgepose.models.pose_model import PoseModel
from edgepose.report.html.page import save_html
from edgepose.report.markdown import report_markdown
from edgepose.report.people import FILE_NAME as PEOPLE
from edgepose.report.people import Found, save_people
from edgepose.report.record import (
    ArtifactRecord,
    CalibrationRecord,
    DataRecord,
    RecipeRecord,
    Report,
    StageRecord,
    StudentRecord,
    TeacherRecord,
)
from edgepose.report.schema import save_report
from edgepose.report.waterfall import save_waterfall
from edgepose.rows import differences, verdict
from edgepose.run import Run
from edgepose.run_people import people_of
from edgepose.skeleton import skeleton
from edgepose.store import digest
from edgepose.strict_files import builtin_folder

NOT_HRNET = "the embedded teacher is not HRNet-W48 yet"


def build_report(run: Run, *, run_id: str, start: PoseModel, seconds: float) -> Report:
    """The report of a run whose rows are complete."""
    recipe, budget, metric = run.recipe, run.recipe.budget, run.metric
    data = run.evaluation_set(start.spec)
    resolved = portable(recipe.resolved)
    baseline = next((r.row.name for r in run.rows if getattr(r.row, "role", "") == "student"), None)
    return Report(
        edgepose_version=edgepose.__version__,
        run_id=run_id,
        recipe=RecipeRecord(
            name=recipe.name,
            sha256=digest(resolved),
            description=recipe.description,
            path=recipe.source_files[0].name,
            resolved={**resolved, "data": recipe.resolved["data"]},  # is opened again
        ),
        seed=recipe.seed,
        metric=metric.word,
        primary_metric=metric.primary,
        secondary_metric=metric.strict,
        metric_convention=metric.convention,
        interval_over=metric.unit,
        duration_s=round(seconds, 1),
        versions={"edgepose": edgepose.__version__, **source_commit(), **library_versions()},
        host=read_conditions(),
        teacher=_teacher(run),
        student=StudentRecord(
            arch=start.spec.arch,
            input_hw=start.spec.input_hw,
            skeleton=skeleton(start.spec.skeleton).name,
            starting_weights="random" if recipe.student.checkpoint is None else "checkpoint",
            starting_weights_sha256=None if recipe.student.checkpoint is None else start.sha256,
        ),
        data=DataRecord(
            source=recipe.data.source,
            domain=run.data["val"].domain,
            fingerprint=run.data["train"].fingerprint,
            skeleton=data.truth.skeleton.name,
            counts={split: len(dataset) for split, dataset in run.data.items()},
            subset_counts=dict(Counter(tag for tags in data.tags for tag in tags)),
            fingerprints={split: dataset.fingerprint for split, dataset in run.data.items()},
            calibration=CalibrationRecord(**run.calibration) if run.calibration else None,
        ),
        stages=tuple(r.row for r in run.rows if isinstance(r.row, StageRecord)),
        artifacts=tuple(r.row for r in run.rows if isinstance(r.row, ArtifactRecord)),
        differences=differences(run.rows, metric) if run.rows else (),
        budget=verdict(
            run.rows,
            metric,
            baseline=baseline,
            size_mb=None if budget is None else budget.size_mb,
            max_drop=None if budget is None else budget.max_drop,
        ),
        warnings=tuple(run.warnings),
        commands=_commands(run),
    )


def _commands(run: Run) -> tuple[str, ...]:
    """What to type to get this run again."""
    source = run.recipe.source_files[0]
    name = f"recipes/{source.name}" if source.parent.name == "recipes" else source.name
    words = ["edgepose", "compress", "--recipe", name]
    for override in run.overrides:
        words += ["--set", override]
    compress = shlex.join(words)
    return (compress, *(f"edgepose bench --target {target.name}" for target in run.targets))


def _teacher(run: Run) -> TeacherRecord | None:
    if run.teacher is None or run.recipe.teacher is None:
        return None
    row = next(r.row for r in run.rows if r.row.name == "teacher")
    checkpoint = run.recipe.teacher.checkpoint
    arch = run.teacher.spec.arch
    return TeacherRecord(
        name="teacher",
        arch=arch,
        source="trained in this run" if checkpoint is None else PurePosixPath(checkpoint).name,
        sha256=run.teacher.sha256,
        score=row.metrics,
        note=NOT_HRNET if is_embedded(checkpoint) and arch != "hrnet_w48" else None,
    )


def portable(value: Any) -> Any:
    """A recipe's values with paths to what comes with edgepose told from the built-in recipes on, as
    these recipes do: the same on every machine, and so is their hash. Other paths stay as they are."""
    if isinstance(value, dict):
        return {key: portable(one) for key, one in value.items()}
    if isinstance(value, list):
        return [portable(one) for one in value]
    recipes = builtin_folder("recipes")
    if isinstance(value, str) and Path(value).is_relative_to(recipes.parent):
        return Path(os.path.relpath(value, recipes)).as_posix()
    return value


def is_embedded(checkpoint: str | None) -> bool:
    """Whether a checkpoint (path or URL) is one of those that come with edgepose."""
    weights = builtin_folder("recipes") / "weights"
    return checkpoint is not None and weights.resolve() in Path(checkpoint).resolve().parents


def write_report(
    run: Run, folder: Path, *, run_id: str, start: PoseModel, seconds: float
) -> Report:
    """Write report.json, report.md, report.html, waterfall.png and people.npz into `folder`.

    The page is made of the others and of model/ and artifacts/, which are there already.
    """
    report = build_report(run, run_id=run_id, start=start, seconds=seconds)
    save_report(report, folder / "report.json")
    save_waterfall(report, folder / "waterfall.png")
    write_atomic(folder / "report.md", report_markdown(report).encode())
    found = {r.row.name: Found(r.joints.image_xy, r.joints.score) for r in run.rows}
    save_people(people_of(report, found, run.evaluation_set(start.spec)), folder / PEOPLE)
    save_html(report, folder)
    return report
