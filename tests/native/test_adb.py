"""adb:SERIAL over an adb whose device is a folder; the wrong cables, locks and phones are named."""

from __future__ import annotations

import shutil
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import edgepose.cli
from edgepose.artifact import Artifact
from edgepose.backends.onnx_mobile import open_executor
from edgepose.bench.board import Board
from edgepose.bench.latency import Plan
from edgepose.bench.on_device import bench_there
from edgepose.bench.record import BenchRecord, load_record
from edgepose.bench.transport import open_transport
from edgepose.bench.transports.adb import Adb
from edgepose.errors import EdgeposeError
from edgepose.target import load_target
from tests.bench import fakes

PLAN = Plan(warmup=3, max_warmup=9, calls=60, seconds=0.0)
TARGET = load_target("onnx-android", runtimes=("onnx_mobile", "tensorrt", "coreml"))
NAME = "adb:0A041FDD4003DX"


@pytest.fixture
def phone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder behind the fake adb, which is the one on the path."""
    folder, programs = tmp_path / "phone", tmp_path / "bin"
    (folder / "tmp").mkdir(parents=True)
    programs.mkdir()
    adb = programs / "adb"
    source = Path(__file__).with_name("fake_adb.py").read_text()
    adb.write_text(source.replace("#!/usr/bin/env python3", f"#!{sys.executable} -S", 1))
    adb.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.setenv("FAKE_ADB", str(folder))
    return folder


@pytest.fixture
def stand_in(tmp_path: Path) -> Path:
    """A program and a library that can be sent, but are no runner."""
    folder = tmp_path / "stand in"
    folder.mkdir()
    shutil.copy("/bin/true", folder / "edgepose-runner")
    (folder / "libonnxruntime.so").write_bytes(b"library")
    return folder / "edgepose-runner"


def board(runner: Path, tmp_path: Path, **options: Any) -> Board:
    options = {"lock": str(tmp_path / "lock"), "sleep": lambda seconds: None, **options}
    return Board(open_transport(NAME), runner=runner, **options)


def refused(problem: str, fix: str) -> Any:
    return pytest.raises(EdgeposeError, match=f"(?s){problem}.*fix: .*{fix}")


def test_a_benchmark_over_a_cable_that_is_pulled(
    artifact: Artifact, phone: Path, tmp_path: Path, runner: Path
) -> None:
    """The full path: sent once, timed there, PCKh from the device's own joints, nothing left behind."""

    def bench(**options: Any) -> BenchRecord:
        path = tmp_path / "out" / "record.json"
        return bench_there(
            artifact, board(runner, tmp_path), fakes.Blocks(), path, target=TARGET, plan=PLAN,
            host=open_executor(artifact), threads=1, **options,
        )  # fmt: skip

    cuts = ["cut", "closed", "ok", "cut", "offline", "ok", "absent", "cut"] * 3
    (phone / "plan").write_text("ok\n" + "\n".join(cuts))
    record = bench()
    assert record.partial is None
    assert record.device is not None
    assert record.device.transport == NAME
    assert record.device.connection_drops >= 12
    assert record.metrics["pckh@0.5"].value == pytest.approx(100.0)
    assert record.device.joints_vs_host is not None
    assert record.device.joints_vs_host.p99 == 0.0
    assert record.model_ms is not None
    assert record.latency_origin.where.endswith(f"({NAME})")
    assert record.device.runner_sha256 == sha256(runner.read_bytes()).hexdigest()
    files = list((phone / "tmp" / "edgepose-device" / "files").iterdir())
    assert all(sha256(path.read_bytes()).hexdigest() == path.name for path in files)
    (phone / "calls").unlink()
    again = bench(clean=True)
    assert again.device is not None
    assert again.device.sent_bytes == 0
    assert "push" not in {line.split()[0] for line in (phone / "calls").read_text().splitlines()}
    assert not any((phone / "tmp").iterdir())


