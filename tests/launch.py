"""Starts a program in several processes, with the variables that a launcher sets."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIMIT_S = 240  # only a hang takes this long


@dataclass(frozen=True)
class Ended:
    """What one process left behind."""

    code: int
    out: str
    err: str


@contextmanager
def started(
    words: Sequence[str], *, count: int, cwd: Path = ROOT, **environment: str
) -> Iterator[list[subprocess.Popen[str]]]:
    """`python *words` in `count` processes on this CPU; none is left when the block ends."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {
        **os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count), **environment,
    }  # fmt: skip
    running = [
        subprocess.Popen(
            [sys.executable, *words], cwd=cwd, text=True,
            env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for rank in range(count)
    ]  # fmt: skip
    try:
        yield running
    finally:
        for process in running:
            process.kill()
            process.wait()


def ended(running: Sequence[subprocess.Popen[str]]) -> list[Ended]:
    """All of them once they have ended by themselves; TimeoutExpired where they hang."""
    said = [process.communicate(timeout=LIMIT_S) for process in running]
    return [Ended(p.returncode, *s) for p, s in zip(running, said, strict=True)]
