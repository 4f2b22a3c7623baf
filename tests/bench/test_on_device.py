"""A whole benchmark away from this process: the same figures, and one clear message when it fails."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import edgepose.cli
from edgepose.artifact import Artifact
from edgepose.backends import tensorrt
from edgepose.backends.onnx_mobile import open_executor
from edgepose.bench.board import Board
from edgepose.bench.latency import Plan
from edgepose.bench.on_device import PARTIAL, bench_there
from edgepose.bench.record import BenchRecord, load_record
from edgepose.bench.runner_file import runner_bytes
from edgepose.bench.transport import VARIABLE, Done, Dropped, chosen_device, open_transport
from edgepose.bench.transports.local import Local
from edgepose.bench.transports.ssh import SSH_CONFIG, Ssh
from edgepose.device.geometry import normalise
from edgepose.errors import EdgeposeError
from edgepose.report.terminal import bench_text
from edgepose.target import load_target
from tests.bench import fakes, networks, sshd

PLAN = Plan(warmup=3, max_warmup=9, calls=60, seconds=0.0)
TARGET = load_target("host", runtimes=("onnx_mobile", "tensorrt", "coreml"))


@pytest.fixture(scope="session")
def python38(request: pytest.FixtureRequest) -> str:
    """Python 3.8 with numpy and onnxruntime, nothing else of ours: the board. Made once, and kept in
    pytest's cache."""
    given = os.environ.get("EDGEPOSE_TEST_PYTHON38")
    if given:
        return given
    known = [
        *sorted(Path.home().glob(".pyenv/versions/3.8.*/bin/python3.8")),
        shutil.which("python3.8"),
    ]
    base = next((str(p) for p in known if p and "shims" not in str(p)), None)
    if base is None:
        pytest.skip("Python 3.8 is absent: neither pyenv nor the system has it")
    words = ["numpy==1.24.4", "onnxruntime==1.19.2"]
    folder = request.config.cache.mkdir("board38")  # type: ignore[union-attr]
    venv = folder / sha256(" ".join([base, *words]).encode()).hexdigest()[:12]
    install = ["-m", "pip", "install", "-q", "--no-compile", "--no-deps", *words]
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (venv / "complete").exists():
            shutil.rmtree(venv, ignore_errors=True)
            for command in ([base, "-m", "venv", str(venv)], [str(venv / "bin/python"), *install]):
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if done.returncode != 0:
                    pytest.skip(f"no onnxruntime for Python 3.8 can be had: {done.stderr[-200:]}")
            (venv / "complete").touch()
    return str(venv / "bin/python")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A running sshd on loopback."""
    if sshd.SSHD is None or sshd.KEYGEN is None or shutil.which("ssh") is None:
        pytest.skip("OpenSSH's server or client is absent (Debian: openssh-server)")
    running = sshd.Server(tmp_path_factory.mktemp("sshd"))
    yield running
    running.close()


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return networks.bright_artifact(tmp_path_factory.mktemp("bright") / "artifact")  # type: ignore[no-any-return]


def board(tmp_path: Path, transport: Any = None, **options: Any) -> Board:
    options = {"python": sys.executable, "lock": str(tmp_path / "lock"), **options}
    return Board(transport or Local(), folder=str(tmp_path / "board"), **options)


def bench(artifact: Artifact, there: Board, tmp_path: Path, **options: Any) -> BenchRecord:
    if "host" not in options:
        options["host"] = open_executor(artifact)
    options = {"target": TARGET, "plan": PLAN, "threads": 1, **options}
    return bench_there(artifact, there, fakes.Blocks(), tmp_path / "out" / "record.json", **options)


def refused(problem: str, fix: str) -> Any:
    return pytest.raises(EdgeposeError, match=f"(?s){problem}.*fix: .*{fix}")


def test_local_measures_everything_and_keeps_it(artifact: Artifact, tmp_path: Path) -> None:
    there = board(tmp_path)
    record = bench(artifact, there, tmp_path)
    assert load_record(tmp_path / "out" / "record.json") == record
    assert record.device is not None
    assert record.device.phases == ("board", "load", "score", "model", "end_to_end", "finished")
    assert record.device.runner_sha256 == sha256(runner_bytes()).hexdigest()
    assert record.metrics["pckh@0.5"].value == pytest.approx(100.0)
    for latency, samples in (
        (record.model_ms, record.model_samples_ms),
        (record.end_to_end_ms, record.end_to_end_samples_ms),
    ):
        assert latency is not None
        assert latency.count == len(samples) == PLAN.calls
        assert latency.p50 == pytest.approx(float(np.percentile(samples, 50)), abs=1e-4)
    distance = record.device.joints_vs_host
    assert distance is not None
    assert (distance.p99, distance.off_share, distance.persons) == (0.0, 0.0, 6)
    assert distance.host_metrics == record.metrics
    assert record.latency_origin.where.endswith("(local)")
    text = bench_text(record)
    assert "joints against this host's" in text
    assert "device: " in text
    assert there.send({}) == 0
    again = bench(artifact, board(tmp_path), tmp_path, clean=True)
    assert again.device is not None
    assert again.device.sent_bytes == 0
    assert not (tmp_path / "board").exists()


def test_over_ssh_with_python_38_and_ten_cuts(
    artifact: Artifact, tmp_path: Path, python38: str, server: Any
) -> None:
    """The full path on a real server equals the local run, whatever the network does."""
    local = bench(artifact, board(tmp_path / "local", python=python38), tmp_path / "local")
    cutter = sshd.Cutter(server.port, cuts=10, seed=7)
    rounds = 0
    while cutter.done < 10:
        rounds += 1
        assert rounds <= 5
        home = tmp_path / f'it\'s round {rounds}; $(touch pwned) `id` "x"'
        transport = Ssh("ssh://board", config=str(server.config(port=cutter.port)))
        there = board(home, transport, python=python38, sleep=lambda s: time.sleep(s / 10))
        record = bench(artifact, there, home)
        assert record.metrics == local.metrics
        assert record.device is not None
        assert local.device is not None
        assert record.device.joints_vs_host == local.device.joints_vs_host
        assert record.device.board["python"].startswith("3.8.")
        assert record.executor == local.executor
        assert len(record.model_samples_ms) == PLAN.calls
        assert record.partial is None
        files = home / "board" / "files"
        assert all(sha256(p.read_bytes()).hexdigest() == p.name for p in files.iterdir())
    cutter.close()
    assert cutter.done == 10
    assert not (Path.home() / "pwned").exists()


def test_ssh_says_what_is_wrong(artifact: Artifact, tmp_path: Path, server: Any) -> None:
    def over(config: Path, name: str = "ssh://board", **options: Any) -> None:
        there = board(tmp_path, Ssh(name, config=str(config)), **options)
        bench(artifact, there, tmp_path)

    with refused("refused the key", "ssh-copy-id"):
        over(server.config(key="stranger"))
    with refused("host key is unknown", "log in once"):
        over(server.config(known=False))
    with refused("cannot be reached: .*Connection refused", "board is on"):
        over(server.config(port=sshd.free_port()))
    with refused("cannot be reached", "address"):
        over(server.config(), "ssh://no-such-board.invalid")
    with refused("has no /no/such python", "--device-python"):
        over(server.config(), python="/no/such python")
    assert not (tmp_path / "out").exists()


def test_a_python_that_cannot_do_it(artifact: Artifact, tmp_path: Path) -> None:
    with refused("has no /no/such/python", "--device-python"):
        bench(artifact, board(tmp_path, python="/no/such/python"), tmp_path)
    for python in sorted(Path.home().glob(".pyenv/versions/2.7.*/bin/python")):
        with refused("is too old to read the runner: SyntaxError", "3.8 or newer"):
            bench(artifact, board(tmp_path, python=str(python)), tmp_path)
    found = sorted(Path.home().glob(".pyenv/versions/3.[67].*/bin/python"))
    if not found:
        pytest.skip("pyenv has no Python older than 3.8")
    with refused(r"Python 3\.[67]\.\d+ on local is too old", "3.8 or newer"):
        bench(artifact, board(tmp_path, python=str(found[0])), tmp_path)


def test_a_board_without_a_runtime(
    artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / "onnxruntime.py").write_text("raise ImportError('not on this board')\n")
    monkeypatch.setenv("PYTHONPATH", str(blocked))
    with refused("no runtime on the board.*not on this board", "install onnxruntime"):
        bench(artifact, board(tmp_path), tmp_path)
    (blocked / "numpy.py").write_text("raise ImportError('no numpy either')\n")
    with refused("numpy cannot be imported", "install it there"):
        bench(artifact, board(tmp_path), tmp_path)
    assert not (tmp_path / "out").exists()


def test_a_model_that_the_board_cannot_load(tmp_path: Path) -> None:
    bad = networks.bright_artifact(tmp_path / "bad", model=b"not a model")
    with refused("cannot load bright-spot", "export for an older one"):
        bench(bad, board(tmp_path), tmp_path, host=None)
    assert not (tmp_path / "out").exists()


def test_a_stand_in_is_scored_and_never_timed(tmp_path: Path) -> None:
    """A TensorRT file on a board that has only ONNX Runtime; its models take one image at a time."""
    packed = networks.bright_artifact(tmp_path / "packed", runtime="tensorrt")
    record = bench(packed, board(tmp_path), tmp_path, host=tensorrt.open_executor(packed))
    assert record.metrics["pckh@0.5"].value == pytest.approx(100.0)
    assert record.model_ms is record.end_to_end_ms is None
    assert record.model_samples_ms == ()
    assert "TensorRT not run" in record.executor
    assert str(record.latency_note).startswith("no latency: ONNX Runtime")
    assert record.device is not None
    assert record.device.joints_vs_host is not None
    assert record.device.joints_vs_host.p99 == 0.0
    assert " ms" not in bench_text(record)
    with refused("no runtime on the board for a tensorrt artifact: tensorrt", "device-python"):
        bench(packed, board(tmp_path), tmp_path, runtime="tensorrt", host=None)


def test_one_benchmark_at_a_time(artifact: Artifact, tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as held:
        held.write("job of somebody else")
        held.flush()
        fcntl.flock(held, fcntl.LOCK_EX)
        with refused("another benchmark runs on the board: job of somebody", "wait until"):
            bench(artifact, board(tmp_path), tmp_path)
        with refused("another benchmark", "wait until"):
            board_there = board(tmp_path)
            board_there.send({})
            board_there.clean()
    assert bench(artifact, board(tmp_path), tmp_path).partial is None


def test_no_space_on_the_board(artifact: Artifact, tmp_path: Path) -> None:
    limited = tmp_path / "limited python"
    limited.write_text(f'#!/bin/sh\nulimit -f 40\nexec {sys.executable} "$@"\n')
    limited.chmod(0o755)
    with refused("no space on the board: .*", "--device-folder"):
        bench(artifact, board(tmp_path, python=str(limited)), tmp_path)
    files = list((tmp_path / "board" / "files").iterdir())
    assert all(path.suffix == ".part" or path.stat().st_size <= 40 * 1024 for path in files)

    class Full(Local):
        def run(self, words: Sequence[str], *, stdin: bytes = b"", timeout_s: float = 600) -> Done:
            done = super().run(words, stdin=stdin, timeout_s=timeout_s)
            head, _, tail = done.stdout.partition(b'"free_bytes": ')
            return replace(
                done, stdout=head + b'"free_bytes": 1000, "was": ' + tail if tail else head
            )

    with refused("no space on the board: .* has 0 MB free", "free some space"):
        bench(artifact, board(tmp_path / "full", Full()), tmp_path)
    assert not (tmp_path / "out").exists()


def _workers(folder: Path) -> list[int]:
    """Processes that measure for a board's folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().split(b"\0")
            if b"work" in words and str(folder).encode() in words:
                found.append(int(path.parent.name))
    return found


