"""Runs a recipe's stages one after the other, scores each, continues after a kill, writes the run.

Under `accelerate launch` every process goes through this, see processes.py.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel

import edgepose
from edgepose import registry
from edgepose.artifact import Artifact
from edgepose.bench.record import LatencyMs
from edgepose.context import Context
from edgepose.cost import count_macs
from edgepose.data.base import PoseDataset
from edgepose.data.calibration import open_calibration
from edgepose.data.mixture import open_unlabelled
from edgepose.device.codec import HeatmapCodec
from edgepose.device.files import replace_folder, sha256_file
from edgepose.errors import EdgeposeError
from edgepose.evaluation import EvaluationSet, Joints, JointShift, find_joints
from edgepose.fetch import cache_folder
from edgepose.inputs import (
    ReportProgress,
    check_metric,
    check_splits,
    check_stages,
    check_teacher_lies_on_student,
    check_unlabelled,
    open_data,
    start_model,
    teacher_model,
)
from edgepose.measure import artifact_facts, float_latency, host_name, model_executor
from edgepose.metrics.metric import Metric
from edgepose.models.pose_model import ModelSpec, PoseModel, at_size
from edgepose.preflight import check_plan
from edgepose.processes import ALONE, Processes
from edgepose.progress import Lines, duration
from edgepose.recipe import Recipe, Teacher
from edgepose.recipe_sections import Budget
from edgepose.report.record import VariantRecord
from edgepose.rows import (
    Scored,
    artifact_row,
    load_joints,
    save_joints,
    save_json,
    stage_row,
    variant_record,
)
from edgepose.run_log import LOG, run_log, told
from edgepose.run_report import write_report
from edgepose.stages import export
from edgepose.store import Store
from edgepose.target import Target, load_target
from edgepose.train.config import FitConfig
from edgepose.variants import Variant

Warn = Callable[[str], None]
TRAINS_THE_STUDENT = ("train", "distill")
"""A recipe that begins with one of these has its student after it; any other begins with a student."""
UNFINISHED = ".tmp-"  # a run folder has a name of this kind until it is complete


@dataclass
class Run:
    """One run of a recipe: what it was given, and the rows that it has found so far."""

    recipe: Recipe
    targets: tuple[Target, ...]
    data: dict[str, PoseDataset]
    metric: Metric
    store: Store
    report: ReportProgress
    print_warning: Warn
    processes: Processes = ALONE
    overrides: tuple[str, ...] = ()
    teacher: PoseModel | None = None
    rows: list[Scored] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    calibration: dict[str, Any] | None = None
    evaluation_sets: dict[tuple[tuple[int, int], str], EvaluationSet] = field(default_factory=dict)
    plain_joints: Joints | None = None  # the last stage's without a flip test, as artifacts are run

    def warn(self, message: str) -> None:
        if message not in self.warnings:
            self.warnings.append(message)
            told("%s", message)
            self.print_warning(message)

    def add(self, scored: Scored) -> None:
        """One more row of the report."""
        self.rows.append(scored)
        metrics = ", ".join(f"{name} {m.value:.1f}" for name, m in scored.row.metrics.items())
        LOG.info("%s: %s, run by %s", scored.row.name, metrics, scored.row.executor)

    def evaluation_set(self, spec: ModelSpec) -> EvaluationSet:
        key = spec.input_hw, spec.codec.alignment
        if key not in self.evaluation_sets:
            self.evaluation_sets[key] = EvaluationSet.from_dataset(
                self.data["val"], spec.input_hw, alignment=spec.codec.alignment
            )
        return self.evaluation_sets[key]

    def context(self, folder: Path) -> Context:
        return Context(
            train=self.data["train"],
            val=self.data["val"],
            calibration=self.data["calibration"],
            teacher=self.teacher,
            targets=self.targets,
            budget=self.recipe.budget or Budget(),
            seed=self.recipe.seed,
            folder=folder,
            cache=cache_folder(),
            report=self.report,
            warn=self.warn,
            processes=self.processes,
            metric=self.metric,
        )

    def inputs(self, word: str, model: PoseModel, config: BaseModel) -> dict[str, Any]:
        """Everything that decides what a stage gives back."""
        calibration = getattr(config, "calibration", None)
        unlabelled = getattr(config, "unlabelled", None)
        sensitivity = getattr(config, "sensitivity", None)
        return {
            "edgepose": edgepose.__version__,
            "stage": word,
            "config": config.model_dump(mode="json"),
            "model": model.sha256,
            "teacher": None if self.teacher is None else self.teacher.sha256,
            "seed": self.recipe.seed,
            "data": {
                split: data.fingerprint for split, data in self.data.items() if split != "val"
            },
            "calibration": calibration and open_calibration(calibration).fingerprint,
            "unlabelled": unlabelled
            and open_unlabelled(unlabelled, self.data["train"].skeleton).fingerprint,
            "sensitivity": sensitivity and sha256_file(sensitivity),
            "targets": [target.model_dump(mode="json") for target in self.targets],
            "budget": (self.recipe.budget or Budget()).model_dump(exclude={"max_drop"}),
            "metric": self.metric.word,
        }


def make_teacher(run: Run, teacher: Teacher, student: PoseModel) -> PoseModel:
    """The teacher: read from its checkpoint, or trained as the recipe says, in the student's coding."""
    data = run.data["train"]
    if teacher.checkpoint is not None:
        with run.processes.first_alone():
            model = teacher_model(run.recipe, teacher, data, report=run.report, warn=run.warn)
        check_teacher_lies_on_student(model, student)
        return model
    assert teacher.arch is not None, "the recipe was checked"
    assert teacher.train is not None, "the recipe was checked"
    spec = ModelSpec(
        arch=teacher.arch,
        num_joints=data.skeleton.num_joints,
        input_hw=run.recipe.student.input_hw,
        skeleton=data.skeleton.reference,
        domain=data.domain,
        codec=HeatmapCodec(coding=student.spec.codec.coding),
    )
    fresh = PoseModel.fresh(spec, seed=run.recipe.seed + 1)
    return run_stage(run, "train", teacher.train, fresh, item="teacher")[0]


