"""Every recipe in the repository can be planned, and the default keeps its promises."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgepose.api import read_recipe
from edgepose.device.files import sha256_file
from edgepose.errors import EdgeposeError
from edgepose.models.pose_model import PoseModel
from edgepose.plan import make_plan, plan_text
from edgepose.run_report import portable
from edgepose.target import load_target

FOLDER = Path(__file__).resolve().parents[1] / "recipes"
RECIPES = sorted(FOLDER.glob("*.yaml"))


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


@pytest.mark.parametrize("name", ["resnet18_5mb_coco", "resnet18_5mb_mpii"])
def test_the_real_recipes_pin_what_they_fetch(name: str) -> None:
    recipe = read_recipe(name)
    assert recipe.teacher is not None
    for source in (recipe.teacher.source, recipe.student.source):
        assert source is not None
        assert source.location.startswith("https://")
        assert source.expected is not None
        assert len(source.expected) == 8
    assert recipe.teacher.arch == "hrnet_w48"
    assert recipe.budget is not None
    assert recipe.budget.size_mb == 5.0


def test_a_plan_without_the_data_says_so_and_names_no_counts() -> None:
    recipe = read_recipe("jetson_hrnet_w32_fp16", ["data.images=nowhere/train2017"])
    plan = make_plan(recipe)
    assert "nowhere/train2017" in plan["data"]["not_here"]
    assert "train" not in plan["data"]
    text = plan_text(plan)
    assert "data not here: " in text
    assert "shapes and sizes below do not depend on it" in text
    assert plan["stages"][0]["params"] == 28_536_080 + 33  # one joint more than at 16
    (target,) = plan["targets"]
    assert (target["target"], target["precision"]) == ("jetson-xavier-fp16", "fp16")
    assert load_target("jetson-xavier-fp16").hardware == load_target("jetson-xavier").hardware
    # Without a skeleton in the recipe the data decide the shapes, and must be there.
    words = ["data.images=nowhere/train2017", "student.skeleton=null"]
    with pytest.raises(EdgeposeError, match="no image folder at nowhere/train2017"):
        make_plan(read_recipe("jetson_hrnet_w32_fp16", words))


def test_the_default_exports_for_every_device() -> None:
    recipe = read_recipe("resnet18_5mb")
    assert recipe.budget is not None
    assert recipe.budget.size_mb == 5.0
    targets = set(recipe.stage("export").targets)  # type: ignore[union-attr]
    assert {"jetson-xavier", "coreml-ios17", "onnx-android", "host"} <= targets


WEIGHTS = FOLDER / "weights"


def test_the_embedded_weights_are_whole_small_and_have_a_card() -> None:
    folders = [path.parent for path in WEIGHTS.glob("*/model.json")]
    assert [folder.name for folder in folders] == ["resnet18_synthetic"]
    assert sum(p.stat().st_size for p in WEIGHTS.rglob("*") if p.is_file()) <= 40_000_000
    for folder in folders:
        model, card = PoseModel.load(folder), (folder / "MODEL_CARD.md").read_text()
        assert model.spec.quant is None
        assert model.spec.form == "train"
        for said in (model.sha256, sha256_file(folder / "model.safetensors")):
            assert said in card
        assert "Pipeline demonstration on rendered people, not for products." in card


def test_the_default_starts_from_the_embedded_network_and_learns_from_it() -> None:
    recipe = read_recipe("resnet18_5mb")
    assert recipe.teacher is not None
    assert recipe.student.checkpoint == recipe.teacher.checkpoint
    assert Path(str(recipe.student.checkpoint)).parent == WEIGHTS


def test_what_a_report_keeps_of_a_recipe_names_no_folder_of_this_machine(tmp_path: Path) -> None:
    found = portable(read_recipe("resnet18_5mb").resolved)
    assert found["student"]["checkpoint"] == "weights/resnet18_synthetic"
    assert found["stages"]["qat"]["calibration"] == "../calib_data"
    assert str(Path.cwd()) not in json.dumps(found)
    own = {"student": {"checkpoint": str(tmp_path / "my.pth")}, "layers": ["conv1", 3, None]}
    assert portable(own) == own
