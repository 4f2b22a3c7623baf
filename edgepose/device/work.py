"""One benchmark on the board, phase by phase; what is finished is on disk before the next begins.

<job>/result.json         what was measured so far
<job>/joints.npz          crop_xy, image_xy (N, J, 2), score (N, J): decoded here
<job>/model.f64           milliseconds of every timed call, little-endian float64, as they came
<job>/end_to_end.f64      the same, from a frame and a box to joints in the frame
"""

from __future__ import annotations

import io
import json
import os
import resource
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Tuple

import numpy as np

from .board import board_notes, read_board, read_clocks
from .contract import load_contract
from .engine_settings import MAIN
from .errors import DeviceError
from .files import write_atomic
from .geometry import box_to_crop, crop_matrix, region_wh, resampler
from .pack import read_pack
from .power import Sensors
from .runtimes import open_engine
from .steadiness import steadiness_notes
from .timing import measure
from .trtexec_engine import TrtexecEngine

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from .contract import Contract
    from .runtimes import Engine

    Report = Callable[[str, int, int], None]

FRAME_HW = (720, 1280)
BOX_XYWH = (490.0, 60.0, 300.0, 600.0)
BATCH = 16
FLUSH = 64  # samples; then it is also seen whether somebody wants this to stop


class Stopped(DeviceError):
    """The host asked for the end; what is measured stays."""


@dataclass(frozen=True)
class Job:
    """artifact: its folder; pack: an evaluation pack's path or None; batch: of the model-only times
    calls, seconds, warmup, max_warmup: as for timing.measure; runtime: "auto" or one by name
    form, dla: of a TensorRT artifact, see engine_settings; stand_in: time what only stands in, too"""

    artifact: str
    pack: Optional[str] = None
    runtime: str = "auto"
    threads: Optional[int] = None
    batch: int = 1
    calls: int = 1024
    seconds: float = 10.0
    warmup: int = 50
    max_warmup: int = 500
    engines: str = "engines"
    form: str = MAIN
    dla: Optional[int] = None
    stand_in: bool = False


class _Samples:
    """Writes times as they come, so that a board that dies keeps them."""

    def __init__(self, folder: str, phase: str, report: Callable[[int], None]) -> None:
        self._stream = open(os.path.join(folder, phase + ".f64"), "wb")  # noqa: SIM115
        self._stop = os.path.join(folder, "stop")
        self._buffer: List[float] = []
        self._count, self._report = 0, report

    def keep(self, elapsed_ns: int) -> None:
        self._buffer.append(elapsed_ns / 1e6)
        if len(self._buffer) >= FLUSH:
            self.flush()
            if os.path.exists(self._stop):
                raise Stopped("the benchmark was stopped", fix="start it again")

    def flush(self) -> None:
        self._stream.write(np.array(self._buffer, dtype="<f8").tobytes())
        self._stream.flush()
        self._count += len(self._buffer)
        self._buffer = []
        self._report(self._count)

    def close(self) -> None:
        self.flush()
        self._stream.close()


def find_joints(
    contract: Contract,
    engine: Engine,
    crops: NDArray[np.uint8],
    matrices: NDArray[np.float64],
    *,
    report: Report,
) -> Dict[str, NDArray[np.float32]]:
    """Every crop through the network and decoded: crop_xy, image_xy (N, J, 2), score (N, J)."""
    if crops.shape[1:3] != contract.input_hw:
        raise DeviceError(
            "the pack's crops are {}, the model takes {}".format(
                crops.shape[1:3], contract.input_hw
            ),
            fix="send the pack that was made for this artifact",
        )
    size = engine.fixed_batch or BATCH
    found: List[Tuple[NDArray[np.float32], ...]] = []
    for start in range(0, len(crops), size):
        part = crops[start : start + size]
        full = part
        if engine.fixed_batch and len(part) < size:  # the last one, filled up
            full = np.concatenate([part, np.repeat(part[-1:], size - len(part), axis=0)])
        output = engine.infer(contract.prepare(full))[: len(part)]
        found.append(contract.find(output, matrices[start : start + size]))
        report("score", min(start + size, len(crops)), len(crops))
    crop_xy, image_xy, score = (np.concatenate(parts) for parts in zip(*found))  # noqa: B905
    return {"crop_xy": crop_xy, "image_xy": image_xy, "score": score}


def frame_to_joints(contract: Contract, engine: Engine) -> Callable[[], NDArray[np.float32]]:
    """One person in a uint8 1280 x 720 frame: crop, normalise, infer, decode, back to the frame."""
    resample, _ = resampler()
    frame = np.random.default_rng(0).integers(0, 256, (*FRAME_HW, 3), dtype=np.uint8)
    box = np.array(BOX_XYWH)
    out_hw, out_wh = contract.input_hw, (contract.input_hw[1], contract.input_hw[0])

    def once() -> NDArray[np.float32]:
        center, size = box_to_crop(box, padding=contract.padding)
        square = out_wh[0] == out_wh[1]
        region = (size, size) if square else region_wh(box[2:], size, out_wh)
        matrix = crop_matrix(center, region, out_wh, alignment=contract.codec.alignment)
        output = engine.infer(contract.prepare(resample(frame, matrix, out_hw)[None]))
        return contract.find(output, matrix)[1]

    return once


def peak_memory_bytes(status: str = "/proc/self/status") -> int:
    """The most memory that this process has held.

    Linux's own figure of the program: getrusage there also counts whoever started it.
    """
    if os.path.exists(status):
        with open(status, encoding="utf-8") as stream:
            for line in stream:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak) * (1 if sys.platform == "darwin" else 1024)


