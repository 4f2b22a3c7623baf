"""How long a network takes on a target, always labelled with its origin.

An accelerator is a roofline: a layer takes the longer of its arithmetic (channels padded to what the kernels
work in) and its memory traffic, and a launch. A host's CPU is calibrated (edgepose/cost/host.py). A network
takes the sum of its layers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Protocol

import numpy as np

from edgepose.cost.layers import LayerCost
from edgepose.cost.published import POINTS, Point
from edgepose.errors import EdgeposeError
from edgepose.target import Precision, Target

AGREEMENT = 0.3
"""Published points must be met within this share, or no estimate of the device is shown."""
BYTES = {"int8": 1, "fp16": 2, "fp32": 4}
_FUSED = {"tensorrt": ("Add",)}  # runtimes that add in the convolution before


class Costs(Protocol):
    """What a device spends."""

    def layer_ms(self, layer: LayerCost) -> float:
        """One image through one layer, milliseconds."""
        ...


@dataclass(frozen=True)
class Roofline:
    """What a device does per second at one precision: attainable, not peak, where that is known.

    step: channels are padded to a multiple of it; value_bytes: of one activation or weight
    """

    macs_per_s: float
    bytes_per_s: float
    kernel_s: float
    step: int
    value_bytes: int
    fused: tuple[str, ...] = ()

    def layer_ms(self, layer: LayerCost) -> float:
        if layer.kind in self.fused:
            return 0.0
        padded = float(layer.macs)
        if layer.groups == 1 and layer.macs:
            for count in (layer.in_channels, layer.channels):
                padded *= math.ceil(count / self.step) * self.step / count
        arithmetic_s = padded / self.macs_per_s
        traffic_s = layer.values_moved * self.value_bytes / self.bytes_per_s
        return (max(arithmetic_s, traffic_s) + self.kernel_s) * 1e3


@dataclass(frozen=True)
class Estimator:
    """costs, where they come from in words, and how far off their estimates may be: `band` is a
    share of the estimate, None where nothing was measured."""

    target: str
    costs: Costs
    origin: str
    band: float | None

    def latency_ms(self, layers: Iterable[LayerCost]) -> float:
        return sum(self.costs.layer_ms(layer) for layer in as_shipped(layers))

    def text(self, layers: Sequence[LayerCost]) -> str:
        """E.g. "2.10 ms (1.47 to 2.73), estimated (roofline)"."""
        value = self.latency_ms(layers)
        if self.band is None:
            return f"{value:.2f} ms, {self.origin}"
        low, high = value * max(0.0, 1 - self.band), value * (1 + self.band)
        return f"{value:.2f} ms ({low:.2f} to {high:.2f}), {self.origin}"


def as_shipped(layers: Iterable[LayerCost]) -> list[LayerCost]:
    """Deconvolutions as the sub-pixel convolutions that are exported (models/deploy.py): one position
    more per side, four times the channels, and the interleave as a kernel of its own."""
    found = []
    for layer in layers:
        if layer.kind != "ConvTranspose2d":
            found.append(layer)
            continue
        height, width = layer.input_hw
        grid = (height + 1, width + 1)
        found.append(
            replace(
                layer, kind="Conv2d", channels=4 * layer.channels, output_hw=grid,
                macs=layer.weights * math.prod(grid),
            )
        )  # fmt: skip
        found.append(
            replace(
                layer, kind="Interleave", macs=0, weights=0, in_channels=4 * layer.channels,
                input_hw=grid,
            )
        )  # fmt: skip
    return found


def open_estimator(target: Target) -> Estimator:
    """The cost model of a target at its main precision; this host's is measured once and kept.

    Raises EdgeposeError where nothing is known of the device, and where the estimate does not agree
    with what was published about it.
    """
    if target.device == "local":
        from edgepose.cost.host import host_estimator  # onnxruntime only where it is asked

        return host_estimator(target)
    roofline = stated_roofline(target, target.precision)
    hardware = target.hardware
    assert hardware is not None, "it has figures"
    if hardware.device is None:
        return Estimator(target.name, roofline, "estimated (roofline, never checked)", None)
    checks = check_published(target)
    worst = max((abs(check.error) for check in checks), default=None)
    if worst is None:
        raise EdgeposeError(
            f"target {target.name}: nothing was published about hardware.device {hardware.device}",
            fix="leave out hardware.device; estimates are then labelled as never checked",
        )
    if worst > AGREEMENT:
        lines = "; ".join(str(check) for check in checks)
        raise EdgeposeError(
            f"no latency is estimated for {target.name}: its roofline is off by {worst:.0%} from what "
            f"was published ({lines})",
            fix="use budget.macs or budget.size_mb, or measure on the device: edgepose bench --device",
        )
    return Estimator(target.name, roofline, "estimated (roofline)", AGREEMENT)


def stated_roofline(target: Target, precision: Precision) -> Roofline:
    """A target file's `hardware` at a precision; EdgeposeError where it does not say enough."""
    hardware = target.hardware
    tops = {"int8": "int8_tops", "fp16": "fp16_tflops", "fp32": "fp32_tflops"}[precision]
    peak = None if hardware is None else getattr(hardware, tops)
    if hardware is None or peak is None or hardware.bandwidth_gb_s is None:
        missing = (
            f"hardware.{tops}" if hardware is None or peak is None else "hardware.bandwidth_gb_s"
        )
        raise EdgeposeError(
            f"no latency can be estimated for {target.name}: its file has no {missing}",
            fix=f"add {missing} to the target's file, or ask a latency of another target",
        )
    multiple = target.channel_multiple
    return Roofline(
        macs_per_s=hardware.attained * peak * 1e12 / 2,
        bytes_per_s=hardware.attained * hardware.bandwidth_gb_s * 1e9,
        kernel_s=hardware.kernel_overhead_us * 1e-6,
        step={"int8": multiple.int8, "fp16": multiple.fp16, "fp32": 1}[precision],
        value_bytes=BYTES[precision],
        fused=_FUSED.get(target.runtime, ()),
    )


