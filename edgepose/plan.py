"""`compress --dry-run`: everything that can be known without training."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import torch

from edgepose import registry
from edgepose.backends.lint.findings import lines
from edgepose.cost import count_macs, planned_bytes
from edgepose.data.base import SPLITS, PoseDataset
from edgepose.fetch import Source
from edgepose.inputs import (
    NotHere,
    check_metric,
    check_splits,
    check_stages,
    check_teacher_lies_on_student,
    check_unlabelled,
    missing_paths,
    start_model,
    teacher_model,
    unlabelled_of,
)
from edgepose.models import build
from edgepose.models.own import is_own
from edgepose.models.pose_model import ModelSpec, PoseModel
from edgepose.preflight import lint_plan
from edgepose.recipe import Recipe
from edgepose.recipe_sections import Budget
from edgepose.skeleton import skeleton
from edgepose.stages.prune import narrow
from edgepose.target import load_target
from edgepose.train.config import FitConfig
from edgepose.weights import is_here

GLOBAL = "prune.mode global reads the weights: the run decides by those that the stages before it trained"


def make_plan(recipe: Recipe) -> dict[str, Any]:
    """Data counts, shapes, parameters, MACs and planned file sizes of every stage; JSON values.

    Opens data and checkpoints, solves the pruning ratio for the size budget, trains nothing, and
    downloads nothing: a checkpoint that is not here yet is named under "to_fetch". Where the recipe
    names student.skeleton, data that are not here are named under "not_here".
    """
    data, not_here = _data(recipe)
    unlabelled = check_unlabelled(recipe, data["train"])
    notes: list[str] = []
    model = start_model(recipe, data["train"], warn=notes.append, fetch=False)
    export_config: Any = recipe.stage("export")
    targets = tuple(load_target(t) for t in export_config.targets) if export_config else ()
    check_stages(recipe, targets, model, data["calibration"])
    network = model.module()
    rows: list[dict[str, Any]] = []
    images = 0
    budget: dict[str, Any] | None = None
    if recipe.teacher is not None:
        arch, source = recipe.teacher.arch, recipe.teacher.source
        if source is not None and is_here(source):
            teacher = teacher_model(
                recipe, recipe.teacher, data["train"], report=lambda *_: None, warn=notes.append
            )
            check_teacher_lies_on_student(teacher, model)
            arch, teacher_network = teacher.spec.arch, teacher.module()
        elif arch is not None:
            teacher_network = _shape(arch, model.spec)
        else:
            teacher_network = None
        rows.append(_row("teacher", arch or "", teacher_network, model, recipe.teacher.train))
    for stage in recipe.stages:
        if stage.name == "prune":
            config: Any = stage.config
            network, plan = narrow(
                network,
                config,
                budget=recipe.budget or Budget(),
                targets=targets,
                input_hw=model.spec.input_hw,
            )
            budget = {"text": plan.text, "limits": plan.asked, "origin": plan.origin}
            notes += [plan.note] if plan.note else []
            if config.mode == "global" and recipe.stages[0] is not stage:
                notes.append(GLOBAL)
        rows.append(_row(stage.name, recipe.student.arch, network, model, stage.config))
    shapes = {key: value.shape for key, value in network.state_dict().items()}
    images = sum(row["images"] or 0 for row in rows)
    sources = [recipe.student.source, None if recipe.teacher is None else recipe.teacher.source]
    return {
        "recipe": recipe.name,
        "data": {
            "source": recipe.data.source,
            **{split: len(dataset) for split, dataset in data.items() if not not_here},
            "unlabelled": unlabelled,
            "not_here": [str(path) for path in not_here],
        },
        "input": [1, 3, *model.spec.input_hw],
        "coding": model.spec.codec.coding,
        "heatmaps": [1, model.spec.num_joints, *model.spec.heatmap_hw],
        "stages": rows,
        "budget": budget,
        "training_images": images,
        "to_fetch": [s.location for s in sources if s is not None and not is_here(s)],
        "notes": notes,
        "lint": lines(lint_plan(recipe, targets, model, network)),
        "targets": [
            {
                "target": t.name,
                "runtime": t.runtime,
                "precision": t.precision,
                "planned_bytes": planned_bytes(shapes, runtime=t.runtime, precision=t.precision),
            }
            for t in targets
        ],
    }


def _data(recipe: Recipe) -> tuple[dict[str, PoseDataset], list[Path]]:
    """The data set of each split, and the paths that are not on this machine."""
    config = recipe.data.config
    not_here = missing_paths(config)
    for pictures in unlabelled_of(recipe).values():
        not_here += [path for path in missing_paths(pictures) if path not in not_here]
    if not_here and recipe.student.skeleton is not None:
        stand_in = NotHere(skeleton(recipe.student.skeleton))
        return {split: stand_in for split in SPLITS}, not_here
    module = registry.sources().module(recipe.data.source)
    data = {split: module.open_split(config, split) for split in SPLITS}
    check_splits(data)
    check_metric(recipe, data["val"])
    return data, []


def _shape(arch: str, spec: ModelSpec) -> torch.nn.Module:
    """A network of `arch` for the joints of `spec`, without its weights where they cost memory."""
    if is_own(arch):
        wanted = ModelSpec(arch, spec.num_joints, spec.input_hw, spec.skeleton)
        return PoseModel.fresh(wanted, seed=0).module()
    with torch.device("meta"):
        return build(arch, num_joints=spec.num_joints)


def _row(name: str, arch: str, network: Any, model: PoseModel, config: Any) -> dict[str, Any]:
    steps = config.steps if isinstance(config, FitConfig) else None
    return {
        "stage": name,
        "arch": arch,
        "params": None if network is None else sum(p.numel() for p in network.parameters()),
        "macs": None if network is None else count_macs(network, input_hw=model.spec.input_hw),
        "steps": steps,
        "images": None if steps is None else steps * config.batch_size,
    }


def plan_text(plan: dict[str, Any]) -> str:
    """The plan for a terminal of 80 columns."""
    text = [
        f"recipe {plan['recipe']}:",
        "  nothing is wrong with it, nothing was trained",
        "",
        *_data_lines(plan["data"]),
        f"input    {tuple(plan['input'])}   heatmaps {tuple(plan['heatmaps'])}"
        + ("" if plan["coding"] == "standard" else f", {plan['coding']} coding"),
        "",
        f"{'stage':<10} {'network':<11} {'parameters':>12} {'GMAC':>8} {'steps':>7} {'images':>9}",
    ]
    for row in plan["stages"]:
        steps = "-" if row["steps"] is None else f"{row['steps']:,}"
        images = "-" if row["images"] is None else f"{row['images']:,}"
        params = "-" if row["params"] is None else f"{row['params']:,}"
        gmac = "-" if row["macs"] is None else f"{row['macs'] / 1e9:.3f}"
        name = row["arch"].rpartition(":")[2][:11] or "-"
        text.append(f"{row['stage']:<10} {name:<11} {params:>12} {gmac:>8} {steps:>7} {images:>9}")
    for location in plan["to_fetch"]:
        source = Source(location)
        text += [f"will be fetched from {source.host}:", f"  {source.name}"]
    if plan["budget"] is not None:
        text += textwrap.wrap(f"prune    {plan['budget']['text']}", 80, subsequent_indent=" " * 9)
        if plan["budget"]["origin"]:
            text += textwrap.wrap(plan["budget"]["origin"], 80, subsequent_indent="  ")
    for note in plan["notes"]:
        text += textwrap.wrap(f"note: {note}", 80, subsequent_indent="  ")
    if plan["targets"]:
        text += ["", f"{'target':<18} {'runtime':<12} {'precision':<10} {'planned size':>13}"]
        text += [
            f"{t['target']:<18} {t['runtime']:<12} {t['precision']:<10} "
            f"{t['planned_bytes'] / 1e6:>10.2f} MB"
            for t in plan["targets"]
        ]
        text.append("planned sizes are estimates from weight shapes; the run measures the files")
    if plan["lint"]:
        text.append("")
        for line in plan["lint"]:
            indent = " " * (len(line) - len(line.lstrip()) + 2)
            text += textwrap.wrap(line, 80, subsequent_indent=indent)
    return "\n".join(text)


def _data_lines(data: dict[str, Any]) -> list[str]:
    if data["not_here"]:
        first, rest = data["not_here"][0], len(data["not_here"]) - 1
        more = f" ({rest} more paths are missing)" if rest else ""
        return [
            f"data not here: {first};",
            f"  shapes and sizes below do not depend on it{more}",
        ]
    lines = [
        f"data     {data['source']}: {data['train']} train, {data['val']} validation, "
        f"{data['calibration']} calibration"
    ]
    for stage, people in data["unlabelled"].items():
        lines.append(f"         {stage}: {people} people without labels as well")
    return lines
