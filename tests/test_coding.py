"""A coding travels: recipe, model folder, teacher, artifact, score; what does not agree is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result
from safetensors.torch import save_file

from edgepose import api
from edgepose.artifact import Artifact
from edgepose.cli import main
from edgepose.data import coco, synthetic
from edgepose.data.photographs import Photographs
from edgepose.device.codec import HeatmapCodec
from edgepose.device.geometry import apply_affine
from edgepose.errors import EdgeposeError
from edgepose.evaluation import EvaluationSet, find_joints, joint_shift
from edgepose.manifest import CodecContract, CropContract
from edgepose.models.checkpoints import load_checkpoint
from edgepose.models.pose_model import ModelSpec, PoseModel
from edgepose.predict import Contract

RECIPE = """\
version: 1
name: coding
flip_test: true
metric: pck_box
data:
  source: coco
  annotations: train.json
  val_annotations: val.json
  images: pictures
  flip_pairs: []
student: {arch: "nets:make_tiny", input_hw: [64, 32], coding: CODING}
teacher: {arch: "nets:make_tiny", train: {steps: 1, batch_size: 4, mixed_precision: "no"}}
stages:
  distill:
    steps: 160
    batch_size: 16
    lr: 1.0e-2
    alpha: 0.0
    teacher_views: 1
    mixed_precision: "no"
    augment: {flip: true, rotation_deg: 0, scale: [1, 1], shift: 0, photometric: 0, occlusion: 0}
    target: {per_joint: true}
  quantize: {mode: static}
  export: {targets: [host]}
