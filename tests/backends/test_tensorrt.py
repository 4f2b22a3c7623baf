"""The Jetson artifact: small, complete, executed."""

from __future__ import annotations

import dataclasses
import json
import lzma
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from edgepose.artifact import Artifact
from edgepose.backends import tensorrt
from edgepose.backends.lint.subject import lint_artifact
from edgepose.bench.latency import Plan
from edgepose.data.base import PoseSample
from edgepose.device.geometry import normalise
from edgepose.errors import EdgeposeError
from edgepose.evaluation import EvaluationSet
from edgepose.models.pose_model import PoseModel
from edgepose.report.terminal import bench_text
from edgepose.skeleton import MPII16
from edgepose.target import Target, load_target
from edgepose.variants import all_variants, chosen, select

Crops = Callable[[int], NDArray[np.uint8]]
TARGET = Target(name="jetson-test", runtime="tensorrt", precision="int8", opset=17)


@pytest.fixture(scope="module")
def artifact(tiny: PoseModel, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    target = TARGET.model_copy(update={"extra_precisions": ("fp16",)})
    return tensorrt.emit(tiny, target, tmp_path_factory.mktemp("jetson") / "artifact")


def test_files_and_contract(artifact: Artifact, tiny: PoseModel) -> None:
    assert Artifact.load(artifact.folder) == artifact
    assert artifact.counted_files == ("model.onnx.xz",)
    assert {f.path for f in artifact.manifest.files} == {
        "model.onnx.xz", "build.json", "model_fp16.onnx.xz", "build_fp16.json",
    }  # fmt: skip
    manifest = artifact.manifest
    assert manifest.input.shape == (1, 3, 64, 64)
    assert manifest.output.shape == (1, 16, 16, 16)
    assert manifest.preprocessing.where == "host"
    assert manifest.provenance.model_sha256 == tiny.sha256
    assert manifest.provenance.quantization is not None
    assert manifest.provenance.quantization["source"] == "calibration"


def test_the_counted_file_is_smaller_than_the_weights_in_half_precision(
    artifact: Artifact, tiny: PoseModel
) -> None:
    """On-grid float32 weights pack to little more than a byte each, with the graph around them."""
    weights = sum(t.numel() for t in tiny.tensors.values())
    assert artifact.counted_size_bytes < 2 * weights


def test_build_settings_say_how(artifact: Artifact) -> None:
    settings = json.loads(artifact.path("build").read_text())
    assert settings["builder_flags"] == ["INT8", "FP16"]
    assert "--int8" in settings["trtexec"]
    expanded = tensorrt.unpack(artifact.path("model").read_bytes())
    assert settings["onnx_bytes"] == len(expanded)
    assert onnx.load_from_string(expanded).opset_import[0].version == settings["opset"] == 17
    half = json.loads(artifact.path("build_fp16").read_text())
    assert half["builder_flags"] == ["FP16"]
    assert half["quantization"] is None


def test_executed_on_the_host_it_is_the_torch_graph(
    artifact: Artifact,
    tiny: PoseModel,
    noise: Crops,
    torch_int8: Callable[[NDArray[np.float32]], NDArray[np.float32]],
) -> None:
    executor = tensorrt.open_executor(artifact, threads=1)
    crops = noise(3) // 2 + 64
    pre = tiny.spec.preprocessing
    expected = torch_int8(normalise(crops, pre.mean, pre.std))
    found = executor.run(crops)
    assert found.shape == (3, 16, 16, 16)
    assert found.dtype == np.float32
    # A sum in another order can turn a rounding, and that one others: rare, and small.
    assert np.linalg.norm(found - expected) < 0.05 * np.linalg.norm(expected)
    assert "TensorRT not run" in executor.description
    np.testing.assert_array_equal(executor.infer(executor.prepare(crops)), found)


def test_packing_is_lossless_and_checked() -> None:
    data = np.random.default_rng(0).standard_normal(5000).astype(np.float32).tobytes()
    packed = tensorrt.pack(data)
    assert packed == tensorrt.pack(data)
    assert tensorrt.unpack(packed) == data == lzma.decompress(packed)
    for damaged in (
        b"",
        packed[:-9],
        packed + b"x",
        packed[:99] + b"\x00" + packed[100:],
        b"PK" * 9,
    ):
        with pytest.raises(EdgeposeError, match=r"model\.onnx\.xz"):
            tensorrt.unpack(damaged)


def test_what_cannot_be_exported_is_said(
    tiny: PoseModel, tiny_float: PoseModel, tmp_path: Path
) -> None:
    with pytest.raises(EdgeposeError, match="no quantization plan"):
        tensorrt.emit(tiny_float, TARGET, tmp_path / "a")
    assert tiny.spec.quant is not None
    plan = dataclasses.replace(tiny.spec.quant, mode="dynamic")
    dynamic = PoseModel(dataclasses.replace(tiny.spec, quant=plan), tiny.tensors)
    with pytest.raises(EdgeposeError, match="a dynamic plan"):
        tensorrt.emit(dynamic, TARGET, tmp_path / "a")
    old = TARGET.model_copy(update={"opset": 13})
    with pytest.raises(EdgeposeError, match="opset 13"):
        tensorrt.emit(tiny, old, tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


VARIANTS = all_variants((64, 64), sizes=[(96, 64)], batches=[2], joints=True)


@pytest.fixture(scope="module")
def sized(tiny: PoseModel, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return tensorrt.emit(
        tiny, TARGET, tmp_path_factory.mktemp("sized") / "artifact", variants=VARIANTS
    )


def test_sizes_and_batches_are_files_of_their_own(
    tiny: PoseModel, noise: Crops, artifact: Artifact, sized: Artifact
) -> None:
    made = sized
    assert made.counted_files == ("model.onnx.xz",)
    first = {f.path: f.sha256 for f in artifact.manifest.files}
    assert {f.path: f.sha256 for f in made.manifest.files}["model.onnx.xz"] == first[
        "model.onnx.xz"
    ]
    assert [
        f for f in lint_artifact(made, load_target("jetson-xavier")) if f.level == "error"
    ] == []
    for variant in VARIANTS:
        one = select(made, input_hw=variant.input_hw, batch=variant.batch, gives=variant.gives)
        build = json.loads(one.path("build").read_text())
        assert build["batch"] == variant.batch
        onnx_file = onnx.load_from_string(tensorrt.unpack(one.path("model").read_bytes()))
        assert onnx_file.graph.input[0].type.tensor_type.shape.dim[0].dim_value == variant.batch
    crops = noise(3)  # an odd number: the last batch of two is filled up
    alone = tensorrt.open_executor(made, threads=1).run(crops)
    in_twos = tensorrt.open_executor(made, threads=1, batch=2).run(crops)
    np.testing.assert_allclose(in_twos, alone, atol=1e-5)
    joints = tensorrt.open_executor(made, threads=1, batch=2, gives="joints").run(crops)
    xy, score = tiny.spec.codec.decode(in_twos)
    np.testing.assert_allclose(joints[..., :2], 4 * xy, atol=0.01)
    np.testing.assert_array_equal(joints[..., 2], score)


def test_the_arithmetic_around_the_network_is_held_in_float32(sized: Artifact) -> None:
    """A half counts to 2048 and a heatmap of 64x64 has 4096 pixels; INT32 layers cannot be held."""
    one = select(sized, input_hw=(64, 64), batch=1, gives="joints")
    build = json.loads(one.path("build").read_text())
    graph = onnx.load_from_string(tensorrt.unpack(one.path("model").read_bytes()))
    types = {
        value.name: value.type.tensor_type.elem_type
        for value in onnx.shape_inference.infer_shapes(graph).graph.value_info
    }
    held = build["layer_precisions"]
    around = {
        node.name: node.op_type
        for node in graph.graph.node
        if node.name.startswith("whole_pose.") and types[node.output[0]] == onnx.TensorProto.FLOAT
    }
    moves = {"Cast", "Transpose", "Reshape", "GatherElements", "Sign"}
    wanted = {name for name, op in around.items() if op not in moves}
    assert set(held) == wanted | {"normalised"}
    assert set(held.values()) == {"fp32"}
    assert {"Floor", "Div", "Mul", "ReduceMax", "Clip"} <= {around.get(name) for name in held}
    assert "OBEY_PRECISION_CONSTRAINTS" in build["builder_flags"]
    assert "--precisionConstraints=obey" in build["trtexec"]
    plain = json.loads(select(sized, input_hw=(96, 64), batch=1).path("build").read_text())
    assert plain["layer_precisions"] == {}


def test_a_whole_pose_graph_in_half_precision_finds_what_its_heatmaps_say(
    tiny: PoseModel, noise: Crops, tmp_path: Path
) -> None:
    variants = all_variants((64, 64), sizes=[], batches=[], joints=True)
    target = TARGET.model_copy(update={"precision": "fp16"})
    made = tensorrt.emit(tiny, target, tmp_path / "half", variants=variants)
    crops = noise(2)
    joints = tensorrt.open_executor(made, threads=1, gives="joints")
    assert "rounded to FP16" in joints.description
    found = joints.run(crops)
    xy, score = tiny.spec.codec.decode(tensorrt.open_executor(made, threads=1).run(crops))
    np.testing.assert_allclose(found[..., :2], 4 * xy, atol=0.01)
    np.testing.assert_array_equal(found[..., 2], score)


class _People:
    """Pictures of noise, five people, an odd number for a batch of two."""

    skeleton, domain = MPII16, "noise"

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> PoseSample:
        rng = np.random.default_rng(index)
        return PoseSample(
            image=rng.integers(0, 256, (12, 12, 3), np.uint8).repeat(8, 0).repeat(8, 1),
            joints_xy=np.full((16, 2), 48, np.float32), annotated=np.ones(16, bool),
            box_xywh=np.array([16, 16, 64, 64], np.float32),
            center_xy=np.array([48, 48], np.float32), size_px=80.0, head_px=30.0, area_px2=3000.0,
            sample_id=str(index),
        )  # fmt: skip


@pytest.mark.parametrize("gives", ["heatmaps", "joints"])
def test_a_board_runs_the_variant_that_is_chosen(
    sized: Artifact, tmp_path: Path, gives: Any
) -> None:
    """The runner in a Python of its own: other crops, two images at once, joints of the graph."""
    from edgepose.bench.board import Board
    from edgepose.bench.on_device import bench_on_device
    from edgepose.bench.transports.local import Local

    people, lock = _People(), str(tmp_path / "lock")
    board = Board(Local(), python=sys.executable, folder=str(tmp_path / "board"), lock=lock)
    with chosen(sized, input_hw=(96, 64), batch=2, gives=gives) as one:
        folder = one.folder
        assert Artifact.load(folder) == one
        data = EvaluationSet.from_dataset(people, one.input_hw)  # type: ignore[arg-type]
        plan = Plan(warmup=1, max_warmup=2, calls=3, seconds=0.0)
        record = bench_on_device(
            one, board, data, target=TARGET, host=tensorrt.open_executor(one, threads=1),
            threads=1, plan=plan, stand_in=True,
        )  # fmt: skip
    assert not folder.exists()
    assert (record.input_hw, record.gives, record.persons) == ((96, 64), gives, 5)
    assert record.counted_file == f"model_96x64_b2{'_joints' if gives == 'joints' else ''}.onnx.xz"
    assert record.size_bytes == (sized.folder / record.counted_file).stat().st_size
    assert record.device is not None
    assert record.device.joints_vs_host is not None
    assert (record.device.joints_vs_host.p99, record.device.joints_vs_host.persons) == (0.0, 5)
    assert record.model_ms is not None
    assert (record.model_ms.batch, record.end_to_end_ms) == (2, None)
    found = bench_text(record)
    assert "crops of 96x64" in found
    assert ("joints read off in the graph" in found) == (gives == "joints")


def test_what_is_not_offered_is_refused_with_what_is(sized: Artifact) -> None:
    for asked in ({"batch": 3}, {"input_hw": (32, 32)}):
        with pytest.raises(EdgeposeError, match="has no variant") as caught, chosen(sized, **asked):
            pass
        assert "64x64, batch 1, heatmaps" in caught.value.fix
        assert "96x64, batch 2, joints" in caught.value.fix
    with chosen(sized, input_hw=(64, 64), gives="heatmaps") as main:
        assert main is sized
