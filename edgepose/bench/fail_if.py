"""Conditions of a release check: `fps_p50 < 0.95x`, `pckh < -0.5`, `size_bytes > 5000000`.

NAME OP NUMBER     OP: < <= > >=
0.95x              times the baseline's value
-0.5, +0.5         a change against the baseline, in the value's unit (points for scores)
5000000            the value itself
"""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass
from typing import Literal

from edgepose.bench.record import BenchRecord
from edgepose.errors import EdgeposeError

_OPERATORS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
_FORM = re.compile(
    r"\s*([a-z_][a-z0-9_]*(?:@\d*\.?\d+)?)\s*(<=|>=|<|>)\s*([+-]?)(\d+(?:\.\d+)?|\.\d+)(x?)\s*"
)
_HELP = 'write a name, one of < <= > >=, and a number, as in "fps_p50 < 0.95x" or "pckh < -0.5"'
_QUANTILES = ("p50", "p90", "p99", "mean", "max")


@dataclass(frozen=True)
class FailIf:
    """kind: "ratio": `limit` times the baseline; "change": against it; "value": the value itself"""

    text: str
    name: str
    sign: str
    limit: float
    kind: Literal["ratio", "change", "value"]


@dataclass(frozen=True)
class Verdict:
    """fired: whether the check fails; figure: what was compared with the limit, in its kind
    baseline, now: both values"""

    condition: FailIf
    fired: bool
    figure: float
    baseline: float
    now: float


def parse_fail_if(text: str) -> FailIf:
    """A condition; EdgeposeError for anything that could be meant otherwise."""
    found = _FORM.fullmatch(text)
    if found is None:
        raise EdgeposeError(f"--fail-if {text!r} is no condition", fix=_HELP)
    name, sign, plus_minus, digits, times = found.groups()
    limit = float(plus_minus + digits)
    if times:
        if plus_minus or limit == 0:
            raise EdgeposeError(
                f"--fail-if {text!r}: {plus_minus}{digits}x is no part of a baseline",
                fix="write a positive number before the x, as in 0.95x",
            )
        return FailIf(text.strip(), name, sign, limit, "ratio")
    if plus_minus:
        return FailIf(text.strip(), name, sign, limit, "change")
    if _is_score(name) and limit <= 1:
        raise EdgeposeError(
            f"--fail-if {text!r}: scores are percent, none is near {digits}",
            fix=f'for a change against the baseline write its sign: "{name} < -{digits}"',
        )
    return FailIf(text.strip(), name, sign, limit, "value")


def figures(record: BenchRecord) -> dict[str, float]:
    """Every figure of a record that a condition may name.

    A score also goes by its first word: "pckh" is "pckh@0.5" where that stands first.
    """
    found: dict[str, float] = {}
    for prefix, latency in (("", record.model_ms), ("end_to_end_", record.end_to_end_ms)):
        if latency is None:
            continue
        found[f"{prefix}fps_p50"] = latency.fps
        for name in _QUANTILES:
            value = getattr(latency, name)
            if value is not None:
                found[f"{prefix}{name}_ms"] = value
    for name, score in record.metrics.items():
        found[name] = score.value
        found.setdefault(name.partition("@")[0], score.value)
    found["size_bytes"] = float(record.size_bytes)
    for name, values in (
        ("cold_start_ms", [run.cold_start_ms for run in record.runs]),
        ("peak_memory_bytes", [run.peak_memory_bytes for run in record.runs]),
        ("energy_mj", [run.energy_mj for run in record.runs]),
    ):
        known = [float(value) for value in values if value is not None]
        if known:
            found[name] = max(known)
    return found


def check(condition: FailIf, baseline: BenchRecord, now: BenchRecord) -> Verdict:
    """Whether a condition fires; EdgeposeError where one of the records lacks what it names."""
    values = []
    for record, where in ((baseline, "the baseline"), (now, "this benchmark")):
        known = figures(record)
        if condition.name not in known:
            raise EdgeposeError(
                f"--fail-if {condition.text!r}: {where} has no {condition.name}",
                fix=f"it has {', '.join(known)}",
            )
        values.append(known[condition.name])
    before, after = values
    figure = after
    if condition.kind == "change":
        figure = after - before
    elif condition.kind == "ratio":
        if before <= 0:
            raise EdgeposeError(
                f"--fail-if {condition.text!r}: the baseline's {condition.name} is {before:g}",
                fix="compare the value itself, or a change with its sign",
            )
        figure = after / before
    fired = bool(_OPERATORS[condition.sign](figure, condition.limit))
    return Verdict(condition, fired, figure, before, after)


def _is_score(name: str) -> bool:
    return name.startswith(("pck", "oks"))
