"""This host's figures for the roofline, measured once on single layers and kept.

Chains of one convolution are timed in ONNX Runtime; attainable arithmetic, bandwidth, launch cost, the cost
of gathering and the multiple that channels are padded to are fitted to them. No network that is to be
estimated takes part in the fit.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from scipy.optimize import least_squares

from edgepose.cost.latency import AGREEMENT, BYTES, Estimator, Figures, layer_ms
from edgepose.cost.layers import LayerCost
from edgepose.device.files import write_atomic
from edgepose.device.timing import measure
from edgepose.errors import EdgeposeError
from edgepose.fetch import cache_folder
from edgepose.target import Precision, Target

CHAIN = 4
VERSION = 2
# Channels, side of the image, side of the kernel: what pose networks are made of, large to tiny.
LAYERS = (
    (16, 64, 3), (32, 64, 3), (64, 32, 3), (64, 64, 1), (128, 16, 3), (128, 32, 1), (256, 8, 3),
    (256, 16, 3), (512, 4, 3), (512, 8, 1), (24, 32, 3), (72, 16, 3), (16, 8, 1), (32, 4, 3),
    (8, 32, 3), (16, 16, 3), (8, 16, 3), (40, 8, 3),
)  # fmt: skip
STEPS = (1, 4, 8, 16)


@dataclass(frozen=True)
class Calibration:
    """What was measured: figures, and the median and largest relative error of the fit."""

    figures: Figures
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
            f"this host's cost model misses its own single layers by {found.median_error:.0%} in the "
            "median: other work disturbed the measurement, or a roofline does not describe this CPU",
            fix="try again when the machine is idle, or use budget.macs",
        )
    return Estimator(
        target.name, found.figures, "calibrated on this host (roofline)", found.largest_error
    )


def calibration(
    precision: Precision, *, threads: int | None = None, folder: Path | None = None
) -> Calibration:
    """This machine's figures, from the cache where this processor and ONNX Runtime were measured.

    Figures that do not fit the layers that they come from are given back and not kept.
    threads: as a session is given them; None: one per core
    """
    cores = threads or os.cpu_count()
    key = json.dumps([VERSION, precision, _processor(), cores, ort.__version__])
    name = hashlib.sha256(key.encode()).hexdigest()[:16]
    file = (folder or cache_folder()) / "host" / f"{name}.json"
    if file.exists():
        kept = json.loads(file.read_text())
        figures = Figures(**{**kept["figures"], "fused": tuple(kept["figures"]["fused"])})
        return Calibration(figures, kept["median_error"], kept["largest_error"])
    found = fit(layer_times(precision, threads=threads), precision)
    if found.median_error > AGREEMENT:  # not worth keeping
        return found
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(file, json.dumps(asdict(found), indent=1).encode())
    return found


def _processor() -> str:
    """The processor's name, as the system gives it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(errors="replace").splitlines():
            if line.lower().startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def layer_times(
    precision: Precision, *, threads: int | None = None
) -> list[tuple[LayerCost, float]]:
    """(layer, milliseconds of one call) for every one of `LAYERS`; the fastest call counts, which
    other work on the machine disturbs least."""
    return [(_layer(*shape), _time(shape, precision, threads)) for shape in LAYERS]


def _layer(channels: int, side: int, kernel: int) -> LayerCost:
    weights = channels * channels * kernel**2
    hw = (side, side)
    return LayerCost(
        f"{channels}x{side}x{kernel}",
        "Conv2d",
        weights * side**2,
        weights,
        channels,
        hw,
        channels,
        hw,
    )


