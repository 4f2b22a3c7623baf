"""`compress --dry-run`: everything that can be known without training."""

from __future__ import annotations

from typing import Any

from edgepose import registry
from edgepose.cost import count_macs, planned_bytes
from edgepose.data.base import SPLITS
from edgepose.inputs import check_fits, check_metric, check_splits, check_stages, start_model
from edgepose.models import build
from edgepose.models.pose_model import PoseModel
from edgepose.recipe import Recipe
from edgepose.stages.prune import prune_channels, ratio_for_size
from edgepose.target import load_target
from edgepose.train.config import FitConfig


def make_plan(recipe: Recipe) -> dict[str, Any]:
    """Data counts, shapes, parameters, MACs and planned file sizes of every stage; JSON values.

    Opens data and checkpoints, solves the pruning ratio for the size budget, trains nothing.
    """
    module = registry.sources().module(recipe.data.source)
    data = {split: module.open_split(recipe.data.config, split) for split in SPLITS}
    check_splits(data)
    check_metric(recipe, data["val"])
    model = start_model(recipe, data["train"])
    export_config: Any = recipe.stage("export")
    targets = tuple(load_target(t) for t in export_config.targets) if export_config else ()
    check_stages(recipe, targets, model, data["calibration"])
    network = model.module()
    rows: list[dict[str, Any]] = []
    images = 0
    if recipe.teacher is not None:
        arch = recipe.teacher.arch
        if recipe.teacher.checkpoint is not None:
            teacher = PoseModel.load(recipe.teacher.checkpoint)
            check_fits(teacher, data["train"], what="teacher")
            arch, teacher_network = teacher.spec.arch, teacher.module()
        else:
            teacher_network = build(arch or "", num_joints=model.spec.num_joints)
        rows.append(_row("teacher", arch or "", teacher_network, model, recipe.teacher.train))
    for stage in recipe.stages:
        if stage.name == "prune":
            config: Any = stage.config
            size = None if recipe.budget is None else recipe.budget.size_mb
            ratio = config.ratio
            if ratio is None and size is not None:
                ratio = ratio_for_size(
                    network,
                    size_bytes=round(size * 1e6),
                    targets=targets,
                    round_to=config.round_to,
                    input_hw=model.spec.input_hw,
                )
            if ratio:
                network = prune_channels(
                    network, ratio=ratio, round_to=config.round_to, input_hw=model.spec.input_hw
                )
        rows.append(_row(stage.name, recipe.student.arch, network, model, stage.config))
    shapes = {key: value.shape for key, value in network.state_dict().items()}
    images = sum(row["images"] or 0 for row in rows)
    return {
        "recipe": recipe.name,
        "data": {"source": recipe.data.source, **{s: len(d) for s, d in data.items()}},
        "input": [1, 3, *model.spec.input_hw],
        "heatmaps": [1, model.spec.num_joints, *model.spec.heatmap_hw],
        "stages": rows,
        "training_images": images,
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


def _row(name: str, arch: str, network: Any, model: PoseModel, config: Any) -> dict[str, Any]:
    steps = config.steps if isinstance(config, FitConfig) else None
    return {
        "stage": name,
        "arch": arch,
        "params": sum(p.numel() for p in network.parameters()),
        "macs": count_macs(network, input_hw=model.spec.input_hw),
        "steps": steps,
        "images": None if steps is None else steps * config.batch_size,
    }


def plan_text(plan: dict[str, Any]) -> str:
    """The plan for a terminal of 80 columns."""
    data = plan["data"]
    lines = [
        f"recipe {plan['recipe']}: nothing is wrong with it, nothing was trained",
        "",
        f"data     {data['source']}: {data['train']} train, {data['val']} validation, "
        f"{data['calibration']} calibration",
        f"input    {tuple(plan['input'])}   heatmaps {tuple(plan['heatmaps'])}",
        "",
        f"{'stage':<10} {'network':<11} {'parameters':>12} {'GMAC':>8} {'steps':>7} {'images':>9}",
    ]
    for row in plan["stages"]:
        steps = "-" if row["steps"] is None else f"{row['steps']:,}"
        images = "-" if row["images"] is None else f"{row['images']:,}"
        lines.append(
            f"{row['stage']:<10} {row['arch']:<11} {row['params']:>12,} {row['macs'] / 1e9:>8.3f} "
            f"{steps:>7} {images:>9}"
        )
    if plan["targets"]:
        lines += ["", f"{'target':<16} {'runtime':<12} {'precision':<10} {'planned size':>13}"]
        lines += [
            f"{t['target']:<16} {t['runtime']:<12} {t['precision']:<10} "
            f"{t['planned_bytes'] / 1e6:>10.2f} MB"
            for t in plan["targets"]
        ]
        lines.append("planned sizes are estimates from weight shapes; the run measures the files")
    return "\n".join(lines)
