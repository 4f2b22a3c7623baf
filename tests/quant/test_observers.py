from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepose.quant.grid import weight_scales
from edgepose.quant.histograms import EntropyGrid, HistogramGrid, MseGrid, PercentileGrid
from edgepose.quant.observers import (
    ActivationGrid,
    MaxGrid,
    MovingMaxGrid,
    WeightGridPerChannel,
)


def _sample(seed: int, n: int = 4000) -> torch.Tensor:
    return torch.randn(n, generator=torch.Generator().manual_seed(seed))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1000), st.booleans())
def test_rounding_and_its_gradient_are_torch_s_own(seed: int, relu: bool) -> None:
    grid = MovingMaxGrid()
    grid.fix(2.0**-6)
    grid.relu = relu
    x = _sample(seed).requires_grad_()
    y = x.detach().clone().requires_grad_()
    grid(x).mul(_sample(seed + 1)).sum().backward()
    rounded = torch.fake_quantize_per_tensor_affine(y.relu() if relu else y, 2.0**-6, 0, -128, 127)
    rounded.mul(_sample(seed + 1)).sum().backward()
    assert torch.equal(grid(x), rounded)
    assert torch.equal(x.grad, y.grad)  # type: ignore[arg-type]


def test_weights_are_rounded_as_torch_does_per_channel() -> None:
    weight = _sample(0, 6 * 4 * 3 * 3).reshape(6, 4, 3, 3).requires_grad_()
    rounded = WeightGridPerChannel()(weight)
    scales, zeros = weight_scales(weight), torch.zeros(6, dtype=torch.int32)
    expected = torch.fake_quantize_per_channel_affine(weight, scales, zeros, 0, -127, 127)
    assert torch.equal(rounded, expected)
    rounded.sum().backward()
    assert torch.equal(weight.grad, torch.ones_like(weight))  # type: ignore[arg-type]


def test_moving_maximum_follows_and_max_remembers() -> None:
    moving, largest = MovingMaxGrid(), MaxGrid()
    for bound in [1.0, 4.0, 1.0]:
        x = torch.tensor([-bound, 0.5 * bound])
        moving(x)
        largest(x)
    largest.settle()
    assert largest.scale.item() == pytest.approx(4 / 127, rel=1e-3)
    assert moving.seen.item() == pytest.approx((1 + 0.05 * 3) * 0.95 + 0.05, rel=1e-5)


def _error(x: torch.Tensor, grid: ActivationGrid) -> float:
    scale = grid.scale.item()
    rounded = torch.fake_quantize_per_tensor_affine(x, scale, 0, -128, 127)
    return (rounded - x).square().mean().item()


def test_histogram_clips_outliers_and_only_them() -> None:
    heavy = torch.cat([_sample(1, 100_000), torch.tensor([60.0])])
    uniform = torch.linspace(-1, 1, 10_001)
    for x, clips in ((heavy, True), (uniform, False)):
        histogram, largest = MseGrid(), MaxGrid()
        for grid in (histogram, largest):
            grid(x)
            grid.settle()
        assert _error(x, histogram) <= _error(x, largest) * 1.001
        ratio = histogram.scale.item() / largest.scale.item()
        assert ratio < 0.75 if clips else ratio > 0.97


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000), st.lists(st.integers(1, 3999), max_size=6, unique=True))
def test_histogram_does_not_depend_on_batches(seed: int, cuts: list[int]) -> None:
    x = _sample(seed).exp()
    whole, parts = MseGrid(), MseGrid()
    whole(x)
    for part in torch.tensor_split(x, sorted(cuts)):
        parts(part)
    whole.settle()
    parts.settle()
    assert whole.top == parts.top
    assert whole.scale.item() == pytest.approx(parts.scale.item(), rel=0.01)


def _settled(grid: ActivationGrid, x: torch.Tensor) -> float:
    """The bound that a grid settles on."""
    grid(x)
    assert grid.settle()
    return grid.scale.item() * 127


def test_percentile_leaves_out_one_value_in_ten_thousand() -> None:
    x = _sample(3, 200_000).exp().relu()
    wanted = float(np.percentile(x.numpy(), 99.99))
    largest = x.max().item()
    assert wanted < 0.7 * largest
    assert _settled(PercentileGrid(), x) == pytest.approx(wanted, abs=3 * largest / 1024)
    assert _settled(PercentileGrid(), torch.cat([x, torch.zeros(10**6)])) == pytest.approx(
        wanted, abs=3 * largest / 1024
    )


@pytest.mark.parametrize("seed", [1, 2])
def test_entropy_clips_about_where_onnx_runtime_s_does(seed: int) -> None:
    """Theirs looks at signed histograms: twice the levels that ours has for magnitudes."""
    from onnxruntime.quantization.calibrate import HistogramCollector

    x = torch.cat([_sample(seed, 100_000), 8 * _sample(seed + 9, 50)])
    top = x.abs().max().item()
    theirs = HistogramCollector("entropy", True, 1024, 256, 99.99, "same")
    counts, edges = np.histogram(x.numpy(), 1024, (-top, top))
    bounds = theirs.get_entropy_threshold((counts, edges, -top, top, top), 256)
    ours = _settled(EntropyGrid(), x)
    assert ours < 0.7 * top
    assert ours == pytest.approx(float(bounds[1]), rel=0.3)


@pytest.mark.parametrize("kind", [MseGrid, PercentileGrid, EntropyGrid])
def test_no_answer_is_beyond_what_was_seen(kind: type[HistogramGrid]) -> None:
    for x in (
        torch.tensor([3.0]),
        torch.linspace(0, 5, 999),
        _sample(1, 40),
        torch.full((9,), 2.0),
    ):
        bound = _settled(kind(), x)
        assert 0 < bound <= x.abs().max().item() * 1.001
    silent = kind()
    silent(torch.zeros(9))
    assert not silent.settle()
