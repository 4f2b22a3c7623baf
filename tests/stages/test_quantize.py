"""`quantize:` and `qat:` through the command line: what they take, what they refuse, what is kept."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import save_file

from edgepose.cli import main
from edgepose.models.pose_model import ModelSpec, PoseModel

NETS = Path(__file__).parent.parent / "quant" / "nets"
RECIPE = """\
version: 1
name: tiny
data: {source: synthetic, train: 8, val: 4, calibration: 32, frame_px: 64}
student: {arch: "quant_nets:basic", input_hw: [32, 32], checkpoint: start.safetensors}
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _surroundings(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(NETS))
    monkeypatch.setenv("EDGEPOSE_CACHE", str(cache))
    save_file(network().tensors, tmp_path / "start.safetensors")


def network() -> PoseModel:
    return PoseModel.fresh(ModelSpec("quant_nets:basic", 16, (32, 32), "mpii16"), seed=1)


def compress(folder: Path, stages: str, *words: str) -> Result:
    path = folder / "tiny.yaml"
    path.write_text(f"{RECIPE}stages: {stages}\n")
    arguments = ["compress", "--recipe", path, "--out", folder / "out", *words]
    return CliRunner().invoke(main, [str(word) for word in arguments])


def refused(result: Result, *parts: str) -> None:
    assert result.exit_code == 2, result.output
    assert "fix:" in result.output
    assert "Traceback" not in result.output
    for part in parts:
        assert part in " ".join(result.output.split()), result.output


def test_pictures_of_one_colour_stop_the_run_and_the_last_good_stage_is_kept(
    tmp_path: Path,
) -> None:
    (tmp_path / "grey").mkdir()
    for i in range(32):
        cv2.imwrite(str(tmp_path / "grey" / f"{i}.png"), np.full((40, 40, 3), i, np.uint8))
    stages = "{train: {steps: 1, batch_size: 4}, quantize: {calibration: %s}}"
    refused(compress(tmp_path, stages % "grey"), "32 of 32 images", "are of one colour")
    models = sorted((tmp_path / "out").rglob("model.json"))
    assert len(models) == 1
    assert json.loads(models[0].read_text())["spec"]["form"] == "train"
    written = models[0].stat().st_mtime_ns
    assert not (tmp_path / "out" / "tiny" / "latest").exists()

    again = compress(tmp_path, stages % "null", "--json")
    assert again.exit_code == 0, again.output
    assert models[0].stat().st_mtime_ns == written, "the training was not run twice"
    assert [s["name"] for s in json.loads(again.stdout)["stages"]] == ["train", "quantize"]


@pytest.mark.parametrize(
    ("key", "value", "stage", "parts"),
    [
        (
            "bias",
            -1e6,
            "quantize: {}",
            ["layer1.0.relu1 were all zero", "before this stage is kept"],
        ),
        ("weight", 3e38, "qat: {steps: 1}", ["of layer1.0.bn1 are not finite", "checkpoint"]),
    ],
)
def test_dead_and_infinite_layers_are_named(
    tmp_path: Path, key: str, value: float, stage: str, parts: list[str]
) -> None:
    tensors = network().tensors
    tensors[f"layer1.0.bn1.{key}"] = torch.full_like(tensors[f"layer1.0.bn1.{key}"], value)
    save_file(tensors, tmp_path / "start.safetensors")
    refused(compress(tmp_path, "{" + stage + "}"), *parts)
    assert not list((tmp_path / "out").rglob("model.json"))


@pytest.mark.parametrize(
    ("stages", "parts"),
    [
        (
            "{quantize: {mode: weights}, export: {targets: [host, jetson-xavier]}}",
            ["TensorRT 8.5 has no INT8 weights", "jetson-xavier cannot execute it", "mode: static"],
        ),
        ("{quantize: {calibration_method: histogram}}", ["'minmax'", "'entropy'", "'mse'"]),
        ("{quantize: {mode: weights, equalize: true}}", ["mode: static"]),
        ("{qat: {steps: 1, freeze_batch_norm_at: 1.5}}", ["freeze_batch_norm_at"]),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_runs(
    tmp_path: Path, stages: str, parts: list[str]
) -> None:
    refused(compress(tmp_path, stages, "--dry-run"), *parts)


def test_weights_alone_are_exported_and_scored(tmp_path: Path) -> None:
    stages = "{quantize: {mode: weights}, export: {targets: [host], allow_mismatch: true}}"
    result = compress(tmp_path, stages, "--json")
    assert result.exit_code == 0, result.output
    latest = tmp_path / "out" / "tiny" / "latest"
    manifest = json.loads((latest / "artifacts" / "host" / "artifact.json").read_text())
    assert manifest["provenance"]["quantization"]["mode"] == "weight_only"


def test_training_with_live_norms_inner_heads_and_a_float_head(tmp_path: Path) -> None:
    stages = (
        "{qat: {steps: 4, batch_size: 4, ema: 0.5, freeze_batch_norm_at: 0.5, freeze_observers_at: 0.75, "
        "head: float, supervision: {layers: [layer1]}}, quantize: {}}"
    )
    result = compress(tmp_path, stages, "--json")
    assert result.exit_code == 0, result.output
    model = PoseModel.load(tmp_path / "out" / "tiny" / "latest" / "model")
    assert model.spec.quant is not None
    assert (model.spec.quant.source, model.spec.quant.precision) == (
        "qat",
        {"final_layer": "float"},
    )
    [_, qat, _] = json.loads(result.stdout)["stages"]
    assert qat["name"] == "qat"
