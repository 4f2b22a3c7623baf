"""Runs of the runner: what one left behind, several of them as one latency, and runs on this host."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepose.artifact import Artifact
from edgepose.bench.board import split_answer
from edgepose.bench.latency import Plan, latency_of
from edgepose.bench.record import LatencyMs, Run
from edgepose.bench.runner_file import runner_bytes
from edgepose.errors import EdgeposeError
from edgepose.evaluation import Joints

PHASES = ("model", "end_to_end")
LONGEST_S = 4 * 3600.0


@dataclass(frozen=True)
class Results:
    """Files of a job, as they came back."""

    files: Mapping[str, bytes]

    @property
    def document(self) -> dict[str, Any]:
        return dict(json.loads(self.files.get("result.json", b"{}")))

    def samples_ms(self, phase: str) -> NDArray[np.float64]:
        data = self.files.get(f"{phase}.f64", b"")
        return np.frombuffer(data[: len(data) // 8 * 8], dtype="<f8")

    def joints(self, executor: str) -> Joints | None:
        data = self.files.get("joints.npz")
        if data is None:
            return None
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            crop_xy, image_xy, found = (arrays[key] for key in ("crop_xy", "image_xy", "score"))
        return Joints(crop_xy=crop_xy, image_xy=image_xy, score=found, executor=executor)

    def latency(self, phase: str, threads: int | None) -> LatencyMs | None:
        """Percentiles of a finished phase. Of one that was cut off only the samples are kept."""
        said, samples_ms = self.document.get("timings", {}).get(phase), self.samples_ms(phase)
        if said is None or not len(samples_ms):
            return None
        return latency_of(samples_ms, warmup=said["warmup"], batch=said["batch"], threads=threads)

    def run(self, threads: int | None) -> Run:
        """Its figures, without the samples."""
        said = self.document
        model = said.get("timings", {}).get("model", {})
        return Run(
            model_ms=self.latency("model", threads),
            end_to_end_ms=self.latency("end_to_end", threads),
            load_seconds=said.get("load_seconds"),
            first_inference_ms=said.get("first_inference_ms"),
            peak_memory_bytes=said.get("peak_memory_bytes"),
            energy_mj=model.get("energy_mj_per_call"),
            energy_from=model.get("sensors", {}).get("power_mw", {}).get("from"),
        )


def pooled(
    results: Sequence[Results], phase: str, threads: int | None
) -> tuple[LatencyMs | None, NDArray[np.float64]]:
    """The latency of the finished runs' samples together, and these samples, run after run.

    Where no run finished the phase: no latency, and the samples that there are.
    """
    finished = [found for found in results if found.latency(phase, threads) is not None]
    samples_ms = np.concatenate([found.samples_ms(phase) for found in finished or results])
    if not finished:
        return None, samples_ms
    first = finished[0].latency(phase, threads)
    if first is None or len(finished) == 1:
        return first, samples_ms
    warmup = [found.document["timings"][phase]["warmup"] for found in finished]
    together = latency_of(
        samples_ms,
        warmup=None if None in warmup else sum(warmup),
        batch=first.batch,
        threads=threads,
    )
    return together, samples_ms


def call_runner(words: Sequence[str], *, timeout_s: float = LONGEST_S) -> dict[str, Any]:
    """One command of the runner in a fresh process of this Python; its answer.

    EdgeposeError where it fails. The process ends with this one.
    """
    with tempfile.TemporaryDirectory(prefix="edgepose-runner-") as folder:
        runner = Path(folder) / "edgepose-device.pyz"
        runner.write_bytes(runner_bytes())
        process = subprocess.Popen(
            [sys.executable, str(runner), *words],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip
        try:
            stdout, stderr = process.communicate(timeout=timeout_s)
        except BaseException:
            process.kill()
            process.wait()
            raise
    found = split_answer(stdout)
    if found is None:
        said = stderr.decode("utf-8", "replace").strip().splitlines()
        reason = said[-1] if said else "it said nothing"
        raise EdgeposeError(
            f"the benchmark's process ended with exit code {process.returncode}: {reason}",
            fix="look for too little memory (dmesg), then run the command again",
        )
    if set(found[0]) == {"error"}:
        raise EdgeposeError(found[0]["error"]["problem"], fix=found[0]["error"]["fix"])
    return found[0]


def run_here(
    artifact: Artifact, *, plan: Plan, batch: int = 1, threads: int | None = None
) -> Results:
    """Time an artifact in a fresh process on this host; the caller holds the lock."""
    with tempfile.TemporaryDirectory(prefix="edgepose-run-") as folder:
        words = ["run", "--artifact", str(artifact.folder), "--out", folder]
        words += ["--lock", str(Path(folder) / "lock"), "--batch", str(batch)]
        words += ["--calls", str(plan.calls), "--seconds", str(plan.seconds)]
        words += ["--warmup", str(plan.warmup), "--max-warmup", str(plan.max_warmup)]
        words += [] if threads is None else ["--threads", str(threads)]
        call_runner(words)
        names = ("result.json", *(f"{phase}.f64" for phase in PHASES))
        found = {name: Path(folder) / name for name in names}
        return Results({name: path.read_bytes() for name, path in found.items() if path.exists()})
