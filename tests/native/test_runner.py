"""The native runner against the Python runner, on this computer: the same joints, the same JSON."""

from __future__ import annotations

import fcntl
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgepose.artifact import Artifact, Content
from edgepose.backends.onnx_mobile import open_executor
from edgepose.bench.board import Board
from edgepose.bench.latency import Plan
from edgepose.bench.native import SOURCES, pack_arrays
from edgepose.bench.on_device import PARTIAL, bench_there
from edgepose.bench.record import BenchRecord, load_record
from edgepose.bench.transports.local import Local
from edgepose.device.coding import CODINGS, RULES, Coding, alignment_of
from edgepose.device.pack import Pack, pack_bytes
from edgepose.errors import EdgeposeError
from edgepose.manifest import CodecContract
from edgepose.target import load_target
from edgepose.variants import chosen
from tests.bench import fakes, networks

PLAN = Plan(warmup=3, max_warmup=9, calls=100, seconds=0.0)
TARGET = load_target("host", runtimes=("onnx_mobile", "tensorrt", "coreml"))


def bench(artifact: Artifact, tmp_path: Path, runner: Path | None, **options: Any) -> BenchRecord:
    there = Board(
        Local(), python=sys.executable, runner=runner, folder=str(tmp_path / "it's a board"),
        lock=str(tmp_path / "lock"),
    )  # fmt: skip
    if "host" not in options:
        options["host"] = open_executor(artifact)
    options = {"target": TARGET, "plan": PLAN, "threads": 1, **options}
    path = tmp_path / "out" / "record.json"
    return bench_there(artifact, there, fakes.Blocks(count=37), path, **options)


def _shape(value: Any) -> Any:
    """Keys and kinds of a JSON document."""
    if isinstance(value, dict):
        return {key: _shape(item) for key, item in value.items()}
    return (
        "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value)
    )


FREE = {"temperature_c", "cooling", "build", "parsed"}  # names of a board's own
POWER = {"sensors", "energy_mj_per_call"}  # where tegrastats or RAPL can be read; not on phones


def _compare_shapes(native: Any, python: Any, at: str = "") -> None:
    if at.rpartition(".")[2] in FREE or native is type(None) or python is type(None):
        return
    if isinstance(python, dict) and isinstance(native, dict):
        assert set(native) == set(python) - POWER, at
        for key in native:
            _compare_shapes(native[key], python[key], f"{at}.{key}")
    else:
        assert native == python, at


@pytest.mark.parametrize("coding", CODINGS)
def test_the_same_joints_and_the_same_json(
    artifact: Artifact, tmp_path: Path, runner: Path, coding: Coding
) -> None:
    folder = tmp_path / "artifact"
    shutil.copytree(artifact.folder, folder)
    manifest = json.loads((folder / "artifact.json").read_text())
    codec = CodecContract(stride=4, sigma=1.0, coding=coding, rule=RULES[coding])
    manifest["codec"] = codec.model_dump(mode="json")
    manifest["crop"]["alignment"] = alignment_of(coding)
    (folder / "artifact.json").write_text(json.dumps(manifest))
    coded = Artifact.load(folder)
    records = {
        kind: bench(coded, tmp_path / kind, program)
        for kind, program in (("native", runner), ("python", None))
    }
    folders = {kind: next((tmp_path / kind).glob("it's a board/jobs/*")) for kind in records}
    joints = {kind: dict(np.load(folders[kind] / "joints.npz")) for kind in records}
    assert set(joints["native"]) == {"crop_xy", "image_xy", "score"}
    for key, found in joints["native"].items():
        assert found.shape == joints["python"][key].shape
        assert found.dtype == joints["python"][key].dtype
        tolerance = 0.0 if coding == "standard" and key != "image_xy" else 1e-3
        np.testing.assert_allclose(found, joints["python"][key], rtol=0, atol=tolerance)
    documents = {kind: json.loads((folders[kind] / "result.json").read_text()) for kind in records}
    _compare_shapes(_shape(documents["native"]), _shape(documents["python"]))
    native, python = records["native"], records["python"]
    assert native.metrics == python.metrics
    assert native.device is not None
    assert python.device is not None
    assert native.device.phases == python.device.phases
    assert native.device.joints_vs_host is not None
    assert native.device.joints_vs_host.p99 < 1e-3
    assert native.executor == python.executor + ", native runner"
    assert len(native.model_samples_ms) == len(native.end_to_end_samples_ms) == PLAN.calls
    assert native.model_ms is not None
    assert native.model_ms.count == PLAN.calls
    assert min(native.model_samples_ms) > 0
    assert native.device.runner_sha256 != python.device.runner_sha256
    assert native.conditions.name == python.conditions.name
    assert native.conditions.python == "none (native runner)"


