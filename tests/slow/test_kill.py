"""A compress run that is killed again and again ends with the bytes of one that never was.

A random moment is drawn in each tenth of an uninterrupted run; the other run is killed when it comes to
each of the ten. A kill goes to the process alone (as the kernel does it when memory runs out): whatever the
process had started must notice by itself.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from edgepose.artifact import Artifact
from edgepose.device.artifact_words import MANIFEST_NAME
from edgepose.models.pose_model import PoseModel

pytestmark = pytest.mark.slow

KILLS = 10
LIMIT_S = 600  # of one process; only a hang takes this long
RECIPE = """\
version: 1
name: tiny
seed: 3
data: {source: synthetic, train: 48, val: 16, calibration: 40, frame_px: 64}
student: {arch: resnet18, input_hw: [32, 32]}
teacher:
  arch: resnet18
  train: &few
    {steps: 7, batch_size: 4, checkpoint_every: 2, mixed_precision: "no", ema: 0.9}
stages:
  distill: *few
  prune: {steps: 7, batch_size: 4, checkpoint_every: 2, mixed_precision: "no", ratio: 0.6}
  qat: {steps: 7, batch_size: 4, checkpoint_every: 2, freeze_observers_at: 0.5}
  quantize: {mode: static}
  export:
    targets: [jetson-xavier, coreml-ios17, onnx-android]
    allow_mismatch: true  # seven steps of training: heatmaps without a clear maximum
"""


@dataclass
class Workshop:
    """A place to run the same recipe in, uninterrupted or not."""

    folder: Path
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self, out: str) -> subprocess.Popen[str]:
        """`edgepose compress` into `out`, with a data cache of its own, in its own process group."""
        recipe = self.folder / "tiny.yaml"
        recipe.write_text(RECIPE)
        process = subprocess.Popen(
            [sys.executable, "-m", "edgepose", "compress", "--recipe", str(recipe),
             "--out", str(self.folder / out)],
            env={**os.environ, "OMP_NUM_THREADS": "1",
                 "EDGEPOSE_CACHE": str(self.folder / f"{out}-cache")},
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=_hear_interrupts,
        )  # fmt: skip
        self.started.append(process)
        return process

    def finish(self, out: str) -> str:
        """Run to the end; what was said on stderr."""
        process = self.start(out)
        _, said = process.communicate(timeout=LIMIT_S)
        assert process.returncode == 0, said
        return said


def _hear_interrupts() -> None:
    """A shell's background jobs ignore Ctrl-C, and so would everything that they start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    made = Workshop(tmp_path_factory.mktemp("kill"))
    yield made
    for process in made.started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@dataclass(frozen=True)
class Undisturbed:
    """timeline: (seconds since the command, folder of the store that appeared then); end_s: of the
    process."""

    hashes: dict[str, Any]
    timeline: tuple[tuple[float, str], ...]
    end_s: float

    def moment(self, at_s: float) -> tuple[str, float]:
        """The folder that appeared last before `at_s`, and the seconds from then."""
        event_s, name = max(entry for entry in self.timeline if entry[0] <= at_s)
        return name, at_s - event_s


@pytest.fixture(scope="module")
def undisturbed(workshop: Workshop) -> Undisturbed:
    """The run that nobody interrupts, and when it did what."""
    begun = time.monotonic()
    process = workshop.start("whole")
    timeline: list[tuple[float, str]] = []

    def finished() -> bool:
        known = {name for _, name in timeline}
        names = {path.name for path in (workshop.folder / "whole").glob("tiny/stages/*-*")}
        timeline.extend((time.monotonic() - begun, name) for name in sorted(names - known))
        return process.poll() is not None

    _wait(finished)
    assert process.returncode == 0, process.communicate()[1]
    end_s = time.monotonic() - begun
    print(f"undisturbed: {timeline[0][0]:.1f} s to the first stage, {end_s:.1f} s in all")
    return Undisturbed(run_hashes(workshop.folder / "whole"), tuple(timeline), end_s)


