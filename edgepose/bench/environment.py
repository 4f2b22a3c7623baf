"""What must be equal for two latencies to be comparable, and the names of what is not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgepose.bench.record import BenchRecord, Conditions, Environment

_LIBRARIES = ("numpy", "onnxruntime", "opencv-python-headless", "coremltools")


def environment_of(
    conditions: Conditions,
    *,
    executor: str,
    threads: int | None,
    batch: int | None,
    resampler: str | None,
    board: Mapping[str, Any] | None = None,
) -> Environment:
    """Device, system, power settings, runtime and how it was called.

    board: what a board said of itself (device/board.py). The kernel's build, load, temperatures and
    clocks are in the record but not here: they change by themselves.
    """
    said = board or {}
    mode = said.get("power_mode") or {}
    clocks = (said.get("jetson_clocks") or {}).get("parsed") or {}
    gpu = clocks.get("GPU", {})
    return {
        "device": said.get("board") or conditions.cpu_model,
        "machine": conditions.machine,
        "cores": conditions.usable_cores,
        "cpu quota": conditions.cpu_quota_cores,
        "instructions": ", ".join(conditions.isa),
        "os": conditions.os,
        "L4T": said.get("l4t"),
        "power mode": mode.get("name"),
        "governor": conditions.governor,
        # jetson_clocks pins the lowest clock to the highest one
        "GPU clocks": None if not gpu else f"{gpu.get('MinFreq')} to {gpu.get('MaxFreq')}",
        "executor": executor,
        "resampler": resampler,
        "python": conditions.python,
        **{f"version of {name}": conditions.versions.get(name) for name in _LIBRARIES},
        "threads": threads,
        "batch": batch,
    }


def unlike(first: BenchRecord, second: BenchRecord) -> list[str]:
    """One line for everything in which two records' environments differ."""
    names = dict.fromkeys([*first.environment, *second.environment])
    return [
        f"{name}: {_word(first.environment.get(name))} / {_word(second.environment.get(name))}"
        for name in names
        if first.environment.get(name) != second.environment.get(name)
    ]


def _word(value: str | int | float | None) -> str:
    return "unknown" if value is None else str(value)