def test_a_board_that_dies_leaves_what_it_measured(artifact: Artifact, tmp_path: Path) -> None:
    def kill_while_timing(phase: str, done: int, total: int) -> None:
        if phase == "time model (device)":
            for process in _workers(tmp_path / "board"):
                os.kill(process, signal.SIGKILL)

    former = bench(artifact, board(tmp_path), tmp_path)
    forever = Plan(warmup=3, max_warmup=9, calls=10**9, seconds=0.0)
    with refused("died on local.*measured before is in .*partial", "dmesg"):
        bench(artifact, board(tmp_path), tmp_path, plan=forever, report=kill_while_timing)
    assert load_record(tmp_path / "out" / "record.json") == former
    kept = load_record(tmp_path / "out" / PARTIAL)
    assert kept.partial is not None
    assert kept.metrics == former.metrics
    assert kept.model_ms is None
    assert kept.latency_note == kept.partial
    assert len(kept.model_samples_ms) >= 64
    bench(artifact, board(tmp_path), tmp_path)
    assert not (tmp_path / "out" / PARTIAL).exists()


def test_what_earlier_runs_measured_is_kept(artifact: Artifact, tmp_path: Path) -> None:
    """The third run is refused, by a message that is not a lost connection."""

    class Reinstalled(Local):
        starts = 0

        def run(self, words: Sequence[str], *, stdin: bytes = b"", timeout_s: float = 600) -> Done:
            starting = "start" in words and "status" not in words
            self.starts += starting
            if starting and self.starts == 3:
                return Done(1, b"", "python3: can't open file 'edgepose-device'")
            return super().run(words, stdin=stdin, timeout_s=timeout_s)

    with refused("the runner failed on local.*can't open.*measured before is in", "check that"):
        bench(artifact, board(tmp_path, Reinstalled()), tmp_path, runs=5)
    kept = load_record(tmp_path / "out" / PARTIAL)
    assert "can't open file" in str(kept.partial)
    assert len(kept.model_samples_ms) == 2 * PLAN.calls
    assert kept.metrics["pckh@0.5"].value == pytest.approx(100.0)
    assert not (tmp_path / "out" / "record.json").exists()


