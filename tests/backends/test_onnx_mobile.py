"""The ONNX Runtime artifact: both files, every precision, executed as they are."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch
from numpy.typing import NDArray

from edgepose.artifact import Artifact
from edgepose.backends import onnx_mobile
from edgepose.backends.common.cpu import instruction_set
from edgepose.backends.common.session import OrtExecutor
from edgepose.backends.onnx_graph.integer_share import integer_mac_share
from edgepose.device.geometry import normalise
from edgepose.errors import EdgeposeError
from edgepose.models.plan import QuantPlan
from edgepose.models.pose_model import PoseModel
from edgepose.quant.graph import deploy_form
from edgepose.target import Precision, Target

Crops = Callable[[int], NDArray[np.uint8]]


def target(precision: Precision, *extra: Precision) -> Target:
    return Target(
        name="phone", runtime="onnx_mobile", precision=precision, extra_precisions=extra, opset=17
    )


@pytest.fixture(scope="module")
def artifact(tiny: PoseModel, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    folder = tmp_path_factory.mktemp("phone") / "artifact"
    return onnx_mobile.emit(tiny, target("int8", "fp32"), folder)


def relative(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def test_files_and_contract(artifact: Artifact) -> None:
    assert Artifact.load(artifact.folder) == artifact
    assert artifact.counted_files == ("model.ort",)
    assert {f.path for f in artifact.manifest.files} == {
        "model.onnx", "model.ort", "required_operators.config",
        "model_fp32.onnx", "model_fp32.ort", "required_operators_fp32.config",
    }  # fmt: skip
    assert artifact.manifest.input.shape == ("batch", 3, 64, 64)
    assert artifact.input_hw == (64, 64)
    onnx_bytes = artifact.path("onnx").stat().st_size
    assert artifact.counted_size_bytes < onnx_bytes + 65536  # tables, whatever the weights


def test_the_manifest_says_what_runs_in_integers(artifact: Artifact) -> None:
    facts = artifact.manifest.provenance.quantization
    assert facts is not None
    share = integer_mac_share(artifact.path("onnx"))
    assert (facts["integer_macs"], facts["total_macs"]) == (share.integer_macs, share.total_macs)
    assert share.share > 0.95


def test_both_files_give_the_same_heatmaps(artifact: Artifact, noise: Crops) -> None:
    executors = [
        OrtExecutor(artifact.path(role).read_bytes(), artifact.manifest, threads=1)
        for role in ("model", "onnx")
    ]
    first, second = (executor.run(noise(4)) for executor in executors)
    assert first.shape == (4, 16, 16, 16)
    np.testing.assert_array_equal(first, second)


def test_run_is_infer_of_prepare(artifact: Artifact, noise: Crops) -> None:
    executor = onnx_mobile.open_executor(artifact, threads=1)
    crops = noise(18)  # more than goes in at a time
    np.testing.assert_allclose(
        executor.infer(executor.prepare(crops)), executor.run(crops), rtol=1e-5, atol=1e-5
    )
    assert f"ONNX Runtime {ort.__version__} CPU {instruction_set()}" in executor.description


def test_float_precisions_are_the_float_network(
    tiny_float: PoseModel, noise: Crops, tmp_path: Path
) -> None:
    pre = tiny_float.spec.preprocessing
    with torch.no_grad():
        expected = tiny_float.module()(torch.from_numpy(normalise(noise(2), pre.mean, pre.std)))
    sizes: dict[str, int] = {}
    tolerances: list[tuple[Precision, float]] = [("fp32", 1e-5), ("fp16", 2e-3)]
    for precision, tolerance in tolerances:
        written = onnx_mobile.emit(tiny_float, target(precision), tmp_path / precision)
        found = onnx_mobile.open_executor(written, threads=1).run(noise(2))
        assert relative(found, expected.numpy()) < tolerance
        assert written.manifest.provenance.quantization is None
        sizes[precision] = written.counted_size_bytes
    assert sizes["fp16"] < 0.65 * sizes["fp32"]


def test_a_dynamic_plan_needs_no_scales(
    tiny_float: PoseModel, noise: Crops, tmp_path: Path
) -> None:
    deploy = deploy_form(tiny_float)
    spec = dataclasses.replace(deploy.spec, quant=QuantPlan(mode="dynamic", source="none"))
    written = onnx_mobile.emit(PoseModel(spec, deploy.tensors), target("int8"), tmp_path / "a")
    assert integer_mac_share(written.path("onnx")).share == 1
    found = onnx_mobile.open_executor(written, threads=1).run(noise(2))
    exact = onnx_mobile.emit(tiny_float, target("fp32"), tmp_path / "b")
    assert relative(found, onnx_mobile.open_executor(exact, threads=1).run(noise(2))) < 0.1


def test_without_vnni_the_exact_mode_is_used(
    artifact: Artifact, noise: Crops, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = onnx_mobile.open_executor(artifact, threads=1)
    expected = usual.run(noise(2))
    monkeypatch.setattr(onnx_mobile, "instruction_set", lambda: "AVX2")
    careful = onnx_mobile.open_executor(artifact, threads=1)
    assert "exact mode" in careful.description
    np.testing.assert_array_equal(careful.run(noise(2)), expected)


def test_wrong_crops_and_foreign_files_are_refused(
    artifact: Artifact, tiny: PoseModel, noise: Crops
) -> None:
    executor = onnx_mobile.open_executor(artifact, threads=1)
    with pytest.raises(EdgeposeError, match="the model takes"):
        executor.run(noise(1)[:, :32])
    with pytest.raises(EdgeposeError, match="cannot load"):
        OrtExecutor(b"not a model", artifact.manifest)
    other = artifact.manifest.model_copy(
        update={"input": artifact.manifest.input.model_copy(update={"shape": ("batch", 3, 96, 64)})}
    )
    with pytest.raises(EdgeposeError, match=r"artifact\.json says"):
        OrtExecutor(artifact.path("model").read_bytes(), other)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("flags\t\t: fpu avx2 avx512bw avx512_vnni\n", "AVX512-VNNI"),
        ("flags : fpu avx2 avx_vnni\n", "AVX-VNNI"),
        ("flags : fpu avx2 avx512bw\n", "AVX512"),
        ("flags : fpu avx avx2\n", "AVX2"),
        ("processor : 0\nFeatures : fp asimd asimddp\n", "DOTPROD"),
        ("Features : fp asimd asimddp i8mm\n", "I8MM"),
    ],
)
def test_the_instruction_set_is_read_off_the_cpu(text: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text(text)
    assert instruction_set(path) == name
    assert instruction_set(tmp_path / "absent")
