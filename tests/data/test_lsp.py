"""LSP and LSP-extended: two layouts, two meanings of one flag, one fixed split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pydantic import ValidationError
from scipy.io import savemat

from edgepose.data.lsp import Config, open_split, read_joints
from edgepose.errors import EdgeposeError
from edgepose.skeleton import LSP14


def joints_of(count: int, seed: int) -> np.ndarray:
    """(N, 14, 3): positions inside of 120 x 100 px, 1-based, and a flag."""
    rng = np.random.default_rng(seed)
    xy = rng.uniform(20, 80, (count, 14, 2))
    return np.concatenate([xy, rng.integers(0, 2, (count, 14, 1))], axis=2)


@pytest.fixture
def world(tmp_path: Path) -> dict[str, Any]:
    plain, extended = joints_of(6, 0), joints_of(5, 1)
    extended[:, :5, 2] = 1
    for name, people, pattern in (
        ("lsp", plain, "im{:04d}.jpg"),
        ("ext", extended, "im{:05d}.jpg"),
    ):
        (tmp_path / name).mkdir()
        for i in range(1, len(people) + 1):
            cv2.imwrite(
                str(tmp_path / name / pattern.format(i)), np.full((100, 120, 3), i, np.uint8)
            )
    savemat(tmp_path / "lsp.mat", {"joints": plain.transpose(2, 1, 0)})  # 3 x 14 x N
    savemat(tmp_path / "ext.mat", {"joints": extended.transpose(1, 2, 0)})  # 14 x 3 x N
    config = Config(
        annotations=tmp_path / "lsp.mat", images=tmp_path / "lsp",
        extended_annotations=tmp_path / "ext.mat", extended_images=tmp_path / "ext",
        train_people=4,
    )  # fmt: skip
    return {"config": config, "plain": plain, "extended": extended, "folder": tmp_path}


def test_the_first_train_the_rest_is_scored_and_extended_only_trains(world: dict[str, Any]) -> None:
    train, val = open_split(world["config"], "train"), open_split(world["config"], "val")
    assert [s.sample_id for s in train] == [
        *(f"lsp/{i}" for i in range(1, 5)),
        *(f"extended/{i}" for i in range(1, 6)),
    ]
    assert [s.sample_id for s in val] == ["lsp/5", "lsp/6"]
    assert train.skeleton is val.skeleton is LSP14
    assert len(open_split(world["config"], "calibration")) == 9
    assert val[0].image[0, 0, 0] == 5
    assert train[4].image[0, 0, 0] == 1


def test_every_joint_of_lsp_has_a_place_and_the_flag_hides(world: dict[str, Any]) -> None:
    for sample, truth in zip(open_split(world["config"], "val"), world["plain"][4:], strict=True):
        assert sample.annotated.all()
        np.testing.assert_allclose(sample.joints_xy, truth[:, :2] - 1, rtol=1e-5)
        assert sample.tags == ({"occluded"} if truth[:, 2].any() else set())
        assert np.isnan(sample.head_px)


def test_the_flag_of_extended_says_found(world: dict[str, Any]) -> None:
    people = list(open_split(world["config"], "train"))[4:]
    for sample, truth in zip(people, world["extended"], strict=True):
        np.testing.assert_array_equal(sample.annotated, truth[:, 2] == 1)
        known = sample.annotated
        np.testing.assert_allclose(sample.joints_xy[known], truth[known, :2] - 1, rtol=1e-5)
        assert not sample.joints_xy[~known].any()
        low, high = sample.joints_xy[known].min(axis=0), sample.joints_xy[known].max(axis=0)
        assert (sample.box_xywh[:2] < low).all()
        assert (sample.box_xywh[:2] + sample.box_xywh[2:] > high).all()
        np.testing.assert_allclose(sample.center_xy, (low + high) / 2, rtol=1e-5)
        assert sample.size_px == pytest.approx(1.25 * 1.2 * (high - low).max(), rel=1e-4)


def test_hardly_annotated_people_are_left_out(world: dict[str, Any]) -> None:
    people = world["extended"].copy()
    people[1, 3:, 2] = 0
    savemat(world["folder"] / "ext.mat", {"joints": people.transpose(1, 2, 0)})
    train = open_split(world["config"], "train")
    assert train.skipped == {"too few keypoints": 1}
    assert "extended/2" not in [s.sample_id for s in train]


def test_the_two_files_are_not_confused(world: dict[str, Any]) -> None:
    folder = world["folder"]
    with pytest.raises(EdgeposeError, match="14 x 3 x 5, not 3 x 14") as caught:
        read_joints(folder / "ext.mat", folder / "ext", kind="lsp")
    assert "data.extended_annotations" in caught.value.fix
    with pytest.raises(EdgeposeError, match="3 x 14 x 6, not 14 x 3"):
        read_joints(folder / "lsp.mat", folder / "lsp", kind="extended")
    with pytest.raises(ValidationError, match="belong together"):
        Config(annotations=folder / "lsp.mat", images=folder, extended_images=folder)


@pytest.mark.parametrize(
    ("place", "value", "problem"),
    [
        ((2, 3, 0), np.nan, "person 3 has coordinates that are not finite"),
        ((1, 3, 2), 2, "person 2 has a visibility other"),
        ((1, 3, 2), np.nan, "person 2 has a visibility other"),
    ],
)
def test_each_fault_is_named(world: dict[str, Any], place: Any, value: float, problem: str) -> None:
    people = world["plain"].copy()
    people[place] = value
    savemat(world["folder"] / "lsp.mat", {"joints": people.transpose(2, 1, 0)})
    with pytest.raises(EdgeposeError, match=problem):
        open_split(world["config"], "train")


def test_where_nobody_found_a_joint_its_place_may_be_anything(world: dict[str, Any]) -> None:
    people = world["extended"].copy()
    people[0, 10] = np.nan, np.nan, 0
    savemat(world["folder"] / "ext.mat", {"joints": people.transpose(1, 2, 0)})
    sample = open_split(world["config"], "train")[4]
    assert not sample.annotated[10]
    assert np.isfinite(sample.joints_xy).all()


def test_a_split_without_anybody(world: dict[str, Any]) -> None:
    config = world["config"].model_copy(update={"train_people": 6})
    with pytest.raises(EdgeposeError, match="no person for the 'val' split"):
        open_split(config, "val")
    (world["folder"] / "empty").mkdir()
    lost = world["config"].model_copy(update={"images": world["folder"] / "empty"})
    with pytest.raises(EdgeposeError, match="2 image missing"):
        open_split(lost, "val")