@pytest.mark.parametrize("color", ["RGB", "BGR"])
def test_a_whole_pose_graph_gives_the_python_runners_joints(
    tmp_path: Path, runner: Path, color: str
) -> None:
    made = networks.bright_variants(tmp_path / "made", [(64, 64)], joints=True)
    path = made.folder / "artifact.json"
    path.write_text(path.read_text().replace('"RGB"', f'"{color}"'))
    with chosen(Artifact.load(made.folder), gives="joints") as whole:
        assert whole.manifest.preprocessing.color == color
        records = {
            kind: bench(whole, tmp_path / kind, program)
            for kind, program in (("native", runner), ("python", None))
        }
    folders = {kind: next((tmp_path / kind).glob("it's a board/jobs/*")) for kind in records}
    joints = {kind: dict(np.load(folders[kind] / "joints.npz")) for kind in records}
    for key, found in joints["native"].items():
        tolerance = 1e-3 if key == "image_xy" else 0.0
        np.testing.assert_allclose(found, joints["python"][key], rtol=0, atol=tolerance)
        assert found.shape == joints["python"][key].shape
    assert np.ptp(joints["native"]["crop_xy"]) > 10, "joints all over the crops"
    native = records["native"]
    assert native.metrics == records["python"].metrics
    assert native.metrics["pckh@0.5"].value == pytest.approx(100.0)
    assert native.device is not None
    assert native.device.joints_vs_host is not None
    assert native.device.joints_vs_host.p99 < 1e-3
    assert len(native.model_samples_ms) == len(native.end_to_end_samples_ms) == PLAN.calls


def test_a_model_that_gives_something_else_is_refused(tmp_path: Path, runner: Path) -> None:
    """Heatmaps where artifact.json says joints."""
    made = networks.bright_variants(tmp_path / "made", [(64, 64)], joints=True)
    with chosen(made, gives="joints") as whole:
        model = onnx.load_from_string(whole.path("model").read_bytes())
        concat = model.graph.node[-1]
        model.graph.node.append(onnx.helper.make_node("Unsqueeze", ["xys", "three"], ["joints"]))
        concat.output[0] = "xys"
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([3]), "three"))
        model.graph.output[0].type.tensor_type.shape.dim.add().dim_value = 1
        (whole.folder / whole.manifest.files[0].path).write_bytes(model.SerializeToString())
        contents = [
            Content(f.path, f.role, whole.folder / f.path, f.counted) for f in whole.manifest.files
        ]
        broken = Artifact.write(tmp_path / "broken", whole.manifest, contents)
    with refused("the output of bright is not float joints", "export again"):
        bench(broken, tmp_path, runner, host=None)


