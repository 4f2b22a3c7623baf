"""The cost model: rooflines in closed form, published points, and a host's figures found again."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from edgepose.cost import host, kernel_costs, mixes, total_macs
from edgepose.cost.latency import (
    AGREEMENT,
    Roofline,
    as_shipped,
    check_published,
    open_estimator,
)
from edgepose.cost.layers import LayerCost
from edgepose.cost.published import POINTS
from edgepose.errors import EdgeposeError
from edgepose.models import build
from edgepose.models.deploy import to_deploy
from edgepose.target import Precision, Target, load_target

LAYER = LayerCost("a", "Conv2d", 9 * 64 * 32 * 256, 9 * 64 * 32, 32, (16, 16), 64, (16, 16))
FIGURES = Roofline(macs_per_s=1e9, bytes_per_s=1e9, kernel_s=1e-5, step=1, value_bytes=1)


def changed(target: Target, **hardware: object) -> Target:
    assert target.hardware is not None
    return target.model_copy(update={"hardware": target.hardware.model_copy(update=hardware)})


def test_a_layer_takes_the_longer_of_arithmetic_and_traffic() -> None:
    macs = 9 * 64 * 32 * 256
    assert FIGURES.layer_ms(LAYER) == pytest.approx(macs / 1e6 + 0.01)
    slow = Roofline(1e18, 1e3, 0.0, 1, 2)
    moved = 64 * 256 + 32 * 256 + 9 * 64 * 32
    assert slow.layer_ms(LAYER) == pytest.approx(2 * moved)


def test_channels_are_padded_to_the_kernels_step() -> None:
    padded = Roofline(1e9, 1e9, 0.0, 48, 1)  # 64 -> 96 inputs, 32 -> 48 outputs
    assert padded.layer_ms(LAYER) == pytest.approx(9 * 96 * 48 * 256 / 1e6)
    depthwise = LayerCost(
        "d", "Conv2d", 9 * 64 * 256, 9 * 64, 64, (16, 16), 64, (16, 16), groups=64
    )
    assert padded.layer_ms(depthwise) == pytest.approx(
        max(9 * 64 * 256, depthwise.values_moved) / 1e6
    )


def test_what_a_layer_asks_of_a_cpu() -> None:
    found = host.amounts(LAYER)
    assert found == (9 * 64 * 32 * 256, 1, 9 * 64 * 32, 64 * 256 + 32 * 256, 256 * 9, 0)
    point = LayerCost("p", "Conv2d", 64 * 8, 8, 2, (8, 8), 4, (8, 8))
    assert host.amounts(point).taps == 0
    depthwise = LayerCost("d", "Conv2d", 64 * 72, 72, 8, (8, 8), 8, (8, 8), groups=8)
    assert host.amounts(depthwise).taps == 64 * 9
    up = LayerCost("u", "Upsample", 0, 0, 4, (16, 16), 4, (8, 8))
    assert host.amounts(up) == (0, 1, 0, 4 * 64 + 4 * 256, 0, 4 * 256)
    costs = host.HostCosts(host.Amounts(1e-9, 1e-6, 0, 0, 1e-8, 0))
    assert costs.layer_ms(LAYER) == pytest.approx(1e3 * (found.macs * 1e-9 + 1e-6 + 256 * 9e-8))


def test_sums_are_free_where_the_runtime_fuses_them() -> None:
    add = LayerCost("s", "Add", 0, 0, 8, (4, 4), 8, (4, 4), inputs=2)
    assert add.values_moved == 3 * 8 * 16
    assert Roofline(1, 1, 1, 1, 1, fused=("Add",)).layer_ms(add) == 0
    assert FIGURES.layer_ms(add) == pytest.approx(3 * 8 * 16 / 1e6 + 0.01)


def test_deconvolutions_cost_what_their_shipped_form_does() -> None:
    network = build("resnet18", num_joints=16).eval()
    shipped = as_shipped(kernel_costs(network, input_hw=(64, 64)))
    deploy = kernel_costs(to_deploy(network), input_hw=(64, 64))
    # The head alone differs: it runs before the last interleave, on a border of one pixel more.
    (*ours, head), (*theirs, phased) = ([c for c in x if c.macs] for x in (shipped, deploy))
    assert [c.macs for c in ours] == [c.macs for c in theirs]
    assert [c.values_moved for c in ours] == [c.values_moved for c in theirs]
    assert phased.macs == head.macs * 9**2 // 8**2


def test_the_published_points_agree_and_open_the_xavier_estimate() -> None:
    """Each estimated with a launch cost that the other points alone decided."""
    checks = check_published(load_target("jetson-xavier"))
    assert [check.point for check in checks] == list(POINTS)
    assert max(abs(check.error) for check in checks) <= AGREEMENT
    gmacs = [total_macs(point.costs()) / 1e9 for point in POINTS]
    assert gmacs[0] == pytest.approx(4.09, abs=0.01)  # torchvision's ResNet-50 at 224x224
    for name in ("jetson-xavier", "jetson-xavier-fp16"):
        estimator = open_estimator(load_target(name))
        assert estimator.origin == "estimated (roofline)"
        assert estimator.band == AGREEMENT
    layers = kernel_costs(build("resnet50", num_joints=16), input_hw=(256, 256))
    int8 = open_estimator(load_target("jetson-xavier"))
    value = int8.latency_ms(layers)
    assert f"{value:.2f} ms ({0.7 * value:.2f} to {1.3 * value:.2f}), estimated" in int8.text(
        layers
    )
    assert value < open_estimator(load_target("jetson-xavier-fp16")).latency_ms(layers)


@pytest.mark.parametrize("hardware", [{"attained": 1.0}, {"attained": 0.3}, {"int8_tops": 2.0}])
def test_no_xavier_estimate_where_the_points_do_not_agree(hardware: dict[str, float]) -> None:
    target = changed(load_target("jetson-xavier"), **hardware)
    assert max(abs(check.error) for check in check_published(target)) > AGREEMENT
    with pytest.raises(EdgeposeError, match="no latency is estimated") as raised:
        open_estimator(target)
    assert all(point.name in raised.value.problem for point in POINTS)


def test_a_device_that_nobody_checked_says_so() -> None:
    target = changed(load_target("jetson-xavier"), device=None)
    assert open_estimator(target).origin == "estimated (roofline, never checked)"
    assert open_estimator(target).band is None
    with pytest.raises(EdgeposeError, match="nothing was published about"):
        open_estimator(changed(target, device="jetson-orin"))


@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_a_calibration_network_is_what_its_layers_say(precision: Precision) -> None:
    """Kernels, weights and sums counted on the ONNX file, output shapes by ONNX Runtime."""
    for mix in mixes.mixes(6, seed=3):
        data, layers = mixes.onnx_model(mix, precision), mixes.layers(mix)
        graph = onnx.load_from_string(data).graph
        weights = sum(math.prod(x.dims) for x in graph.initializer if len(x.dims) == 4)
        assert weights == sum(layer.weights for layer in layers)
        names = {"QLinearConv": "Conv", "QLinearAdd": "Add", "Resize": "Upsample"}
        kinds = Counter(names.get(node.op_type, node.op_type) for node in graph.node)
        counted = Counter(layer.kind.removesuffix("2d") for layer in layers)
        assert {kind: kinds[kind] for kind in counted} == counted
        session = ort.InferenceSession(data, providers=["CPUExecutionProvider"])
        kind = np.uint8 if precision == "int8" else np.float32
        made = session.run(None, {x.name: np.ones(x.shape, kind) for x in session.get_inputs()})
        assert [x.shape for x in made] == [(1, b.ends, b.side, b.side) for b in mix]
    assert mixes.mixes(3) == mixes.mixes(3) != mixes.mixes(3, seed=1)


TRUTH = host.HostCosts(host.Amounts(5e-12, 4e-6, 3e-11, 2e-10, 4e-9, 1e-9))


def test_a_calibration_network_multiplies_what_its_layers_say() -> None:
    for mix in mixes.mixes(4, seed=5):
        model = onnx.load_from_string(mixes.onnx_model(mix, "fp32"))
        graph = onnx.shape_inference.infer_shapes(model).graph
        known = [*graph.value_info, *graph.output]
        positions = {
            x.name: math.prod(dim.dim_value for dim in x.type.tensor_type.shape.dim[2:])
            for x in known
        }
        kernels = {x.name: math.prod(x.dims) for x in graph.initializer}
        macs = sum(
            kernels[node.input[1]] * positions[node.output[0]]
            for node in graph.node
            if node.op_type == "Conv"
        )
        assert macs == total_macs(mixes.layers(mix))


def times_by(costs: host.HostCosts) -> list[tuple[list[LayerCost], float]]:
    """What the calibration's networks would take on a host of these costs."""
    networks = [mixes.layers(mix) for mix in mixes.mixes(host.NETWORKS)]
    return [(layers, sum(costs.layer_ms(x) for x in layers)) for layers in networks]


