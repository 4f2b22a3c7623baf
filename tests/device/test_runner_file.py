"""The runner is one file, the same on every machine, and works alone under Python 3.8."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

import edgepose.device
from edgepose.bench.native import write_sources
from edgepose.bench.runner_file import PACKAGE, runner_bytes
from edgepose.device.errors import DeviceError
from edgepose.device.receive import MARK
from edgepose.errors import EdgeposeError

BLOCKED = ("torch", "onnx", "pydantic", "click", "cv2", "edgepose")


def old_python(version: str) -> str:
    found = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    system = shutil.which(f"python{version}")
    if found:
        return str(found[0])
    if system is None or "shims" in system:
        pytest.skip(f"Python {version} is absent: neither pyenv nor the system has it")
    return system


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runner") / "edgepose-device.pyz"
    path.write_bytes(runner_bytes())
    return path


def ask(python: str, *words: object, **options: Any) -> tuple[int, dict[str, Any]]:
    done = subprocess.run(
        [python, *map(str, words)], capture_output=True, text=True, check=False, **options
    )
    line = next((x for x in done.stdout.splitlines() if x.startswith(MARK)), None)
    assert line is not None, done.stderr
    return done.returncode, json.loads(line[len(MARK) :])


def test_the_same_bytes_every_time(tmp_path: Path) -> None:
    """Also from a copy of the package whose files are younger and lie elsewhere."""
    here = runner_bytes()
    assert here.startswith(b"#!/usr/bin/env python3\n")
    root = Path(edgepose.device.__file__).parents[1]
    for name in ("__init__.py", "errors.py"):
        (tmp_path / "edgepose").mkdir(exist_ok=True)
        shutil.copyfile(root / name, tmp_path / "edgepose" / name)
    shutil.copytree(root / "device", tmp_path / "edgepose/device", copy_function=shutil.copyfile)
    (tmp_path / "edgepose/bench").mkdir()
    (tmp_path / "edgepose/bench/__init__.py").touch()
    shutil.copyfile(root / "bench/runner_file.py", tmp_path / "edgepose/bench/runner_file.py")
    code = (
        "import sys; from edgepose.bench.runner_file import runner_bytes as r; "
        "sys.stdout.buffer.write(r())"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "TZ": "Asia/Tokyo"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd="/", capture_output=True, check=True
    )
    assert done.stdout == here
    with zipfile.ZipFile(io.BytesIO(here)) as archive:
        names = set(archive.namelist())
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    sources = {f"{PACKAGE}/{path.name}" for path in (root / "device").glob("*.py")}
    assert names == sources | {"__main__.py"}


def test_info_says_what_the_board_has(runner: Path, tmp_path: Path) -> None:
    """With everything that a board may not have blocked, and run from elsewhere."""
    for name in BLOCKED:
        (tmp_path / f"{name}.py").write_text("raise ImportError('blocked')\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    code, said = ask(sys.executable, runner, "info", env=environment, cwd="/")
    assert code == 0
    assert said["python"] == ".".join(map(str, sys.version_info[:3]))
    assert {item["name"] for item in said["runtimes"]} == {"tensorrt", "trtexec", "onnxruntime"}
    for item in said["runtimes"]:
        assert (item["version"] is None) != (item["why_not"] is None)
    assert said["resampler"].startswith("numpy")
    assert said["usable_cores"] >= 1
    assert said["nvpmodel"]["failed"] or said["nvpmodel"]["output"]


@pytest.mark.parametrize("version", ["2.7", "3.6", "3.7"])
def test_an_old_python_is_told_so(runner: Path, version: str) -> None:
    code, said = ask(old_python(version), runner, "info")
    assert code == 2
    assert said["error"]["problem"] == f"Python {version} on the board is too old"
    assert "3.8 or newer" in said["error"]["fix"]


def test_what_is_wrong_is_json_too(runner: Path, tmp_path: Path) -> None:
    words = ("run", "--artifact", tmp_path, "--out", tmp_path / "out", "--lock", tmp_path / "lock")
    code, said = ask(sys.executable, runner, *words)
    assert code == 2
    assert "artifact.json" in said["error"]["problem"]
    code, said = ask(sys.executable, runner, "status", "--root", tmp_path, "--job", "../../etc")
    assert code == 2
    assert "is no job" in said["error"]["problem"]


def test_cleaning_takes_only_what_is_ours(runner: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    for name in ("files/a", "jobs/b", "engines/c", "photos/mine.jpg"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")
    words = ("clean", "--root", root, "--lock", tmp_path / "lock")
    code, said = ask(sys.executable, runner, *words)
    assert (code, said["left"]) == (0, ["photos"])
    assert (root / "photos/mine.jpg").exists()


def test_the_package_imports_under_python_38(tmp_path: Path) -> None:
    """The very sources, by Python 3.8: without numpy what needs none, and all of them compile."""
    python = old_python("3.8")
    shutil.copytree(Path(edgepose.device.__file__).parent, tmp_path / "guest")
    code = (
        "import compileall, sys; sys.modules['torch'] = None\n"
        "import guest.receive, guest.runner, guest.files, guest.board, guest.tegrastats, guest.cpu\n"
        "print(compileall.compile_dir('guest', quiet=1))"
    )
    done = subprocess.run(
        [python, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() in ("1", "True"), done.stderr


def test_a_full_disk_leaves_no_native_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if path.suffix == ".hpp":
            raise OSError(28, "No space left on device")
        return real(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DeviceError, match="native-runner: No space left"):
        write_sources(tmp_path / "native-runner")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    write_sources(tmp_path / "native-runner")
    written = {p.name for p in (tmp_path / "native-runner").rglob("*") if p.is_file()}
    assert {"CMakeLists.txt", "README.md", "main.cpp"} <= written
    with pytest.raises(EdgeposeError, match="is not empty"):
        write_sources(tmp_path / "native-runner")
