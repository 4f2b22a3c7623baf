"""Every recipe in the repository can be planned, and the default keeps its promises."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgepose.api import read_recipe
from edgepose.plan import make_plan, plan_text

RECIPES = sorted((Path(__file__).resolve().parents[1] / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_recipe_passes_a_dry_run(path: Path) -> None:
    recipe = read_recipe(path)
    assert recipe.name == path.stem
    assert recipe.description
    plan = make_plan(recipe)
    assert [row["stage"] for row in plan["stages"] if row["stage"] != "teacher"] == [
        stage.name for stage in recipe.stages
    ]
    if recipe.budget is not None and recipe.budget.size_mb is not None:
        assert max(t["planned_bytes"] for t in plan["targets"]) <= recipe.budget.size_mb * 1e6
    assert all(len(line) <= 80 for line in plan_text(plan).splitlines())


def test_the_default_exports_for_every_device() -> None:
    recipe = read_recipe("resnet18_5mb")
    assert recipe.budget is not None
    assert recipe.budget.size_mb == 5.0
    targets = set(recipe.stage("export").targets)  # type: ignore[union-attr]
    assert {"jetson-xavier", "coreml-ios17", "onnx-android", "host"} <= targets
