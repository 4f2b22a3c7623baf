"""Operators between the INT8 grid and floats."""

from __future__ import annotations

import torch

from edgepose.backends.mil.registry import operator, refuse

_RANGES = {"int8": (-128, 127, torch.int8), "uint8": (0, 255, torch.uint8)}
_FLOATS = ("fp16", "fp32")
_INTEGERS = {
    "int32": (-(2**31), 2**31 - 1),
    "int16": (-(2**15), 2**15 - 1),
    "uint16": (0, 2**16 - 1),
}


def _along(value: torch.Tensor | float, like: torch.Tensor, axis: int | None) -> torch.Tensor:
    """A scalar, or a vector laid along `axis` of `like`, ready to broadcast, in float32."""
    tensor = torch.as_tensor(value, dtype=torch.float32)
    if tensor.ndim == 0:
        return tensor
    if axis is None:
        if tensor.numel() != 1:
            raise refuse("a vector of scales without axis", "cannot tell what it scales")
        return tensor.reshape(())
    shape = [1] * like.ndim
    shape[int(axis)] = -1
    return tensor.reshape(shape)


@operator("quantize")
def quantize(
    *,
    input: torch.Tensor,
    scale: torch.Tensor | float,
    output_dtype: str,
    zero_point: torch.Tensor | int = 0,
    axis: int | None = None,
) -> torch.Tensor:
    """clip(round(input / scale) + zero_point): half to even, saturating, as MIL defines it."""
    if output_dtype not in _RANGES:
        raise refuse(f"quantize.output_dtype={output_dtype}", "int8 and uint8 are read")
    low, high, dtype = _RANGES[output_dtype]
    steps = torch.round(input / _along(scale, input, axis))
    return torch.clamp(steps + _along(zero_point, input, axis), low, high).to(dtype)


@operator("dequantize")
def dequantize(
    *,
    input: torch.Tensor,
    scale: torch.Tensor | float,
    zero_point: torch.Tensor | int = 0,
    axis: int | None = None,
) -> torch.Tensor:
    """scale * (input - zero_point)"""
    steps = input.to(torch.float32) - _along(zero_point, input, axis)
    return steps * _along(scale, input, axis)


@operator("constexpr_affine_dequantize")
def constexpr_affine_dequantize(
    *,
    quantized_data: torch.Tensor,
    zero_point: torch.Tensor | int,
    scale: torch.Tensor | float,
    axis: int,
) -> torch.Tensor:
    """The weights that an INT8 blob stands for: scale * (quantized_data - zero_point)."""
    return dequantize(input=quantized_data, scale=scale, zero_point=zero_point, axis=axis)


@operator("cast")
def cast(*, x: torch.Tensor, dtype: str) -> torch.Tensor:
    """Values keep their meaning; the interpreter's rounding of fp16 results does the rest."""
    if dtype in _FLOATS:
        return x.to(torch.float32)
    if dtype == "bool":
        return x != 0
    if dtype not in _INTEGERS:
        raise refuse(f"cast.dtype={dtype}", f"{', '.join((*_FLOATS, *_INTEGERS))}, bool are read")
    low, high = _INTEGERS[dtype]
    if x.numel() and not (low <= float(x.min()) and float(x.max()) <= high):
        raise refuse(f"cast to {dtype} of {float(x.min()):g} to {float(x.max()):g}", "out of range")
    return x.to(torch.int32)