def test_a_file_that_changed_on_the_board_is_sent_again(artifact: Artifact, tmp_path: Path) -> None:
    there = board(tmp_path)
    model = artifact.path("model").read_bytes()
    there.send({"model": model})
    path = tmp_path / "board" / "files" / sha256(model).hexdigest()
    path.write_bytes(model[:-1] + b"\0")
    with refused("the file model.onnx was changed on the board", "run the benchmark again"):
        bench(artifact, there, tmp_path)
    assert not (tmp_path / "out").exists()
    assert bench(artifact, board(tmp_path), tmp_path).partial is None
    assert path.read_bytes() == model


def test_a_board_that_never_comes_back(artifact: Artifact, tmp_path: Path) -> None:
    class Leaves(Local):
        def run(self, words: Sequence[str], *, stdin: bytes = b"", timeout_s: float = 600) -> Done:
            if "status" in words:
                raise Dropped("Connection timed out")
            return super().run(words, stdin=stdin, timeout_s=timeout_s)

    there = board(tmp_path, Leaves(), patience_s=0.0)
    with refused("stopped answering: Connection timed out", "power and network"):
        bench(artifact, there, tmp_path)
    assert there.drops == 1


def test_which_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    xavier = TARGET.model_copy(update={"device": "ssh://nvidia@xavier"})
    assert chosen_device(None, TARGET) is None
    assert chosen_device("local", TARGET) == "local"
    assert chosen_device(None, xavier) == "ssh://nvidia@xavier"
    monkeypatch.setenv(VARIABLE, "ssh://other")
    assert chosen_device(None, xavier) == "ssh://other"
    assert chosen_device("local", xavier) == "local"
    monkeypatch.setenv(SSH_CONFIG, "/some/config")
    ssh = open_transport("ssh://nvidia@Xavier:2222")
    assert isinstance(ssh, Ssh)
    assert ssh.host == "Xavier"
    for wrong in (
        "ssh://-oProxyCommand=id",
        "ssh://a b",
        "adb://x",
        "ftp://x",
        "ssh://x:99999",
        "",
    ):
        with refused("no device that edgepose can reach", "ssh://user@host"):
            open_transport(wrong)


