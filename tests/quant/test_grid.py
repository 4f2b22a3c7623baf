from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepose.quant.grid import (
    ACTIVATION_RANGE,
    ACTIVATION_SCALE_BITS,
    CHANNEL_FLOOR,
    activation_scale,
    round_scale,
    snap,
    weight_codes,
    weight_scales,
)

weights = st.builds(
    lambda seed, shape, exponent: (
        torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 2.0**exponent
    ),
    st.integers(0, 2**20),
    st.tuples(st.integers(1, 6), st.integers(1, 6), st.sampled_from([1, 2, 3]), st.just(2)),
    st.integers(-12, 6),
)


@given(st.floats(1e-6, 1e6))
def test_scales_are_rounded_up_a_little_and_are_short(value: float) -> None:
    scale = round_scale(torch.tensor([value], dtype=torch.float64))
    assert value <= scale.item() <= value * (1 + 2.0 ** (1 - ACTIVATION_SCALE_BITS)) * (1 + 1e-12)
    mantissa, _ = np.frexp(scale.item())
    assert float(mantissa * 2**ACTIVATION_SCALE_BITS).is_integer()
    assert torch.equal(round_scale(scale), scale)


@given(st.floats(1e-3, 1e3))
def test_activation_scales_survive_float16(max_abs: float) -> None:
    scale = activation_scale(max_abs)
    assert scale.item() * ACTIVATION_RANGE[1] >= max_abs
    if scale.item() >= 2.0**-14:
        assert torch.equal(scale.half().float(), scale)


@settings(deadline=None)
@given(weights)
def test_snapped_weights_give_back_scales_and_integers(weight: torch.Tensor) -> None:
    codes, scales = weight_codes(weight)
    snapped = snap(weight)
    again, same_scales = weight_codes(snapped)
    assert torch.equal(scales, same_scales)
    assert torch.equal(codes, again)
    assert torch.equal(snap(snapped), snapped)
    exact = codes.double() * scales.double().reshape(-1, 1, 1, 1)
    assert torch.equal(exact, snapped.double())


@settings(deadline=None)
@given(weights)
def test_rounding_is_half_a_step_and_nothing_is_clipped(weight: torch.Tensor) -> None:
    codes, scales = weight_codes(weight)
    steps = scales.reshape(-1, 1, 1, 1)
    assert codes.abs().max() <= 127
    assert ((snap(weight) - weight).abs() <= steps * 0.5 * (1 + 1e-5)).all()


def test_dead_channels_have_a_usable_scale() -> None:
    weight = torch.randn(3, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    weight[1] = 0
    weight[2] *= 1e-9
    scales = weight_scales(weight)
    assert (scales[1:] >= scales[0] * CHANNEL_FLOOR).all()
    assert torch.equal(snap(weight)[1], weight[1])
    assert torch.equal(weight_scales(snap(weight)), scales)
    assert (weight_scales(torch.zeros(2, 1, 1, 1)) > 0).all()
