"""Processes that draw for the cache go when the one that started them goes, and say nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

LIMIT_S = 60  # only a hang takes this long
SCRIPT = """\
import sys, time
from edgepose.data import cache, synthetic

class Slow:  # a shard takes 2 s, all of them minutes
    def __init__(self):
        self.inner = synthetic.open_split(synthetic.Config(val=800, frame_px=32), "val")
        self.skeleton, self.domain = self.inner.skeleton, self.inner.domain
        self.fingerprint = self.inner.fingerprint
    def __len__(self):
        return len(self.inner)
    def __getitem__(self, index):
        time.sleep(0.5)
        return self.inner[index]

if __name__ == "__main__":
    cache.SHARD = 4
    try:
        cache.cached(Slow(), sys.argv[1], workers=2)
    except KeyboardInterrupt:
        print("stopped")
        sys.exit(130)
"""


@pytest.fixture(params=["labels-*.npz", "images.npy"], ids=["drawing", "starting"])
def drawing(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    """A process whose workers are in the middle of drawing, or of importing what they need."""
    (tmp_path / "script.py").write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, "script.py", "cache"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # type: ignore[arg-type,return-value]
    )
    deadline = time.monotonic() + LIMIT_S
    while not list(tmp_path.glob(f"cache/*.partial/{request.param}")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "nothing was drawn"
        time.sleep(0.05)
    time.sleep(0.3)  # workers are started right after that file was made
    yield process
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def test_workers_end_when_their_parent_is_killed(drawing: subprocess.Popen[str]) -> None:
    drawing.kill()
    # Workers hold the pipes, too: reading them to the end waits for the last worker.
    _, said = drawing.communicate(timeout=LIMIT_S)
    assert "Traceback" not in said


def test_ctrl_c_ends_workers_without_a_word(drawing: subprocess.Popen[str]) -> None:
    os.killpg(drawing.pid, signal.SIGINT)  # a terminal sends it to the whole group
    assert drawing.communicate(timeout=LIMIT_S) == ("stopped\n", "")
    assert drawing.returncode == 130
