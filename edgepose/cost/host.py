"""This host's costs, measured once on networks made for it and kept.

A CPU does one thing after another: it gathers what a kernel covers, multiplies, moves values and weights.
So its costs add up. They are fitted (non-negative least squares) to the times of some networks of residual
blocks in ONNX Runtime (edgepose/cost/mixes.py). No network that is to be estimated takes part in the fit.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from scipy.optimize import nnls

from edgepose.cost.latency import AGREEMENT, Estimator
from edgepose.cost.layers import LayerCost
from edgepose.cost.mixes import layers, mixes, onnx_model
from edgepose.device.files import write_atomic
from edgepose.device.timing import measure
from edgepose.errors import EdgeposeError
from edgepose.fetch import cache_folder
from edgepose.target import Precision, Target

VERSION = 3
_LOG = logging.getLogger("edgepose")
NETWORKS = 40
PASSES = 8


class Amounts(NamedTuple):
    """What a layer asks of a CPU.

    macs: multiply-accumulates; kernels: 1; weights and values: read or written, without bytes, which the
    precision decides; taps: output positions times the kernel's positions where it covers more than one;
    resized: values that resizing writes
    """

    macs: float
    kernels: float
    weights: float
    values: float
    taps: float
    resized: float


def amounts(layer: LayerCost) -> Amounts:
    """What one layer asks, one image."""
    positions = math.prod(layer.output_hw)
    kernel = 0
    if layer.weights:
        kernel = layer.weights * layer.groups // (layer.in_channels * layer.channels)
    return Amounts(
        macs=layer.macs,
        kernels=1,
        weights=layer.weights,
        values=layer.values_moved - layer.weights,
        taps=positions * kernel if kernel > 1 else 0,
        resized=positions * layer.channels if layer.kind == "Upsample" else 0,
    )


@dataclass(frozen=True)
class HostCosts:
    """Seconds for one of each of `Amounts`, at one precision."""

    seconds: Amounts

    def layer_ms(self, layer: LayerCost) -> float:
        return 1e3 * sum(s * n for s, n in zip(self.seconds, amounts(layer), strict=True))


@dataclass(frozen=True)
class Calibration:
    """What was measured: costs, and the median and largest relative error of the fit."""

    costs: HostCosts
    median_error: float
    largest_error: float


def host_estimator(target: Target) -> Estimator:
    """The cost model of this machine's CPU at the target's precision."""
    if target.runtime != "onnx_mobile" or target.precision == "fp16":
        raise EdgeposeError(
            f"no latency can be estimated for {target.name}: {target.runtime} in {target.precision} is "
            "not what this host's CPU runs",
            fix="ask the latency of target host",
        )
    found = calibration(target.precision)
    if found.median_error > AGREEMENT:
        raise EdgeposeError(
            "this host's cost model misses the networks that it was measured on by "
            f"{found.median_error:.0%} in the median: other work disturbed the measurement, or these "
            "costs do not describe this CPU",
            fix="try again when the machine is idle, or use budget.macs",
        )
    return Estimator(target.name, found.costs, "calibrated on this host", found.largest_error)


def calibration(
    precision: Precision, *, threads: int | None = None, folder: Path | None = None
) -> Calibration:
    """This machine's costs, from the cache where this processor and ONNX Runtime were measured.

    Costs that do not fit the networks that they come from are given back and not kept.
    threads: as a session is given them; None: one per core
    """
    cores = threads or os.cpu_count()
    key = json.dumps([VERSION, precision, _processor(), cores, ort.__version__])
    name = hashlib.sha256(key.encode()).hexdigest()[:16]
    file = (folder or cache_folder()) / "host" / f"{name}.json"
    if file.exists():
        return _kept(file)
    _LOG.info("measuring what this host's CPU takes, once: some ten seconds")
    found = fit(network_times(precision, threads=threads))
    if found.median_error > AGREEMENT:  # not worth keeping
        return found
    file.parent.mkdir(parents=True, exist_ok=True)
    kept = {
        "seconds": found.costs.seconds._asdict(),
        "median_error": found.median_error,
        "largest_error": found.largest_error,
    }
    write_atomic(file, json.dumps(kept, indent=1).encode())
    return found


def _kept(file: Path) -> Calibration:
    try:
        kept = json.loads(file.read_text())
        costs = HostCosts(Amounts(**kept["seconds"]))
        return Calibration(costs, float(kept["median_error"]), float(kept["largest_error"]))
    except (ValueError, KeyError, TypeError) as error:
        raise EdgeposeError(
            f"{file}, what was measured of this host, is damaged",
            fix="remove it; the host is measured again",
        ) from error


def _processor() -> str:
    """The processor's name, as the system gives it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(errors="replace").splitlines():
            if line.lower().startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def network_times(
    precision: Precision, *, threads: int | None = None, count: int = NETWORKS
) -> list[tuple[list[LayerCost], float]]:
    """(layers, milliseconds of one call) of `count` networks.

    All are timed in turn, `PASSES` times over, and the fastest median of each counts: other work on the
    machine comes and goes.
    """
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.inter_op_num_threads = 1
    if threads is not None:
        options.intra_op_num_threads = threads
    calls = []
    for mix in mixes(count):
        data = onnx_model(mix, precision)
        session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        rng = np.random.default_rng(0)
        feed: dict[str, NDArray[Any]] = {
            x.name: rng.integers(0, 256, x.shape).astype(np.uint8)
            if precision == "int8"
            else rng.random(x.shape, dtype=np.float32)
            for x in session.get_inputs()
        }
        calls.append(partial(session.run, None, feed))
    times = [[_median_ms(call) for call in calls] for _ in range(PASSES)]
    best = np.min(times, axis=0)
    return [(layers(mix), float(ms)) for mix, ms in zip(mixes(count), best, strict=True)]


def _median_ms(call: Callable[[], object]) -> float:
    timing = measure(call, warmup=1, max_warmup=2, repeats=5, min_seconds=0.0)
    return float(np.median(timing.samples_ms))


def fit(times: list[tuple[list[LayerCost], float]]) -> Calibration:
    """The costs, none negative, that estimate `times` best: least squares of the relative error.

    times: (layers, milliseconds of one image) per network
    """
    measured = np.array([ms for _, ms in times]) / 1e3
    asked = np.array(
        [np.sum([amounts(layer) for layer in network], axis=0) for network, _ in times]
    )
    scale = asked.max(axis=0).clip(1e-12)  # a million MACs beside one launch
    found, _ = nnls(asked / scale / measured[:, None], np.ones(len(times)))
    off = np.abs(asked @ (found / scale) / measured - 1)
    seconds = Amounts(*(float(x) for x in found / scale))
    return Calibration(HostCosts(seconds), float(np.median(off)), float(off.max()))
