"""A recipe in two processes: one run, one voice, no hang, whichever of them fails."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

import pytest

from edgepose.errors import EdgeposeError
from edgepose.processes import ALONE, joined, launched
from tests.launch import LIMIT_S, ended, started

RECIPE = """\
version: 1
name: pair
seed: 3
data: {source: synthetic, train: 24, val: 8, calibration: 0, frame_px: 64}
student: {arch: "tests.own.nets:Tiny", input_hw: [32, 32]}
stages:
  train: {steps: STEPS, batch_size: 2, checkpoint_every: 5, mixed_precision: "no"}
"""
TALK = """
import sys
import time
import torch.distributed as dist
from edgepose.errors import EdgeposeError
from edgepose.processes import joined

way = sys.argv[1]
try:
    with joined() as processes:
        assert processes.count == 2
        seen = processes.first(lambda: {"from": processes.index})
        assert seen == {"from": 0}
        with processes.first_alone():
            time.sleep(0.3 * (1 - processes.index))
            at = time.monotonic()
        assert processes.first(lambda: at) + 0.0 <= at
        processes.wait()
        if way == "first fails" and processes.is_first:
            raise EdgeposeError("no room", fix="make some")
        if way == "second fails in a collective":
            dist.init_process_group("gloo")
            if not processes.is_first:
                raise EdgeposeError("no room", fix="make some")
            dist.barrier()
        processes.wait()
except EdgeposeError as error:
    sys.exit(f"said: {error.problem}")
"""


@pytest.mark.parametrize("way", ["first fails", "second fails in a collective"])
def test_an_error_ends_all_and_is_told_once(way: str, tmp_path: Path) -> None:
    program = tmp_path / "talk.py"
    program.write_text(TALK)
    with started([str(program), way], count=2) as running:
        found = ended(running)
    assert all(p.code != 0 for p in found), found
    assert [p.err.count("said: no room") for p in found].count(1) == 1, found
    assert not any("Traceback" in p.err for p in found), found


def test_one_process_needs_no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    with joined() as processes:
        assert processes is ALONE
        assert processes.first(lambda: 3) == 3
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert launched() == (0, 1)  # somebody else's variables: a launcher sets LOCAL_RANK, too
    monkeypatch.setenv("LOCAL_RANK", "0")
    with pytest.raises(EdgeposeError, match="RANK is '2'"):
        launched()


def command(tmp_path: Path, *, steps: str) -> list[str]:
    recipe = tmp_path / "pair.yaml"
    recipe.write_text(RECIPE.replace("STEPS", steps))
    return ["-m", "edgepose", "train", "--recipe", str(recipe), "--out", str(tmp_path / "reports")]


def test_a_killed_pair_continues_and_leaves_one_run(tmp_path: Path) -> None:
    words, cache = command(tmp_path, steps="120"), str(tmp_path / "cache")
    stages = tmp_path / "reports" / "pair" / "stages"
    with started(words, count=2, EDGEPOSE_CACHE=cache) as running:
        until = time.monotonic() + LIMIT_S
        while not list(stages.glob("train-*.work/checkpoint.pt")):
            assert time.monotonic() < until
            assert all(process.poll() is None for process in running), ended(running)
            time.sleep(0.02)
        running[1].kill()
        first, _ = ended(running)
    assert first.code == 2, first
    assert "another process of this run has ended" in first.err
    assert list(stages.glob("train-*.work/checkpoint.pt"))
    with started(words, count=2, EDGEPOSE_CACHE=cache) as running:
        first, second = ended(running)
    assert (first.code, second.code) == (0, 0), (first, second)
    assert "report:" in first.out
    assert second.out == ""
    runs = [p for p in (tmp_path / "reports" / "pair").iterdir() if p.name[0] == "2"]
    assert len(runs) == 1
    report = json.loads((runs[0] / "report.json").read_text())
    (row,) = report["stages"]
    assert row["history"]["images"] == 120 * 2 * 2
    assert all(math.isfinite(loss) for _, loss in row["history"]["loss"])
    assert all(0 <= m["value"] <= 100 for m in row["metrics"].values())


def test_a_bad_recipe_is_told_once(tmp_path: Path) -> None:
    with started(command(tmp_path, steps="-1"), count=2) as running:
        found = ended(running)
    assert [p.code for p in found] == [2, 2], found
    assert sum("stages.train.steps" in p.err for p in found) == 1, found
    assert not (tmp_path / "reports").exists()