@dataclass(frozen=True)
class Check:
    """A published latency beside the estimate whose launch cost came from the other points alone."""

    point: Point
    estimated_ms: float

    @property
    def error(self) -> float:
        return self.estimated_ms / self.point.latency_ms - 1

    def __str__(self) -> str:
        return (
            f"{self.point.name}: published {self.point.latency_ms:.2f} ms, "
            f"estimated {self.estimated_ms:.2f} ms, {self.error:+.0%}"
        )


@cache
def _layers(point: Point) -> tuple[LayerCost, ...]:
    return tuple(point.costs())


def check_published(target: Target) -> list[Check]:
    """Each published point of the target's device, estimated without itself.

    A launch's cost is not published: for each point it is found from the others (least squares of the
    logarithm), so that none vouches for itself. The networks run as published, deconvolutions as such.
    """
    hardware = target.hardware
    points = [p for p in POINTS if hardware is not None and p.device == hardware.device]
    grid_us = np.arange(0.0, 60.0, 0.5)
    table = np.array([[_point_ms(target, point, us) for us in grid_us] for point in points])
    if len(points) < 2:
        return []
    logs = np.log(table / np.array([[point.latency_ms] for point in points]))
    checks = []
    for number, point in enumerate(points):
        others = np.delete(logs, number, axis=0)
        best = int(np.argmin((others**2).sum(axis=0)))
        checks.append(Check(point, float(table[number, best])))
    return checks


def _point_ms(target: Target, point: Point, overhead_us: float) -> float:
    roofline = replace(stated_roofline(target, point.precision), kernel_s=overhead_us * 1e-6)
    return sum(roofline.layer_ms(layer) for layer in _layers(point))