def test_large_files_go_on_where_they_stopped(
    phone: Path, tmp_path: Path, runner: Path, stand_in: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgepose.bench.board._BLOCK", 1 << 20)
    shutil.copy(runner, stand_in)
    there = board(stand_in, tmp_path)
    there.send({})
    data = bytes(range(256)) * 20000  # five blocks
    (phone / "calls").unlink()
    plan = ["ok"] * 2 + ["ok"] * 5 + ["cut"]  # look, hello, two blocks and a half
    (phone / "plan").write_text("\n".join(plan))
    assert there.send({"data": data}) == len(data)
    assert there.drops == 1
    calls = [line.split() for line in (phone / "calls").read_text().splitlines()]
    assert len([call for call in calls if call[0] == "push"]) == 5
    name = sha256(data).hexdigest()
    folder = phone / "tmp" / "edgepose-device" / "files"
    assert (folder / name).read_bytes() == data
    assert not list(folder.glob("*.part"))
    assert not list(folder.glob("*.block"))


@pytest.mark.parametrize(
    ("state", "problem", "fix"),
    [
        (
            "unauthorized",
            "does not trust this computer: device unauthorized",
            "accept its question",
        ),
        ("absent", "cannot be reached: device '0A041FDD4003DX' not found", "USB debugging"),
        ("offline", "cannot be reached: device offline", "check its cable"),
        ("several", "could be any of several devices: more than one", "adb:SERIAL"),
        ("locked", "may not use adb:.*insufficient permissions", "udev rule"),
        ("recovery", "has not started Android, it is in recovery", "let it start"),
    ],
)
def test_a_device_that_cannot_be_used(
    phone: Path, tmp_path: Path, stand_in: Path, state: str, problem: str, fix: str
) -> None:
    (phone / "state").write_text(state)
    with refused(problem, fix):
        board(stand_in, tmp_path).send({})
    assert not any((phone / "tmp").iterdir())


def test_old_full_and_foreign_devices(phone: Path, tmp_path: Path, stand_in: Path) -> None:
    (phone / "features").write_text("cmd")
    with refused("too old: its adb shell keeps no exit codes", "Android 7"):
        board(stand_in, tmp_path).send({})
    (phone / "features").unlink()
    (phone / "limit").write_text("1000")
    with refused("no space on the board: failed to copy", "free some space"):
        board(stand_in, tmp_path).send({})
    files = phone / "tmp" / "edgepose-device" / "files"
    assert [path.suffix for path in files.iterdir()] == [".new"]  # never under its own name
    (phone / "limit").unlink()
    with refused("cannot keep the runner in /proc/no: .*mkdir", "--device-folder"):
        board(stand_in, tmp_path, folder="/proc/no").send({})
    foreign = stand_in.parent / "foreign"
    foreign.write_bytes(b"\x7fELF of another machine")
    with refused("the native runner does not run on adb:", "ro.product.cpu.abi"):
        board(foreign, tmp_path).send({})
    assert files.joinpath(sha256(foreign.read_bytes()).hexdigest()).exists()


def test_a_runner_that_arrives_broken_is_sent_again(
    phone: Path, tmp_path: Path, stand_in: Path
) -> None:
    """The half that a pulled cable left is never run."""
    (phone / "plan").write_text("ok cut short ok")
    foreign = stand_in.parent / "edgepose-runner"
    foreign.write_bytes(b"#!/bin/sh\nexit 9\n".rjust(5000, b" ").replace(b" ", b"\x7fELF", 1))
    with refused("does not run on|the runner failed on", "build it|check that"):
        board(foreign, tmp_path).send({})
    name = sha256(foreign.read_bytes()).hexdigest()
    files = phone / "tmp" / "edgepose-device" / "files"
    assert (files / name).read_bytes() == foreign.read_bytes()
    calls = [line.split()[0] for line in (phone / "calls").read_text().splitlines()]
    look, check, ask = "shell", "shell", "shell"  # what is there; is it whole; what is there now
    assert calls[:7] == [look, "push", "push", check, ask, "push", check]
    assert not list(files.glob("*.new"))


def test_a_phone_that_never_comes_back(
    artifact: Artifact, phone: Path, tmp_path: Path, runner: Path
) -> None:
    there = board(runner, tmp_path, patience_s=0.0)
    there.send({})
    (phone / "state").write_text("absent")
    with refused("stopped answering: device '0A041FDD4003DX' not found", "power and network"):
        there.in_root("status", "--job", "x")
    (phone / "state").write_text("unauthorized")
    with refused("does not trust this computer", "accept its question"):
        there.in_root("status", "--job", "x")


def test_words_reach_the_phone_as_they_are(phone: Path) -> None:
    nasty = ["it's", "$(touch pwned)", "`id`", 'a "b" c', "; ls", "-n", "", "a\nb", "~", "*"]
    done = Adb("adb").run(["printf", r"%s\0", *nasty])
    assert done.stdout.decode().split("\0")[:-1] == nasty
    assert Adb("adb").run(["sh", "-c", "exit 7"]).code == 7
    assert Adb("adb").run(["sh", "-c", "echo no >&2; exit 1"]).stderr == "no\n"
    assert "adb shell" not in (phone / "calls").read_text()


def test_without_adb_or_without_a_runner(
    tmp_path: Path, stand_in: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with refused("adb:x has no Python: it needs the native runner", "edgepose runner --native DIR"):
        Board(open_transport("adb:x"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with refused("there is no adb on this computer", "platform-tools"):
        board(stand_in, tmp_path).send({})
    for name in ("adb:-s", "adb:a b", "adb:$(id)", "adb://x", "adb:"):
        with refused("no device that edgepose can reach", "adb:SERIAL"):
            open_transport(name)
    for name in ("adb", "adb:emulator-5554", "adb:192.168.1.7:5555"):
        assert open_transport(name).name == name


def test_the_real_adb_without_a_device(tmp_path: Path, stand_in: Path) -> None:
    if shutil.which("adb") is None:
        pytest.skip("adb is absent (Debian: adb)")
    with refused("cannot be reached: .*no-such-device.*not found", "USB debugging"):
        there = Board(open_transport("adb:no-such-device"), runner=stand_in)
        there.send({})


def test_the_command_line(
    artifact: Artifact, phone: Path, tmp_path: Path, runner: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("edgepose.api.open_data", lambda text: fakes.Blocks())
    folder = tmp_path / "run" / "artifacts" / "onnx-android"
    shutil.copytree(artifact.folder, folder)
    words = [
        "bench",
        "--target",
        "onnx-android",
        "--artifact",
        str(folder),
        "--quick",
        "--device",
        NAME,
    ]
    result = CliRunner().invoke(edgepose.cli.main, words)
    assert result.exit_code == 2
    assert "fix: `edgepose runner --native DIR`" in result.output
    words += ["--runner-binary", str(runner), "--threads", "1", "--clean"]
    result = CliRunner().invoke(edgepose.cli.main, words)
    assert result.exit_code == 0, result.output
    record = load_record(tmp_path / "run" / "bench-onnx-android" / "record.json")
    assert record.command == f"edgepose bench --target onnx-android --quick --device {NAME}"
    assert record.model_ms is not None
    assert f"reached by {NAME}" in result.output


def test_the_project_is_written_once(tmp_path: Path) -> None:
    words = ["runner", "--native", str(tmp_path / "native")]
    assert CliRunner().invoke(edgepose.cli.main, words).exit_code == 0
    names = {path.name for path in (tmp_path / "native").rglob("*") if path.is_file()}
    assert {"CMakeLists.txt", "README.md", "main.cpp", "decode.hpp"} <= names
    again = CliRunner().invoke(edgepose.cli.main, words)
    assert again.exit_code == 2
    assert "is not empty" in again.output
    assert CliRunner().invoke(edgepose.cli.main, ["runner"]).exit_code == 2