def run_stage(
    run: Run, word: str, config: BaseModel, model: PoseModel, *, item: str | None = None
) -> tuple[PoseModel, dict[str, Any]]:
    """The model that a stage gives back and its notes, from the store where it is finished.

    Trainings take all processes, other stages the first one alone.
    """
    module = registry.stages().module(word)

    made = False

    def make(work: Path, out: Path) -> None:
        nonlocal made
        started, made = time.monotonic(), True
        LOG.info("%s: begins", item or word)
        context = run.context(work)
        result = module.run(model, config, context)
        result.save(out / "model")
        seconds = max(time.monotonic() - started, context.notes.get("training_s", 0.0))
        save_json(out / "notes.json", {**context.notes, "duration_s": round(seconds, 1)})

    def join(work: Path) -> None:
        if isinstance(config, FitConfig):
            module.run(model, config, run.context(work))

    folder = run.store.item(item or word, run.inputs(word, model, config), make, join=join)
    notes = json.loads((folder / "notes.json").read_text())
    took = duration(notes["duration_s"])
    LOG.info("%s: %s", item or word, f"done in {took}" if made else f"kept from before ({took})")
    return PoseModel.load(folder / "model"), notes


def score_stage(
    run: Run, name: str, model: PoseModel, notes: dict[str, Any], *, role: str = "stage"
) -> None:
    """Score a model on the validation set and measure its speed; kept in the store."""
    codec, flip_test = model.spec.codec, run.recipe.flip_test

    def make(work: Path, out: Path) -> None:
        data = run.evaluation_set(model.spec)
        executor, label = model_executor(model, work), f"score {name}"
        joints = find_joints(executor, data, codec=codec, report=run.report, label=label)
        latency, note = float_latency(model, work)
        save_joints(joints, out / "joints.npz")
        if flip_test:
            averaged = find_joints(
                executor, data, codec=codec, flip_index=data.truth.skeleton.flip_index,
                report=run.report, label=f"{label}, flip test",
            )  # fmt: skip
            save_joints(averaged, out / "flip_test.npz")
        save_json(
            out / "latency.json",
            {"latency": None if latency is None else latency.model_dump(), "note": note},
        )

    inputs = {"model": model.sha256, "val": run.data["val"].fingerprint, "v": edgepose.__version__}
    folder = run.store.item("score", inputs | ({"flip_test": True} if flip_test else {}), make)
    if not run.processes.is_first:
        return
    run.plain_joints = load_joints(folder / "joints.npz")
    joints = load_joints(folder / "flip_test.npz") if flip_test else run.plain_joints
    measured = json.loads((folder / "latency.json").read_text())
    latency = measured["latency"]
    scored = stage_row(
        name=name,
        role=role,
        precision="fp32" if model.spec.quant is None else "int8",
        joints=joints,
        data=run.evaluation_set(model.spec),
        metric=run.metric,
        latency=None if latency is None else LatencyMs.model_validate(latency),
        latency_note=measured["note"],
        host=host_name(),
        notes=notes,
        params=model.num_params,
        macs=count_macs(model.module(), input_hw=model.spec.input_hw),
        weights_sha256=model.sha256,
        duration_s=notes.get("duration_s"),
    )
    run.add(scored)


