"""Core ML artifacts of a ResNet cut short: contents, contract, and the numbers that come out."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import coremltools
import numpy as np
import pytest
import torch

from edgepose.artifact import Artifact
from edgepose.backends.coreml import emit, open_executor, package_folder
from edgepose.backends.lint.subject import lint_artifact
from edgepose.backends.mil.convert import INPUT_NAME
from edgepose.backends.mil.load import load_program, model_path
from edgepose.device.codec import HeatmapCodec
from edgepose.device.geometry import normalise
from edgepose.errors import EdgeposeError
from edgepose.evaluation import TorchExecutor
from edgepose.models.plan import QuantPlan
from edgepose.models.pose_model import PoseModel, at_size
from edgepose.quant.graph import finish, int8_graph, prepare_calibration
from edgepose.skeleton import MPII16
from edgepose.target import Target, load_target
from edgepose.variants import all_variants
from tests.backends.forced import compare, heatmap_step
from tests.networks import short

HW = (64, 96)
OTHER = (96, 64)


def target(**changes: Any) -> Target:
    values = {
        "name": "coreml-ios17",
        "runtime": "coreml",
        "precision": "int8",
        "extra_precisions": ("fp16",),
        "minimum_os": "iOS17",
    }
    return Target(**{**values, **changes})


@pytest.fixture(scope="module")
def float_model() -> PoseModel:
    """In training form, with weights like trained ones."""
    return short(HW, seed=0)


@pytest.fixture(scope="module")
def crops() -> np.ndarray:
    """Smooth images: (N, H, W, 3) uint8."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (6, HW[0] // 8, HW[1] // 8, 3)).astype(np.uint8)
    return np.ascontiguousarray(coarse.repeat(8, axis=1).repeat(8, axis=2))


@pytest.fixture(scope="module")
def quantized(float_model: PoseModel, crops: np.ndarray) -> PoseModel:
    prepared = prepare_calibration(float_model, observer="minmax")
    pre = float_model.spec.preprocessing
    with torch.no_grad():
        prepared(torch.from_numpy(normalise(crops, pre.mean, pre.std)))
    return finish(float_model, prepared, source="calibration")


