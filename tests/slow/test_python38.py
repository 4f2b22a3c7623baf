"""The device room's own tests pass under Python 3.8 with numpy alone: what a board has."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

import edgepose

ROOT = Path(__file__).resolve().parents[2]
TESTS = (
    "test_decode", "test_timing", "test_pack", "test_tegrastats", "test_steadiness",
    "test_tensorrt_engine", "test_power",
)  # fmt: skip
pytestmark = pytest.mark.slow
BLOCKED = ("torch", "onnx", "onnxruntime", "pydantic", "click", "cv2", "yaml")


def test_the_device_tests_pass_under_python_38(tmp_path: Path) -> None:
    found = sorted(Path.home().glob(".pyenv/versions/3.8.*/bin/python"))
    base = str(found[0]) if found else shutil.which("python3.8")
    if base is None or "shims" in base:
        pytest.skip("Python 3.8 is absent: neither pyenv nor the system has it")
    python = tmp_path / "venv/bin/python"
    wanted = ("numpy==1.24.4", "pytest<9", "hypothesis<7")
    for command in (
        [base, "-m", "venv", tmp_path / "venv"],
        [python, "-m", "pip", "install", "-q", *wanted],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"no pytest for Python 3.8 can be had: {done.stderr[-200:]}")
    sources, tests = tmp_path / "sources", tmp_path / "tests"
    package = Path(edgepose.__file__).parent
    shutil.copytree(package / "device", sources / "edgepose/device")
    shutil.copyfile(package / "__init__.py", sources / "edgepose/__init__.py")
    for name in BLOCKED:
        (sources / f"{name}.py").write_text("raise ImportError('not on a board')\n")
    shutil.copytree(ROOT / "tests/device", tests)
    done = subprocess.run(
        [python, "-m", "pytest", "-q", "--import-mode=importlib", "-p", "no:cacheprovider",
         *(str(tests / f"{name}.py") for name in TESTS)],
        cwd=tmp_path, env={"PYTHONPATH": str(sources), "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout
