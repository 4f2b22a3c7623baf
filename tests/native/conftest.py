"""The native runner, built by CMake, where ONNX Runtime's C header can be had."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from edgepose.artifact import Artifact
from edgepose.bench.native import write_sources
from tests.bench import networks

HEADERS, ARM_LIBRARY = "EDGEPOSE_ORT_HEADERS", "EDGEPOSE_ORT_AARCH64"


@pytest.fixture(scope="session")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return networks.bright_artifact(tmp_path_factory.mktemp("bright") / "artifact")


@pytest.fixture(scope="session")
def headers() -> Path:
    """The folder of ONNX Runtime's C header; e.g. headers/ of its AAR for Android."""
    folder = Path(os.environ.get(HEADERS, "."))
    if not (folder / "onnxruntime_c_api.h").exists():
        pytest.skip(f"onnxruntime_c_api.h is absent: name its folder with {HEADERS}")
    return folder


@pytest.fixture(scope="session")
def arm_library() -> Path:
    """ONNX Runtime for aarch64 Linux, which an emulated processor runs."""
    given = os.environ.get(ARM_LIBRARY)  # half a minute of emulation: only where it is asked for
    if not given:
        pytest.skip(f"{ARM_LIBRARY} does not name an aarch64 libonnxruntime.so")
    tools = ("qemu-aarch64", "aarch64-linux-gnu-g++")
    absent = [tool for tool in tools if shutil.which(tool) is None]
    if absent:
        pytest.skip(f"{' and '.join(absent)} are absent (Debian: qemu-user, g++-aarch64-linux-gnu)")
    return Path(given)


@pytest.fixture(scope="session")
def runner(headers: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built program, with the libonnxruntime.so of this Python's wheel beside it."""
    import onnxruntime

    if shutil.which("cmake") is None or shutil.which("c++") is None:
        pytest.skip("there is no cmake or no C++ compiler")
    libraries = sorted((Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so*"))
    if not libraries:
        pytest.skip("the installed onnxruntime has no libonnxruntime.so of its own")
    folder = tmp_path_factory.mktemp("runner")
    ort = folder / "ort"
    (ort / "lib").mkdir(parents=True)
    shutil.copytree(headers, ort / "headers")
    (ort / "lib" / "libonnxruntime.so").symlink_to(libraries[0])
    write_sources(folder / "native")
    build = folder / "build"
    for words in (
        ["cmake", "-S", str(folder / "native"), "-B", str(build), f"-DORT_DIR={ort}",
         "-DCMAKE_BUILD_TYPE=", "-DCMAKE_CXX_FLAGS=-O0 -Werror"],
        ["cmake", "--build", str(build)],
    ):  # fmt: skip
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return build / "edgepose-runner"