def export_stage(run: Run, config: export.Config, model: PoseModel, notes: dict[str, Any]) -> Path:
    """Write, execute and measure every artifact; the folder that holds them."""

    def make(work: Path, out: Path) -> None:
        started = time.monotonic()
        LOG.info("export: begins")
        context, reference = run.context(work), run.plain_joints
        assert reference is not None, "the model was scored"
        facts: dict[str, Any] = {}
        for item in export.run(model, config, context, reference=reference):
            shutil.copytree(item.artifact.folder, out / item.target.name)
            save_joints(item.joints, out / f"{item.target.name}.npz")
            for number, scored in enumerate(item.variants):
                save_joints(scored.joints, out / variant_file(item.target, number))
            facts[item.target.name] = {
                "shift": vars(item.shift),
                "alike": [one.text for one in item.alike],
                **artifact_facts(item.artifact, item.target),
                "variants": [
                    {**vars(v.variant), "shift": None if v.shift is None else vars(v.shift)}
                    for v in item.variants
                ],
            }
            shutil.rmtree(item.artifact.folder)
        facts["duration_s"] = round(time.monotonic() - started, 1)
        save_json(out / "facts.json", facts)

    inputs = {**run.inputs("export", model, config), "val": run.data["val"].fingerprint}
    return run.store.item("export", inputs, make)


def variant_file(target: Target, number: int) -> str:
    """What an export keeps the joints of an artifact's further variants in."""
    return f"{target.name}.variant{number}.npz"


def artifact_variants(
    run: Run, folder: Path, artifact: Artifact, target: Target, model: PoseModel, run_folder: Path
) -> list[VariantRecord]:
    """The records of an artifact's further variants, each scored at its own size."""
    records = []
    facts = json.loads((folder / "facts.json").read_text())[target.name]
    for number, found in enumerate(facts["variants"]):
        variant = Variant(tuple(found["input_hw"]), found["batch"], found["gives"])
        records.append(
            variant_record(
                variant,
                artifact=artifact,
                run_folder=run_folder,
                joints=load_joints(folder / variant_file(target, number)),
                shift=None if found["shift"] is None else JointShift(**found["shift"]),
                data=run.evaluation_set(at_size(model, variant.input_hw).spec),
                metric=run.metric,
            )
        )
    return records


def artifact_rows(run: Run, folder: Path, model: PoseModel, run_folder: Path) -> None:
    """Copy the exported artifacts into the run folder and add their rows."""
    facts = json.loads((folder / "facts.json").read_text())
    data = run.evaluation_set(model.spec)
    stage = run.rows[-1].row
    for target in run.targets:
        copy = run_folder / "artifacts" / target.name
        shutil.copytree(folder / target.name, copy)
        found, joints = facts[target.name], load_joints(folder / f"{target.name}.npz")
        latency = found["latency"]
        artifact = Artifact.load(copy)
        scored = artifact_row(
            target=target,
            artifact=artifact,
            run_folder=run_folder,
            joints=joints,
            shift=JointShift(**found["shift"]),
            data=data,
            metric=run.metric,
            latency=None if latency is None else LatencyMs.model_validate(latency),
            latency_note=found["note"],
            integer_mac_share=found["integer_mac_share"],
            host=host_name(),
            params=model.num_params,
            macs=stage.macs or 0,
            variants=artifact_variants(run, folder, artifact, target, model, run_folder),
        )
        notes = (*scored.row.notes, *found.get("alike", ()))
        run.add(replace(scored, row=scored.row.model_copy(update={"notes": notes})))