def test_the_fit_finds_the_costs_that_made_the_times() -> None:
    times = times_by(TRUTH)
    assert host.fit(times).costs.seconds == pytest.approx(TRUTH.seconds, rel=1e-6)
    rng = np.random.default_rng(0)
    noisy = host.fit([(network, ms * rng.normal(1, 0.03)) for network, ms in times])
    assert noisy.costs.seconds == pytest.approx(TRUTH.seconds, rel=0.3)
    assert noisy.median_error < 0.05
    assert min(host.fit([(x, 1.0) for x, _ in times]).costs.seconds) >= 0


def test_this_host_is_measured_once_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (layers, real), *_ = host.network_times("int8", threads=1, count=1)
    assert layers
    assert 0 < real < 1000
    times = times_by(TRUTH)
    monkeypatch.setattr(host, "network_times", lambda *_, **__: times)
    monkeypatch.setenv("EDGEPOSE_CACHE", str(tmp_path))
    first = host.calibration("int8")
    monkeypatch.setattr(host, "network_times", None)  # not measured again
    assert host.calibration("int8") == first
    estimator = open_estimator(load_target("host"))
    assert estimator.origin == "calibrated on this host"
    assert estimator.costs == first.costs
    (file,) = tmp_path.rglob("*.json")
    for text in ("{", "{}", '{"seconds": {"macs": 1}}'):
        file.write_text(text)
        with pytest.raises(
            EdgeposeError, match=r"\.json, what was measured of this host, is damaged"
        ):
            host.calibration("int8")


def test_costs_of_a_disturbed_host_are_neither_used_nor_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wild = [(mixes.layers(mix), 10.0 ** (n % 5)) for n, mix in enumerate(mixes.mixes(20))]
    monkeypatch.setattr(host, "network_times", lambda *_, **__: wild)
    monkeypatch.setenv("EDGEPOSE_CACHE", str(tmp_path))
    with pytest.raises(EdgeposeError, match="misses the networks"):
        open_estimator(load_target("host"))
    assert list(tmp_path.rglob("*.json")) == []
