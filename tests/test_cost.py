"""The cost model: rooflines in closed form, published points, and a host's figures found again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgepose.cost import host, kernel_costs, total_macs
from edgepose.cost.latency import (
    AGREEMENT,
    Figures,
    as_shipped,
    check_published,
    layer_ms,
    open_estimator,
)
from edgepose.cost.layers import LayerCost
from edgepose.cost.published import POINTS
from edgepose.errors import EdgeposeError
from edgepose.models import build
from edgepose.models.deploy import to_deploy
from edgepose.target import Target, load_target

LAYER = LayerCost("a", "Conv2d", 9 * 64 * 32 * 256, 9 * 64 * 32, 32, (16, 16), 64, (16, 16))
FIGURES = Figures(macs_per_s=1e9, bytes_per_s=1e9, kernel_s=1e-5, step=1, value_bytes=1)


def changed(target: Target, **hardware: object) -> Target:
    assert target.hardware is not None
    return target.model_copy(update={"hardware": target.hardware.model_copy(update=hardware)})


def test_a_layer_takes_the_longer_of_arithmetic_and_traffic() -> None:
    macs = 9 * 64 * 32 * 256
    assert layer_ms(LAYER, FIGURES) == pytest.approx(macs / 1e6 + 0.01)
    slow = Figures(1e18, 1e3, 0.0, 1, 2)
    moved = 64 * 256 + 32 * 256 + 9 * 64 * 32
    assert layer_ms(LAYER, slow) == pytest.approx(2 * moved)


def test_channels_are_padded_to_the_kernels_step() -> None:
    padded = Figures(1e9, 1e9, 0.0, 48, 1)  # 64 -> 96 inputs, 32 -> 48 outputs
    assert layer_ms(LAYER, padded) == pytest.approx(9 * 96 * 48 * 256 / 1e6)
    depthwise = LayerCost(
        "d", "Conv2d", 9 * 64 * 256, 9 * 64, 64, (16, 16), 64, (16, 16), groups=64
    )
    assert layer_ms(depthwise, padded) == pytest.approx(
        max(9 * 64 * 256, depthwise.values_moved) / 1e6
    )


def test_narrow_layers_take_what_gathering_takes() -> None:
    narrow = LayerCost("n", "Conv2d", 64 * 9 * 8, 9 * 8, 2, (8, 8), 4, (8, 8))
    point = LayerCost("p", "Conv2d", 64 * 8, 8, 2, (8, 8), 4, (8, 8))
    gathering = Figures(1e15, 1e15, 0.0, 1, 1, gather_s=1e-9)
    assert layer_ms(narrow, gathering) == pytest.approx(64 * 9 * 1e-6)
    assert layer_ms(point, gathering) < 1e-6


def test_sums_are_free_where_the_runtime_fuses_them() -> None:
    add = LayerCost("s", "Add", 0, 0, 8, (4, 4), 8, (4, 4), inputs=2)
    assert add.values_moved == 3 * 8 * 16
    assert layer_ms(add, Figures(1, 1, 1, 1, 1, fused=("Add",))) == 0
    assert layer_ms(add, FIGURES) == pytest.approx(3 * 8 * 16 / 1e6 + 0.01)


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


def test_the_fit_finds_the_figures_that_made_the_times() -> None:
    """Synthetic layer times with 3 % noise give arithmetic, launch and gathering cost back."""
    truth = Figures(2e11, 2e10, 4e-6, 16, 1, gather_s=4e-9)
    rng = np.random.default_rng(0)
    layers = [host._layer(*shape) for shape in host.LAYERS]
    times = [(layer, layer_ms(layer, truth) * rng.normal(1, 0.03)) for layer in layers]
    found = host.fit(times, "int8")
    assert found.figures.step == 16
    assert found.figures.macs_per_s == pytest.approx(truth.macs_per_s, rel=0.1)
    assert found.figures.kernel_s == pytest.approx(truth.kernel_s, rel=0.2)
    assert found.figures.gather_s == pytest.approx(truth.gather_s, rel=0.1)
    assert found.median_error < 0.05


def test_this_host_is_measured_once_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = host._time((16, 16, 3), "int8", 1)
    assert 0 < real < 1000
    truth = Figures(2e11, 2e10, 4e-6, 8, 1)
    layers = [host._layer(*shape) for shape in host.LAYERS]
    times = [(layer, layer_ms(layer, truth)) for layer in layers]
    monkeypatch.setattr(host, "layer_times", lambda *_, **__: times)
    monkeypatch.setenv("EDGEPOSE_CACHE", str(tmp_path))
    first = host.calibration("int8")
    monkeypatch.setattr(host, "layer_times", None)  # not measured again
    assert host.calibration("int8") == first
    estimator = open_estimator(load_target("host"))
    assert estimator.origin == "calibrated on this host (roofline)"
    assert estimator.figures == first.figures


def test_figures_of_a_disturbed_host_are_neither_used_nor_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = [host._layer(*shape) for shape in host.LAYERS]
    wild = [(layer, 10.0 ** (n % 5)) for n, layer in enumerate(layers)]
    monkeypatch.setattr(host, "layer_times", lambda *_, **__: wild)
    monkeypatch.setenv("EDGEPOSE_CACHE", str(tmp_path))
    with pytest.raises(EdgeposeError, match="misses its own single layers"):
        open_estimator(load_target("host"))
    assert list(tmp_path.rglob("*.json")) == []