def compress(
    recipe: Recipe,
    *,
    out: Path = Path("reports"),
    report: ReportProgress,
    warn: Warn,
    overrides: tuple[str, ...] = (),
    processes: Processes = ALONE,
) -> Path:
    """Run a recipe; the finished run's folder, `<out>/<recipe>/<run>`.

    A stage that is finished is not run again; one that was killed continues at its last checkpoint.
    Raises EdgeposeError for whatever the user can mend; finished stages are kept.
    """
    started = time.monotonic()
    if not processes.is_first:
        report, warn = (lambda *_: None), (lambda _: None)
    root = Path(out) / recipe.name
    store = Store(root / "stages", processes)
    config = recipe.stage("export")
    targets = tuple(load_target(name) for name in config.targets) if config else ()  # type: ignore[attr-defined]
    with store.lock(), run_log(root, active=processes.is_first) as log:
        report = _logged(report) if processes.is_first else report
        if processes.is_first:
            for stale in root.glob(f"{UNFINISHED}*"):  # of a run that was killed while written
                shutil.rmtree(stale, ignore_errors=True)
        with processes.first_alone():
            data = open_data(recipe, report)
        metric = check_metric(recipe, data["val"])
        run = Run(recipe, targets, data, metric, store, report, warn, processes, overrides)
        for passed_over in check_splits(data):
            run.warn(passed_over)
        with processes.first_alone():
            start = model = start_model(recipe, data["train"], report=report, warn=run.warn)
        check_stages(recipe, targets, start, data["calibration"])
        check_plan(recipe, targets, start, warn=run.warn)
        check_unlabelled(recipe, data["train"])
        if recipe.teacher is not None:
            run.teacher = make_teacher(run, recipe.teacher, start)
            score_stage(run, "teacher", run.teacher, {}, role="teacher")
        exported: Path | None = None
        if recipe.flip_test and config is not None:
            run.warn(
                "flip_test: models are scored with the mirrored crop averaged in, artifacts as devices "
                "run them; drops and differences between the two hold the flip test's gain, too"
            )
        if recipe.stages[0].name not in TRAINS_THE_STUDENT:
            score_stage(run, "student", model, {}, role="student")
        for stage in recipe.stages:
            if isinstance(stage.config, export.Config):
                exported = export_stage(run, stage.config, model, {})
                continue
            model, notes = run_stage(run, stage.name, stage.config, model)
            run.calibration = notes.get("calibration", run.calibration)
            trained = stage.name in TRAINS_THE_STUDENT and stage is recipe.stages[0]
            score_stage(run, stage.name, model, notes, role="student" if trained else "stage")
        seconds = time.monotonic() - started
        return Path(
            processes.first(
                lambda: str(_write_run(run, root, start, model, exported, log, seconds=seconds))
            )
        )


def _logged(report: ReportProgress) -> ReportProgress:
    """The same report of progress, which also lands in the log."""
    lines = Lines(LOG.info)

    def both(what: str, done: int, total: int) -> None:
        lines(what, done, total)
        report(what, done, total)

    return both


def _write_run(
    run: Run,
    root: Path,
    start: PoseModel,
    model: PoseModel,
    exported: Path | None,
    log: Path,
    *,
    seconds: float,
) -> Path:
    """The run folder: model, artifacts, report; complete before it gets its name."""
    name = datetime.now().strftime("%Y%m%d-%H%M%S")
    try:
        temporary = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=root))
    except OSError as error:
        raise EdgeposeError(
            f"cannot write to {root}: {error.strerror}", fix="free some space, or use --out"
        ) from error
    try:
        model.save(temporary / "model")
        if exported is not None:
            artifact_rows(run, exported, model, temporary)
        write_report(run, temporary, run_id=name, start=start, seconds=seconds)
        temporary.chmod(0o755)
        final = root / name
        while final.exists():
            final = final.with_name(final.name + "b")
        LOG.info("done in %s: %s", duration(seconds), final)
        shutil.copyfile(log, temporary / log.name)
        replace_folder(temporary, final)
        log.unlink()
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    link = root / ".latest"
    link.unlink(missing_ok=True)
    link.symlink_to(final.name)
    os.replace(link, root / "latest")
    return final
