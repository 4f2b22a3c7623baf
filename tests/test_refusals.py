"""What cannot end well is refused before anything is trained, with one message and its fix."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from edgepose import api
from edgepose.cli import main
from edgepose.device.artifact_words import MANIFEST_NAME
from edgepose.models.pose_model import PoseModel
from edgepose.quant.graph import deploy_form
from tests.networks import short

RECIPE = """\
version: 1
name: tiny
data: {source: synthetic, train: 8, val: 4, calibration: 8, frame_px: 64}
student: {arch: "tests.networks:Short", input_hw: [32, 32]}
"""
MODEL = short((32, 32))


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPOSE_CACHE", str(tmp_path / "cache"))


def run(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def refused(result: Result, *parts: str) -> None:
    """Exit code 2, the problem and a fix, no traceback."""
    assert result.exit_code == 2, result.output
    assert "fix:" in result.output
    for part in parts:
        assert part in result.output


def dry_run(tmp_path: Path, text: str) -> Result:
    path = tmp_path / "tiny.yaml"
    path.write_text(text)
    return run("compress", "--recipe", path, "--dry-run")


@pytest.mark.parametrize(
    ("stages", "parts"),
    [
        ("{export: {targets: [host]}}", ["host takes INT8", "stages.quantize"]),
        (
            "{quantize: {mode: dynamic}, export: {targets: [host, jetson-xavier]}}",
            ["jetson-xavier cannot execute it", "mode: static"],
        ),
        (
            "{prune: {steps: 1}, quantize: {}, export: {targets: [host]}}",
            ["neither a ratio nor a size budget"],
        ),
        ("{prune: {steps: 1}}\nbudget: {size_mb: 5}", ["no stage exports", "prune.ratio"]),
        ("{train: {steps: 1}, qat: {steps: 1}}", ["qat has 8 calibration images", "need 32"]),
        ("{train: {steps: 1}, quantize: {}}", ["quantize has 8", "data.calibration"]),
        ("{train: {steps: 1}}\nmetric: oks_ap", ["oks_ap", "metric: pckh"]),
    ],
)
def test_a_recipe_that_a_later_stage_would_refuse(
    tmp_path: Path, stages: str, parts: list[str]
) -> None:
    refused(dry_run(tmp_path, f"{RECIPE}stages: {stages}\n"), *parts)


def test_data_without_head_sizes_is_not_trained_on(tmp_path: Path) -> None:
    joints = ["nose", "left_eye"]
    labels = {
        "images": [{"id": i, "file_name": "a.png"} for i in range(1, 21)],
        "categories": [{"id": 1, "name": "person", "keypoints": joints, "skeleton": []}],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 1, "bbox": [4, 4, 40, 40], "area": 900,
             "iscrowd": 0, "num_keypoints": 2, "keypoints": [10, 10, 2, 20, 12, 2]}
            for i in range(1, 21)
        ],
    }  # fmt: skip
    from edgepose.skeleton import COCO17

    labels["categories"][0]["keypoints"] = list(COCO17.joints)
    for annotation in labels["annotations"]:
        annotation["keypoints"] = [10, 10, 2] * len(COCO17.joints)
    (tmp_path / "labels.json").write_text(json.dumps(labels))
    cv2.imwrite(str(tmp_path / "a.png"), np.full((48, 48, 3), 90, np.uint8))
    recipe = RECIPE.replace(
        "{source: synthetic, train: 8, val: 4, calibration: 8, frame_px: 64}",
        "{source: coco, annotations: labels.json, images: .}",
    )
    refused(dry_run(tmp_path, recipe + "stages: {train: {steps: 1}}\n"), "head sizes")


def test_checkpoints_of_another_kind(tmp_path: Path) -> None:
    coco = short((32, 32), joints=17)
    PoseModel(replace(coco.spec, skeleton="coco17"), coco.tensors).save(tmp_path / "coco17")
    deploy_form(MODEL).save(tmp_path / "deploy")
    stages = "stages: {distill: {steps: 1}}\n"
    student = RECIPE.replace("32]}", "32], checkpoint: %s}") + stages
    refused(dry_run(tmp_path, student % "coco17"), "17 coco17 joints", "16 mpii16")
    refused(dry_run(tmp_path, student % "deploy"), "quantized", "distill needs one in float")
    refused(dry_run(tmp_path, RECIPE + "teacher: {checkpoint: coco17}\n" + stages), "the teacher")


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"arch": "resnet19"}, "resnet19"),
        ({"arch": "resnet50"}, "do not fit resnet50"),
        ({"input_hw": [33, 32]}, "33x32"),
        ({"skeleton": "frog"}, "frog"),
        ({"num_joints": "x"}, "'x' joints"),
        ({"form": "half"}, "half"),
        ({"skeleton": "coco17"}, "16 heatmaps"),
    ],
)
def test_a_model_file_that_contradicts_itself(
    tmp_path: Path, change: dict[str, object], part: str
) -> None:
    MODEL.save(tmp_path / "m")
    document = json.loads((tmp_path / "m" / "model.json").read_text())
    document["spec"].update(change)
    (tmp_path / "m" / "model.json").write_text(json.dumps(document))
    cv2.imwrite(str(tmp_path / "a.png"), np.full((48, 48, 3), 90, np.uint8))
    out = tmp_path / "p"
    refused(run("predict", tmp_path / "a.png", "--artifact", tmp_path / "m", "--to", out), part)
    assert not out.exists()


def test_an_empty_calibration_folder_is_found_before_training(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    stages = "stages: {train: {steps: 1}, quantize: {calibration: empty}}\n"
    refused(dry_run(tmp_path, RECIPE + stages), "holds no images", "add pictures")


def test_a_folder_of_something_else_names_what_is_in_it(tmp_path: Path) -> None:
    MODEL.save(tmp_path / "run" / "model")
    refused(run("eval", tmp_path / "run"), "neither", MANIFEST_NAME, "model")
    refused(run("eval", tmp_path / "nowhere"), "there is nothing at")
    assert isinstance(api.load(tmp_path / "run" / "model"), PoseModel)


def test_a_model_file_from_elsewhere_is_refused_by_name(tmp_path: Path) -> None:
    """Its contract is not in it; of an artifact's own file the folder is named."""
    theirs = tmp_path / "theirs.onnx"
    theirs.write_bytes(b"whatever")
    for words in (
        ("eval", theirs),
        ("eval", theirs, "--skeleton", "mpii16", "--input", "64x64"),
        ("bench", "--target", "host", "--artifact", theirs),
        ("bundle", theirs, "--to", tmp_path / "out"),
    ):
        refused(run(*words), "theirs.onnx is a model file alone", "edgepose lint FILE --target")
    (tmp_path / MANIFEST_NAME).write_text("{}")
    refused(run("eval", theirs), f"give the folder that it lies in, {tmp_path}")
    assert sorted(path.name for path in tmp_path.iterdir()) == [MANIFEST_NAME, "theirs.onnx"]


def test_a_student_that_is_only_quantized_is_scored_in_float_too(tmp_path: Path) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(RECIPE + "stages: {quantize: {mode: dynamic}, export: {targets: [host]}}\n")
    result = run("compress", "--recipe", path, "--out", tmp_path / "out", "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert [(row["name"], row["role"]) for row in report["stages"]] == [
        ("student", "student"),
        ("quantize", "stage"),
    ]
    host = report["artifacts"][0]
    assert host["metrics"] == report["stages"][1]["metrics"]
    wrong = tmp_path / "out" / "tiny" / "latest" / "artifacts" / "host"
    refused(run("bench", "--target", "jetson-xavier", "--artifact", wrong), "was exported for host")


def test_a_device_that_is_required_and_not_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EDGEPOSE_DEVICE", raising=False)
    words = ("bench", "--target", "jetson-xavier", "--require-device", "--out", tmp_path)
    refused(run(*words), "no device is named for target jetson-xavier", "--device ssh://")
