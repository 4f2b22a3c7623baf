"""The one integer grid: real = scale x integer, zero-point 0, 8 bit.

Activations use -128..127 with one scale per tensor: this is the range that QuantizeLinear, TensorRT
and Core ML saturate to, so a clipped value means the same everywhere. Weights use -127..127 with
one scale per output channel: a symmetric range has no lone extreme code.

Activation scales keep 11 significant bits, so a scale survives float16 unchanged; weight scales keep
3. Integer x scale is exact in float32 either way, so weights on the grid give back their own scales
and integers (`weight_scales(snap(w)) == weight_scales(w)`). Few bits make the float32 weights of a
Jetson file repeat themselves: measured on a trained ResNet-18, LZMA needs 1.21 bytes a weight at 11
bits and 1.06 at 3, for a grid that is a little coarser (docs/adr/0005). Scales are rounded up,
so nothing is clipped by the rounding.
"""

from __future__ import annotations

import torch
from torch import Tensor

ACTIVATION_RANGE = (-128, 127)
WEIGHT_RANGE = (-127, 127)
ACTIVATION_SCALE_BITS = 11
WEIGHT_SCALE_BITS = 3
# A channel's scale is at least this share of the layer's largest: a dead channel gets a scale that
# keeps bias / scale within 32 bits, and what it loses is far below a step of the output.
CHANNEL_FLOOR = 2.0**-12
SMALLEST_SCALE = 2.0**-20


def round_scale(scale: Tensor, *, bits: int = ACTIVATION_SCALE_BITS) -> Tensor:
    """Positive scales, float32, rounded up to `bits` significant bits; at least SMALLEST_SCALE."""
    mantissa, exponent = torch.frexp(scale.to(torch.float64).clamp_min(SMALLEST_SCALE))
    mantissa = torch.ceil(mantissa * 2.0**bits) / 2.0**bits
    return torch.ldexp(mantissa, exponent).to(torch.float32)


def weight_scales(weight: Tensor) -> Tensor:
    """(Cout, ...) float32 -> (Cout,) float32: max |w| / 127 per channel, floored and rounded."""
    axes = tuple(range(1, weight.ndim))
    weight = weight.detach()
    largest = torch.maximum(weight.amax(axes), -weight.amin(axes)).to(torch.float64)
    scales = round_scale(largest / WEIGHT_RANGE[1], bits=WEIGHT_SCALE_BITS)
    # A largest weight that rounds down to where the next finer scale would do takes that one: it is
    # what the weights on the grid will ask for.
    on_grid = torch.round(largest / scales) * scales.to(torch.float64)
    scales = round_scale(on_grid / WEIGHT_RANGE[1], bits=WEIGHT_SCALE_BITS)
    return torch.maximum(scales, round_scale(scales.max() * CHANNEL_FLOOR, bits=WEIGHT_SCALE_BITS))


def weight_codes(weight: Tensor) -> tuple[Tensor, Tensor]:
    """(Cout, ...) float32 -> (int8 codes of the same shape, (Cout,) float32 scales)."""
    scales = weight_scales(weight)
    shape = (-1, *([1] * (weight.ndim - 1)))
    codes = torch.round(weight.detach() / scales.reshape(shape)).clamp(*WEIGHT_RANGE)
    return codes.to(torch.int8), scales


def snap(weight: Tensor) -> Tensor:
    """`weight` moved to its grid, float32; a weight on the grid stays as it is, bit for bit."""
    codes, scales = weight_codes(weight)
    return codes.to(torch.float32) * scales.reshape(-1, *([1] * (weight.ndim - 1)))


def activation_scale(max_abs: float | Tensor) -> Tensor:
    """The scale, (1,) float32, whose largest code stands for at least `max_abs`."""
    bound = torch.as_tensor(max_abs, dtype=torch.float64).reshape(1)
    return round_scale(bound / ACTIVATION_RANGE[1])
