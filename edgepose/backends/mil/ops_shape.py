"""Operators that move values: slices, joins, reshapes, the interleave. No arithmetic."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from edgepose.backends.mil.registry import operator, refuse


def _mask(values: Sequence[bool] | None, rank: int) -> tuple[bool, ...]:
    return tuple(bool(v) for v in values) if values is not None else (False,) * rank


@operator("slice_by_index", moves_data=True)
def slice_by_index(
    *,
    x: torch.Tensor,
    begin: Sequence[int],
    end: Sequence[int],
    stride: Sequence[int] | None = None,
    begin_mask: Sequence[bool] | None = None,
    end_mask: Sequence[bool] | None = None,
    squeeze_mask: Sequence[bool] | None = None,
) -> torch.Tensor:
    """x[begin:end:stride] per axis; a mask opens that side; squeeze takes one index."""
    steps = [int(s) for s in stride] if stride is not None else [1] * x.ndim
    if min(steps) < 1:
        raise refuse("slice_by_index.stride below 1", "only forward slices are read")
    open_begin, open_end = _mask(begin_mask, x.ndim), _mask(end_mask, x.ndim)
    squeeze = _mask(squeeze_mask, x.ndim)
    index: list[int | slice] = []
    for axis in range(x.ndim):
        first, last = int(begin[axis]), int(end[axis])
        if squeeze[axis]:
            index.append(first)
        else:
            index.append(
                slice(
                    None if open_begin[axis] else first,
                    None if open_end[axis] else last,
                    steps[axis],
                )
            )
    return x[tuple(index)]


@operator("slice_by_size", moves_data=True)
def slice_by_size(*, x: torch.Tensor, begin: Sequence[int], size: Sequence[int]) -> torch.Tensor:
    """x[begin : begin + size] per axis; size -1 goes to the end."""
    for axis, (first, count) in enumerate(zip(begin, size, strict=True)):
        length = x.shape[axis] - int(first) if int(count) == -1 else int(count)
        x = x.narrow(axis, int(first), length)
    return x


@operator("split", moves_data=True)
def split(
    *,
    x: torch.Tensor,
    axis: int,
    num_splits: int | None = None,
    split_sizes: Sequence[int] | None = None,
) -> tuple[torch.Tensor, ...]:
    """Equal parts, or parts of the given sizes."""
    if split_sizes is not None:
        return torch.split(x, [int(s) for s in split_sizes], dim=int(axis))
    if num_splits is None or x.shape[int(axis)] % int(num_splits):
        raise refuse("split without sizes", f"axis of {x.shape[int(axis)]} into {num_splits}")
    return torch.split(x, x.shape[int(axis)] // int(num_splits), dim=int(axis))


@operator("concat", moves_data=True)
def concat(*, values: Sequence[torch.Tensor], axis: int, interleave: bool = False) -> torch.Tensor:
    if interleave:
        raise refuse("concat.interleave", "it is not emitted")
    return torch.cat(tuple(values), dim=int(axis))


@operator("stack", moves_data=True)
def stack(*, values: Sequence[torch.Tensor], axis: int) -> torch.Tensor:
    return torch.stack(tuple(values), dim=int(axis))


@operator("reshape", moves_data=True)
def reshape(*, x: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """-1 is inferred, 0 keeps the axis, as in MIL."""
    wanted = [int(s) for s in shape]
    if 0 in wanted and len(wanted) != x.ndim:
        raise refuse("reshape with 0", "0 keeps an axis only where the rank stays")
    return x.reshape([x.shape[i] if s == 0 else s for i, s in enumerate(wanted)])


@operator("transpose", moves_data=True)
def transpose(*, x: torch.Tensor, perm: Sequence[int]) -> torch.Tensor:
    return x.permute([int(p) for p in perm])


@operator("expand_dims", moves_data=True)
def expand_dims(*, x: torch.Tensor, axes: Sequence[int]) -> torch.Tensor:
    """New axes of length 1 at these positions of the output."""
    rank = x.ndim + len(axes)
    for axis in sorted(int(a) % rank for a in axes):
        x = x.unsqueeze(axis)
    return x


@operator("squeeze", moves_data=True)
def squeeze(*, x: torch.Tensor, axes: Sequence[int] | None = None) -> torch.Tensor:
    """Axes of length 1 removed; all of them where none is named."""
    if axes is None:
        return x.squeeze()
    return x.squeeze(tuple(int(a) for a in axes))


@operator("pixel_shuffle", moves_data=True)
def pixel_shuffle(*, x: torch.Tensor, upscale_factor: int) -> torch.Tensor:
    """(N, C r r, H, W) -> (N, C, H r, W r)."""
    return F.pixel_shuffle(x, int(upscale_factor))


@operator("pad", moves_data=True)
def pad(
    *,
    x: torch.Tensor,
    pad: Sequence[int],
    mode: str = "constant",
    constant_val: float = 0.0,
) -> torch.Tensor:
    """pad: (before, after) of the last len(pad) / 2 axes, outermost first."""
    pairs = [(int(pad[i]), int(pad[i + 1])) for i in range(0, len(pad), 2)]
    innermost_first = [amount for pair in reversed(pairs) for amount in pair]
    if mode == "constant":
        return F.pad(x, innermost_first, value=float(constant_val))
    if mode not in ("reflect", "replicate"):
        raise refuse(f"pad.mode={mode}", "unknown padding")
    if x.ndim != 4 or any(pair != (0, 0) for pair in pairs[:-2]):
        raise refuse(f"pad.mode={mode}", "outside the two image axes")
    return F.pad(x, innermost_first[:4], mode=mode)
