"""Operators that compare, pick by index and compute coordinates: what whole-pose graphs are made of."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from edgepose.backends.mil.registry import operator, refuse

Number = torch.Tensor | float


@operator("reduce_argmax")
def reduce_argmax(
    *, x: torch.Tensor, axis: int = -1, keep_dims: bool = False, output_dtype: str = "int32"
) -> torch.Tensor:
    """The first of equal maxima."""
    if output_dtype not in ("int32", "uint16"):
        raise refuse(f"reduce_argmax.output_dtype={output_dtype}", "int32 and uint16 are read")
    top = x == x.amax(dim=int(axis), keepdim=True)
    order = torch.arange(x.shape[int(axis)], 0, -1, dtype=torch.int32)
    shape = [1] * x.ndim
    shape[int(axis)] = -1
    index = (top * order.reshape(shape)).argmax(dim=int(axis), keepdim=bool(keep_dims))
    return index.to(torch.int32)


@operator("gather", moves_data=True)
def gather(
    *,
    x: torch.Tensor,
    indices: torch.Tensor,
    axis: int = 0,
    batch_dims: int = 0,
    validate_indices: bool = False,
) -> torch.Tensor:
    """Whole slices along `axis`, in the order of a list of indices."""
    if int(batch_dims) or indices.ndim != 1:
        raise refuse("gather by anything but one list of indices", "it is not emitted")
    return x.index_select(int(axis), indices.to(torch.int64))


@operator("gather_along_axis", moves_data=True)
def gather_along_axis(
    *, x: torch.Tensor, indices: torch.Tensor, axis: int = 0, validate_indices: bool = False
) -> torch.Tensor:
    """x[..., indices, ...]: an index for each element of the output; negative ones count from the end."""
    count = x.shape[int(axis)]
    index = indices.to(torch.int64)
    return torch.gather(x, int(axis), torch.where(index < 0, index + count, index))


@operator("greater")
def greater(*, x: Number, y: Number) -> torch.Tensor:
    return torch.as_tensor(x) > y


@operator("less")
def less(*, x: Number, y: Number) -> torch.Tensor:
    return torch.as_tensor(x) < y


@operator("floor")
def floor(*, x: torch.Tensor) -> torch.Tensor:
    return torch.floor(x)


@operator("sign")
def sign(*, x: torch.Tensor) -> torch.Tensor:
    return torch.sign(x)


@operator("abs")
def absolute(*, x: torch.Tensor) -> torch.Tensor:
    return torch.abs(x)


@operator("clip")
def clip(*, x: torch.Tensor, alpha: float, beta: float) -> torch.Tensor:
    return torch.clamp(x, float(alpha), float(beta))


@operator("real_div")
def real_div(*, x: Number, y: Number) -> torch.Tensor:
    return torch.as_tensor(x, dtype=torch.float32) / y


@operator("log")
def log(*, x: torch.Tensor, epsilon: float = 1e-45) -> torch.Tensor:
    """log(x + epsilon)"""
    return torch.log(x + float(epsilon))


@operator("matmul")
def matmul(
    *, x: torch.Tensor, y: torch.Tensor, transpose_x: bool = False, transpose_y: bool = False
) -> torch.Tensor:
    """Leading axes broadcast; accumulated in float32."""
    left = x.transpose(-1, -2) if transpose_x else x
    right = y.transpose(-1, -2) if transpose_y else y
    return torch.matmul(left, right)


@operator("linear")
def linear(
    *, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """x (..., in), weight (out, in), bias (out,)"""
    return F.linear(x, weight, bias)
