"""`edgepose publish`: what is handed on is half as large, scored as written, and never half there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from edgepose import api
from edgepose.data import synthetic
from edgepose.device.files import sha256_file
from edgepose.errors import EdgeposeError
from edgepose.models.pose_model import PoseModel
from edgepose.publish import CARD, NOTICES, publish
from tests.networks import short

RECIPE = """
version: 1
name: tiny
data: {source: synthetic, train: 8, val: 12, calibration: 1, frame_px: 64}
student: {arch: "tests.networks:Short", input_hw: [32, 32]}
stages:
  train: {steps: 3, batch_size: 4}
"""


def quiet(what: str, done: int, total: int) -> None:
    """No progress."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    (folder / "tiny.yaml").write_text(RECIPE)
    return api.compress(folder / "tiny.yaml", out=folder / "reports", warn=lambda text: None)


def test_it_is_half_as_large_and_rounded_to_float16(run: Path, tmp_path: Path) -> None:
    folder = publish(run, tmp_path / "out", photographs=(), progress=quiet)
    before, after = PoseModel.load(run / "model"), PoseModel.load(folder)
    size = [(path / "model.safetensors").stat().st_size for path in (folder, run / "model")]
    assert size[0] / size[1] < 0.53  # the rest is the table of names
    for key, value in before.tensors.items():
        wanted = value.half().float() if value.dim() > 1 else value
        assert after.tensors[key].dtype == value.dtype
        assert torch.equal(after.tensors[key], wanted)
    assert after.spec == before.spec


def test_the_card_says_what_is_in_the_files(run: Path, tmp_path: Path) -> None:
    folder = publish(run, tmp_path / "out", photographs=(), progress=quiet)
    card = (folder / CARD).read_text()
    assert NOTICES["synthetic-people-v1"] in card
    assert sha256_file(folder / "model.safetensors") in card
    assert PoseModel.load(folder).sha256 in card
    assert "| images seen | 12 augmented crops in 3 steps |" in card
    val = synthetic.open_split(synthetic.Config(val=12, frame_px=64), "val")
    score = api.evaluate(folder, data=val)["metrics"]["pckh@0.5"]["value"]
    (printed,) = re.findall(r"PCKh@0.5 in float32.*these files: ([\d.]+)", card)
    assert printed == f"{score:.2f}"
    assert "| recipe | tiny.yaml, SHA-256" in card


def test_nothing_is_overwritten_or_half_written(run: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(EdgeposeError, match="is there already"):
        publish(run, tmp_path / "there", photographs=(), progress=quiet)
    with pytest.raises(EdgeposeError, match="no image folder"):
        publish(run, tmp_path / "new", photographs=("coco:nowhere.json,x",), progress=quiet)
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_weights_beyond_float16_are_refused(tmp_path: Path) -> None:
    model = short((32, 32))
    model.tensors["conv1.weight"][0, 0, 0, 0] = 1e5
    with pytest.raises(EdgeposeError, match="too large for float16"):
        model.save(tmp_path / "model", half=True)
    assert not (tmp_path / "model").exists()


def test_the_card_keeps_how_the_starting_weights_were_made(run: Path, tmp_path: Path) -> None:
    start = publish(run, tmp_path / "first", photographs=(), progress=quiet)
    for name in ("second", "third"):
        recipe = RECIPE.replace("steps: 3", "steps: 2").replace("tiny", name)
        recipe = recipe.replace("32]}", f"32], coding: dark, checkpoint: {start}}}")
        (tmp_path / f"{name}.yaml").write_text(recipe)
        more = api.compress(tmp_path / f"{name}.yaml", out=tmp_path / "r", warn=lambda text: None)
        start = publish(more, tmp_path / name, photographs=(), progress=quiet)
    card = (start / CARD).read_text()
    made = [re.findall(r"images seen \| (\d+) ", text) for text in re.split(r"\n## ", card)]
    assert [found[0] for found in made if found] == ["8", "8", "12"]  # the newest first
    assert card.count("## How its starting weights were made") == 2
    assert "dark coding" in card
