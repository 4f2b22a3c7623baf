"""Two processes under accelerate learn what one does with twice the batch."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import json, sys
from pathlib import Path
from accelerate import PartialState
from tests.train.test_loop import network, run

folder, size = Path(sys.argv[1]), int(sys.argv[2])
result = run(network().eval(), folder / "work", batch_size=size, mixed_precision="no", lr=1e-3)
if PartialState().is_main_process:
    (folder / "result.json").write_text(json.dumps([result.losses, result.images_seen]))
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def learn(folder: Path, *, processes: int, batch_size: int) -> tuple[list[list[float]], int]:
    """Run PROGRAM in so many processes, started as a launcher starts them."""
    (folder / "work").mkdir(parents=True)
    (folder / "program.py").write_text(PROGRAM)
    shared = {
        "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()),
        "WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes),
    }  # fmt: skip
    running = [
        subprocess.Popen(
            [sys.executable, str(folder / "program.py"), str(folder), str(batch_size)],
            cwd=ROOT, env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE, text=True,
        )
        for rank in range(processes)
    ]  # fmt: skip
    try:
        errors = [process.communicate(timeout=120)[1] for process in running]
    finally:
        for process in running:
            process.kill()
    assert [process.returncode for process in running] == [0] * processes, errors[0][-2000:]
    losses, images = json.loads((folder / "result.json").read_text())
    return losses, images


def test_two_processes_are_one_with_the_doubled_batch(tmp_path: Path) -> None:
    """Batch norm in eval mode: its statistics would be those of each process."""
    alone, seen_alone = learn(tmp_path / "one", processes=1, batch_size=8)
    both, seen_both = learn(tmp_path / "two", processes=2, batch_size=4)
    assert seen_alone == seen_both == 12 * 8
    assert len(alone) == len(both) == 12
    for (step, x), (other, y) in zip(alone, both, strict=True):
        assert step == other
        assert x == pytest.approx(y, rel=1e-4)
