"""The C++ sample on TensorRT, built by its own CMake against a double of NVIDIA's headers: an engine is
kept under what it depends on, and nothing stale or damaged is used."""

from __future__ import annotations

import json
import lzma
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.bench import networks
from tests.samples.test_bundle import header_folder

ROOT = Path(__file__).resolve().parents[2]
DOUBLE = Path(__file__).with_name("tensorrt_double")
SETTINGS: dict[str, Any] = {"workspace_mib": 64, "builder_flags": ["INT8", "FP16"]}


@pytest.fixture(scope="module")
def pose(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`pose`. JetPack 5 has CMake 3.16, which has no FindCUDAToolkit (3.17): switched off here."""
    if shutil.which("cmake") is None or shutil.which("c++") is None:
        pytest.skip("there is no cmake or no C++ compiler")
    json_folder = header_folder(
        "JSON_INCLUDE", "nlohmann/json.hpp", "/usr/include", "/usr/local/include"
    )
    build = tmp_path_factory.mktemp("build")
    for library in ("nvinfer", "nvonnxparser", "cudart"):
        subprocess.run(
            ["c++", "-shared", "-x", "c++", os.devnull, "-o", build / f"lib{library}.so"],
            check=True,
        )
    for command in (
        ["cmake", "-S", ROOT / "edgepose/samples/cpp", "-B", build, "-DEDGEPOSE_TENSORRT=ON",
         "-DCMAKE_BUILD_TYPE=Debug", "-DCMAKE_CXX_FLAGS=-Wall -Wextra -Werror",
         f"-DJSON_INCLUDE={json_folder}", f"-DTENSORRT_INCLUDE={DOUBLE}",
         f"-DCUDA_INCLUDE={DOUBLE}", f"-DCMAKE_LIBRARY_PATH={build}",
         "-DCMAKE_DISABLE_FIND_PACKAGE_CUDAToolkit=ON", "-DCMAKE_DISABLE_FIND_PACKAGE_OpenCV=ON"],
        ["cmake", "--build", build],
    ):  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return build / "pose"


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    """Unpacked, as its README says, with build settings."""
    folder = networks.bright_artifact(tmp_path / "artifact", runtime="tensorrt").folder
    (folder / "build.json").write_text(json.dumps(SETTINGS))
    unpack(folder)
    cv2.imwrite(str(tmp_path / "photo.ppm"), np.full((64, 64, 3), 90, np.uint8))
    return folder


def unpack(folder: Path) -> None:
    """As xz does it, which keeps the time of the packed file."""
    packed, onnx = folder / "model.onnx.xz", folder / "model.onnx"
    onnx.write_bytes(lzma.decompress(packed.read_bytes()))
    os.utime(onnx, ns=(packed.stat().st_mtime_ns,) * 2)


def run(pose: Path, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [pose, folder, folder.parent / "photo.ppm", "8,8,40,40"],
        capture_output=True, text=True, check=False, env={**os.environ, **environment},
    )  # fmt: skip


def engines(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.glob("*.engine")}


def test_an_engine_is_built_once_as_the_settings_say(pose: Path, artifact: Path) -> None:
    first = run(pose, artifact)
    assert first.returncode == 0, first.stderr
    joints = [line.split() for line in first.stdout.splitlines()]
    assert [float(line[3]) for line in joints] == [1.0] + [0.0] * 15
    ((name, text),) = engines(artifact).items()
    assert name.startswith("Xavier-sm72x8-trt8502-")
    assert text == f"engine, flags {1 << 7 | 1 << 1 | 1}, workspace 64"
    (artifact / name).write_text(text + " kept")
    assert run(pose, artifact).stdout == first.stdout
    assert engines(artifact) == {name: text + " kept"}


def test_another_gpu_or_setting_is_another_engine(pose: Path, artifact: Path) -> None:
    run(pose, artifact)
    assert run(pose, artifact, MULTIPROCESSORS="6").returncode == 0  # a Xavier NX
    assert len(engines(artifact)) == 2
    settings = {"workspace_mib": 64, "builder_flags": [], "cleared_flags": ["TF32"]}
    (artifact / "build.json").write_text(json.dumps(settings))
    document = json.loads((artifact / "artifact.json").read_text())
    for file in document["files"]:
        file["sha256"] = "5c" * 32 if file["role"] == "build" else file["sha256"]
    (artifact / "artifact.json").write_text(json.dumps(document))
    assert run(pose, artifact).returncode == 0
    assert "engine, flags 0, workspace 64" in engines(artifact).values()


def test_layers_are_held_in_the_precision_that_the_settings_name(
    pose: Path, artifact: Path
) -> None:
    flags = ["FP16", "OBEY_PRECISION_CONSTRAINTS"]
    held = {"workspace_mib": 64, "builder_flags": flags}
    settings = {**held, "layer_precisions": {"whole_pose.mul_1": "fp32"}}
    (artifact / "build.json").write_text(json.dumps(settings))
    assert run(pose, artifact).returncode == 0
    ((name, text),) = engines(artifact).items()
    assert text == f"engine, flags {1 << 10 | 1 << 7 | 1}, workspace 64, exact whole_pose.mul_1"
    (artifact / name).unlink()
    (artifact / "build.json").write_text(json.dumps({**held, "layer_precisions": {"gone": "fp32"}}))
    refused = run(pose, artifact)
    assert refused.returncode == 2
    assert "no layer gone" in refused.stderr


def test_what_is_damaged_or_stale_is_not_used(pose: Path, artifact: Path) -> None:
    run(pose, artifact)
    ((name, text),) = engines(artifact).items()
    (artifact / name).write_bytes(b"half an eng")
    assert run(pose, artifact).returncode == 0
    assert engines(artifact) == {name: text}
    packed = artifact / "model.onnx.xz"
    later = packed.stat().st_mtime_ns + 10**9
    os.utime(packed, ns=(later, later))  # a new artifact over the old, whose ONNX still lies there
    (artifact / name).unlink()
    refused = run(pose, artifact)
    assert refused.returncode == 2
    assert "unpack it again: xz -dkf" in refused.stderr
    unpack(artifact)
    assert run(pose, artifact).returncode == 0
    (artifact / "model.onnx").unlink()
    (artifact / name).unlink()
    assert "unpack it first" in run(pose, artifact).stderr
