"""The MIL interpreter against torch on whole networks and rendered people, in FP32, FP16 and W8A8.

The ResNet-18 is the embedded one. There are no trained weights of HRNet-W32 here: it learns 64 people at
64x64 by heart, until its heatmaps have peaks (measured: half of them above 0.5 after 60 steps). What FP16
rounds away falls as it goes on learning: with W32_STEPS=2400 (half an hour on one core) it must be within
1e-3.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import edgepose
from edgepose.artifact import Artifact
from edgepose.backends.coreml import emit, open_executor, package_folder
from edgepose.backends.mil.convert import ImageNetwork
from edgepose.data import synthetic
from edgepose.evaluation import EvaluationSet, TorchExecutor
from edgepose.models.pose_model import PoseModel
from edgepose.quant.calibrate import calibrate
from edgepose.quant.graph import deploy_form, int8_graph
from edgepose.target import Precision, Target
from tests.backends.forced import compare, heatmap_step

pytestmark = pytest.mark.slow
EMBEDDED = Path(edgepose.__file__).parents[1] / "recipes/weights/resnet18_synthetic"
STEPS = int(os.environ.get("W32_STEPS", "60"))
LONG_LESSON = 2400
LESSON = f"""\
version: 1
name: hrnet_w32_by_heart
seed: 0
data: {{source: synthetic, train: 64, val: 64, calibration: 64, val_from_train: true}}
student: {{arch: hrnet_w32, input_hw: [64, 64]}}
stages:
  train:
    steps: {STEPS}
    batch_size: 16
    lr: 1.0e-3
    augment: {{flip: false, rotation_deg: 0, scale: [1, 1], shift: 0, photometric: 0, occlusion: 0}}
"""


def people(model: PoseModel) -> NDArray[np.uint8]:
    """The crops that HRNet-W32 has learnt; (64, H, W, 3)."""
    rendered = synthetic.open_split(synthetic.Config(train=64), "train")
    return EvaluationSet.from_dataset(rendered, model.spec.input_hw).crops


@pytest.fixture(scope="module")
def resnet18() -> PoseModel:
    return PoseModel.load(EMBEDDED)


@pytest.fixture(scope="module")
def hrnet_w32(tmp_path_factory: pytest.TempPathFactory) -> PoseModel:
    folder = tmp_path_factory.mktemp("hrnet")
    recipe = folder / "recipe.yaml"
    recipe.write_text(LESSON)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEPOSE_CACHE", str(folder / "cache"))
        run = edgepose.compress(recipe, out=folder / "reports")
    (model,) = run.parent.glob("stages/train-*/model")
    return PoseModel.load(model)


def made(model: PoseModel, precision: Precision, folder: Path) -> Artifact:
    target = Target(name="ios-test", runtime="coreml", precision=precision, minimum_os="iOS17")
    return emit(model, target, folder / precision)


def error_of(got: np.ndarray, wanted: np.ndarray) -> float:
    assert got.shape == wanted.shape
    return float(np.linalg.norm(got - wanted) / np.linalg.norm(wanted))


def in_half(model: PoseModel, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What torch gives for the same folded network and normalisation with every number in FP16."""
    pre = model.spec.preprocessing
    network = ImageNetwork(deploy_form(model).module(), mean=pre.mean, std=pre.std).eval().half()
    with torch.inference_mode():
        found = network(torch.from_numpy(crops.transpose(0, 3, 1, 2).copy()).half())
    heatmaps: NDArray[np.float32] = found.float().numpy()
    return heatmaps


@pytest.mark.parametrize("name", ["resnet18", "hrnet_w32"])
def test_float_packages_give_what_torch_gives(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """FP16 within 1e-3, or where FP16 itself is further off, as close as torch in FP16 comes."""
    model: PoseModel = request.getfixturevalue(name)
    crops = people(model)[:8]
    wanted = TorchExecutor(model.module(), model.spec).run(crops)
    assert wanted.max() > 0.5, "it sees people"
    errors = {
        precision: error_of(
            open_executor(made(model, precision, tmp_path), threads=1).run(crops), wanted
        )
        for precision in ("fp32", "fp16")
    }
    torch_in_half = error_of(in_half(model, crops), wanted)
    print(name, errors, f"torch in half: {torch_in_half:.3g}")
    assert errors["fp32"] <= 1e-5
    assert errors["fp16"] <= max(1e-3, 1.2 * torch_in_half)
    if name == "resnet18" or STEPS >= LONG_LESSON:
        assert errors["fp16"] <= 1e-3


@pytest.mark.parametrize(("name", "tensors"), [("resnet18", 35), ("hrnet_w32", 482)])
def test_every_quantized_tensor_of_w8a8_is_within_one_step_of_torchs(
    name: str, tensors: int, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Each from the same quantized tensors. As a whole, a step grows into as much as INT8 itself adds."""
    model: PoseModel = request.getfixturevalue(name)
    crops = people(model)
    quantized = calibrate(model, [crops[:32]], observer="minmax")
    artifact = made(quantized, "int8", tmp_path)
    found = compare(package_folder(artifact), quantized, crops[:3])
    assert (found.tensors, found.steps) == (tensors, 1)
    assert found.share < 0.05, "of a tensor's codes, down to 64 of them"
    assert found.image_share < 0.03
    assert found.heatmap_steps < 0.1
    in_float = TorchExecutor(quantized.module(), quantized.spec).run(crops[:8])
    in_torch = TorchExecutor(int8_graph(quantized), quantized.spec).run(crops[:8])
    got = open_executor(artifact, threads=1).run(crops[:8])
    own, apart = error_of(in_torch, in_float), error_of(got, in_torch)
    within = float(np.mean(np.abs(got - in_torch) <= heatmap_step(in_torch)))
    print(name, found, f"INT8 against float {own:.3g}, MIL against torch {apart:.3g}",
          f"heatmaps within a step: {100 * within:.1f} %")  # fmt: skip
    assert error_of(got, in_float) < 1.2 * own
    assert apart < 1.5 * own
    assert within > (0.97 if name == "resnet18" else 0.4)