class _Work:
    """The phases of a job and the result that grows with them."""

    def __init__(self, job: Job, folder: str, report: Report) -> None:
        self.job, self.folder, self.report = job, folder, report
        self.result: Dict[str, Any] = {"phases": [], "notes": [], "timings": {}}

    def save(self, phase: str) -> None:
        self.result["phases"].append(phase)
        self.write()

    def write(self) -> None:
        text = json.dumps(self.result, indent=1, sort_keys=True)
        write_atomic(os.path.join(self.folder, "result.json"), text.encode() + b"\n")

    def run(self) -> None:
        self.report("look at the board", 0, 1)
        board = read_board()
        self.result["board"] = board
        self.result["notes"] += board_notes(board)
        contract = load_contract(self.job.artifact)
        self.save("board")
        self.report("load the model", 0, 1)
        start = time.perf_counter()
        engine = open_engine(
            contract, engines=self.job.engines, threads=self.job.threads,
            runtime=self.job.runtime, form=self.job.form, dla=self.job.dla,
        )  # fmt: skip
        try:
            self.result.update(
                runtime=engine.runtime, executor=engine.description, stand_in=engine.stand_in,
                build=engine.build, layers=engine.layers, load_seconds=time.perf_counter() - start,
            )  # fmt: skip
            self._phases(contract, engine)
        finally:
            self.result["peak_memory_bytes"] = peak_memory_bytes()
            self.write()
            engine.close()

    def _phases(self, contract: Contract, engine: Engine) -> None:
        batch = engine.fixed_batch or self.job.batch
        noise = np.random.default_rng(0).integers(
            0, 256, (batch, *contract.input_hw, 3), dtype=np.uint8
        )
        images = contract.prepare(noise)
        start = time.perf_counter_ns()
        engine.infer(images)
        self.result["first_inference_ms"] = (time.perf_counter_ns() - start) / 1e6
        self.save("load")
        if self.job.pack is not None:
            pack = read_pack(self.job.pack)
            joints = find_joints(contract, engine, pack.crops, pack.matrices, report=self.report)
            stream = io.BytesIO()
            np.savez(stream, **joints)  # type: ignore[arg-type]
            write_atomic(os.path.join(self.folder, "joints.npz"), stream.getvalue())
            self.result["persons"] = len(pack.crops)
            del pack, joints
            self.save("score")
        if engine.stand_in and not self.job.stand_in:
            self.result["notes"].append(
                "no latency: {} is not what a {} artifact is made for".format(
                    engine.description, contract.runtime
                )
            )
        elif isinstance(engine, TrtexecEngine):
            self._by_trtexec(engine, batch)
        else:
            self._time("model", lambda: engine.infer(images), batch)
            self.result["gpu_memory_used_bytes"] = engine.memory_bytes()
            self.result["resampler"] = resampler()[1]
            self.result["frame_hw"] = list(FRAME_HW)
            if batch == 1 or engine.fixed_batch is None:
                self._time("end_to_end", frame_to_joints(contract, engine), 1)
        self.result["clocks_after"] = read_clocks()
        self.save("finished")

    def _time(self, phase: str, call: Callable[[], object], batch: int) -> None:
        job = self.job
        samples = _Samples(
            self.folder, phase, lambda done: self.report("time " + phase, min(done, job.calls), job.calls)
        )  # fmt: skip
        before, power = read_clocks(), Sensors(self.folder)
        try:
            timing = measure(
                call, warmup=job.warmup, max_warmup=job.max_warmup, repeats=job.calls,
                min_seconds=job.seconds, keep=samples.keep,
            )  # fmt: skip
        finally:
            samples.close()
            sensors = power.stop()
        self._timed(phase, timing.samples_ms, batch, timing.warmup_calls, sensors)
        if not timing.settled:
            self.result["notes"].append(
                "the times ({}) had not settled when the warm-up ended".format(phase)
            )
        self.result["notes"] += steadiness_notes(phase, timing.samples_ms, before, read_clocks())
        self.save(phase)

    def _timed(
        self, phase: str, samples_ms: NDArray[np.float64], batch: int, warmup: Optional[int],
        sensors: Dict[str, Any],
    ) -> None:  # fmt: skip
        entry: Dict[str, Any] = {"batch": batch, "warmup": warmup, "count": len(samples_ms)}
        if sensors:
            entry["sensors"] = sensors
        if "power_mw" in sensors:
            joules = sensors["power_mw"]["mean"] * float(samples_ms.mean()) / 1e6
            entry["energy_mj_per_call"] = 1e3 * joules
        self.result["timings"][phase] = entry

    def _by_trtexec(self, engine: TrtexecEngine, batch: int) -> None:
        before, power = read_clocks(), Sensors(self.folder)
        try:
            times = engine.times_ms(calls=self.job.calls, seconds=self.job.seconds, warmup_ms=2000)
        finally:
            sensors = power.stop()
        samples_ms = np.array(times)
        with open(os.path.join(self.folder, "model.f64"), "wb") as stream:
            stream.write(samples_ms.astype("<f8").tobytes())
        self._timed("model", samples_ms, batch, None, sensors)
        self.result["notes"] += steadiness_notes("model", samples_ms, before, read_clocks())
        self.result["notes"].append(
            "timed by trtexec itself; end to end needs TensorRT's Python package on the board"
        )
        self.save("model")


def work(job: Job, folder: str, *, report: Report) -> Dict[str, Any]:
    """Do the job; returns the result. A DeviceError leaves on disk what was measured before it."""
    running = _Work(job, folder, report)
    running.run()
    return running.result
