"""`compress --post-training`: somebody's own network, one command, no training."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from edgepose import api
from edgepose.cli import main
from edgepose.data import synthetic
from edgepose.data.spec import open_config
from edgepose.models.pose_model import PoseModel
from edgepose.post_training import Wish, write_recipe
from edgepose.target import list_targets, load_target
from tests.networks import short

PEOPLE = Path(__file__).resolve().parents[2] / "shared" / "data" / "real-people"
needs_people = pytest.mark.skipif(not PEOPLE.is_dir(), reason=f"no photographs at {PEOPLE}")
COCO = f"coco:{PEOPLE}/person_keypoints.json,{PEOPLE}/images"


def run(*words: object) -> Result:
    return CliRunner().invoke(main, ["compress", "--post-training", *map(str, words)])


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint folder: a short ResNet, 64x64, untrained."""
    folder = tmp_path_factory.mktemp("own") / "mine"
    short(domain=synthetic.VERSION).save(folder)
    return folder


def test_a_network_to_files_in_one_command(network: Path, tmp_path: Path) -> None:
    sizes = [f"--set=data.{split}={n}" for split, n in (("train", 8), ("val", 16))]
    found = run(
        "--checkpoint", network, "--data", "synthetic", "--targets", "onnx-android", "--out",
        tmp_path, *sizes, "--set=data.calibration=32", "--set=stages.quantize.people=8",
        "--set=stages.export.allow_mismatch=true",
    )  # fmt: skip
    assert found.exit_code == 0, found.output
    root = tmp_path / "mine-int8"
    report = json.loads((root / "latest" / "report.json").read_text())
    assert [row["name"] for row in report["stages"]] == ["student", "quantize"]
    notes = " ".join(report["stages"][1]["notes"])
    assert "INT8 alone costs most in" in notes
    summary = found.output[found.output.index("INT8 without training") :]
    assert "PCKh@0.5 points" in summary
    assert "8 may decide about layers and 16 others" in " ".join(summary.split())
    (artifact,) = report["artifacts"]
    assert artifact["file"] in summary
    assert (root / "latest" / artifact["file"]).stat().st_size == artifact["size_bytes"]
    assert api.read_recipe(root / "mine-int8.yaml").name == "mine-int8"  # to be run again


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data", "synthetic"], "takes --checkpoint and --data"),
        (["--checkpoint", "{net}"], "takes --checkpoint and --data"),
        (["--checkpoint", "{net}", "--data", "synthetic", "--recipe", "smoke"], "no --recipe"),
        (["--checkpoint", "{net}", "--data", "folder:x"], "has no labels"),
        (["--checkpoint", "{net}", "--data", "coco:only.json"], "cannot read the data set"),
        (["--checkpoint", "{net}", "--data", "coco:no.json,no"], "no image folder at no"),
        (["--checkpoint", "nowhere", "--data", "synthetic"], "there is nothing at nowhere"),
        (["--checkpoint", "{net}", "--data", "synthetic", "--targets", "toaster"], "toaster"),
        (["--checkpoint", "{net}", "--data", "synthetic", "--targets", ","], "names none"),
    ],
)
def test_bad_input_is_one_message(
    words: list[str], message: str, network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = run(*(word.format(net=network) for word in words))
    assert found.exit_code == 2
    assert message in found.output
    assert "Traceback" not in found.output
    assert list(tmp_path.iterdir()) == []  # nothing half-written


def test_its_options_belong_to_it(network: Path) -> None:
    words = ["compress", "--recipe", "smoke", "--checkpoint", str(network)]
    found = CliRunner().invoke(main, words)
    assert found.exit_code == 2
    assert "--checkpoint belongs to --post-training" in found.output


def test_a_compressed_network_is_refused(network: Path, tmp_path: Path) -> None:
    model = PoseModel.load(network)
    done = PoseModel(replace(model.spec, form="deploy"), model.tensors)
    done.save(tmp_path / "done")
    found = run("--checkpoint", tmp_path / "done", "--data", "synthetic", "--out", tmp_path)
    assert found.exit_code == 2
    assert "compressed already" in found.output


def written(network: Path, out: Path, **wish: Any) -> Any:
    model = PoseModel.load(network)
    path = write_recipe(Wish(str(network), COCO, **wish), lambda _: model, out=out)
    return api.read_recipe(path)


@needs_people
def test_people_who_calibrate_are_not_scored(network: Path, tmp_path: Path) -> None:
    recipe = written(network, tmp_path)
    values = {k: v for k, v in recipe.data.config.model_dump().items() if v is not None}
    splits = {s: open_config("coco", values, s) for s in ("train", "val", "calibration")}
    images = {
        name: {data[i].sample_id.rpartition("/")[0] for i in range(len(data))}
        for name, data in splits.items()
    }
    assert images["val"]
    assert images["val"].isdisjoint(images["train"] | images["calibration"])
    assert images["calibration"] <= images["train"]
    # a network of MPII's joints, on COCO's: the twelve that both have
    sample = next(splits["val"][i] for i in range(len(splits["val"])))
    assert splits["val"].skeleton.name == "mpii16"
    assert sample.joints_xy.shape == (16, 2)
    assert not sample.annotated[[6, 7, 8, 9]].any()
    assert recipe.metric == "pck"
    few = written(network, tmp_path, calibration=PEOPLE / "images").data.config
    assert few.train_fraction < recipe.data.config.train_fraction  # more are left to score
    assert {s.name for s in recipe.stages} == {"quantize", "export"}
    targets = recipe.stage("export").targets
    int8 = {name for name in list_targets() if load_target(name).precision == "int8"}
    assert set(targets) == int8 >= {"jetson-xavier", "coreml-ios17", "onnx-android", "host"}