def _wait(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.02)


def _has_come_to(store: Path, name: str, *, since: float) -> bool:
    """Whether a process started at `since` (seconds, epoch) has made, or works on, a folder."""
    final = name.removesuffix(".work")
    work = store / f"{final}.work"
    if (store / final).exists():
        return True
    return name != final and work.exists() and work.stat().st_mtime > since


def run_hashes(out: Path) -> dict[str, Any]:
    """SHA-256 of the weights after every stage and of every exported file."""
    report = json.loads((out / "tiny" / "latest" / "report.json").read_text())
    weights = {row["name"]: row["weights_sha256"] for row in report["stages"]}
    files = {
        entry["path"]: entry["sha256"] for row in report["artifacts"] for entry in row["files"]
    }
    assert list(weights) == ["teacher", "distill", "prune", "qat", "quantize"]
    assert len(report["artifacts"]) == 3
    assert None not in weights.values()
    return {**weights, **files}


def check_nothing_half_made_looks_finished(out: Path) -> None:
    """Everything below `out` and outside scratch folders that says it is finished, is."""
    for path in out.rglob("*.json"):
        if any(part.endswith(".work") or part.startswith(".") for part in path.parts):
            continue
        if path.name in ("inputs.json", "report.json"):
            assert json.loads(path.read_text()), path
        elif path.name == "model.json":
            PoseModel.load(path.parent)
        elif path.name == MANIFEST_NAME:
            Artifact.load(path.parent, verify=True)
    for run in out.glob("tiny/2*"):
        for name in ("report.json", "report.md", "waterfall.png", "model/model.json"):
            assert (run / name).stat().st_size, run / name


def test_ten_kills_change_no_byte(workshop: Workshop, undisturbed: Undisturbed) -> None:
    draw = random.Random(20261121)
    first_s = undisturbed.timeline[0][0]
    part_s = (undisturbed.end_s - first_s) / KILLS
    moments = [first_s + (part + draw.random()) * part_s for part in range(KILLS)]
    out, hit = workshop.folder / "killed", []
    for name, after_s in map(undisturbed.moment, moments):
        since = time.time()
        process = workshop.start("killed")
        _wait(
            lambda process=process, name=name, since=since: (
                process.poll() is not None
                or _has_come_to(out / "tiny" / "stages", name, since=since)
            )
        )
        try:
            _, said = process.communicate(timeout=after_s)
            assert process.returncode == 0, said
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate(timeout=LIMIT_S)  # returns when all that it started is gone
            hit.append(f"{name} + {after_s:.1f} s")
        check_nothing_half_made_looks_finished(out)
    workshop.finish("killed")
    print("killed at:", *hit, sep="\n  ")
    check_nothing_half_made_looks_finished(out)
    assert len(hit) >= 8, "the machine was so much faster this time that the run escaped"
    assert run_hashes(out) == undisturbed.hashes
    left = [p for p in (out / "tiny").rglob("*") if p.name.startswith(".tmp-") or ".work" in p.name]
    assert not left, "a finished run keeps no scratch files"


def test_ctrl_c_is_one_line_and_the_run_continues(
    workshop: Workshop, undisturbed: Undisturbed
) -> None:
    out = workshop.folder / "stopped"
    process = workshop.start("stopped")
    _wait(lambda: process.poll() or list(out.glob("tiny/stages/distill-*.work/checkpoint.pt")))
    os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to the whole group
    _, said = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 130
    assert said.strip() == "stopped; the same command continues where it was"
    check_nothing_half_made_looks_finished(out)
    teacher = next(out.glob("tiny/stages/teacher-*/inputs.json"))
    made = teacher.stat().st_mtime_ns
    workshop.finish("stopped")
    assert teacher.stat().st_mtime_ns == made, "a finished stage was made again"
    assert run_hashes(out) == undisturbed.hashes
