"""`edgepose lint --recipe`, and what `compress` looks at before it trains: the planned network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from edgepose import registry
from edgepose.backends.lint.findings import Finding, errors, lines, warnings
from edgepose.backends.lint.planned import lint_planned
from edgepose.data.base import SPLITS
from edgepose.errors import EdgeposeError
from edgepose.inputs import check_stages, start_model
from edgepose.models.pose_model import PoseModel
from edgepose.recipe import Recipe
from edgepose.recipe_sections import Budget
from edgepose.stages.prune import narrow
from edgepose.target import Target, load_target


def planned_network(recipe: Recipe, targets: tuple[Target, ...], start: PoseModel) -> nn.Module:
    """The network that the stages will leave: `start` with the widths that pruning will choose.

    A checkpoint's or random weights: which channels go depends on training, how many does not.
    """
    network = start.module()
    for stage in recipe.stages:
        if stage.name != "prune":
            continue
        config: Any = stage.config
        budget, hw = recipe.budget or Budget(), start.spec.input_hw
        network, _ = narrow(network, config, budget=budget, targets=targets, input_hw=hw)
    return network


def lint_plan(
    recipe: Recipe,
    targets: tuple[Target, ...],
    start: PoseModel,
    network: nn.Module | None = None,
) -> list[Finding]:
    """Findings about what a recipe will export; `network`: its `planned_network`, if at hand."""
    if not targets:
        return []
    modes = [getattr(s.config, "mode", "static") for s in recipe.stages if s.name == "quantize"]
    return lint_planned(
        planned_network(recipe, targets, start) if network is None else network,
        targets,
        input_hw=start.spec.input_hw,
        static=set(modes) <= {"static"},
        float_layers=[
            name for s in recipe.stages for name in getattr(s.config, "float_layers", ())
        ],
    )


def check_plan(
    recipe: Recipe, targets: tuple[Target, ...], start: PoseModel, *, warn: Callable[[str], None]
) -> None:
    """Raise EdgeposeError with the plan's errors that the export stage does not allow; tell warnings."""
    export: Any = recipe.stage("export")
    if export is None:
        return
    findings = lint_plan(recipe, targets, start)
    bad = [f for f in errors(findings) if f.rule not in export.allow_lint]
    if bad:
        raise EdgeposeError(
            "the plan breaks its targets' limits; nothing was trained\n" + "\n".join(lines(bad)),
            fix="change the recipe or the target as said, or name the rules in "
            "stages.export.allow_lint",
        )
    for line in warnings(findings):
        warn(line)


def lint_recipe(recipe: Recipe, *, warn: Callable[[str], None]) -> list[Finding]:
    """Findings about a recipe's exports. Opens data and checkpoints, trains and fetches nothing."""
    export: Any = recipe.stage("export")
    if export is None:
        raise EdgeposeError(
            f"recipe {recipe.name} exports nothing, so no target has a say",
            fix="add stages.export.targets, or lint a recipe that exports",
        )
    targets = tuple(load_target(name) for name in export.targets)
    module = registry.sources().module(recipe.data.source)
    data = {split: module.open_split(recipe.data.config, split) for split in SPLITS}
    start = start_model(recipe, data["train"], warn=warn, fetch=False)
    check_stages(recipe, targets, start, data["calibration"])
    return lint_plan(recipe, targets, start)
