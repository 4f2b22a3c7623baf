"""Runs a MIL program with torch as the arithmetic.

Every value is held in float32 (or its integer type). An operation declared fp16 is computed in
float32, accumulation included, and its result rounded to the nearest fp16: a fair reading of a
program whose hardware is unknown. See docs/adr/0007-mil-interpreter.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

import edgepose.backends.mil.ops_index
import edgepose.backends.mil.ops_math
import edgepose.backends.mil.ops_quant
import edgepose.backends.mil.ops_shape  # noqa: F401  (importing fills the table of operators)
from edgepose.backends.mil.batching import open_batch
from edgepose.backends.mil.load import Operation, Program, Ref, Tensor, load_program
from edgepose.backends.mil.registry import OPERATORS, check_operators, refuse

Results = dict[str, torch.Tensor]
_INTEGERS = {
    "int8": torch.int8, "uint8": torch.uint8, "int32": torch.int32, "bool": torch.bool,
    "int16": torch.int32, "uint16": torch.int32,  # held wider: torch computes little in uint16
}  # fmt: skip


class Interpreter:
    """A loaded program; constants decoded once, the rest evaluated per call."""

    def __init__(self, program: Program) -> None:
        """Raises EdgeposeError naming each operator or attribute that is unknown."""
        check_operators(program)
        opened = open_batch(program)
        self.batched = opened is not None
        self.program = program if opened is None else opened
        self._constants: dict[str, torch.Tensor] = {}
        self._steps: list[tuple[Operation, dict[str, Any]]] = []
        with torch.inference_mode():
            for op in self.program.operations:
                arguments = {key: _constant(value) for key, value in op.arguments.items()}
                if all(r.name in self._constants for r in _references(arguments)):
                    self._constants.update(evaluate(op, _bound(arguments, self._constants)))
                else:
                    self._steps.append((op, arguments))
        self._last_use = self._find_last_use()

    @classmethod
    def load(cls, package: Path) -> Interpreter:
        return cls(load_program(package))

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """inputs: name -> (N, ...); returns output name -> (N, ...), floats as float32."""
        names = [t.name for t in self.program.inputs]
        if set(inputs) != set(names):
            raise refuse(f"inputs {sorted(inputs)}", f"the program takes {names}")
        if self.batched:
            return self._run(inputs)
        count = len(next(iter(inputs.values())))
        runs = [self._run({k: v[i : i + 1] for k, v in inputs.items()}) for i in range(count)]
        return {name: np.concatenate([r[name] for r in runs]) for name in runs[0]}

    def step(self, op: Operation, arguments: Mapping[str, Any]) -> Results:
        """One operation; a subclass can look at results, or put others in their place."""
        return evaluate(op, arguments)

    @torch.inference_mode()
    def _run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        values = dict(self._constants)
        for declared in self.program.inputs:
            tensor = torch.from_numpy(np.ascontiguousarray(inputs[declared.name], np.float32))
            _check_shape("input", declared, tensor)
            values[declared.name] = _rounded(tensor, declared.dtype)
        for number, (op, arguments) in enumerate(self._steps):
            values.update(self.step(op, _bound(arguments, values)))
            for name in self._last_use.get(number, ()):
                values.pop(name)
        return {name: values[name].contiguous().numpy() for name in self.program.outputs}

    def _find_last_use(self) -> dict[int, list[str]]:
        """step -> values that nothing after it reads, so that memory is given back early."""
        last: dict[str, int] = {}
        for number, (op, arguments) in enumerate(self._steps):
            for name in [r.name for r in _references(arguments)] + [t.name for t in op.outputs]:
                last[name] = number
        kept = {*self.program.outputs, *self._constants}
        dead: dict[int, list[str]] = {}
        for name, number in last.items():
            if name not in kept:
                dead.setdefault(number, []).append(name)
        return dead


def evaluate(op: Operation, arguments: Mapping[str, Any]) -> Results:
    """Output name -> value of one operation, rounded to the type that the file declares.

    Raises EdgeposeError where a result has not the declared shape.
    """
    known = OPERATORS[op.kind]
    results = known.function(**arguments)
    if not isinstance(results, tuple):
        results = (results,)
    named = {}
    for declared, result in zip(op.outputs, results, strict=True):
        _check_shape(f"{op.kind} {op.name}", declared, result)
        exact = known.moves_data and result.dtype == torch.float32
        named[declared.name] = result if exact else _rounded(result, declared.dtype)
    return named


def _constant(value: Any) -> Any:
    """Numpy constants as tensors, floats widened to float32; plain values as they are."""
    if isinstance(value, tuple):
        return tuple(_constant(item) for item in value)
    if not isinstance(value, np.ndarray):
        return value
    if value.dtype.kind == "f":
        value = value.astype(np.float32)
    return torch.from_numpy(np.array(value))


def _references(arguments: Mapping[str, Any]) -> list[Ref]:
    flat = [v for a in arguments.values() for v in (a if isinstance(a, tuple) else (a,))]
    return [v for v in flat if isinstance(v, Ref)]


def _bound(arguments: Mapping[str, Any], values: Results) -> dict[str, Any]:
    def bound(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(bound(item) for item in value)
        return values[value.name] if isinstance(value, Ref) else value

    return {key: bound(value) for key, value in arguments.items()}


def _rounded(value: torch.Tensor, dtype: str) -> torch.Tensor:
    if dtype == "fp16":
        return value.to(torch.float16).to(torch.float32)
    if dtype == "fp32":
        return value.to(torch.float32)
    if dtype not in _INTEGERS:
        raise refuse(f"values of {dtype}", f"fp16, fp32 and {', '.join(_INTEGERS)} are read")
    return value.to(_INTEGERS[dtype])


def _check_shape(what: str, declared: Tensor, value: torch.Tensor) -> None:
    same = len(declared.shape) == value.ndim and all(
        want in (-1, got) for want, got in zip(declared.shape, value.shape, strict=True)
    )
    if not same:
        raise refuse(what, f"shape {tuple(value.shape)} where {declared.shape} is declared")
