"""Distillation on pictures without labels: the teacher is learnt, the labels are not."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from pydantic import ValidationError

from edgepose.api import read_recipe
from edgepose.context import Context
from edgepose.data.base import PoseSample
from edgepose.data.mixture import Unlabelled
from edgepose.errors import EdgeposeError
from edgepose.models.pose_model import ModelSpec, PoseModel
from edgepose.plan import make_plan, plan_text
from edgepose.recipe_sections import Budget
from edgepose.stages import distill
from edgepose.train.batches import make_loader
from tests.train.dots import Dots

SPEC = ModelSpec("tests.own.nets:Tiny", 16, (32, 32), "mpii16")
STILL = {"flip": False, "rotation_deg": 0, "scale": (1, 1), "shift": 0, "photometric": 0,
         "occlusion": 0}  # fmt: skip


class Wrong(Dots):
    """The same pictures with joints elsewhere."""

    def __getitem__(self, index: int) -> PoseSample:
        sample = super().__getitem__(index)
        return dataclasses.replace(sample, joints_xy=39 - sample.joints_xy)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for k in range(8):
        coarse = np.random.default_rng(k).integers(0, 256, (6, 6, 3), dtype=np.uint8)
        picture = cv2.resize(coarse, (48, 48), interpolation=cv2.INTER_LINEAR)
        cv2.imwrite(str(folder / f"{k}.png"), picture)
    return folder


@pytest.fixture(scope="module")
def teacher() -> PoseModel:
    """A network whose heatmaps are bright somewhere."""
    model = PoseModel.fresh(SPEC, seed=1)
    tensors = {k: v.clone() for k, v in model.tensors.items()}
    tensors["joints.weight"] = tensors["joints.weight"] * 3
    tensors["joints.bias"] = torch.full((16,), 0.3)
    return PoseModel(model.spec, tensors)


def learn(
    folder: Path, photos: Path, teacher: PoseModel, data: Dots | None = None, **config: object
) -> tuple[PoseModel, dict[str, object]]:
    """A student after `distill`, and what it notes."""
    folder.mkdir()
    context = Context(
        train=data or Dots(), val=Dots(), calibration=Dots(), teacher=teacher, targets=(),
        budget=Budget(), seed=0, folder=folder, cache=folder / "cache",
        report=lambda *_: None, warn=lambda _: None,
    )  # fmt: skip
    values = {
        "steps": 60, "batch_size": 8, "lr": 5e-3, "alpha": 1.0, "mixed_precision": "no",
        "augment": STILL, "unlabelled": Unlabelled(root=photos), "unlabelled_share": 1.0, **config,
    }  # fmt: skip
    start = PoseModel.fresh(SPEC, seed=5)
    return distill.run(start, distill.Config(**values), context), context.notes


def distance(a: PoseModel, b: PoseModel, photos: Path) -> float:
    """Mean square between the heatmaps of two models on the photographs."""
    dataset = Context.training_set(
        Context(Dots(), Dots(), Dots(), None, (), Budget(), 0, photos, photos, print, print),  # type: ignore[arg-type]
        Unlabelled(root=photos), share=1.0,
    )  # fmt: skip
    loader = make_loader(
        dataset, positions=range(8), input_hw=(32, 32), batch_size=8, codec=SPEC.codec,
        augment_config=distill.Config(steps=1, augment=STILL).augment, seed=0,
    )  # fmt: skip
    crops, _, weights, *_ = next(iter(loader))
    assert not weights.any()
    with torch.no_grad():
        x = (crops.float() / 255 - 0.45) / 0.225
        return float((a.module()(x) - b.module()(x)).square().mean())


@pytest.mark.parametrize("views", [0, 2])
def test_a_student_approaches_its_teacher_without_any_label(
    views: int, tmp_path: Path, photos: Path, teacher: PoseModel
) -> None:
    student, notes = learn(tmp_path / "work", photos, teacher, teacher_views=views)
    before = distance(PoseModel.fresh(SPEC, seed=5), teacher, photos)
    assert distance(student, teacher, photos) < 0.3 * before
    assert notes["unlabelled"]["people"] == 8  # type: ignore[index]
    assert ("teacher_cache" in notes) == bool(views)


def test_no_label_leaks_into_what_the_teacher_alone_teaches(
    tmp_path: Path, photos: Path, teacher: PoseModel
) -> None:
    few = {"steps": 6, "alpha": 1.0, "unlabelled_share": 0.5}
    right, _ = learn(tmp_path / "a", photos, teacher, Dots(), **few)
    wrong, _ = learn(tmp_path / "b", photos, teacher, Wrong(), **few)
    assert right.sha256 == wrong.sha256
    few["alpha"] = 0.5
    right, _ = learn(tmp_path / "c", photos, teacher, Dots(), **few)
    wrong, _ = learn(tmp_path / "d", photos, teacher, Wrong(), **few)
    assert right.sha256 != wrong.sha256


def test_unlabelled_pictures_need_a_teacher(tmp_path: Path, photos: Path) -> None:
    with pytest.raises(ValidationError, match="alpha"):
        distill.Config(steps=1, alpha=0, unlabelled=Unlabelled(root=photos))
    words = [f"stages.distill.unlabelled.root={photos}", "data.train=8", "data.val=8"]
    recipe = read_recipe("smoke", words)
    plan = make_plan(recipe)
    assert plan["data"]["unlabelled"] == {"distill": 8}
    assert "distill: 8 people without labels as well" in plan_text(plan)
    with pytest.raises(EdgeposeError, match="has no teacher"):
        make_plan(read_recipe("smoke", [*words, "teacher=null"]))
