"""Lets a program written for one image evaluate several at once.

An mlpackage fixes the batch to 1. Nearly every operator that we emit works on each image alone,
and the few that name the batch axis (reshape, slices) can be told to keep it open. `open_batch`
rewrites a program so; where it cannot prove that images stay apart, each image runs alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from edgepose.backends.mil.load import Operation, Program, Ref

Arguments = Mapping[str, Any]


def open_batch(program: Program) -> Program | None:
    """The same program for N images where every operator allows it, else None."""
    if any(not t.shape or t.shape[0] != 1 for t in program.inputs):
        return None
    shapes = {t.name: t.shape for t in program.inputs}
    varying = set(shapes)
    operations = []
    for op in program.operations:
        if not any(name in varying for name in _references(op.arguments)):
            operations.append(op)
            continue
        arguments = _opened(op, shapes, varying)
        if arguments is None or any(not t.shape or t.shape[0] != 1 for t in op.outputs):
            return None
        shapes.update({t.name: t.shape for t in op.outputs})
        varying.update(t.name for t in op.outputs)
        outputs = tuple(replace(t, shape=(-1, *t.shape[1:])) for t in op.outputs)
        operations.append(replace(op, arguments=arguments, outputs=outputs))
    inputs = tuple(replace(t, shape=(-1, *t.shape[1:])) for t in program.inputs)
    return replace(program, inputs=inputs, operations=tuple(operations))


def _references(arguments: Arguments) -> list[str]:
    values = [v for value in arguments.values() for v in _flat(value)]
    return [v.name for v in values if isinstance(v, Ref)]


def _flat(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _opened(op: Operation, shapes: Mapping[str, Any], varying: set[str]) -> Arguments | None:
    if op.kind in _PER_IMAGE:
        data = [op.arguments[key] for key in _PER_IMAGE[op.kind]]
        constants_are_constant = all(
            name not in varying or Ref(name) in data for name in _references(op.arguments)
        )
        return op.arguments if constants_are_constant else None
    rule = _RULES.get(op.kind)
    if rule is None:
        return None
    data = [v.name for value in op.arguments.values() for v in _flat(value) if isinstance(v, Ref)]
    rank = max(len(shapes[name]) for name in data if name in shapes)
    return rule(op.arguments, rank)


# operators whose named arguments vary with the image, while all others are constants
_PER_IMAGE: dict[str, tuple[str, ...]] = {
    "conv": ("x",),
    "max_pool": ("x",),
    "batch_norm": ("x",),
    "relu": ("x",),
    "sigmoid": ("x",),
    "cast": ("x",),
    "pixel_shuffle": ("x",),
    "upsample_nearest_neighbor": ("x",),
    "quantize": ("input",),
    "dequantize": ("input",),
    "conv_transpose": ("x",),
    "floor": ("x",),
    "sign": ("x",),
    "abs": ("x",),
    "clip": ("x",),
    "log": ("x",),
    "linear": ("x",),
}


def _elementwise(arguments: Arguments, rank: int) -> Arguments | None:
    for value in (arguments["x"], arguments["y"]):
        if isinstance(value, np.ndarray) and value.ndim == rank and value.shape[0] != 1:
            return None
    return arguments


def _reshape(arguments: Arguments, rank: int) -> Arguments | None:
    shape = [int(s) for s in np.asarray(arguments["shape"]).reshape(-1)]
    if shape[0] != 1 or -1 in shape:
        return None
    return {**arguments, "shape": (-1, *shape[1:])}


def _slice_by_index(arguments: Arguments, rank: int) -> Arguments | None:
    def listed(key: str, default: Any) -> list[Any]:
        value = arguments.get(key)
        return [default] * rank if value is None else list(np.asarray(value).reshape(-1))

    begin, end = listed("begin", 0), listed("end", 0)
    begin_mask, end_mask = listed("begin_mask", False), listed("end_mask", False)
    whole = (begin_mask[0] or begin[0] == 0) and (end_mask[0] or end[0] == 1)
    if not whole or listed("squeeze_mask", False)[0] or listed("stride", 1)[0] != 1:
        return None
    return {**arguments, "end_mask": (True, *(bool(m) for m in end_mask[1:]))}


def _slice_by_size(arguments: Arguments, rank: int) -> Arguments | None:
    begin, size = [list(np.asarray(arguments[k]).reshape(-1)) for k in ("begin", "size")]
    if begin[0] != 0 or size[0] not in (1, -1):
        return None
    return {**arguments, "size": (-1, *(int(s) for s in size[1:]))}


def _axis_not_first(arguments: Arguments, rank: int) -> Arguments | None:
    return arguments if int(arguments["axis"]) % rank else None


def _stack(arguments: Arguments, rank: int) -> Arguments | None:
    return arguments if int(arguments["axis"]) % (rank + 1) else None


def _transpose(arguments: Arguments, rank: int) -> Arguments | None:
    return arguments if int(arguments["perm"][0]) % rank == 0 else None


def _expand_dims(arguments: Arguments, rank: int) -> Arguments | None:
    axes = np.asarray(arguments["axes"]).reshape(-1)
    return arguments if all(int(a) % (rank + len(axes)) for a in axes) else None


def _squeeze(arguments: Arguments, rank: int) -> Arguments | None:
    axes = arguments.get("axes")
    return arguments if axes is not None and all(int(a) % rank for a in axes) else None


def _reduce(arguments: Arguments, rank: int) -> Arguments | None:
    axes = arguments.get("axes")
    apart = axes is not None and all(int(a) % rank for a in np.asarray(axes).reshape(-1))
    return arguments if apart else None


def _matmul(arguments: Arguments, rank: int) -> Arguments | None:
    """One side a constant matrix, the other a stack of them per image."""
    constants = [v for v in (arguments["x"], arguments["y"]) if isinstance(v, np.ndarray)]
    return arguments if len(constants) == 1 and constants[0].ndim == 2 else None


def _pad(arguments: Arguments, rank: int) -> Arguments | None:
    pads = list(np.asarray(arguments["pad"]).reshape(-1))
    return arguments if len(pads) < 2 * rank or not any(pads[:2]) else None


_RULES: dict[str, Callable[[Arguments, int], Arguments | None]] = {
    "add": _elementwise,
    "sub": _elementwise,
    "mul": _elementwise,
    "greater": _elementwise,
    "less": _elementwise,
    "real_div": _elementwise,
    "reduce_argmax": _axis_not_first,
    "gather": _axis_not_first,
    "gather_along_axis": _axis_not_first,
    "matmul": _matmul,
    "reshape": _reshape,
    "slice_by_index": _slice_by_index,
    "slice_by_size": _slice_by_size,
    "concat": _axis_not_first,
    "split": _axis_not_first,
    "stack": _stack,
    "transpose": _transpose,
    "expand_dims": _expand_dims,
    "squeeze": _squeeze,
    "pad": _pad,
    "reduce_mean": _reduce,
    "reduce_max": _reduce,
}