def test_info_says_what_the_python_runner_says(runner: Path) -> None:
    library = str(runner.with_name("libonnxruntime.so"))
    done = subprocess.run(
        [str(runner), "info", "--library", library], capture_output=True, check=True
    )
    native = json.loads(done.stdout.split(b"@edgepose ")[1])
    words = [sys.executable, "-c", "from edgepose.device.runner import main; main(['info'])"]
    done = subprocess.run(words, capture_output=True, check=True)
    python = json.loads(done.stdout.split(b"@edgepose ")[1])
    assert set(native) == set(python)
    for key in (
        "name",
        "cpu_model",
        "machine",
        "isa",
        "cores",
        "usable_cores",
        "memory_bytes",
        "os",
        "kernel",
    ):
        assert native[key] == python[key], key
    assert [item["name"] for item in native["runtimes"]] == ["onnxruntime"]
    assert native["runtimes"][0]["version"] == python["runtimes"][2]["version"]


def test_a_fixed_batch_is_filled_up(tmp_path: Path, runner: Path) -> None:
    four = networks.bright_artifact(tmp_path / "four", model=networks.bright_spot(4))
    record = bench(four, tmp_path, runner, host=None)
    assert record.persons == 37
    assert record.metrics["pckh@0.5"].value == pytest.approx(100.0)
    assert record.model_ms is not None
    assert record.model_ms.batch == 4
    assert record.end_to_end_ms is None


def _job_of(board: Path) -> Path:
    """The job that a benchmark left on its board; not the one without crops that times once more."""
    files = [path for path in (board / "files").iterdir() if path.stat().st_size < 10_000]
    jobs = [path for path in files if path.read_bytes().startswith(b"version 1\n")]
    return next(path for path in jobs if b"\npack " in path.read_bytes())


def _run(words: list[str], job: Path, out: Path, library: Path) -> tuple[int, dict[str, Any]]:
    words = [*words, "run", "--job", str(job), "--out", str(out), "--lock", f"{out}.lock"]
    done = subprocess.run([*words, "--library", str(library)], capture_output=True, check=False)
    return done.returncode, json.loads(done.stdout.split(b"@edgepose ")[1])


def test_run_by_hand(artifact: Artifact, tmp_path: Path, runner: Path) -> None:
    """What a benchmark sent, once more without a host: the same joints."""
    bench(artifact, tmp_path, runner)
    board, again = tmp_path / "it's a board", tmp_path / "again"
    library = runner.with_name("libonnxruntime.so")
    code, said = _run([str(runner)], _job_of(board), again, library)
    assert (code, said["phases"][-1]) == (0, "finished")
    assert json.loads((again / "result.json").read_text()) == said
    first = next(board.glob("jobs/*/joints.npz"))
    assert (again / "joints.npz").read_bytes() == first.read_bytes()
    code, said = _run([str(runner)], _job_of(board), again, Path("/no.so"))
    assert code == 2
    assert "no runtime on the board" in said["error"]["problem"]
    assert "libonnxruntime.so" in said["error"]["fix"]
    done = subprocess.run([str(runner), "dance"], capture_output=True, check=False)
    assert done.returncode == 2
    assert b"'dance' is no command" in done.stdout


def test_the_same_joints_on_an_emulated_arm(
    artifact: Artifact, tmp_path: Path, runner: Path, headers: Path,
    arm_library: Path,
) -> None:  # fmt: skip
    """For function, never for timing."""
    bench(artifact, tmp_path, runner)
    board, program = tmp_path / "it's a board", tmp_path / "edgepose-runner-arm"
    compiler = ["aarch64-linux-gnu-g++", "-std=c++17", "-O0", "-ffp-contract=off", "-pthread"]
    words = [*compiler, "-isystem", str(headers), str(SOURCES / "src" / "main.cpp"), "-ldl"]
    subprocess.run([*words, "-o", str(program)], check=True)
    job = _job_of(board)
    fewer = job.with_name("fewer")
    fewer.write_text(job.read_text().replace("calls 100", "calls 3"))
    emulated = ["qemu-aarch64", "-L", "/usr/aarch64-linux-gnu", str(program)]
    code, said = _run(emulated, fewer, tmp_path / "arm", arm_library)
    assert (code, said["phases"][-1]) == (0, "finished")
    assert said["board"]["machine"] == "aarch64"
    here = dict(np.load(next(board.glob("jobs/*/joints.npz"))))
    for key, found in dict(np.load(tmp_path / "arm" / "joints.npz")).items():
        np.testing.assert_allclose(found, here[key], rtol=0, atol=1e-5)


