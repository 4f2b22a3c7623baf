"""HRNet-W48 learns 64 pictures by heart, and its heatmaps are cached: minutes on two cores."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import edgepose
from edgepose.data import synthetic
from edgepose.data.crop import Augment, crop_view
from edgepose.device.geometry import normalise
from edgepose.models.pose_model import ModelSpec, PoseModel
from edgepose.train.teacher_cache import NOISE_FLOOR, cache_teacher

pytestmark = pytest.mark.slow


def test_its_heatmaps_of_300_pictures_are_cached(tmp_path: Path) -> None:
    hw = (64, 64)
    teacher = PoseModel.fresh(ModelSpec("hrnet_w48", 16, hw, "mpii16"), seed=0)
    teacher.tensors["final_layer.weight"].mul_(300)  # as loud as a trained one's
    people = synthetic.open_split(synthetic.Config(train=300, frame_px=96), "train")
    done: list[int] = []

    def report(what: str, count: int, total: int) -> None:
        done.append(count)

    cache = cache_teacher(
        teacher, people, tmp_path, input_hw=hw, views=1, augment=Augment(), seed=0, report=report
    )
    assert done[-1] == 300
    network, pre = teacher.module(), teacher.spec.preprocessing
    for index in (0, 150, 299):
        crop = crop_view(people[index], hw, cache.view(index, 0)).image[None]
        images = torch.from_numpy(normalise(crop, pre.mean, pre.std))
        direct = network(images)[0].detach().clip(0, 1).numpy()
        assert direct.max() > 0.1
        assert np.abs(cache.heatmaps(index, 0) - direct).max() < (NOISE_FLOOR + 0.5) / 255


MEMORISE = """\
version: 1
name: memorise_w48
seed: 0
data: {source: synthetic, train: 64, val: 64, calibration: 64, val_from_train: true}
student: {arch: hrnet_w48, input_hw: [64, 64], coding: dark}
stages:
  train:
    steps: 200
    batch_size: 16
    lr: 1.0e-3
    augment: {flip: false, rotation_deg: 0, scale: [1, 1], shift: 0, photometric: 0, occlusion: 0}
"""


def test_it_learns_64_pictures_by_heart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPOSE_CACHE", str(tmp_path / "cache"))
    recipe = tmp_path / "memorise_w48.yaml"
    recipe.write_text(MEMORISE)
    run = edgepose.compress(recipe, out=tmp_path / "reports")
    (row,) = json.loads((run / "report.json").read_text())["stages"]
    found = {name: metric["value"] for name, metric in row["metrics"].items()}
    print(found)
    assert found["pckh@0.5"] >= 95
