"""A target that is not here: the roofline of the very file, held against the network it was made from."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgepose.artifact import Artifact
from edgepose.backends import tensorrt
from edgepose.backends.onnx_graph.layer_costs import onnx_layer_costs
from edgepose.bench.estimate import estimate
from edgepose.bench.record import LatencyEstimate
from edgepose.cost import kernel_costs, total_macs
from edgepose.cost.latency import as_shipped, open_estimator
from edgepose.models.pose_model import PoseModel
from edgepose.target import Target, load_target


@pytest.fixture(scope="module")
def xavier() -> Target:
    return load_target("jetson-xavier", overrides=["extra_precisions=[]", "forms=[]"])


@pytest.fixture(scope="module")
def artifact(tiny: PoseModel, xavier: Target, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return tensorrt.emit(tiny, xavier, tmp_path_factory.mktemp("estimate"))


def test_the_file_costs_what_its_network_costs(
    artifact: Artifact, tiny_float: PoseModel, xavier: Target
) -> None:
    layers = kernel_costs(tiny_float.module(), input_hw=tiny_float.spec.input_hw)
    shipped = as_shipped(layers)
    found = onnx_layer_costs(tensorrt.unpack(artifact.path("model").read_bytes()))
    # The head is computed before the last interleave, at its (h + 1)(w + 1) positions, four times.
    *body, head = [(c.macs, c.weights) for c in shipped if c.weights]
    *file_body, file_head = [(c.macs, c.weights) for c in found if c.weights]
    assert file_body == body
    assert file_head[0] >= head[0]
    assert total_macs(found) == pytest.approx(total_macs(shipped), rel=0.02)
    guess = estimate(artifact, xavier)
    assert isinstance(guess, LatencyEstimate)
    expected = open_estimator(xavier).latency_ms(layers)
    assert guess.model_ms == pytest.approx(expected, rel=0.1)
    assert guess.model_ms == pytest.approx(sum(layer.ms for layer in guess.layers))
    assert guess.low_ms is not None
    assert guess.high_ms is not None
    assert guess.low_ms < guess.model_ms < guess.high_ms
    assert [x.ms for x in guess.heaviest] == sorted((x.ms for x in guess.layers), reverse=True)
    assert "estimated" in guess.origin


def test_nothing_is_estimated_where_nothing_is_known(artifact: Artifact, xavier: Target) -> None:
    bare = xavier.model_copy(update={"hardware": None})
    assert "no hardware figures" in str(estimate(artifact, bare))
    assert xavier.hardware is not None
    idle = xavier.hardware.model_copy(update={"attained": 0.01})
    wrong = xavier.model_copy(update={"hardware": idle})
    assert "off by" in str(estimate(artifact, wrong))


def test_a_record_holds_the_estimate_beside_what_was_measured(
    artifact: Artifact, xavier: Target, tmp_path: Path
) -> None:
    from edgepose.bench.bench import bench_artifact
    from edgepose.bench.record import load_record, save_record
    from edgepose.report.terminal import bench_text

    record = bench_artifact(
        artifact, tensorrt.open_executor(artifact), None, target=xavier, quick=True
    )
    assert record.model_ms is None
    assert record.estimate is not None
    assert record.fps is None
    save_record(record, tmp_path / "record.json")
    assert load_record(tmp_path / "record.json") == record
    said = " ".join(bench_text(record).split())
    assert "about" in said
    assert "estimated (roofline) for jetson-xavier; not measured" in said