def refused(problem: str, fix: str) -> Any:
    return pytest.raises(EdgeposeError, match=f"(?s){problem}.*fix: .*{fix}")


def test_bad_input(artifact: Artifact, tmp_path: Path, runner: Path) -> None:
    bad = networks.bright_artifact(tmp_path / "bad", model=b"not a model")
    with refused("cannot load bright-spot", "export for an older one"):
        bench(bad, tmp_path, runner, host=None)
    packed = networks.bright_artifact(tmp_path / "packed", runtime="tensorrt")
    with refused("bright-spot is a tensorrt artifact", "device with Python"):
        bench(packed, tmp_path, runner, host=None)
    with refused("has no runtime 'trtexec'", "use onnxruntime"):
        bench(artifact, tmp_path, runner, runtime="trtexec")
    alone = tmp_path / "alone" / "edgepose-runner"
    alone.parent.mkdir()
    shutil.copy(runner, alone)
    with refused("no libonnxruntime.so beside", "AAR"):
        bench(artifact, tmp_path, alone)
    (alone.parent / "libonnxruntime.so").write_bytes(b"no library")
    with refused("no runtime on the board for bright-spot", "beside the runner"):
        bench(artifact, tmp_path, alone)
    with (tmp_path / "lock").open("w") as held:
        held.write("job of somebody else")
        held.flush()
        fcntl.flock(held, fcntl.LOCK_EX)
        with refused("another benchmark runs on the board: job of somebody", "wait until"):
            bench(artifact, tmp_path, runner)
    assert not (tmp_path / "out").exists()
    bench(artifact, tmp_path, runner, clean=True)
    assert not (tmp_path / "it's a board").exists()


def test_a_board_that_dies_leaves_what_it_measured(
    artifact: Artifact, tmp_path: Path, runner: Path
) -> None:
    def kill_while_timing(phase: str, done: int, total: int) -> None:
        if phase != "time model (device)":
            return
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_bytes()
            except OSError:
                continue
            if b"start" in words.split(b"\0") and str(tmp_path).encode() in words:
                os.kill(int(path.parent.name), signal.SIGKILL)

    forever = Plan(warmup=3, max_warmup=9, calls=10**9, seconds=0.0)
    with refused("died on local.*measured before is in .*partial", "dmesg"):
        bench(artifact, tmp_path, runner, plan=forever, report=kill_while_timing)
    kept = load_record(tmp_path / "out" / PARTIAL)
    assert kept.partial is not None
    assert kept.metrics["pckh@0.5"].value == pytest.approx(100.0)
    assert kept.model_ms is None
    assert len(kept.model_samples_ms) >= 64


def test_what_a_file_must_be_to_be_sent(tmp_path: Path) -> None:
    for data, problem in (
        (b"#!/bin/sh\n", "is no program for Linux or Android"),
        (None, "cannot read"),
    ):
        path = tmp_path / "runner"
        if data is not None:
            path.write_bytes(data)
        else:
            path.unlink()
        with refused(problem, "edgepose runner --native"):
            Board(Local(), runner=path)


def test_the_pack_without_zip() -> None:
    rng = np.random.default_rng(0)
    pack = Pack(
        crops=rng.integers(0, 256, (3, 8, 6, 3), dtype=np.uint8), matrices=rng.normal(size=(3, 2, 3)),
        true_xy=rng.normal(size=(3, 5, 2)).astype(np.float32), annotated=rng.random((3, 5)) < 0.5,
        head_px=np.ones(3, np.float32),
    )  # fmt: skip
    stream = io.BytesIO(pack_arrays(pack_bytes(pack)))
    assert int(np.load(stream)) == 1
    for array in vars(pack).values():
        np.testing.assert_array_equal(np.load(stream), array)
    assert not stream.read()
