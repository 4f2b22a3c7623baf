"""The models of a run: its teacher, what each stage gives back, and the score of each."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel

import edgepose
from edgepose import registry
from edgepose.bench.record import LatencyMs
from edgepose.cost import count_macs
from edgepose.device.codec import HeatmapCodec
from edgepose.evaluation import find_joints
from edgepose.inputs import (
    check_teacher_lies_on_student,
    teacher_model,
)
from edgepose.measure import float_latency, host_name, model_executor
from edgepose.models.pose_model import ModelSpec, PoseModel
from edgepose.progress import duration
from edgepose.recipe import Teacher
from edgepose.rows import (
    load_joints,
    save_joints,
    save_json,
    stage_row,
)
from edgepose.run import Run
from edgepose.run_log import LOG
from edgepose.store import read_kept
from edgepose.train.config import FitConfig


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
    notes = read_kept(folder / "notes.json")
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
    measured = read_kept(folder / "latency.json")
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
