"""Operators that compute: convolution, pooling, sums, resampling.

Tensors are float32 here whatever the program declares; the interpreter rounds the results. Shapes:
x (N, C, H, W); pads are (top, bottom, left, right) as in MIL.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from edgepose.backends.mil.registry import operator, refuse

Pads = tuple[int, int, int, int]


def _ints(values: Sequence[int]) -> tuple[int, ...]:
    return tuple(int(v) for v in values)


def _check_rank4(kind: str, x: torch.Tensor) -> None:
    if x.ndim != 4:
        raise refuse(f"{kind} on {x.ndim} axes", "only two-dimensional images are read")


def resolve_pads(
    kind: str,
    *,
    pad_type: str,
    pad: Sequence[int] | None,
    input_hw: Sequence[int],
    kernel_hw: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int] = (1, 1),
) -> Pads:
    """Explicit pads for MIL's pad_type; `same` has an odd pixel at the end, `same_lower` before."""
    if pad_type == "valid":
        return (0, 0, 0, 0)
    if pad_type == "custom":
        top, bottom, left, right = _ints(pad if pad is not None else (0, 0, 0, 0))
        return (top, bottom, left, right)
    if pad_type not in ("same", "same_lower"):
        raise refuse(f"{kind}.pad_type={pad_type}", "unknown padding")
    pads: list[int] = []
    for size, kernel, stride, dilation in zip(input_hw, kernel_hw, strides, dilations, strict=True):
        reach = (kernel - 1) * dilation + 1
        total = max((-(-size // stride) - 1) * stride + reach - size, 0)
        small, large = total // 2, total - total // 2
        pads += [large, small] if pad_type == "same_lower" else [small, large]
    return (pads[0], pads[1], pads[2], pads[3])


def pad_hw(x: torch.Tensor, pads: Pads, value: float) -> torch.Tensor:
    top, bottom, left, right = pads
    return F.pad(x, (left, right, top, bottom), value=value)


@operator("conv")
def conv(
    *,
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    strides: Sequence[int] = (1, 1),
    pad_type: str = "valid",
    pad: Sequence[int] | None = None,
    dilations: Sequence[int] = (1, 1),
    groups: int = 1,
) -> torch.Tensor:
    """weight (O, C / groups, kh, kw), bias (O,); accumulated in float32."""
    _check_rank4("conv", x)
    strides, dilations = _ints(strides), _ints(dilations)
    top, bottom, left, right = pads = resolve_pads(
        "conv",
        pad_type=pad_type,
        pad=pad,
        input_hw=x.shape[2:],
        kernel_hw=weight.shape[2:],
        strides=strides,
        dilations=dilations,
    )
    if top == bottom and left == right:
        padding = (top, left)
    else:
        x, padding = pad_hw(x, pads, 0.0), (0, 0)
    return F.conv2d(x, weight, bias, strides, padding, dilations, int(groups))


@operator("conv_transpose")
def conv_transpose(
    *,
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    strides: Sequence[int] = (1, 1),
    pad_type: str = "valid",
    pad: Sequence[int] | None = None,
    dilations: Sequence[int] = (1, 1),
    groups: int = 1,
    output_shape: Sequence[int] | None = None,
) -> torch.Tensor:
    """weight (C, O / groups, kh, kw); pads crop the full result; output_shape (N, O, H, W)."""
    _check_rank4("conv_transpose", x)
    if pad_type not in ("valid", "custom"):
        raise refuse(f"conv_transpose.pad_type={pad_type}", "only valid and custom are read")
    top, bottom, left, right = resolve_pads(
        "conv_transpose",
        pad_type=pad_type,
        pad=pad,
        input_hw=x.shape[2:],
        kernel_hw=weight.shape[2:],
        strides=strides,
    )
    full = F.conv_transpose2d(x, weight, None, _ints(strides), 0, 0, int(groups), _ints(dilations))
    height, width = full.shape[2] - top - bottom, full.shape[3] - left - right
    if output_shape is not None:
        height, width = int(output_shape[-2]), int(output_shape[-1])
    grow = (max(top + height - full.shape[2], 0), max(left + width - full.shape[3], 0))
    full = pad_hw(full, (0, grow[0], 0, grow[1]), 0.0)
    result = full[:, :, top : top + height, left : left + width]
    return result if bias is None else result + bias.reshape(1, -1, 1, 1)


@operator("max_pool", moves_data=True)
def max_pool(
    *,
    x: torch.Tensor,
    kernel_sizes: Sequence[int],
    strides: Sequence[int] | None = None,
    pad_type: str = "valid",
    pad: Sequence[int] | None = None,
    ceil_mode: bool = False,
) -> torch.Tensor:
    """Padding never wins; ceil_mode as torch defines it."""
    _check_rank4("max_pool", x)
    kernel = _ints(kernel_sizes)
    steps = _ints(strides if strides is not None else (1, 1))
    pads = resolve_pads(
        "max_pool",
        pad_type=pad_type,
        pad=pad,
        input_hw=x.shape[2:],
        kernel_hw=kernel,
        strides=steps,
    )
    top, bottom, left, right = pads
    if top == bottom and left == right and 2 * top <= kernel[0] and 2 * left <= kernel[1]:
        return F.max_pool2d(x, kernel, steps, (top, left), ceil_mode=bool(ceil_mode))
    if ceil_mode:
        raise refuse("max_pool.ceil_mode with uneven pad", "two readings of the last window")
    return F.max_pool2d(pad_hw(x, pads, float("-inf")), kernel, steps)


@operator("batch_norm")
def batch_norm(
    *,
    x: torch.Tensor,
    mean: torch.Tensor,
    variance: torch.Tensor,
    gamma: torch.Tensor | None = None,
    beta: torch.Tensor | None = None,
    epsilon: float = 1e-5,
) -> torch.Tensor:
    """gamma * (x - mean) / sqrt(variance + epsilon) + beta over the channels of axis 1."""
    _check_rank4("batch_norm", x)
    scale = torch.rsqrt(variance + float(epsilon))
    if gamma is not None:
        scale = scale * gamma
    result = (x - mean.reshape(1, -1, 1, 1)) * scale.reshape(1, -1, 1, 1)
    return result if beta is None else result + beta.reshape(1, -1, 1, 1)


@operator("relu", moves_data=True)
def relu(*, x: torch.Tensor) -> torch.Tensor:
    return torch.relu(x)


@operator("add")
def add(*, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return torch.as_tensor(x) + y


@operator("sub")
def sub(*, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return torch.as_tensor(x) - y


@operator("mul")
def mul(*, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return torch.as_tensor(x) * y


@operator("sigmoid")
def sigmoid(*, x: torch.Tensor) -> torch.Tensor:
    return torch.sigmoid(x)


@operator("reduce_mean")
def reduce_mean(
    *, x: torch.Tensor, axes: Sequence[int] | None = None, keep_dims: bool = False
) -> torch.Tensor:
    """Over all axes where none is named."""
    return x.mean(dim=_axes(axes, x.ndim), keepdim=bool(keep_dims))


@operator("reduce_max", moves_data=True)
def reduce_max(
    *, x: torch.Tensor, axes: Sequence[int] | None = None, keep_dims: bool = False
) -> torch.Tensor:
    """Over all axes where none is named."""
    return x.amax(dim=_axes(axes, x.ndim), keepdim=bool(keep_dims))


def _axes(axes: Sequence[int] | None, rank: int) -> tuple[int, ...]:
    return tuple(range(rank)) if axes is None else _ints(axes)


@operator("upsample_nearest_neighbor", moves_data=True)
def upsample_nearest_neighbor(
    *, x: torch.Tensor, scale_factor_height: float = 1, scale_factor_width: float = 1
) -> torch.Tensor:
    """Whole factors only: every pixel becomes a block."""
    factors = (float(scale_factor_height), float(scale_factor_width))
    if not all(f.is_integer() and f >= 1 for f in factors):
        raise refuse(f"upsample_nearest_neighbor by {factors}", "whole factors are read")
    return x.repeat_interleave(int(factors[0]), dim=-2).repeat_interleave(int(factors[1]), dim=-1)
