"""A run's artifacts: written, executed and scored once, then rows of its report."""

from __future__ import annotations

import shutil
import time
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from edgepose.artifact import Artifact
from edgepose.bench.record import LatencyMs
from edgepose.evaluation import JointShift
from edgepose.measure import artifact_facts, host_name
from edgepose.models.pose_model import PoseModel, at_size
from edgepose.report.record import VariantRecord
from edgepose.rows import (
    artifact_row,
    load_joints,
    save_joints,
    save_json,
    variant_record,
)
from edgepose.run import Run
from edgepose.run_log import LOG
from edgepose.stages import export
from edgepose.store import read_kept
from edgepose.target import Target
from edgepose.variants import Variant


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
    run: Run,
    folder: Path,
    facts: list[dict[str, Any]],
    *,
    artifact: Artifact,
    target: Target,
    model: PoseModel,
    run_folder: Path,
) -> list[VariantRecord]:
    """The records of an artifact's further variants, each scored at its own size.

    facts: what the export in `folder` noted of each
    """
    records = []
    for number, found in enumerate(facts):
        variant = Variant(tuple(found["input_hw"]), found["batch"], found["gives"])
        records.append(
            variant_record(
                variant,
                artifact=artifact,
                run_folder=run_folder,
                joints=load_joints(folder / variant_file(target, number)),
                shift=None if found["shift"] is None else _shift(found["shift"]),
                data=run.evaluation_set(at_size(model, variant.input_hw).spec),
                metric=run.metric,
            )
        )
    return records


def _shift(kept: dict[str, Any]) -> JointShift:
    return JointShift(**{field.name: kept[field.name] for field in fields(JointShift)})


def artifact_rows(run: Run, folder: Path, model: PoseModel, run_folder: Path) -> None:
    """Copy the exported artifacts into the run folder and add their rows."""
    facts = read_kept(folder / "facts.json")
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
            shift=_shift(found["shift"]),
            data=data,
            metric=run.metric,
            latency=None if latency is None else LatencyMs.model_validate(latency),
            latency_note=found["note"],
            integer_mac_share=found["integer_mac_share"],
            host=host_name(),
            params=model.num_params,
            macs=stage.macs or 0,
            variants=artifact_variants(
                run,
                folder,
                found["variants"],
                artifact=artifact,
                target=target,
                model=model,
                run_folder=run_folder,
            ),
        )
        notes = (*scored.row.notes, *found.get("alike", ()))
        run.add(replace(scored, row=scored.row.model_copy(update={"notes": notes})))
