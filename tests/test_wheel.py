"""The wheel carries its recipes, targets and calibration pictures, and works away from the sources."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel's content in a folder of its own."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def edgepose(installed: Path, cwd: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "edgepose", *words],
        cwd=cwd, env={**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_everything_built_in_is_inside(installed: Path) -> None:
    for kind, pattern in (("recipes", "*.yaml"), ("targets", "*.yaml"), ("calib_data", "*")):
        expected = {p.name for p in (ROOT / kind).glob(pattern) if p.name != "__pycache__"}
        assert {p.name for p in (installed / "edgepose" / "_builtin" / kind).iterdir()} >= expected
        assert expected
    assert list(installed.glob("edgepose-*/licenses/LICENSE"))
    samples = (ROOT / "edgepose" / "samples").rglob("*.*")
    names = [path.relative_to(ROOT) for path in samples if "__pycache__" not in path.parts]
    assert {path.suffix for path in names} >= {".cpp", ".hpp", ".kt", ".kts", ".swift", ".xml"}
    assert [path for path in names if not (installed / path).exists()] == []
    assert (installed / "edgepose/samples/LICENSE").exists()


def test_it_works_elsewhere(installed: Path, tmp_path: Path) -> None:
    assert "jetson-xavier" in edgepose(installed, tmp_path, "targets")
    plan = edgepose(installed, tmp_path, "compress", "--recipe", "resnet18_5mb", "--dry-run")
    assert "nothing was trained" in plan
