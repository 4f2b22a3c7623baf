"""The command line as a user meets it: help, and one clear message for bad input."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from edgepose.cli import main

COMMANDS = ["compress", "bundle", "bench", "train", "eval", "report", "predict", "targets", "data"]
RECIPE = """\
version: 1
name: tiny
data: {source: synthetic, train: 40, val: 8, calibration: 40, frame_px: 64}
student: {arch: resnet18, input_hw: [32, 32]}
stages:
  train: {steps: 1, batch_size: 2, mixed_precision: "no"}
"""


QUICK = RECIPE.replace("resnet18", '"tests.networks:Short"')


def run(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def refused(result: Result, *parts: str) -> None:
    """Exit code 2, the problem and a fix, no traceback."""
    assert result.exit_code == 2, result.output
    assert "fix:" in result.output
    assert "Traceback" not in result.output
    for part in parts:
        assert part in result.output


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPOSE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a network was trained for one step."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "tiny.yaml").write_text(QUICK)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEPOSE_CACHE", str(folder / "cache"))
        result = run("train", "--recipe", folder / "tiny.yaml", "--out", folder / "reports")
    assert result.exit_code == 0, result.output
    return folder / "reports"


def test_help_lists_every_command() -> None:
    result = run("-h")
    assert result.exit_code == 0
    for command in COMMANDS:
        assert command in result.output
    assert "..." not in result.output.replace("COMMAND [ARGS]...", ""), "a description was cut"


@pytest.mark.parametrize(
    "command", [[c] for c in COMMANDS if c != "data"] + [["data", "preview"], ["data", "inspect"]]
)
def test_every_command_has_help_and_an_example(command: list[str]) -> None:
    result = run(*command, "-h")
    assert result.exit_code == 0
    assert "Example:" in result.output
    assert f"edgepose {' '.join(command)}" in result.output


def test_start_up_imports_nothing_heavy() -> None:
    code = (
        "import sys, edgepose, edgepose.cli, edgepose.recipe, edgepose.target\n"
        "print(sorted({m.split('.')[0] for m in sys.modules} & "
        "{'torch', 'onnx', 'onnxruntime', 'coremltools', 'cv2', 'matplotlib', 'jinja2'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_targets_are_listed_also_as_json() -> None:
    names = {"jetson-xavier", "coreml-ios17", "onnx-android", "host"}
    assert all(name in run("targets").output for name in names)
    assert {entry["name"] for entry in json.loads(run("targets", "--json").output)} >= names


def test_train_writes_a_run_and_the_same_once_more(reports: Path) -> None:
    latest = reports / "tiny" / "latest"
    report = json.loads((latest / "report.json").read_text())
    assert [row["name"] for row in report["stages"]] == ["train"]
    assert (latest / "waterfall.png").stat().st_size > 5000
    assert "people.npz is not" not in (latest / "report.html").read_text()
    assert "pckh@0.5" in report["stages"][0]["metrics"]
    recipe = reports.with_name("tiny.yaml")
    again = run("train", "--recipe", recipe, "--out", reports, "--json")
    assert (
        json.loads(again.stdout)["stages"][0]["weights_sha256"]
        == (report["stages"][0]["weights_sha256"])
    )


def test_dry_run_prints_the_plan_and_writes_nothing(recipe: Path, tmp_path: Path) -> None:
    result = run("compress", "--recipe", recipe, "--dry-run", "--out", tmp_path / "reports")
    assert result.exit_code == 0, result.output
    assert "15,376,464" in result.output
    assert not (tmp_path / "reports").exists()


@pytest.mark.parametrize(
    ("edit", "parts"),
    [
        (("steps: 1", "stesp: 1"), ["tiny.yaml:6", "did you mean 'steps'"]),
        (("[32, 32]", "[33, 32]"), ["multiples of 32"]),
        (("resnet18", "resnet19"), ["resnet19"]),
        (("version: 1", "version: 7"), ["version"]),
        (("stages:", "stages: ["), ["not valid YAML"]),
        (("source: synthetic", "source: synthetik"), ["did you mean 'synthetic'"]),
        (("32]}", "32], checkpoint: nowhere}"), ["nowhere"]),
    ],
)
def test_a_bad_recipe_is_explained(recipe: Path, edit: tuple[str, str], parts: list[str]) -> None:
    recipe.write_text(RECIPE.replace(*edit))
    refused(run("compress", "--recipe", recipe), *parts)


def test_a_pickled_checkpoint_is_refused_and_not_run(recipe: Path, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {tmp_path / 'owned'}",)

    (tmp_path / "evil.pth").write_bytes(pickle.dumps(Evil()))
    recipe.write_text(RECIPE.replace("32]}", "32], checkpoint: evil.pth}"))
    refused(run("compress", "--recipe", recipe, "--out", tmp_path / "r"), "pickled")
    assert not (tmp_path / "owned").exists()


def test_a_size_that_cannot_be_met_names_the_closest(recipe: Path, tmp_path: Path) -> None:
    recipe.write_text(
        RECIPE
        + "  prune: {steps: 1}\n  quantize: {}\n  export: {targets: [host]}\nbudget: {size_mb: 0.01}\n"
    )
    refused(run("compress", "--recipe", recipe, "--dry-run"), "0.01 MB cannot be met", "size_mb to")


def test_a_disk_that_is_full_leaves_no_run(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe.write_text(QUICK)
    assert run("train", "--recipe", recipe, "--out", tmp_path / "warm").exit_code == 0
    real = os.fsync

    def full(descriptor: int) -> None:
        real(descriptor)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    refused(run("train", "--recipe", recipe, "--out", tmp_path / "r"), "No space left")
    assert not list((tmp_path / "r").rglob("report.json"))
    assert not list((tmp_path / "r").rglob("model.json"))


def test_bench_without_a_run_says_what_to_do(tmp_path: Path) -> None:
    refused(run("bench", "--target", "host", "--out", tmp_path), "no finished run")


@pytest.mark.parametrize("target", ["jetson-xavierr", "nowhere.yaml"])
def test_an_unknown_target_is_refused(target: str, tmp_path: Path) -> None:
    refused(run("bench", "--target", target, "--out", tmp_path), target)


def test_eval_of_something_else_is_refused(tmp_path: Path) -> None:
    refused(run("eval", tmp_path), str(tmp_path))
    refused(run("eval", tmp_path / "missing"), "missing")


@pytest.mark.parametrize(
    "content",
    [b"", b"not an image", b"\x89PNG\r\n\x1a\n", "tiny"],
    ids=["empty", "text", "cut", "1x1"],
)
def test_predict_refuses_what_is_no_photograph(
    tmp_path: Path, content: bytes | str, reports: Path
) -> None:
    image = tmp_path / "photo.png"
    if isinstance(content, bytes):
        image.write_bytes(content)
    else:
        cv2.imwrite(str(image), np.zeros((1, 1, 3), np.uint8))
    model = reports / "tiny" / "latest" / "model"
    refused(run("predict", image, "--artifact", model, "--to", tmp_path / "p"), "photo.png")
    assert not list(tmp_path.glob("p/*.png"))


def test_predict_draws_and_writes_coco_results(reports: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "photo.png"), np.full((60, 80, 3), 127, np.uint8))
    model = reports / "tiny" / "latest" / "model"
    result = run(
        "predict", tmp_path / "photo.png", "--artifact", model, "--box", "10,5,40,50",
        "--to", tmp_path / "p",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert (tmp_path / "p" / "photo.png").exists()
    (entry,) = json.loads((tmp_path / "p" / "predictions.json").read_text())
    assert len(entry["keypoints"]) == 16 * 3
    refused(
        run("predict", tmp_path / "photo.png", "--artifact", model, "--box", "1,2,3"), "not a box"
    )
