"""Lint before training: the plan of a recipe against its targets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch import nn

from edgepose import api
from edgepose.backends.lint.findings import Finding
from edgepose.backends.lint.planned import lint_planned
from edgepose.cli import main
from edgepose.errors import EdgeposeError
from edgepose.models import build
from edgepose.models.pose_model import ModelSpec, PoseModel
from edgepose.preflight import check_plan
from edgepose.stages.export import Config
from edgepose.target import Target, load_target
from tests.networks import SHORT

XAVIER = load_target("jetson-xavier")
RECIPE = """\
version: 1
name: tiny
data: {source: synthetic, train: 40, val: 8, calibration: 40, frame_px: 64}
student: {arch: resnet18, input_hw: [32, 32]}
stages:
  prune: {steps: 1, batch_size: 2, ratio: 0.5, round_to: 8, mixed_precision: "no"}
  quantize: {}
  export: {targets: [jetson-xavier]}
"""


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPOSE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(RECIPE)
    return path


def plan(network: nn.Module, *targets: Target) -> list[Finding]:
    return lint_planned(network, targets, input_hw=(32, 32), static=True)


def test_the_default_network_is_clean_for_every_target() -> None:
    targets = [load_target(n) for n in ("jetson-xavier", "coreml-ios17", "onnx-android", "host")]
    assert plan(build("resnet18", num_joints=16), *targets) == []


class Gated(nn.Module):
    """A small network with what a user may add: SiLU, attention, an average pool, a smooth resize."""

    def __init__(self, channels: int = 32) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, channels, 3, padding=1)
        self.silu = nn.SiLU()
        self.middle = nn.Conv2d(channels, channels, 3, padding=1)
        self.gate = nn.Conv2d(channels, 1, 1)
        self.after = nn.Conv2d(channels, channels, 3, padding=1)
        self.head = nn.Conv2d(channels, 16, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.middle(self.silu(self.stem(x)))
        x = self.after(x * torch.sigmoid(self.gate(x)))
        x = nn.functional.interpolate(x, scale_factor=2.0, mode="bilinear")
        heatmaps: torch.Tensor = self.head(x)
        return heatmaps


def test_operators_that_will_be_float_islands_are_named_by_module() -> None:
    findings = plan(Gated(), XAVIER)
    islands = {f.node for f in findings if f.rule == "float-island"}
    assert {"silu", "stem"} <= islands
    assert "head" not in islands
    assert [f.rule for f in findings if "Resize" in f.reason] == ["int8-operator"]
    assert {f.file for f in findings} == {"jetson-xavier"}


@pytest.mark.parametrize(("channels", "level"), [(20, "warning"), (24, "note"), (32, None)])
def test_planned_channels(channels: int, level: str | None) -> None:
    found = [f for f in plan(Gated(channels), XAVIER) if f.rule == "channels"]
    assert {f.level for f in found if f.node != "gate"} == ({level} if level else set())
    assert [f.reason[:15] for f in found if f.node == "gate"] == ["1 INT8 channels"]


@pytest.mark.parametrize(
    ("name", "override", "rule"),
    [
        ("jetson-xavier", "opset=16", "opset"),
        ("jetson-xavier", "limits.dla=true", "dla-qdq"),
        ("jetson-xavier", "limits.operators=[Conv, Relu]", "operator"),
        ("coreml-ios17", "minimum_os=iOS15", "minimum-os"),
        ("onnx-android", "opset=15", "opset"),
    ],
)
def test_targets_that_cannot_take_the_plan(name: str, override: str, rule: str) -> None:
    target = load_target(name, overrides=[override])
    assert rule in {f.rule for f in plan(build("resnet18", num_joints=16), target)}


def run(*words: object) -> Any:
    return CliRunner().invoke(main, [str(word) for word in words])


def test_a_recipe_is_linted_and_compress_stops_before_training(
    recipe: Path, tmp_path: Path
) -> None:
    clean = run("lint", "--recipe", recipe)
    assert clean.exit_code == 0, clean.output
    mine = tmp_path / "mine.yaml"
    mine.write_text("version: 1\nextends: jetson-xavier\nlimits: {dla: true}\n")
    recipe.write_text(RECIPE.replace("[jetson-xavier]", f"['{mine}']"))
    result = run("lint", "--recipe", recipe, "--json")
    assert result.exit_code == 1, result.output
    (finding,) = [f for f in json.loads(result.output)["findings"] if f["level"] == "error"]
    assert (finding["rule"], finding["file"]) == ("dla-qdq", "mine")
    stopped = run("compress", "--recipe", recipe, "--out", tmp_path / "out")
    assert stopped.exit_code == 2
    assert "dla-qdq" in stopped.output
    assert "nothing was trained" in stopped.output
    assert not list((tmp_path / "out").rglob("model.json"))


@pytest.mark.slow
def test_a_whole_run_tells_warnings_and_the_export_obeys_allow_lint(
    recipe: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text(
        "version: 1\nextends: jetson-xavier\nlimits: {ir_version: 7}\nforms: []\nextra_precisions: []\n"
    )
    told: list[str] = []
    over = [
        f"student.arch={SHORT}",
        f"stages.export.targets=['{mine}']", "stages.prune.round_to=4", "stages.prune.ratio=0.7",
        "stages.export.max_off_share=1", "stages.export.max_shift_px=100",
    ]  # fmt: skip
    with pytest.raises(EdgeposeError, match="breaks its limits") as error:
        api.compress(recipe, overrides=over, out=tmp_path / "out", warn=told.append)
    assert "IR version 8; mine reads 7 at most" in error.value.problem
    assert any("channels" in line for line in told)
    assert not list((tmp_path / "out").rglob("artifacts"))
    assert not list((tmp_path / "out").rglob("report.json"))
    allowed = [*over, "stages.export.allow_lint=[ir-version]"]
    folder = api.compress(recipe, overrides=allowed, out=tmp_path / "out", warn=told.append)
    assert any("IR version 8" in line for line in told)
    assert (folder / "artifacts" / "mine" / "artifact.json").exists()


def test_warnings_are_told_before_training_and_stop_nothing(recipe: Path) -> None:
    read = api.read_recipe(recipe, ["stages.prune.round_to=4", "stages.prune.ratio=0.7"])
    spec = ModelSpec(arch="resnet18", num_joints=16, input_hw=(32, 32), skeleton="mpii16")
    told: list[str] = []
    check_plan(read, (XAVIER,), PoseModel.fresh(spec, seed=0), warn=told.append)
    (line,) = told
    assert line.startswith("jetson-xavier: channels: layer2.0.conv1: 36 INT8 channels")
    assert line.endswith("more); fix: prune with round_to: 32 (or 8)")


def test_unknown_rules_and_empty_recipes_are_refused(recipe: Path) -> None:
    with pytest.raises(ValueError, match="no lint rule 'opsett'"):
        Config(targets=("host",), allow_lint=("opsett",))
    recipe.write_text(RECIPE.split("  export")[0])
    result = run("lint", "--recipe", recipe)
    assert result.exit_code == 2
    assert "exports nothing" in result.output
