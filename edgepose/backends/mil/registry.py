"""The table of operators, and the check that a program uses nothing beyond it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from edgepose.backends.mil.load import Operation, Program
from edgepose.errors import EdgeposeError

Implementation = Callable[..., Any]
Function = TypeVar("Function", bound=Implementation)


@dataclass(frozen=True)
class Operator:
    """function: keyword arguments named as MIL names them, torch tensors in and out;
    moves_data: the output holds input values only, so that it needs no rounding."""

    function: Implementation
    moves_data: bool
    arguments: frozenset[str]
    required: frozenset[str]


OPERATORS: dict[str, Operator] = {}


def operator(kind: str, *, moves_data: bool = False) -> Callable[[Function], Function]:
    """Registers a function as the meaning of the MIL operator `kind`."""

    def register(function: Function) -> Function:
        parameters = inspect.signature(function).parameters.values()
        OPERATORS[kind] = Operator(
            function=function,
            moves_data=moves_data,
            arguments=frozenset(p.name for p in parameters),
            required=frozenset(p.name for p in parameters if p.default is p.empty),
        )
        return function

    return register


def refuse(kind: str, what: str) -> EdgeposeError:
    """The error for an operator or attribute that the interpreter does not know."""
    return EdgeposeError(
        f"the MIL interpreter does not execute {kind}: {what}",
        fix="score an mlpackage that edgepose exported, or run this one in Core ML on a Mac",
    )


def check_operators(program: Program) -> None:
    """Raises EdgeposeError naming every operator and attribute that is not in the table."""
    problems = sorted({problem for op in program.operations for problem in _problems(op)})
    if problems:
        raise refuse(", ".join(problems), "not among its operators and attributes")


def _problems(op: Operation) -> list[str]:
    known = OPERATORS.get(op.kind)
    if known is None:
        return [op.kind]
    given = set(op.arguments)
    extra = [f"{op.kind}.{name}" for name in sorted(given - known.arguments)]
    missing = [f"{op.kind} without {name}" for name in sorted(known.required - given)]
    return extra + missing
