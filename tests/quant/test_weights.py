"""Weight-only INT8: the same numbers in torch, ONNX Runtime and Core ML's program."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from edgepose.backends import coreml, onnx_mobile, tensorrt
from edgepose.backends.lint.subject import lint_artifact
from edgepose.device.geometry import normalise
from edgepose.errors import EdgeposeError
from edgepose.models.pose_model import PoseModel
from edgepose.quant.graph import int8_graph
from edgepose.quant.grid import snap
from edgepose.quant.weights import round_weights, weights_graph
from edgepose.target import load_target


@pytest.fixture(scope="module")
def rounded(slim: PoseModel) -> PoseModel:
    return round_weights(slim, float_layers=("final_layer",))


@pytest.fixture(scope="module")
def pictures(crops) -> np.ndarray:  # type: ignore[no-untyped-def]
    return next(iter(crops(3, seed=5)))


@pytest.fixture(scope="module")
def expected(rounded: PoseModel, pictures: np.ndarray) -> np.ndarray:
    pre = rounded.spec.preprocessing
    with torch.no_grad():
        return rounded.module()(torch.from_numpy(normalise(pictures, pre.mean, pre.std))).numpy()


def test_weights_are_on_the_grid_and_near_the_float_ones(
    slim: PoseModel, float_deploy: PoseModel, rounded: PoseModel, images: torch.Tensor
) -> None:
    assert rounded.spec.quant is not None
    assert (rounded.spec.quant.mode, rounded.spec.form) == ("weight_only", "deploy")
    for key, value in rounded.tensors.items():
        kept = key.startswith("final_layer") or key.endswith(".bias")
        assert torch.equal(value, float_deploy.tensors[key]) == kept, key
        assert kept or torch.equal(value, snap(value))
    with torch.no_grad():
        wanted, got = slim.module()(images), rounded.module()(images)
        assert torch.equal(weights_graph(rounded)(images), got)
    assert 0 < (got - wanted).norm() < 0.1 * wanted.norm()
    with pytest.raises(EdgeposeError, match="no static quantization plan"):
        int8_graph(rounded)
    with pytest.raises(EdgeposeError, match="no weight-only plan"):
        weights_graph(slim)


def test_onnx_files_hold_int8_and_compute_the_same(
    rounded: PoseModel, pictures: np.ndarray, expected: np.ndarray, tmp_path: Path
) -> None:
    target = load_target("host")
    artifact = onnx_mobile.emit(rounded, target, tmp_path / "a")
    weights = sum(v.numel() for k, v in rounded.tensors.items() if k.endswith(".weight"))
    for name in ("model.onnx", "model.ort"):
        assert (artifact.folder / name).stat().st_size < 1.5 * weights + 60_000
    assert artifact.manifest.provenance.quantization is not None
    assert artifact.manifest.provenance.quantization["mode"] == "weight_only"
    assert [f for f in lint_artifact(artifact, target) if f.level == "error"] == []
    got = onnx_mobile.open_executor(artifact).run(pictures)
    assert np.abs(got - expected).max() < 1e-4 * np.abs(expected).max()


def test_core_ml_packages_hold_int8_and_compute_the_same(
    rounded: PoseModel, pictures: np.ndarray, expected: np.ndarray, tmp_path: Path
) -> None:
    target = load_target("coreml-ios17").model_copy(update={"extra_precisions": ()})
    artifact = coreml.emit(rounded, target, tmp_path / "a")
    weights = sum(v.numel() for k, v in rounded.tensors.items() if k.endswith(".weight"))
    stored = artifact.folder / "model.mlpackage" / "Data/com.apple.CoreML/weights/weight.bin"
    assert weights < stored.stat().st_size < 1.5 * weights
    program = coreml.open_executor(artifact).interpreter.program  # type: ignore[union-attr]
    kinds = [op.kind for op in program.operations]
    assert kinds.count("constexpr_affine_dequantize") == 23
    assert "quantize" not in kinds
    assert [f for f in lint_artifact(artifact, target) if f.level == "error"] == []
    got = coreml.open_executor(artifact).run(pictures)
    assert np.abs(got - expected).max() < 0.02 * np.abs(expected).max()  # half precision


def test_tensorrt_refuses(rounded: PoseModel, tmp_path: Path) -> None:
    with pytest.raises(EdgeposeError, match="has a weight_only plan"):
        tensorrt.emit(rounded, load_target("jetson-xavier"), tmp_path / "a")
    assert not (tmp_path / "a").exists()
