"""Some layers of the INT8 graph in float: every dialect runs it, agrees, and says which they are."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from edgepose.artifact import Artifact
from edgepose.backends.lint.subject import lint_artifact
from edgepose.backends.tensorrt import unpack
from edgepose.device.geometry import normalise
from edgepose.models.pose_model import PoseModel
from edgepose.quant.calibrate import calibrate
from edgepose.quant.graph import int8_graph
from edgepose.target import load_target

# A first layer, an inner one whose reader is a sum, one that only float reads, a block's two ways.
LAYERS = ("conv1", "deconv_layers.3", "layer1.0.conv2", "layer2.0.conv2", "layer2.0.downsample.0")
TARGETS = ("jetson-xavier", "coreml-ios17", "onnx-android")
Crops = Callable[[int], NDArray[np.uint8]]


@pytest.fixture(scope="module")
def mixed(tiny_float: PoseModel, noise: Crops) -> PoseModel:
    return calibrate(tiny_float, [noise(32)], observer="minmax", float_layers=LAYERS)


@pytest.fixture(scope="module")
def artifacts(mixed: PoseModel, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    made = {}
    for name in TARGETS:
        target = load_target(name, overrides=["extra_precisions=[]", "forms=[]"])
        backend = import_module(f"edgepose.backends.{target.runtime}")
        made[name] = backend.emit(mixed, target, tmp_path_factory.mktemp(name))
    return made


@pytest.mark.parametrize("name", TARGETS)
def test_each_dialect_runs_and_agrees(
    name: str, artifacts: dict[str, Artifact], mixed: PoseModel, noise: Crops
) -> None:
    crops, pre = noise(6), mixed.spec.preprocessing
    with torch.no_grad():
        images = torch.from_numpy(normalise(crops, pre.mean, pre.std))
        expected = int8_graph(mixed)(images).numpy()
    backend = import_module(f"edgepose.backends.{load_target(name).runtime}")
    found = backend.open_executor(artifacts[name]).run(crops)
    # TensorRT's dialect is the same arithmetic; Core ML normalises in fp16 and ONNX Runtime has a
    # grid of twice the steps, so that roundings differ.
    limit = {"jetson-xavier": 1e-4, "coreml-ios17": 0.15, "onnx-android": 0.15}[name]
    assert np.abs(found - expected).mean() < limit * expected.std()


@pytest.mark.parametrize("name", TARGETS)
def test_float_layers_of_the_plan_are_notes(name: str, artifacts: dict[str, Artifact]) -> None:
    artifact = artifacts[name]
    assert artifact.manifest.provenance.float_layers == LAYERS
    findings = lint_artifact(artifact, load_target(name))
    assert [f for f in findings if f.level != "note"] == []
    islands = [f for f in findings if f.rule == "float-island"]
    assert len(islands) >= len(LAYERS) - 1  # the first layer stands before all INT8, not between
    if name != "coreml-ios17":
        assert {f.node for f in islands} >= set(LAYERS) - {"conv1"}


def test_a_float_layer_that_no_plan_names_is_a_warning(artifacts: dict[str, Artifact]) -> None:
    from edgepose.backends.lint.tensorrt import lint

    data = unpack(artifacts["jetson-xavier"].path("model").read_bytes())
    findings = lint(data, load_target("jetson-xavier"))
    named = {f.node for f in findings if f.rule == "float-island" and f.level == "warning"}
    assert named >= set(LAYERS) - {"conv1"}


def test_the_files_hold_float_weights_of_exactly_these(artifacts: dict[str, Artifact]) -> None:
    model = onnx.load(artifacts["onnx-android"].path("onnx"))
    kinds = {t.name: t.data_type for t in model.graph.initializer}
    weights = {n.removesuffix(".weight"): k for n, k in kinds.items() if n.endswith(".weight")}
    floats = {name for name, kind in weights.items() if kind == onnx.TensorProto.FLOAT}
    assert floats == set(LAYERS)
    assert sum(kind == onnx.TensorProto.INT8 for kind in weights.values()) == 9 - len(LAYERS)


def test_a_sum_between_float_layers_is_float_and_the_next_one_is_not(mixed: PoseModel) -> None:
    plan = mixed.spec.quant
    assert plan is not None
    assert plan.float_layers == LAYERS
    assert "layer2.0.conv2" in plan.activation_scales  # an INT8 layer reads the sum
    assert "layer1.0.relu2" in plan.activation_scales
    assert "deconv_layers.0.relu" not in plan.activation_scales  # only a float layer reads it