"""
SPOTS = ("nose", "heart", "belly")  # a red, a green and a blue spot
SIDE = 96


def paint(folder: Path, name: str, *, count: int) -> None:
    """Pictures of three soft spots at real positions, and their labels."""
    rng = np.random.default_rng(len(name))
    rows, columns = np.mgrid[:SIDE, :SIDE]
    (folder / "pictures").mkdir(exist_ok=True)
    images, people = [], []
    for i in range(count):
        picture = rng.integers(0, 40, (SIDE, SIDE, 3)).astype(np.float64)
        places = rng.uniform((34, 20), (62, 76), (3, 2))
        for channel, (x, y) in enumerate(places):
            spot = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 3.0**2))
            picture[..., 2 - channel] += 215 * spot  # OpenCV writes BGR
        file = f"{name}-{i}.png"
        cv2.imwrite(str(folder / "pictures" / file), picture.astype(np.uint8))
        keypoints = [value for x, y in places for value in (x, y, 2)]
        images.append({"id": i, "file_name": file, "width": SIDE, "height": SIDE})
        people.append({"id": i, "image_id": i, "category_id": 1, "bbox": [24, 12, 48, 72],
                       "area": 2000, "iscrowd": 0, "keypoints": keypoints})  # fmt: skip
    category = {"id": 1, "name": "person", "keypoints": list(SPOTS)}
    content = {"images": images, "annotations": people, "categories": [category]}
    (folder / f"{name}.json").write_text(json.dumps(content))


@pytest.fixture(scope="module", autouse=True)
def _nets(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent / "own"))
        patch.setenv("EDGEPOSE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module", params=["dark", "udp"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    paint(folder, "train", count=40)
    paint(folder, "val", count=16)
    (folder / "coding.yaml").write_text(RECIPE.replace("CODING", request.param))
    return api.compress(folder / "coding.yaml", out=folder / "reports", warn=lambda text: None)


def spotted(run: Path) -> Photographs:
    """The validation people of a run."""
    folder = run.parent.parent.parent
    config = coco.Config(
        annotations=folder / "val.json", images=folder / "pictures", train_fraction=0, flip_pairs=[]
    )
    return coco.open_split(config, "val")


def tiny(coding: Any = "standard") -> PoseModel:
    codec = HeatmapCodec(coding=coding)
    return PoseModel.fresh(ModelSpec("nets:make_tiny", 16, (64, 32), "mpii16", codec=codec), seed=1)


def invoke(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def test_a_run_s_artifact_scores_as_its_model(run: Path) -> None:
    model, artifact = PoseModel.load(run / "model"), Artifact.load(run / "artifacts" / "host")
    codec = model.spec.codec
    assert artifact.manifest.codec.to_codec() == codec
    assert codec.coding in run.parent.parent.parent.name
    assert codec.stride == 2
    assert (
        artifact.manifest.codec.rule
        == {"dark": "argmax-dark", "udp": "argmax-dark-udp"}[codec.coding]
    )
    assert artifact.manifest.crop.alignment == codec.alignment
    assert Contract.of_artifact(artifact).codec == Contract.of_spec(model.spec).codec == codec

    people = spotted(run)
    data = EvaluationSet.from_dataset(people, (64, 32), alignment=codec.alignment)
    ours, theirs = (
        find_joints(api.open_executor(one, work=run / "work"), data, codec=codec)
        for one in (artifact, model)
    )
    shift = joint_shift(ours, theirs)
    assert shift.p50 < 0.1
    assert shift.off_share == 0
    error = np.linalg.norm(theirs.crop_xy - apply_affine(data.matrices, data.truth.xy), axis=2)
    quarter = HeatmapCodec(2) if codec.coding == "dark" else None
    print(
        codec.coding,
        f"{np.median(error):.3f} crop px, peaks {np.median(theirs.score):.2f}, {shift}",
    )
    if quarter is not None:  # the same crops read the old way: half as near
        coarse = find_joints(api.open_executor(model, work=run / "work"), data, codec=quarter)
        other = np.linalg.norm(coarse.crop_xy - apply_affine(data.matrices, data.truth.xy), axis=2)
        assert np.median(error) < 0.7 * np.median(other)
    assert np.median(error) < 0.5

    report = json.loads((run / "report.json").read_text())
    (row,) = report["artifacts"]
    for name, metric in api.evaluate(artifact, data=people)["metrics"].items():
        assert row["metrics"][name]["value"] == metric["value"] > 90
    assert row["joint_shift_px"]["p50"] < 0.1


def test_the_report_says_what_was_averaged(run: Path) -> None:
    report = json.loads((run / "report.json").read_text())
    assert all(row["executor"].endswith(", flip test") for row in report["stages"])
    assert not any("flip test" in row["executor"] for row in report["artifacts"])
    assert any(text.startswith("flip_test: models are scored") for text in report["warnings"])
    assert "flip test" in (run / "report.md").read_text()
    model = PoseModel.load(run / "model")
    people = spotted(run)
    plain, flipped = (api.evaluate(model, data=people, flip_test=flip) for flip in (False, True))
    assert flipped["executor"] == plain["executor"] + ", flip test"


def test_eval_and_bench_take_the_flip_test(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "open_data", lambda text: spotted(run))
    shown = invoke("eval", run / "artifacts" / "host", "--flip")
    assert shown.exit_code == 0, shown.output
    assert ", flip test" in shown.output
    words = ("bench", "--target", "host", "--artifact", run / "artifacts" / "host", "--quick")
    record = json.loads(invoke(*words, "--flip", "--json").stdout)
    assert any("flip test" in note for note in record["notes"])
    assert record["command"].endswith("--quick --flip")
    assert record["end_to_end_ms"]["p50"] > 0
    assert invoke("eval", "--predictions", "a", "--ground-truth", "b", "--flip").exit_code == 2


def test_what_a_benchmark_measured_is_shown_though_the_disk_is_full(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(api, "open_data", lambda text: spotted(run))
    monkeypatch.setattr("os.fsync", full)
    words = ("bench", "--target", "host", "--artifact", run / "artifacts" / "host", "--quick")
    shown = invoke(*words, "--out", tmp_path)
    assert shown.exit_code == 2
    assert "No space left" in shown.stderr
    assert "FPS" in shown.stdout
    assert "record:" not in shown.stdout
    assert list(tmp_path.rglob("record.json")) == []


def test_a_model_folder_keeps_its_coding_and_says_nothing_of_the_standard(tmp_path: Path) -> None:
    for coding in ("standard", "udp"):
        tiny(coding).save(tmp_path / coding)
        assert PoseModel.load(tmp_path / coding).spec.codec == HeatmapCodec(2, 2.0, coding)
    assert "coding" not in (tmp_path / "standard" / "model.json").read_text()
    path = tmp_path / "udp" / "model.json"
    path.write_text(path.read_text().replace('"udp"', '"upd"'))
    with pytest.raises(EdgeposeError, match="unknown coding 'upd'"):
        PoseModel.load(tmp_path / "udp")


def test_a_checkpoint_file_has_the_coding_that_is_named(tmp_path: Path) -> None:
    save_file(tiny().tensors, tmp_path / "a.safetensors")
    how = {"skeleton": "mpii16", "input_hw": (64, 32), "arch": "nets:make_tiny"}
    loaded = load_checkpoint(tmp_path / "a.safetensors", coding="dark", **how)
    assert loaded.model.spec.codec.coding == "dark"
    assert load_checkpoint(tmp_path / "a.safetensors", **how).model.spec.codec.coding == "standard"


def dry_run(folder: Path, *, student: str, teacher: str = "", stage: str = "distill") -> Result:
    text = (
        "version: 1\nname: d\ndata: {source: synthetic, train: 8, val: 8, calibration: 32, frame_px: 64}\n"
        f'student: {{arch: "nets:make_tiny", input_hw: [64, 32]{student}}}\n{teacher}'
        f"stages: {{{stage}: {{steps: 1}}}}\n"
    )
    (folder / "d.yaml").write_text(text)
    return invoke("compress", "--recipe", folder / "d.yaml", "--dry-run")


def test_a_checkpoint_goes_on_in_a_coding_that_lies_on_its_own(tmp_path: Path) -> None:
    tiny("dark").save(tmp_path / "dark")
    own = dry_run(tmp_path, student=", checkpoint: dark")
    assert own.exit_code == 0, own.output
    assert ", dark coding" in own.output
    assert dry_run(tmp_path, student=", checkpoint: dark, coding: dark").exit_code == 0
    other = dry_run(tmp_path, student=", checkpoint: dark, coding: udp")
    assert other.exit_code == 2
    assert "whose heatmaps do not lie on those of udp" in " ".join(other.output.split())
    on = dry_run(tmp_path, student=", checkpoint: dark, coding: standard")
    assert on.exit_code == 0, on.output
    assert "was trained with the dark coding, and is read by standard" in " ".join(
        on.output.split()
    )
    assert "dark coding" not in on.output.splitlines()[3]
    typo = dry_run(tmp_path, student=", coding: drak")
    assert typo.exit_code == 2
    assert "student.coding" in typo.output


def test_a_teacher_s_heatmaps_must_lie_on_the_student_s(tmp_path: Path) -> None:
    for coding in ("standard", "udp"):
        tiny(coding).save(tmp_path / coding)
    teacher = "teacher: {checkpoint: %s}\n"
    assert dry_run(tmp_path, student=", coding: dark", teacher=teacher % "standard").exit_code == 0
    assert dry_run(tmp_path, student=", coding: udp", teacher=teacher % "udp").exit_code == 0
    for student, other in (("udp", "standard"), ("dark", "udp")):
        refused = dry_run(tmp_path, student=f", coding: {student}", teacher=teacher % other)
        assert refused.exit_code == 2
        assert "heatmaps do not lie on each other" in " ".join(refused.output.split())
    trained = 'teacher: {arch: "nets:make_tiny", coding: dark, train: {steps: 1}}\n'
    refused = dry_run(tmp_path, student="", teacher=trained)
    assert refused.exit_code == 2
    assert "a teacher trained here has the student's" in refused.output


def test_scoring_refuses_crops_of_another_alignment() -> None:
    people = synthetic.open_split(synthetic.Config(val=1, frame_px=64), "val")
    data = EvaluationSet.from_dataset(people, (64, 32))
    executor = api.open_executor(tiny(), work=Path())
    with pytest.raises(ValueError, match="udp coding needs others"):
        find_joints(executor, data, codec=HeatmapCodec(2, coding="udp"))


@pytest.mark.parametrize(
    ("codec", "crop", "problem"),
    [
        ({"coding": "dark"}, {}, "not read by argmax-quarter-pixel"),
        ({"coding": "udp", "rule": "argmax-dark-udp"}, {}, "does not go with crops by edges"),
        ({}, {"alignment": "centers"}, "does not go with crops by centers"),
        ({"coding": "simcc"}, {}, "codec.coding"),
    ],
)
def test_an_artifact_that_contradicts_itself_is_refused(
    run: Path, tmp_path: Path, codec: dict[str, str], crop: dict[str, str], problem: str
) -> None:
    document = json.loads((run / "artifacts" / "host" / "artifact.json").read_text())
    for key in ("coding", "rule"):
        del document["codec"][key]
    del document["crop"]["alignment"]
    (tmp_path / "artifact.json").write_text(json.dumps(document))
    for entry in document["files"]:
        (tmp_path / entry["path"]).write_bytes(
            (run / "artifacts" / "host" / entry["path"]).read_bytes()
        )
    manifest = Artifact.load(tmp_path).manifest  # as artifacts were before there were codings
    assert manifest.codec == CodecContract.of(HeatmapCodec(2))
    assert manifest.crop == CropContract()
    document["codec"] |= codec
    document["crop"] |= crop
    (tmp_path / "artifact.json").write_text(json.dumps(document))
    with pytest.raises(EdgeposeError, match=problem):
        Artifact.load(tmp_path)
