"""artifact.json: strict when read, whole when written, the same bytes each time."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgepose import registry
from edgepose.artifact import Artifact, Content, folder_contents
from edgepose.device.errors import DeviceError
from edgepose.errors import EdgeposeError
from edgepose.manifest import SkeletonContract
from edgepose.skeleton import LSP14, MPII16
from tests.headers import header

FILES = [
    Content("model.onnx", "model", b"weights" * 10, counted=True),
    Content("extra/notes.json", "notes", b"{}"),
]


@pytest.fixture
def written(tmp_path: Path) -> Artifact:
    return Artifact.write(tmp_path / "artifact", header((64, 48)), FILES)


def rewrite(artifact: Artifact, change: Callable[[dict[str, Any]], object]) -> None:
    path = artifact.folder / "artifact.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def test_what_is_written_is_what_is_read(written: Artifact) -> None:
    assert Artifact.load(written.folder) == written
    assert written.counted_size_bytes == 70
    assert written.counted_files == ("model.onnx",)
    assert written.path("notes").read_bytes() == b"{}"
    assert written.input_hw == (64, 48)
    assert written.manifest.skeleton.to_skeleton() == MPII16


def test_equal_content_gives_equal_bytes(written: Artifact, tmp_path: Path) -> None:
    again = Artifact.write(tmp_path / "elsewhere", header((64, 48)), FILES[::-1])
    names = sorted(p.relative_to(again.folder) for p in again.folder.rglob("*") if p.is_file())
    assert [str(n) for n in names] == ["artifact.json", "extra/notes.json", "model.onnx"]
    for name in names:
        assert (again.folder / name).read_bytes() == (written.folder / name).read_bytes()
    assert again.sha256 == written.sha256


def test_another_write_replaces_the_folder_whole(written: Artifact) -> None:
    Artifact.write(
        written.folder, header((64, 48)), [Content("other.onnx", "model", b"x", counted=True)]
    )
    assert {p.name for p in written.folder.iterdir()} == {"artifact.json", "other.onnx"}


def test_nothing_half_written_is_left_when_the_source_is_gone(tmp_path: Path) -> None:
    contents = [FILES[0], Content("z.onnx", "model", tmp_path / "absent", counted=True)]
    with pytest.raises(DeviceError, match="cannot write"):
        Artifact.write(tmp_path / "artifact", header((64, 48)), contents)
    assert list(tmp_path.iterdir()) == []


def test_folder_contents_are_counted_whole(tmp_path: Path) -> None:
    package = tmp_path / "m.mlpackage"
    (package / "Data").mkdir(parents=True)
    (package / "Data" / "weight.bin").write_bytes(b"12345")
    (package / "Manifest.json").write_bytes(b"{}")
    contents = folder_contents(package, "model.mlpackage", role="package", counted=True)
    artifact = Artifact.write(tmp_path / "a", header((64, 48)), contents)
    assert artifact.counted_size_bytes == 7
    assert artifact.counted_files == (
        "model.mlpackage/Data/weight.bin",
        "model.mlpackage/Manifest.json",
    )


def test_a_changed_byte_is_named(written: Artifact) -> None:
    path = written.folder / "model.onnx"
    path.write_bytes(b"Weights" + path.read_bytes()[7:])
    with pytest.raises(EdgeposeError, match=r"model\.onnx was changed"):
        Artifact.load(written.folder)
    assert Artifact.load(written.folder, verify=False) == written


def test_a_missing_file_is_named(written: Artifact) -> None:
    (written.folder / "extra" / "notes.json").unlink()
    with pytest.raises(EdgeposeError, match=r"notes\.json is missing"):
        Artifact.load(written.folder)


@pytest.mark.parametrize(
    "path",
    ["../model.onnx", "/etc/passwd", "a/../../b", "a//b", ".", "", "C:/x", "a\\b", "artifact.json"],
)
def test_paths_cannot_leave_the_folder(written: Artifact, path: str) -> None:
    rewrite(written, lambda d: d["files"][0].update(path=path))
    with pytest.raises(EdgeposeError, match=r"files\.0\.path: [^;]*$"):
        Artifact.load(written.folder)
    with pytest.raises(ValueError, match=r".*"):
        Artifact.write(
            written.folder, header((64, 48)), [Content(path, "model", b"x", counted=True)]
        )


def test_links_cannot_leave_the_folder(written: Artifact, tmp_path: Path) -> None:
    outside = tmp_path / "outside.onnx"
    (written.folder / "model.onnx").rename(outside)
    (written.folder / "model.onnx").symlink_to(outside)
    with pytest.raises(EdgeposeError, match="link out of the artifact"):
        Artifact.load(written.folder)


@pytest.mark.parametrize("version", [0, 2, "1", None, True, 1.5])
def test_other_schema_versions_are_refused(written: Artifact, version: object) -> None:
    rewrite(written, lambda d: d.update(schema_version=version))
    with pytest.raises(EdgeposeError, match="schema version"):
        Artifact.load(written.folder)


@pytest.mark.parametrize(
    "text",
    ["", "not json", "[1]", '{"a": 1, "a": 2}', "{" * 100_000, "\x00", '{"a": NaN'],
)
def test_what_is_no_manifest_is_refused(written: Artifact, text: str) -> None:
    (written.folder / "artifact.json").write_text(text)
    with pytest.raises(EdgeposeError, match=r"artifact\.json"):
        Artifact.load(written.folder)


def test_a_folder_without_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EdgeposeError, match="is not an artifact"):
        Artifact.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (lambda d: d.update(surprise=1), "surprise"),
        (lambda d: d["input"].pop("name"), "input.name"),
        (lambda d: d["codec"].update(stride="4"), "codec.stride"),
        (lambda d: d["files"][0].update(sha256="short"), "files.0.sha256"),
        (lambda d: d["files"][0].update(size_bytes=-1), "files.0.size_bytes"),
        (lambda d: d.update(files=[]), "files"),
        (lambda d: d["files"].append(d["files"][0]), "listed twice"),
        (lambda d: [f.update(counted=False) for f in d["files"]], "no file is counted"),
        (lambda d: d["skeleton"]["limbs"].append([0, 99]), "outside of its 16 joints"),
        (lambda d: d["skeleton"].update(joints=["a"] * 16), "different names"),
        (lambda d: d["skeleton"]["joints"].__setitem__(0, "a | b"), "skeleton.joints.0"),
        (lambda d: d["codec"].update(stride=10**30), "codec.stride"),
        (lambda d: d["codec"].update(sigma=1e300), "codec.sigma"),
        (lambda d: d["crop"].update(padding=1e308), "crop.padding"),
        (lambda d: d["preprocessing"].update(std=[0.0, 0.2, 0.2]), "preprocessing.std.0"),
        (
            lambda d: d["preprocessing"].update(mean=[float("nan"), 0.2, 0.2]),
            "preprocessing.mean.0",
        ),
        (lambda d: d["preprocessing"].update(mean=[1e300, 0.2, 0.2]), "preprocessing.mean.0"),
        (lambda d: d["input"].update(shape=["batch", 3]), "input: layout NCHW does not name"),
        (lambda d: d["input"].update(shape=["batch", 3, -64, 48]), "input: a side of"),
        (lambda d: d["output"].update(shape=["batch", 16, 10**12, 12]), "output: a side of"),
        (lambda d: d["input"].update(layout="NXYZ"), "no height and width"),
        (lambda d: d.update(name="a\n# b"), "name: "),
        (lambda d: d.update(target="../../etc/passwd"), "target: "),
        (lambda d: d.update(target="/etc/passwd"), "target: "),
    ],
)
def test_every_wrong_key_is_named(
    written: Artifact, change: Callable[[dict[str, Any]], object], where: str
) -> None:
    rewrite(written, change)
    with pytest.raises(EdgeposeError) as caught:
        Artifact.load(written.folder)
    assert where in str(caught.value)


def test_all_problems_come_at_once(written: Artifact) -> None:
    rewrite(written, lambda d: (d.update(precision="int4"), d.update(extra=1)))
    with pytest.raises(EdgeposeError) as caught:
        Artifact.load(written.folder)
    assert "precision" in str(caught.value)
    assert "extra" in str(caught.value)


def test_a_role_must_be_unique_to_be_asked_for(written: Artifact) -> None:
    with pytest.raises(EdgeposeError, match="0 files with role 'engine'"):
        written.path("engine")


def test_every_skeleton_survives_the_contract() -> None:
    assert SkeletonContract.of(LSP14).to_skeleton() == LSP14


def test_reading_an_artifact_imports_nothing_heavy() -> None:
    code = (
        "import sys, edgepose.artifact; "
        "print([m for m in ('torch', 'onnx', 'onnxruntime', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_crop_size_that_is_left_open_is_refused_by_name(written: Artifact) -> None:
    rewrite(written, lambda d: d["input"].update(shape=["batch", 3, "height", "width"]))
    with pytest.raises(EdgeposeError, match="no one crop size"):
        _ = Artifact.load(written.folder).input_hw


@pytest.mark.parametrize("runtime", ["abacus", "../x", "lint"])
def test_a_runtime_that_nothing_runs_is_refused_by_name(runtime: str) -> None:
    with pytest.raises(EdgeposeError, match="does not know") as caught:
        registry.backend(runtime)
    assert "onnx_mobile" in caught.value.fix
