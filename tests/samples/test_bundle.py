"""`edgepose bundle`: complete, reproducible, refused by name, never half there; its samples run."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from edgepose.artifact import Artifact, Content
from edgepose.backends import onnx_mobile
from edgepose.bench.record import Conditions, MetricValue
from edgepose.bundle import bundle
from edgepose.cli import main
from edgepose.data.images import read_image
from edgepose.device.files import sha256_file
from edgepose.errors import EdgeposeError
from edgepose.predict import Contract
from edgepose.report.record import (
    ArtifactRecord,
    DataRecord,
    FileRecord,
    JointShiftPx,
    RecipeRecord,
    Report,
    StageRecord,
)
from edgepose.report.schema import save_report
from edgepose.samples import sample_files
from edgepose.variants import chosen, select, sizes_in
from edgepose.video.finder import Finder, Model
from tests.bench import networks

ROOT = Path(__file__).resolve().parents[2]
PHOTO, BOX = ROOT / "calib_data" / "person-000.jpg", (10.0, 20.0, 90.0, 70.0)
COMMON: dict[str, Any] = {"executor": "ORT test", "host": "a host", "latency_note": "not timed"}


def write_report(run: Path, artifacts: Sequence[Artifact]) -> None:
    """A report.json that scored these artifacts."""
    rows = tuple(
        ArtifactRecord(
            name=a.folder.name, target=a.manifest.target, runtime=a.manifest.runtime,
            precision=a.manifest.precision, file=a.counted_files[0],
            files=tuple(
                FileRecord(path=f.path, role=f.role, sha256=f.sha256, size_bytes=f.size_bytes,
                           counted=f.counted)
                for f in a.manifest.files
            ),
            metrics={"pckh@0.5": MetricValue(value=71.25, ci95=(70.0, 72.5), persons=400,
                                             per_joint={"head_top": 66.5, "pelvis": None})},
            joint_shift_px=JointShiftPx(p50=0.01, p99=0.25), **COMMON,
        )
        for a in artifacts
    )  # fmt: skip
    report = Report(
        edgepose_version="0.1.0", run_id="x", recipe=RecipeRecord(name="tiny", sha256="5c" * 32),
        seed=7,
        host=Conditions(name="a host", cpu_model="x", machine="x86_64", cores=2, usable_cores=2,
                        os="x", kernel="x", python="3.11"),
        data=DataRecord(source="synthetic", domain="synthetic-people-v1", skeleton="mpii16",
                        fingerprint="feed" * 16),
        stages=(StageRecord(name="train", **COMMON),), artifacts=rows,
        commands=("edgepose compress --recipe recipes/tiny.yaml",),
    )  # fmt: skip
    save_report(report, run / "report.json")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run with one artifact per runtime of ONNX."""
    folder = tmp_path / "run" / "artifacts"
    made = [networks.bright_artifact(folder / r, runtime=r) for r in ("onnx_mobile", "tensorrt")]
    write_report(tmp_path / "run", made)
    return tmp_path / "run"