def fit(times: list[tuple[LayerCost, float]], precision: Precision) -> Calibration:
    """The figures that estimate `times` best: least squares of the logarithm."""
    measured = np.log([ms for _, ms in times])

    def made(values: NDArray[np.float64], step: int) -> Figures:
        macs, traffic, kernel, gather = (float(x) for x in np.exp(values))
        return Figures(macs, traffic, kernel, step, BYTES[precision], gather_s=gather)

    def errors(values: NDArray[np.float64], step: int) -> NDArray[np.float64]:
        figures = made(values, step)
        return np.log([layer_ms(layer, figures) for layer, _ in times]) - measured

    start = np.log([50e9, 5e9, 5e-6, 1e-9])
    solved = [
        (least_squares(errors, start, args=(step,), loss="soft_l1", diff_step=1e-3), step)
        for step in STEPS
    ]
    best, step = min(solved, key=lambda item: float(item[0].cost))
    off = np.abs(np.exp(errors(best.x, step)) - 1)
    return Calibration(made(best.x, step), float(np.median(off)), float(off.max()))


def _time(shape: tuple[int, int, int], precision: Precision, threads: int | None) -> float:
    """Milliseconds of one convolution within a chain of them."""
    channels, side, kernel = shape
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.inter_op_num_threads = 1
    if threads is not None:
        options.intra_op_num_threads = threads
    # Times the difference of two chains, so that the call itself drops out.
    sessions = [
        ort.InferenceSession(
            _chain(channels, side, kernel, length, precision), options,
            providers=["CPUExecutionProvider"],
        )
        for length in (1, 1 + CHAIN)
    ]  # fmt: skip
    feed: dict[str, NDArray[Any]] = {
        "x": np.random.default_rng(0).random((1, channels, side, side), dtype=np.float32)
    }
    if precision == "int8":
        feed = {"x": (feed["x"] * 255).astype(np.uint8)}
    best = [_fastest(session, feed) for session in sessions]
    return max(best[1] - best[0], 1e-4) / CHAIN


def _fastest(session: ort.InferenceSession, feed: dict[str, NDArray[Any]]) -> float:
    """Milliseconds of the fastest of some calls."""
    timing = measure(
        lambda: session.run(None, feed), warmup=3, max_warmup=9, repeats=9, min_seconds=0.03
    )
    return float(timing.samples_ms.min())


def _chain(channels: int, side: int, kernel: int, length: int, precision: Precision) -> bytes:
    """An ONNX model of `length` equal convolutions with ReLU."""
    rng = np.random.default_rng(0)
    shape = (channels, channels, kernel, kernel)
    kinds: dict[str, Any] = {"kernel_shape": [kernel] * 2, "pads": [kernel // 2] * 4}
    constants, nodes = [], []

    def constant(name: str, values: NDArray[Any] | np.generic) -> str:
        constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    source = "x"
    if precision == "int8":
        scale = constant("scale", np.float32(0.02))
        weight_scale = constant("weight_scale", np.full(channels, 1e-3, np.float32))
        zero, weight_zero = (
            constant("zero", np.uint8(0)),
            constant("wz", np.zeros(channels, np.int8)),
        )
    for number in range(length):
        target = f"y{number}"
        if precision == "int8":
            weight = constant(f"w{number}", rng.integers(-127, 128, shape).astype(np.int8))
            inputs = [source, scale, zero, weight, weight_scale, weight_zero, scale, zero]
            nodes.append(helper.make_node("QLinearConv", inputs, [target], **kinds))
        else:
            weight = constant(f"w{number}", rng.normal(0, 0.05, shape).astype(np.float32))
            nodes.append(helper.make_node("Conv", [source, weight], [f"c{number}"], **kinds))
            nodes.append(helper.make_node("Relu", [f"c{number}"], [target]))
        source = target
    kind = TensorProto.UINT8 if precision == "int8" else TensorProto.FLOAT
    image = [1, channels, side, side]
    graph = helper.make_graph(
        nodes, "chain", [helper.make_tensor_value_info("x", kind, image)],
        [helper.make_tensor_value_info(source, kind, image)], constants,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    data: bytes = model.SerializeToString()
    onnx.checker.check_model(model)
    return data
