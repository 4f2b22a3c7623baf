"""Core ML's own times, per compute unit: on this Mac, or on an iPhone that is connected to it.

coremltools' MLModelBenchmarker reads the durations that Core ML itself reports; an iPhone runs the model in
an app that coremltools builds with Xcode. Written against coremltools 9, checked here against its
signatures and a double: NOT YET RUN, for want of a Mac.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgepose.artifact import Artifact
from edgepose.backends.coreml import package_folder
from edgepose.backends.mil.convert import INPUT_NAME
from edgepose.backends.mil.quiet import quiet
from edgepose.bench.latency import Plan, latency_of
from edgepose.bench.record import LatencyMs
from edgepose.errors import EdgeposeError
from edgepose.progress import Progress

UNITS = ("CPU_ONLY", "CPU_AND_GPU", "CPU_AND_NE", "ALL")
IPHONE = "iphone"


@dataclass(frozen=True)
class UnitTimes:
    """where: "this Mac", or the iPhone's name and system; by unit: latency and samples, milliseconds in
    the order they were taken."""

    where: str
    latency: dict[str, LatencyMs]
    samples_ms: dict[str, tuple[float, ...]]


def time_units(
    artifact: Artifact, *, plan: Plan, device: str | None = None, report: Progress | None = None
) -> UnitTimes:
    """The counted mlpackage on each compute unit, one image at a time.

    device: "iphone", or "iphone:NAME" where several are connected; None: this Mac
    Raises EdgeposeError on another system than macOS, and where no such iPhone is connected.
    """
    check_mac()
    package, hw = package_folder(artifact), artifact.input_hw
    return asyncio.run(_time_units(package, hw, plan, device, report))


def check_mac() -> None:
    """EdgeposeError where Core ML cannot be reached from this computer."""
    if sys.platform != "darwin":
        raise EdgeposeError(
            f"Core ML is reached from a Mac only; this is {sys.platform}",
            fix="run this command on a Mac with macOS 14 or newer, the iPhone connected to it",
        )


async def _time_units(
    package: Path,
    input_hw: tuple[int, int],
    plan: Plan,
    device: str | None,
    report: Progress | None,
) -> UnitTimes:
    phone = None if device is None else await _connected(device)
    latency, samples = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for number, unit in enumerate(UNITS):
            if report is not None:
                report(f"time {unit}", number, len(UNITS))
            times = await _samples(
                tensor_package(package, Path(folder)), input_hw, unit, plan, phone
            )
            latency[unit] = latency_of(np.array(times), warmup=plan.warmup, batch=1, threads=None)
            samples[unit] = tuple(times)
    where = "this Mac" if phone is None else f"{phone.name}, {phone.os_version}"
    return UnitTimes(where, latency, samples)


async def _samples(
    package: Path, input_hw: tuple[int, int], unit: str, plan: Plan, phone: Any
) -> list[float]:
    """Milliseconds of each prediction, at least plan.calls and plan.seconds of them."""
    with quiet():
        import coremltools
        from coremltools.models.ml_program.experimental.perf_utils import MLModelBenchmarker
    model = coremltools.models.MLModel(
        str(package), compute_units=getattr(coremltools.ComputeUnit, unit)
    )
    shape = tuple(model.get_spec().description.input[0].type.multiArrayType.shape)
    if shape[2:] != input_hw:
        raise EdgeposeError(
            f"Core ML is timed at the package's own size, {shape[2]}x{shape[3]}, not at "
            f"{input_hw[0]}x{input_hw[1]}",
            fix="leave out --size, or export that size as the network's own (student.input_hw)",
        )
    image = np.random.default_rng(0).integers(0, 256, shape).astype(np.float32)
    bench = MLModelBenchmarker(model, device=phone)
    inputs = {INPUT_NAME: image}
    await bench.benchmark_predict(inputs=inputs, iterations=max(plan.warmup, 1))
    times: list[float] = []
    while len(times) < plan.calls or sum(times) < 1e3 * plan.seconds:
        found = await bench.benchmark_predict(inputs=inputs, iterations=plan.calls)
        times += found.samples
    return times


def tensor_package(package: Path, folder: Path) -> Path:
    """A copy of an mlpackage that takes its image as an array (1, 3, H, W) float32, 0 to 255.

    The program inside takes arrays anyhow; the benchmarker hands no images to a phone.
    """
    copy = folder / "tensor.mlpackage"
    if copy.exists():
        return copy
    with quiet():
        import coremltools
        from coremltools.proto import FeatureTypes_pb2

        model = coremltools.models.MLModel(str(package), skip_model_load=True)
        spec = model.get_spec()
        feature = spec.description.input[0]
        height, width = feature.type.imageType.height, feature.type.imageType.width
        feature.type.multiArrayType.shape.extend((1, 3, height, width))
        feature.type.multiArrayType.dataType = FeatureTypes_pb2.ArrayFeatureType.FLOAT32
        coremltools.models.MLModel(spec, weights_dir=model.weights_dir, skip_model_load=True).save(
            str(copy)
        )
    return copy


async def _connected(device: str) -> Any:
    """The iPhone that a text names, its runner app built and started."""
    with quiet():
        from coremltools.models.ml_program.experimental.remote_device import Device, DeviceType
    phones: Sequence[Any] = Device.get_connected_devices(DeviceType.IPHONE)
    wanted = device.partition(":")[2]
    found = [phone for phone in phones if wanted in ("", phone.name, phone.udid)]
    if len(found) != 1:
        names = ", ".join(phone.name for phone in phones) or "none"
        raise EdgeposeError(
            f"{len(found)} iPhones fit {device!r}; connected: {names}",
            fix="connect one iPhone in developer mode, or name it: --device 'iphone:NAME'",
        )
    return await found[0].prepare_for_model_debugging()