def edgepose(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def refused(result: Result, *parts: str) -> None:
    assert result.exit_code == 2, result.output
    assert "fix:" in result.output
    assert "Traceback" not in result.output
    for part in parts:
        assert part in result.output


def content(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_a_bundle_is_complete(run: Path, tmp_path: Path) -> None:
    source = run / "artifacts" / "onnx_mobile"
    before = content(source)
    result = edgepose("bundle", source, "--to", tmp_path / "out")
    assert result.exit_code == 0, result.output
    files = content(tmp_path / "out")
    assert {name.split("/")[1] for name in files if name.startswith("samples/")} == {
        "kotlin", "python", "cpp",
    }  # fmt: skip
    assert files["LICENSE"] == (ROOT / "LICENSE").read_bytes()
    manifest = json.loads(files["artifact.json"])
    assert manifest["scores"]["metrics"]["pckh@0.5"] == {
        "value": 71.25, "ci95": [70.0, 72.5], "persons": 400,
    }  # fmt: skip
    assert manifest["scores"]["executor"] == "ORT test"
    assert manifest["recipe"]["seed"] == 7
    for key in ("input", "output", "skeleton", "preprocessing", "crop", "codec", "provenance"):
        assert manifest[key] == json.loads(before["artifact.json"])[key]
    assert [f["path"] for f in manifest["files"]] == ["model.onnx"]
    assert hashlib.sha256(files["model.onnx"]).hexdigest() == manifest["files"][0]["sha256"]
    assert Artifact.load(tmp_path / "out").counted_size_bytes == len(before["model.onnx"])
    assert content(source) == before  # the artifact stays as it is
    assert "scores" not in json.loads(before["artifact.json"])


def test_card_and_licences_say_where_the_weights_come_from(run: Path, tmp_path: Path) -> None:
    bundle(run / "artifacts" / "tensorrt", tmp_path / "out")
    card = (tmp_path / "out" / "MODEL_CARD.md").read_text()
    assert "71.2 [70.0, 72.5]" in card
    assert "| head top | 66.5 |" in card
    assert "| pelvis | - |" in card
    assert (
        "The counted files, executed on a host by ORT test. 400 people of synthetic-people" in card
    )
    assert "| runs in | TensorRT: " in card
    assert sha256_file(tmp_path / "out" / "model.onnx.xz") in card
    assert "argmax-quarter-pixel" in card
    licences = (tmp_path / "out" / "LICENSES.md").read_text()
    for words in (
        "Trained on synthetic-people-v1",
        "Apache-2.0",
        "NVIDIA",
        "ONNX Runtime",
        "nlohmann",
    ):
        assert words in licences
    assert "CameraX" not in licences  # that sample is not in it


def test_the_domain_s_notice_is_on_the_card(tmp_path: Path) -> None:
    made = networks.bright_artifact(tmp_path / "run" / "artifacts" / "a")
    provenance = made.manifest.provenance.model_copy(update={"domain": "synthetic-people-v1"})
    header = made.manifest.model_copy(update={"provenance": provenance})
    model = [Content("model.onnx", "model", made.path("model").read_bytes(), counted=True)]
    write_report(tmp_path / "run", [Artifact.write(made.folder, header, model)])
    bundle(made.folder, tmp_path / "out")
    for name in ("MODEL_CARD.md", "LICENSES.md"):
        assert "not for products" in (tmp_path / "out" / name).read_text()


def test_the_same_inputs_give_the_same_bytes(run: Path, tmp_path: Path) -> None:
    source = run / "artifacts" / "onnx_mobile"
    for name in ("a", "b"):
        bundle(source, tmp_path / name)
        assert edgepose("bundle", source, "--to", tmp_path / f"{name}.zip").exit_code == 0
        os.utime(source / "model.onnx", (1e9, 1e9))
    assert content(tmp_path / "a") == content(tmp_path / "b")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        archive.extractall(tmp_path / "unpacked")
    (folder,) = (tmp_path / "unpacked").iterdir()
    assert content(folder) == content(tmp_path / "a")


def test_a_network_of_ones_own_unpacks_on_every_system(tmp_path: Path) -> None:
    made = networks.bright_artifact(tmp_path / "run" / "artifacts" / "a")
    header = made.manifest.model_copy(update={"name": "my.nets:make-64x64-int8"})
    model = [Content("model.onnx", "model", made.path("model").read_bytes(), counted=True)]
    write_report(tmp_path / "run", [Artifact.write(made.folder, header, model)])
    with zipfile.ZipFile(bundle(made.folder, tmp_path / "pose.zip")) as archive:
        tops = {name.split("/")[0] for name in archive.namelist()}
    assert tops == {f"my.nets-make-64x64-int8-{header.target}"}
    assert zipfile.is_zipfile(bundle(made.folder, tmp_path / "POSE.ZIP"))


def test_bundling_imports_nothing_heavy() -> None:
    code = (
        "import sys, edgepose.bundle\n"
        "assert not {'torch', 'onnx', 'onnxruntime', 'coremltools'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_cannot_be_bundled_is_refused_by_name(run: Path, tmp_path: Path) -> None:
    source, out = run / "artifacts" / "onnx_mobile", tmp_path / "out"
    (tmp_path / "there").mkdir()
    refused(edgepose("bundle", source, "--to", tmp_path / "there"), "there is there already")
    refused(edgepose("bundle", source, "--to", source / "x"), "lies inside the artifact")
    refused(edgepose("bundle", tmp_path / "there", "--to", out), "is not an artifact")
    refused(
        edgepose("bundle", source / "model.onnx", "--to", out),
        "model.onnx",
        "folder that it lies in",
    )
    copy = shutil.copytree(source, tmp_path / "copy" / "artifacts" / "host")
    refused(edgepose("bundle", copy, "--to", out), "no report.json", "--run")
    assert edgepose("bundle", copy, "--to", out, "--run", run).exit_code == 0
    refused(edgepose("bundle", out, "--to", tmp_path / "again"), "is a bundle already")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["copy", "out", "run", "there"]


def test_a_bundle_that_got_there_first_stays(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, first = tmp_path / "out", run / "artifacts" / "onnx_mobile"

    def meanwhile(runtime: str) -> dict[str, bytes]:
        monkeypatch.undo()
        bundle(first, out)
        return sample_files(runtime)

    monkeypatch.setattr("edgepose.bundle.sample_files", meanwhile)
    refused(edgepose("bundle", run / "artifacts" / "tensorrt", "--to", out), "is there already")
    assert Artifact.load(out).manifest.runtime == "onnx_mobile"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "run"]


def damaged(source: Path, change: str) -> None:
    """A changed byte, or a manifest that says something else."""
    if change == "byte":
        data = bytearray((source / "model.onnx").read_bytes())
        data[len(data) // 2] ^= 1
        (source / "model.onnx").write_bytes(data)
        return
    manifest = json.loads((source / "artifact.json").read_text())
    if change == "path":
        manifest["files"][0]["path"] = "../../../secret"
    elif change == "runtime":
        manifest["runtime"] = "abacus"
    elif change == "joints out":
        manifest["output"] |= {"shape": ["batch", 16, 3], "layout": "NJC"}
    elif change == "sizes":
        manifest["input"]["shape"] = ["batch", 3, "height", "width"]
    (source / "artifact.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("byte", "model.onnx was changed"),
        ("path", "leaves the artifact folder"),
        ("runtime", "no sample for the runtime 'abacus'"),
        ("joints out", "from an image to joints; this one goes"),
        ("sizes", "from one NCHW crop size"),
    ],
)
def test_damaged_and_foreign_artifacts_are_refused(
    run: Path, tmp_path: Path, change: str, words: str
) -> None:
    damaged(run / "artifacts" / "onnx_mobile", change)
    refused(edgepose("bundle", run / "artifacts" / "onnx_mobile", "--to", tmp_path / "out"), words)
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_a_report_of_other_files_is_refused(run: Path, tmp_path: Path) -> None:
    other = networks.bright_artifact(
        tmp_path / "other" / "artifacts" / "host", model=networks.bright_spot(1)
    )
    with pytest.raises(EdgeposeError, match="has no scores of the files"):
        bundle(other.folder, tmp_path / "out", run=run)


@pytest.mark.parametrize("name", ["out", "out.zip"])
@pytest.mark.parametrize("where", ["write_bytes", "fsync"])
def test_a_full_disk_leaves_nothing(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, where: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    real = Path.write_bytes
    if where == "fsync":
        monkeypatch.setattr("os.fsync", full)
    else:
        monkeypatch.setattr(
            Path, "write_bytes",
            lambda path, data: full() if "samples" in path.parts else real(path, data),
        )  # fmt: skip
    source = run / "artifacts" / "onnx_mobile"
    result = edgepose("bundle", source, "--to", tmp_path / name)
    refused(result, f"cannot write {tmp_path / name}: No space left")
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_a_core_ml_bundle_has_the_swift_package(tmp_path: Path) -> None:
    made = networks.bright_artifact(tmp_path / "run" / "artifacts" / "a")
    m = made.manifest
    image = m.input.model_copy(update={"shape": (1, 64, 64, 3), "layout": "NHWC"})
    inside = m.preprocessing.model_copy(update={"where": "graph"})
    header = m.model_copy(
        update={
            "runtime": "coreml",
            "input": image,
            "preprocessing": inside,
            "target": "coreml-ios17",
        }
    )
    package = "model.mlpackage/Data/com.apple.CoreML"
    files = [Content(f"{package}/model.mlmodel", "model", b"m", counted=True),
             Content(f"{package}/weights/weight.bin", "weights", b"w", counted=True)]  # fmt: skip
    write_report(tmp_path / "run", [Artifact.write(made.folder, header, files)])
    found = content(bundle(made.folder, tmp_path / "out"))
    assert found[f"{package}/weights/weight.bin"] == b"w"
    samples = {name for name in found if name.startswith("samples/")}
    assert {name.split("/")[1] for name in samples} == {"swift"}
    assert "samples/swift/Package.swift" in samples
    assert b"Core ML" in found["LICENSES.md"]
    assert b"Core ML on iOS 17 or newer" in found["MODEL_CARD.md"]
    header = m.model_copy(update={"runtime": "coreml"})
    write_report(tmp_path / "run", [Artifact.write(made.folder, header, files)])
    refused(edgepose("bundle", made.folder, "--to", tmp_path / "b"), "from one NHWC crop size")


def python_sample(folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """The sample by itself: edgepose is not on its path."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, folder / "samples" / "python" / "pose.py", *map(str, words)],
        cwd=folder.parent, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def box_text() -> str:
    return ",".join(f"{v:g}" for v in BOX)


def test_the_python_sample_finds_what_predict_finds(run: Path, tmp_path: Path) -> None:
    for runtime in ("onnx_mobile", "tensorrt"):
        bundle(run / "artifacts" / runtime, tmp_path / runtime)
        done = python_sample(tmp_path / runtime, PHOTO, "--box", box_text())
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        artifact = Artifact.load(run / "artifacts" / "onnx_mobile")
        model = Model(onnx_mobile.open_executor(artifact), Contract.of_artifact(artifact))
        found_here = Finder([model]).find(read_image(PHOTO), np.array([BOX], dtype=float))
        joints, scores = (values[0] for values in found_here.joints())
        assert list(found["joints"]) == list(artifact.manifest.skeleton.joints)
        values = np.array(list(found["joints"].values()))
        np.testing.assert_allclose(values[:, :2], joints, atol=2e-3)
        np.testing.assert_allclose(values[:, 2], scores, atol=1e-3)
        assert "ONNX Runtime" in found["executor"]


SIZES = [(64, 64), (96, 64), (48, 32)]
BOXES = [(10.0, 20.0, 30.0, 40.0), (10.0, 20.0, 50.0, 70.0), (10.0, 20.0, 90.0, 170.0)]


def predicted(artifact: Artifact, box: Sequence[float]) -> tuple[list[tuple[int, int]], np.ndarray]:
    """The crop size that `edgepose predict` takes, and (J, 3): joints and scores of the heatmaps."""
    each = [select(artifact, input_hw=hw, gives="heatmaps") for hw in sizes_in(artifact)]
    models = [Model(onnx_mobile.open_executor(one), Contract.of_artifact(one)) for one in each]
    found = Finder(models).find(read_image(PHOTO), np.array([box], dtype=float))
    xy, score = found.joints()
    return found.input_hw, np.concatenate([xy[0], score[0][:, None]], axis=1)


@pytest.fixture(params=[False, True], ids=["heatmaps", "joints"])
def several(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A bundle of three crop sizes, with whole-pose graphs of each or without."""
    folder = tmp_path / "run" / "artifacts" / "several"
    made = networks.bright_variants(folder, SIZES, joints=request.param)
    write_report(tmp_path / "run", [made])
    return bundle(folder, tmp_path / "several")


def test_the_python_sample_gives_each_person_the_size_that_predict_gives(several: Path) -> None:
    taken = []
    for box in BOXES:
        size, wanted = predicted(Artifact.load(several), box)
        done = python_sample(several, PHOTO, "--box", ",".join(map(str, box)))
        assert done.returncode == 0, done.stderr
        found = np.array(list(json.loads(done.stdout)["joints"].values()))
        np.testing.assert_allclose(found, wanted, atol=2e-3)
        taken += size
    assert taken == [(48, 32), (64, 64), (96, 64)]


def test_a_whole_pose_graph_alone_is_bundled_and_run(tmp_path: Path) -> None:
    made = networks.bright_variants(tmp_path / "a", SIZES[:1], joints=True)
    with chosen(made, gives="joints") as whole:
        folder = tmp_path / "run" / "artifacts" / "whole"
        shutil.copytree(whole.folder, folder)
        contents = [
            Content(f.path, f.role, whole.folder / f.path, True) for f in whole.manifest.files
        ]
        write_report(tmp_path / "run", [Artifact.write(folder, whole.manifest, contents)])
    out = bundle(folder, tmp_path / "out")
    card = (out / "MODEL_CARD.md").read_text()
    assert "a score for each joint |" in card
    assert "done inside the model |" in card
    done = python_sample(out, PHOTO, "--box", box_text())
    assert done.returncode == 0, done.stderr
    found = np.array(list(json.loads(done.stdout)["joints"].values()))
    np.testing.assert_allclose(found, predicted(made, BOX)[1], atol=2e-3)


def test_the_python_sample_refuses_in_one_message(run: Path, tmp_path: Path) -> None:
    out = bundle(run / "artifacts" / "onnx_mobile", tmp_path / "out")
    for words, text in (
        ((tmp_path / "none.jpg",), "none.jpg"),
        ((PHOTO, "--box", "1,2,3,0"), "not a person's box"),
        ((PHOTO, "--box", "1,2,3"), "--box takes X,Y,WIDTH,HEIGHT"),
        ((PHOTO, "--artifact", tmp_path), "artifact.json"),
    ):
        done = python_sample(out, *words)
        assert done.returncode == 2
        assert text in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.clear(), "lacks"),
        (lambda d: d["preprocessing"].update(std=[0, 0.2, 0.2]), "scales"),
        (lambda d: d["preprocessing"].update(std=["x", 0.2, 0.2]), "cannot be read"),
        (lambda d: d["codec"].update(sigma=float("nan")), "scales"),
        (lambda d: d["codec"].update(stride=10**30), "sizes"),
        (lambda d: d["input"].update(shape=["batch", 3]), "cannot be read"),
        (lambda d: d["input"].update(shape=["batch", 3, -64, 64]), "sizes"),
        (lambda d: d["files"][0].update(path="../model.onnx"), "outside the artifact"),
        (lambda d: d["files"][0].update(sha256="0" * 64), "is not the file that was exported"),
    ],
)
def test_the_python_sample_refuses_a_damaged_contract_in_one_message(
    run: Path, tmp_path: Path, change: Callable[[dict[str, Any]], object], words: str
) -> None:
    out = bundle(run / "artifacts" / "onnx_mobile", tmp_path / "out")
    document = json.loads((out / "artifact.json").read_text())
    change(document)
    (out / "artifact.json").write_text(json.dumps(document))
    done = python_sample(out, PHOTO)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert "fix:" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_python_sample_turns_a_photograph_upright_without_opencv_too(
    run: Path, tmp_path: Path
) -> None:
    out = bundle(run / "artifacts" / "onnx_mobile", tmp_path / "out")
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    Image.open(PHOTO).rotate(90, expand=True).save(tmp_path / "side.png", exif=exif)
    (out / "samples" / "python" / "cv2.py").write_text("raise ImportError('no OpenCV here')\n")
    done = python_sample(out, tmp_path / "side.png", "--box", box_text())
    assert done.returncode == 0, done.stderr
    found = np.array(list(json.loads(done.stdout)["joints"].values()))
    np.testing.assert_allclose(found, predicted(Artifact.load(out), BOX)[1], atol=0.05)
    refusal = python_sample(out, "--camera", "0")
    assert refusal.returncode == 2
    assert "Traceback" not in refusal.stderr


def header_folder(variable: str, header: str, *places: str) -> Path:
    for place in filter(None, (os.environ.get(variable), *places)):
        if (Path(place) / header).is_file():
            return Path(place)
    pytest.skip(
        f"no {header} here: install libonnxruntime-dev and nlohmann-json3-dev, or see "
        f"edgepose/samples/cpp/README.md and set {variable}"
    )


@pytest.fixture(scope="module")
def cpp_sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`pose`, compiled against this Python's ONNX Runtime."""
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler here: install g++")
    ort = header_folder(
        "ONNXRUNTIME_INCLUDE",
        "onnxruntime_cxx_api.h",
        "/usr/include/onnxruntime",
        "/usr/local/include",
    )
    json_folder = header_folder(
        "JSON_INCLUDE", "nlohmann/json.hpp", "/usr/include", "/usr/local/include"
    )
    folder = tmp_path_factory.mktemp("cpp")
    capi = Path(onnxruntime.__file__).parent / "capi"
    (library,) = capi.glob("libonnxruntime.so.*")
    (folder / "libonnxruntime.so.1").symlink_to(library)  # the name that it calls itself
    sources = ROOT / "edgepose" / "samples" / "cpp"
    subprocess.run(
        [compiler, "-std=c++17", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-I", sources,
         "-isystem", ort, "-isystem", json_folder, sources / "main.cpp", sources / "ort_engine.cpp",
         library, f"-Wl,-rpath,{folder}", "-o", folder / "pose"],
        check=True,
    )  # fmt: skip
    return folder / "pose"


def said_by_cpp(pose: Path, artifact: Path, box: Sequence[float]) -> dict[str, list[float]]:
    picture = pose.with_name("photo.ppm")
    cv2.imwrite(str(picture), cv2.imread(str(PHOTO)))
    done = subprocess.run(
        [pose, artifact, picture, ",".join(map(str, box))], capture_output=True, text=True, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    return {line[0]: [float(v) for v in line[1:]] for line in lines}


def test_the_cpp_sample_finds_what_python_finds(
    run: Path, tmp_path: Path, cpp_sample: Path
) -> None:
    out = bundle(run / "artifacts" / "onnx_mobile", tmp_path / "out")
    wanted = json.loads(python_sample(out, PHOTO, "--box", box_text()).stdout)["joints"]
    found = said_by_cpp(cpp_sample, out, BOX)
    assert list(found) == list(wanted)
    np.testing.assert_allclose(list(found.values()), list(wanted.values()), atol=5e-3)
    broken = subprocess.run(
        [cpp_sample, tmp_path, "x", "1,2,3,4"], capture_output=True, text=True, check=False
    )
    assert broken.returncode == 2
    assert "artifact.json" in broken.stderr


def test_the_cpp_sample_gives_each_person_the_size_that_predict_gives(
    several: Path, cpp_sample: Path
) -> None:
    for box in BOXES:
        _, wanted = predicted(Artifact.load(several), box)
        found = said_by_cpp(cpp_sample, several, box)
        np.testing.assert_allclose(list(found.values()), wanted, atol=5e-3)
