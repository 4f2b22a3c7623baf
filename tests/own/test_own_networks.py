"""Any module that maps an image to heatmaps: by import path, through every stage, or refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import save_file

from edgepose import api
from edgepose.artifact import Artifact
from edgepose.cli import main
from edgepose.errors import EdgeposeError
from edgepose.models import build
from edgepose.models.own import output_layers
from edgepose.models.pose_model import ModelSpec, PoseModel
from edgepose.quant.graph import deploy_form, export
from edgepose.stages.prune import prune_channels

HW = (64, 32)
RECIPE = """\
version: 1
name: own
data: {source: synthetic, train: 16, val: 8, calibration: 32, frame_px: 64}
student: {arch: "nets:make_tiny", input_hw: [32, 32]}
"""


@pytest.fixture(autouse=True)
def _nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    monkeypatch.setenv("EDGEPOSE_CACHE", str(tmp_path / "cache"))


def tiny(name: str = "make_tiny", joints: int = 16) -> PoseModel:
    return PoseModel.fresh(ModelSpec(f"nets:{name}", joints, HW, "mpii16"), seed=1)


def run(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def heatmaps(model: PoseModel) -> torch.Tensor:
    x = torch.randn(2, 3, *HW, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return model.module()(x)


@pytest.mark.parametrize("name", ["make_tiny", "Tiny", "sixteen", "ready"])
def test_makers_classes_and_networks(name: str) -> None:
    model = tiny(name)
    assert model.spec.codec.stride == 2
    assert model.spec.heatmap_hw == (32, 16)
    assert heatmaps(model).shape == (2, 16, 32, 16)


def test_a_pruned_network_is_rebuilt_from_its_import_path(tmp_path: Path) -> None:
    model = tiny()
    network = prune_channels(model.module(), ratio=0.5, round_to=4, input_hw=HW)
    narrow = model.with_module(network)
    assert narrow.num_params < 0.4 * model.num_params
    narrow.save(tmp_path / "m")
    again = PoseModel.load(tmp_path / "m")
    layer = again.module().get_submodule("depthwise")
    assert layer.groups == layer.out_channels == layer.weight.shape[0] == 16
    assert torch.equal(heatmaps(again), heatmaps(narrow))
    folded = deploy_form(again)
    folded.save(tmp_path / "d")
    torch.testing.assert_close(
        heatmaps(PoseModel.load(tmp_path / "d")), heatmaps(narrow), rtol=1e-4, atol=1e-5
    )


def test_the_output_layers_are_found_by_the_gradient() -> None:
    network = tiny().module()
    assert output_layers(network, input_hw=HW) == [network.get_submodule("joints")]
    hrnet = build("hrnet_w8", num_joints=3)
    assert output_layers(hrnet, input_hw=HW) == [hrnet.get_submodule("final_layer")]
    blocked = tiny().module().requires_grad_(False)
    assert len(output_layers(blocked, input_hw=HW)) == 1
    assert not any(p.requires_grad for p in blocked.parameters())


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("missing", ["has no missing"]),
        ("number", ["gives a int"]),
        ("not_a_network", ["gives a int", "torch.nn.Module"]),
        ("fails", ["no weights here", "nets.py, line", "raise ValueError"]),
        ("TwoOutputs", ["gives tuple", "one tensor"]),
        ("Uneven", ["whole stride"]),
        ("Broken", ["nets.py, line", "self.joints(x)"]),
    ],
)
def test_what_is_no_pose_network_is_named(name: str, parts: list[str]) -> None:
    with pytest.raises(EdgeposeError) as raised:
        tiny(name)
    for part in parts:
        assert part in str(raised.value)


def test_wrong_joint_counts_and_modules() -> None:
    with pytest.raises(EdgeposeError, match="16 heatmaps an image, the skeleton has 14"):
        tiny("sixteen", joints=14)
    with pytest.raises(EdgeposeError, match="no module nowhere"):
        build("nowhere.at_all:f", num_joints=3)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("Undecided", ["cannot be traced", "nets.py, line", "if x.mean() > 0"]),
        ("Scaled", ["gain", "1x1 convolution"]),
        ("GroupedDeconvolution", ["up: grouped deconvolution", "groups=1"]),
        ("LooseNorm", ["the batch norm first", "after one convolution"]),
    ],
)
def test_what_cannot_ship_is_refused_before_training(
    tmp_path: Path, name: str, parts: list[str]
) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(RECIPE.replace("make_tiny", name) + "stages: {train: {steps: 1}}\n")
    result = run("compress", "--recipe", path, "--dry-run")
    assert result.exit_code == 2, result.output
    for part in parts:
        assert part in result.output


def test_export_names_the_line_that_it_cannot_trace() -> None:
    network = tiny("Undecided").module()
    with pytest.raises(EdgeposeError, match=r"cannot trace") as raised:
        export(network, input_hw=HW)
    assert "if x.mean() > 0" in str(raised.value)
    assert len(raised.value.problem) < 900


def test_a_network_of_ones_own_goes_through_every_stage(tmp_path: Path) -> None:
    save_file(tiny().tensors, tmp_path / "start.safetensors")
    path = tmp_path / "own.yaml"
    path.write_text(
        RECIPE.replace("[32, 32]", "[32, 32], checkpoint: start.safetensors") + "stages:\n"
        "  prune: {steps: 2, batch_size: 4, ratio: 0.5, round_to: 4}\n"
        "  qat: {steps: 2, batch_size: 4}\n"
        "  quantize: {mode: static}\n"
        "  export: {targets: [jetson-xavier, host], allow_mismatch: true}\n"  # untrained: ties
    )
    plan = run("compress", "--recipe", path, "--dry-run")
    assert plan.exit_code == 0, plan.output
    assert "make_tiny" in plan.output
    result = run("compress", "--recipe", path, "--out", tmp_path / "out", "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert [row["name"] for row in report["stages"]] == ["student", "prune", "qat", "quantize"]
    assert report["student"]["starting_weights"] == "checkpoint"
    assert report["stages"][1]["params"] < 0.4 * report["stages"][0]["params"]
    latest = tmp_path / "out" / "own" / "latest"
    model = api.load(latest / "model")
    assert isinstance(model, PoseModel)
    assert model.spec.arch == "nets:make_tiny"
    crops = np.random.default_rng(0).integers(0, 255, (4, 32, 32, 3)).astype(np.uint8)
    expected = api.open_executor(model, work=tmp_path).run(crops)
    for target in ("jetson-xavier", "host"):
        artifact = Artifact.load(latest / "artifacts" / target)
        assert artifact.manifest.codec.stride == 2
        found = api.open_executor(artifact, work=tmp_path).run(crops)
        assert np.abs(found - expected).max() < 0.02 * np.abs(expected).max()
    bench = run("bench", "--target", "host", "--artifact", artifact.folder, "--quick", "--json",
                "--data", _coco_of_one(tmp_path))  # fmt: skip
    assert bench.exit_code == 0, bench.output
    assert json.loads(bench.stdout)["model_ms"]["p50"] > 0


def _coco_of_one(folder: Path) -> str:
    from edgepose.skeleton import COCO17

    cv2.imwrite(str(folder / "a.png"), np.full((48, 48, 3), 90, np.uint8))
    person = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [4, 4, 40, 40], "area": 900,
              "iscrowd": 0, "num_keypoints": 17, "keypoints": [10, 10, 2] * 17}  # fmt: skip
    category = {"id": 1, "name": "person", "keypoints": list(COCO17.joints), "skeleton": []}
    labels = {"images": [{"id": 1, "file_name": "a.png"}], "annotations": [person],
              "categories": [category]}  # fmt: skip
    (folder / "labels.json").write_text(json.dumps(labels))
    return f"coco:{folder / 'labels.json'},{folder}"