def test_the_command_line(
    artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgepose.api.open_data", lambda text: fakes.Blocks())
    folder = tmp_path / "run" / "artifacts" / "host"
    shutil.copytree(artifact.folder, folder)
    words = ["bench", "--target", "host", "--artifact", str(folder), "--quick"]
    place = ["--device-python", sys.executable, "--device-folder", str(tmp_path / "board")]
    result = CliRunner().invoke(
        edgepose.cli.main, [*words, "--device", "local", *place, "--clean", "--threads", "1"]
    )
    assert result.exit_code == 0, result.output
    assert "reached by local" in result.output
    record = load_record(tmp_path / "run" / "bench-host" / "record.json")
    assert record.command == "edgepose bench --target host --quick --device local"
    assert not (tmp_path / "board").exists()
    result = CliRunner().invoke(edgepose.cli.main, [*words, "--device", "adb://phone"])
    assert result.exit_code == 2
    assert "fix: write local, ssh://user@host" in result.output
    assert CliRunner().invoke(edgepose.cli.main, [*words, "--clean"]).exit_code == 2


def test_the_device_normalises_as_the_host(artifact: Artifact) -> None:
    """The network sees the same numbers in both places: the crop's brightest spot is its peak."""
    crops = np.zeros((1, 64, 64, 3), np.uint8)
    crops[0, 20:24, 40:44] = 255
    pre = artifact.manifest.preprocessing
    heatmaps = open_executor(artifact).run(crops)
    assert np.unravel_index(heatmaps[0, 0].argmax(), (16, 16)) == (5, 10)
    assert normalise(crops, pre.mean, pre.std).max() == pytest.approx(2.64, abs=0.01)
