"""How long it takes: inference alone, and all the way from a frame and a box to joints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgepose.artifact import Artifact
from edgepose.bench.intervals import mean_interval
from edgepose.bench.record import LatencyMs
from edgepose.device.decode import heatmap_to_image_xy
from edgepose.device.geometry import box_to_crop, crop_matrix, region_wh, resampler
from edgepose.device.timing import measure

FRAME_HW = (720, 1280)
Clock = Callable[[], int]


class Timeable(Protocol):
    """The part of an executor that timing needs: the input made ready, then inference alone."""

    @property
    def description(self) -> str: ...

    def prepare(self, crops: NDArray[np.uint8]) -> Any:
        """(N, H, W, 3) uint8 RGB -> the runtime's own input, normalised."""
        ...

    def infer(self, prepared: Any) -> NDArray[np.float32]:
        """What `prepare` gave -> heatmaps (N, J, h, w) float32, or joints (N, J, 3) in crop px."""
        ...


@dataclass(frozen=True)
class Plan:
    """How much to measure: at least so many calls and so many seconds, after warming up until the
    times settle (at most max_warmup calls)."""

    warmup: int = 50
    max_warmup: int = 500
    calls: int = 1024
    seconds: float = 10.0


FULL = Plan()
QUICK = Plan(warmup=10, max_warmup=60, calls=100, seconds=1.0)


@dataclass(frozen=True)
class Timed:
    """A latency and the raw samples behind it, milliseconds in the order they were taken.

    settled: False where the times still drifted when the warm-up ended
    """

    latency: LatencyMs
    samples_ms: NDArray[np.float64]
    settled: bool


def time_calls(
    call: Callable[[], Any],
    *,
    plan: Plan,
    batch: int = 1,
    threads: int | None = None,
    clock: Clock = perf_counter_ns,
) -> Timed:
    """Time `call` one by one with a monotonic clock (nanoseconds)."""
    timing = measure(
        call,
        warmup=plan.warmup,
        max_warmup=plan.max_warmup,
        repeats=plan.calls,
        min_seconds=plan.seconds,
        clock=clock,
    )
    latency = latency_of(
        timing.samples_ms, warmup=timing.warmup_calls, batch=batch, threads=threads
    )
    return Timed(latency, timing.samples_ms, timing.settled)


def latency_of(
    samples_ms: NDArray[np.float64], *, warmup: int | None, batch: int, threads: int | None
) -> LatencyMs:
    """The figures of a series of calls."""
    p50, p90, p99 = (float(v) for v in np.percentile(samples_ms, (50, 90, 99)))
    return LatencyMs(
        p50=p50,
        p90=p90,
        p99=p99,
        mean=float(samples_ms.mean()),
        mean_ci95=mean_interval(samples_ms),
        min=float(samples_ms.min()),
        max=float(samples_ms.max()),
        count=len(samples_ms),
        warmup=warmup,
        batch=batch,
        threads=threads,
    )


def time_model(
    executor: Timeable,
    input_hw: tuple[int, int],
    *,
    plan: Plan,
    batch: int = 1,
    threads: int | None = None,
    clock: Clock = perf_counter_ns,
) -> Timed:
    """Inference alone: the normalised input is in memory, the heatmaps are in memory after."""
    crops = _noise((batch, *input_hw, 3))
    prepared = executor.prepare(crops)
    return time_calls(
        lambda: executor.infer(prepared), plan=plan, batch=batch, threads=threads, clock=clock
    )


def time_end_to_end(
    executor: Timeable,
    artifact: Artifact,
    *,
    plan: Plan,
    threads: int | None = None,
    clock: Clock = perf_counter_ns,
) -> tuple[Timed, str]:
    """One person in a 1280 x 720 uint8 frame: crop, normalise, infer, decode, back to the image.

    Returns the times and the name of the resampler that cropped.
    """
    resample, resampler_name = resampler()
    frame = _noise((*FRAME_HW, 3))
    box = np.array([490.0, 60.0, 300.0, 600.0])
    out_hw, out_wh = artifact.input_hw, (artifact.input_hw[1], artifact.input_hw[0])
    manifest = artifact.manifest
    codec = manifest.codec.to_codec()

    def once() -> NDArray[np.float32]:
        center, size = box_to_crop(box, padding=manifest.crop.padding)
        square = out_wh[0] == out_wh[1]
        region = (size, size) if square else region_wh(box[2:], size, out_wh)
        matrix = crop_matrix(center, region, out_wh, alignment=codec.alignment)
        heatmaps = executor.infer(executor.prepare(resample(frame, matrix, out_hw)[None]))
        if manifest.gives == "joints":
            return heatmap_to_image_xy(heatmaps[..., :2], matrix, 1.0)
        xy, _ = codec.decode(heatmaps)
        return codec.image_xy(xy, matrix, (heatmaps.shape[2], heatmaps.shape[3]))

    return time_calls(once, plan=plan, threads=threads, clock=clock), resampler_name


def _noise(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