@pytest.fixture(scope="module")
def artifact(quantized: PoseModel, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return emit(quantized, target(), tmp_path_factory.mktemp("coreml") / "artifact")


def relative_error(got: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.linalg.norm(got - wanted) / np.linalg.norm(wanted))


def test_the_whole_int8_package_is_counted_and_nothing_else(artifact: Artifact) -> None:
    again = Artifact.load(artifact.folder)
    package = package_folder(again)
    assert package.name == "model.mlpackage"
    on_disk = sum(p.stat().st_size for p in package.rglob("*") if p.is_file())
    assert again.counted_size_bytes == on_disk
    assert all(path.startswith("model.mlpackage/") for path in again.counted_files)
    assert package_folder(again, "fp16").name == "model_fp16.mlpackage"
    assert again.input_hw == HW
    assert again.manifest.preprocessing.where == "graph"


def test_every_convolution_has_int8_weights_and_an_int8_input(
    artifact: Artifact, quantized: PoseModel
) -> None:
    operations = load_program(package_folder(artifact)).operations
    by_output = {t.name: op for op in operations for t in op.outputs}
    convolutions = [op for op in operations if op.kind == "conv"]
    assert len(convolutions) == 9
    for op in convolutions:
        assert by_output[op.arguments["weight"].name].kind == "constexpr_affine_dequantize"
        assert by_output[op.arguments["x"].name].kind == "dequantize"
    stored = [op.arguments["quantized_data"] for op in by_output.values() if "const" in op.kind]
    assert all(codes.dtype == np.int8 for codes in stored)
    weights = {k: v for k, v in quantized.tensors.items() if v.ndim == 4}
    assert sum(codes.size for codes in stored) == sum(v.numel() for v in weights.values())
    blob = model_path(package_folder(artifact)).parent / "weights" / "weight.bin"
    channels = sum(v.shape[0] for v in weights.values())
    overhead = blob.stat().st_size - sum(v.numel() for v in weights.values())
    assert overhead < 8 * channels + 400 * len(weights)


def test_the_heads_output_stays_float(artifact: Artifact) -> None:
    operations = load_program(package_folder(artifact)).operations
    last = max(i for i, op in enumerate(operations) if op.kind == "conv")
    behind = {op.kind for op in operations[last + 1 :]}
    assert not {"quantize", "dequantize"} & behind
    output = operations[-1].outputs[0]
    assert (output.name, output.dtype) == ("heatmaps", "fp32")
    assert output.shape == (1, 16, HW[0] // 4, HW[1] // 4)


def test_every_quantized_tensor_of_w8a8_is_within_one_step_of_torchs(
    artifact: Artifact, quantized: PoseModel, crops: np.ndarray
) -> None:
    """Each from the same quantized tensors; whole ResNet-18 and HRNet-W32: tests/slow/test_mil_agrees.py."""
    found = compare(package_folder(artifact), quantized, crops[:3])
    assert found.tensors > 10
    assert found.steps == 1, "off by one somewhere, as roundings are, and by more nowhere"
    assert found.share < 0.01
    assert found.image_share < 0.03, "normalised in fp16"
    assert found.heatmap_steps < 0.1


def test_w8a8_as_a_whole_is_as_close_to_float_as_the_int8_graph_is(
    artifact: Artifact, quantized: PoseModel, crops: np.ndarray
) -> None:
    in_torch = TorchExecutor(int8_graph(quantized), quantized.spec).run(crops)
    in_float = TorchExecutor(quantized.module(), quantized.spec).run(crops)
    executor = open_executor(artifact, threads=1)
    assert executor.description == "MIL interpreter, Core ML not run (coremltools 9.0)"
    got = executor.run(crops)
    assert got.dtype == np.float32
    own = relative_error(in_torch, in_float)
    assert relative_error(got, in_float) < 1.2 * own
    assert relative_error(got, in_torch) < 1.5 * own, "one step grows, see docs/adr/0007"
    assert np.mean(np.abs(got - in_torch) <= heatmap_step(in_torch)) > 0.75


def test_a_float_package_of_the_training_form_equals_torch(
    float_model: PoseModel, crops: np.ndarray, tmp_path: Path
) -> None:
    made = emit(float_model, target(precision="fp32", extra_precisions=()), tmp_path / "a")
    wanted = TorchExecutor(float_model.module(), float_model.spec).run(crops)
    assert relative_error(open_executor(made).run(crops), wanted) < 1e-5


def test_the_extra_fp16_package_equals_the_float_network(
    artifact: Artifact, quantized: PoseModel, crops: np.ndarray
) -> None:
    wanted = TorchExecutor(quantized.module(), quantized.spec).run(crops)
    got = open_executor(artifact, precision="fp16").run(crops)
    assert relative_error(got, wanted) < 2e-3


def test_metadata_is_what_an_app_needs_and_has_no_date(
    artifact: Artifact, quantized: PoseModel
) -> None:
    spec = coremltools.proto.Model_pb2.Model()
    spec.ParseFromString(model_path(package_folder(artifact)).read_bytes())
    description = spec.description
    image = description.input[0]
    assert (image.name, image.type.imageType.height, image.type.imageType.width) == (
        INPUT_NAME,
        *HW,
    )
    assert image.type.imageType.ColorSpace.Name(image.type.imageType.colorSpace) == "RGB"
    found = dict(description.metadata.userDefined)
    assert found["edgepose.joints"].split(",") == list(MPII16.joints)
    assert found["edgepose.mean"] == "0.485,0.456,0.406"
    assert found["edgepose.model_sha256"] == quantized.sha256
    assert not [key for key in found if "date" in key]
    assert "Apache-2.0" in description.metadata.license
    assert description.metadata.author.startswith("edgepose")
    assert spec.specificationVersion == 8, "iOS 17"


@pytest.mark.parametrize("mode", [None, "dynamic"])
def test_int8_without_fixed_scales_is_refused(
    float_model: PoseModel, tmp_path: Path, mode: str | None
) -> None:
    plan = None if mode is None else QuantPlan(mode=mode, source="none")
    model = dataclasses.replace(float_model, spec=dataclasses.replace(float_model.spec, quant=plan))
    with pytest.raises(EdgeposeError, match="fixed activation scales"):
        emit(model, target(), tmp_path / "a")
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("scale", [1e3, 1e-9])
def test_a_tensor_that_fp16_cannot_hold_is_refused_by_name(
    quantized: PoseModel, tmp_path: Path, scale: float
) -> None:
    assert quantized.spec.quant is not None
    scales = {**quantized.spec.quant.activation_scales, "layer1.0.relu1": scale}
    plan = dataclasses.replace(quantized.spec.quant, activation_scales=scales)
    spec = dataclasses.replace(quantized.spec, quant=plan)
    with pytest.raises(EdgeposeError, match=r"layer1\.0\.relu1"):
        emit(dataclasses.replace(quantized, spec=spec), target(), tmp_path / "a")


def test_crops_of_another_size_or_type_are_refused(artifact: Artifact, crops: np.ndarray) -> None:
    executor = open_executor(artifact)
    for wrong in (crops[:, :32], crops.astype(np.float32), crops[0]):
        with pytest.raises(EdgeposeError, match="crops are"):
            executor.run(wrong)


def test_threads_are_a_setting_of_the_run_only(artifact: Artifact, crops: np.ndarray) -> None:
    before = torch.get_num_threads()
    open_executor(artifact, threads=before + 1).run(crops[:1])
    assert torch.get_num_threads() == before


@pytest.mark.skipif(sys.platform == "darwin", reason="Core ML is there")
def test_core_ml_itself_is_refused_elsewhere(artifact: Artifact) -> None:
    with pytest.raises(EdgeposeError, match="macOS"):
        open_executor(artifact, engine="coreml")


@pytest.fixture(scope="module")
def several(quantized: PoseModel, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """Two sizes in one package, and whole-pose packages of both."""
    variants = all_variants(HW, sizes=[OTHER], batches=[2], joints=True)
    one = target(extra_precisions=())
    return emit(quantized, one, tmp_path_factory.mktemp("sizes") / "artifact", variants=variants)


def test_one_package_takes_every_size(
    several: Artifact, artifact: Artifact, quantized: PoseModel
) -> None:
    package = package_folder(several)
    image = load_program(package).images[INPUT_NAME]
    assert image.sizes == (HW, OTHER)
    assert several.counted_size_bytes < 1.02 * artifact.counted_size_bytes, "the weights are shared"
    assert [f for f in lint_artifact(several, target()) if f.level == "error"] == []
    own = open_executor(several, input_hw=HW, batch=2)
    crops = np.random.default_rng(0).integers(0, 256, (2, *HW, 3)).astype(np.uint8)
    np.testing.assert_array_equal(own.run(crops), open_executor(artifact).run(crops))
    sized = at_size(quantized, OTHER)
    other = open_executor(several, input_hw=OTHER)
    crops = crops.transpose(0, 2, 1, 3)[:, :, : OTHER[1]]
    wanted = TorchExecutor(int8_graph(sized), sized.spec).run(np.ascontiguousarray(crops))
    assert other.run(crops).shape == wanted.shape
    in_float = TorchExecutor(sized.module(), sized.spec).run(np.ascontiguousarray(crops))
    assert relative_error(other.run(crops), in_float) < 1.2 * relative_error(wanted, in_float)


@pytest.mark.parametrize("hw", [HW, OTHER])
def test_a_whole_pose_package_gives_the_joints_of_the_heatmaps(
    several: Artifact, quantized: PoseModel, hw: tuple[int, int]
) -> None:
    codec = quantized.spec.codec
    coarse = np.random.default_rng(2).integers(0, 256, (4, hw[0] // 8, hw[1] // 8, 3))
    crops = coarse.astype(np.uint8).repeat(8, axis=1).repeat(8, axis=2)
    heatmaps = open_executor(several, input_hw=hw, gives="heatmaps").run(crops)
    xy, score = codec.decode(heatmaps)
    executor = open_executor(several, input_hw=hw, gives="joints")
    found = executor.run(crops)
    assert executor.gives == "joints"
    np.testing.assert_array_equal(found[..., 2], score)
    wanted = codec.crop_xy(xy, (heatmaps.shape[2], heatmaps.shape[3]))
    np.testing.assert_allclose(found[..., :2], wanted, atol=0.01)


def test_ios16_has_the_same_weights_and_float_arithmetic(
    quantized: PoseModel, artifact: Artifact, crops: np.ndarray, tmp_path: Path
) -> None:
    ios16 = load_target("coreml-ios16", overrides=["extra_precisions=[]"])
    made = emit(quantized, ios16, tmp_path / "a")
    operations = load_program(package_folder(made)).operations
    kinds = {op.kind for op in operations}
    assert "constexpr_affine_dequantize" in kinds
    assert not {"quantize", "dequantize"} & kinds
    assert lint_artifact(made, ios16) == []
    assert made.counted_size_bytes < artifact.counted_size_bytes
    wanted = TorchExecutor(quantized.module(), quantized.spec).run(crops)
    assert relative_error(open_executor(made).run(crops), wanted) < 3e-3
    ios15 = load_target("coreml-ios15")
    missing = [f for f in lint_artifact(made, ios15) if f.rule == "operator-os"]
    assert "constexpr_affine_dequantize" in missing[0].reason


def test_ios15_is_fp16_and_refuses_int8(
    quantized: PoseModel, crops: np.ndarray, tmp_path: Path
) -> None:
    ios15 = load_target("coreml-ios15")
    made = emit(quantized, ios15, tmp_path / "a")
    assert lint_artifact(made, ios15) == []
    wanted = TorchExecutor(quantized.module(), quantized.spec).run(crops)
    assert relative_error(open_executor(made).run(crops), wanted) < 3e-3
    with pytest.raises(EdgeposeError, match="has no INT8, not even for weights"):
        emit(quantized, target(minimum_os="iOS15"), tmp_path / "b")


@pytest.mark.skipif(sys.platform != "darwin", reason="Core ML runs on macOS only; never run yet")
@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_core_ml_agrees_with_the_interpreter(
    artifact: Artifact, quantized: PoseModel, crops: np.ndarray, precision: str
) -> None:
    apple = open_executor(artifact, engine="coreml", precision=precision).run(crops)
    ours = open_executor(artifact, engine="mil", precision=precision).run(crops)
    # INT8 turns a rounding into a step of the grid, and that one others: as much as the grid itself.
    in_float = TorchExecutor(quantized.module(), quantized.spec).run(crops)
    own = relative_error(ours, in_float)
    assert relative_error(apple, ours) < (5e-3 if precision == "fp16" else 1.5 * own)


@pytest.mark.skipif(sys.platform != "darwin", reason="Core ML runs on macOS only; never run yet")
@pytest.mark.parametrize("hw", [HW, OTHER])
def test_core_ml_agrees_in_every_form(several: Artifact, hw: tuple[int, int]) -> None:
    coarse = np.random.default_rng(2).integers(0, 256, (4, hw[0] // 8, hw[1] // 8, 3))
    crops = coarse.astype(np.uint8).repeat(8, axis=1).repeat(8, axis=2)
    heatmaps, ours = (
        open_executor(several, engine=engine, input_hw=hw, gives="heatmaps").run(crops)
        for engine in ("coreml", "mil")
    )
    assert relative_error(heatmaps, ours) < 0.1
    joints = open_executor(several, engine="coreml", input_hw=hw, gives="joints").run(crops)
    xy, score = HeatmapCodec().decode(heatmaps)
    wanted = HeatmapCodec().crop_xy(xy, (heatmaps.shape[2], heatmaps.shape[3]))
    np.testing.assert_allclose(joints[..., 2], score, rtol=1e-3, atol=1e-3)
    apart = np.abs(joints[..., :2] - wanted).max(axis=2)
    assert np.mean(apart > 0.01) < 0.02, "all but equal maxima"
