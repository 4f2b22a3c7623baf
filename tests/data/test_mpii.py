"""MPII: HRNet's arithmetic literally, the original file's structure, and the public evaluation vectors."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pydantic import ValidationError
from scipy.io import savemat

from edgepose.data.mpii import Config, open_split
from edgepose.data.mpii_json import read_json
from edgepose.data.mpii_mat import head_sizes, read_release
from edgepose.errors import EdgeposeError
from edgepose.metrics.pck import counted_joints, pck
from edgepose.skeleton import MPII16

PEOPLE = 12


def entry(i: int) -> dict[str, Any]:
    """A person as train.json has them: 1-based, -1 for what is not annotated."""
    rng = np.random.default_rng(i)
    joints = rng.uniform(20, 180, (16, 2)).round(1)
    seen = (rng.random(16) < 0.8).astype(int)
    seen[:2] = 1, 0
    joints[seen == 0] = -1
    return {
        "image": f"{i:03d}.jpg",
        "center": [100.0 + i, 90.0],
        "scale": round(0.5 + i / 50, 3),
        "joints": joints.tolist(),
        "joints_vis": seen.tolist(),
    }


def release(entries: list[dict[str, Any]], *, apart: bool = True) -> dict[str, Any]:
    """The same people as mpii_human_pose_v1_u12_1.mat has them, and a test picture at the end."""
    annolist, single = [], []
    for i, e in enumerate(entries):
        points = [
            {"x": x, "y": y, "id": j, "is_visible": "1" if j % 2 else "0"}
            for j, ((x, y), seen) in enumerate(zip(e["joints"], e["joints_vis"], strict=True))
            if seen
        ]
        person = {
            "x1": 40.0, "y1": 50.0, "x2": 40.0 + 3 * (i + 1), "y2": 50.0 + 4 * (i + 1),
            "scale": e["scale"], "objpos": {"x": e["center"][0], "y": e["center"][1]},
            "annopoints": {"point": struct_array(points)},
        }  # fmt: skip
        bystander = {**person, "annopoints": np.zeros(0), "objpos": {"x": 5.0, "y": 5.0}}
        annolist.append(
            {"image": {"name": e["image"]}, "annorect": struct_array([person, bystander])}
        )
        single.append(1 if apart else np.zeros(0))
    annolist.append({"image": {"name": "test.jpg"}, "annorect": struct_array([])})
    single.append(np.zeros(0))
    cells = np.empty(len(single), object)
    cells[:] = single
    train = np.array([1] * len(entries) + [0])
    return {
        "RELEASE": {
            "annolist": struct_array(annolist),
            "img_train": train,
            "single_person": cells,
            "version": "12",
        }
    }


def struct_array(rows: list[dict[str, Any]]) -> np.ndarray:
    """A 1 x N MATLAB struct array."""
    if not rows:
        return np.zeros(0)
    made = np.empty((1, len(rows)), [(key, object) for key in rows[0]])
    for i, row in enumerate(rows):
        made[0, i] = tuple(row.values())
    return made


@pytest.fixture
def world(tmp_path: Path) -> tuple[Path, list[dict[str, Any]]]:
    images = tmp_path / "images"
    images.mkdir()
    entries = [entry(i) for i in range(PEOPLE)]
    for i, e in enumerate(entries):
        cv2.imwrite(str(images / e["image"]), np.full((200, 240, 3), 20 * i, np.uint8))
    (tmp_path / "train.json").write_text(json.dumps(entries[4:]))
    (tmp_path / "valid.json").write_text(json.dumps(entries[:4]))
    savemat(tmp_path / "mpii.mat", release(entries))
    return tmp_path, entries


def hrnet(e: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """center, scale, joints as lib/dataset/mpii.py of HRNet computes them, line by line."""
    c = np.array(e["center"], dtype=float)
    s = np.array([e["scale"], e["scale"]], dtype=float)
    if c[0] != -1:
        c[1] = c[1] + 15 * s[1]
        s = s * 1.25
    c = c - 1
    joints = np.array(e["joints"])
    joints[:, 0:2] = joints[:, 0:2] - 1
    return c, s, joints


def test_json_as_hrnet_reads_it(world: tuple[Path, list[dict[str, Any]]]) -> None:
    folder, entries = world
    config = Config(annotations=folder / "train.json", images=folder / "images",
                    val_annotations=folder / "valid.json")  # fmt: skip
    data = open_split(config, "train")
    assert data.skeleton is MPII16
    assert len(data) == PEOPLE - 4
    for sample, e in zip(data, entries[4:], strict=True):
        center, scale, joints = hrnet(e)
        np.testing.assert_allclose(sample.center_xy, center, rtol=1e-6)
        assert sample.size_px == pytest.approx(scale[0] * 200)
        assert sample.annotated.tolist() == [bool(v) for v in e["joints_vis"]]
        known = sample.annotated
        np.testing.assert_allclose(sample.joints_xy[known], joints[known], rtol=1e-6)
        assert not sample.joints_xy[~known].any()
        assert sample.image.shape == (200, 240, 3)
        assert np.isnan(sample.head_px)
        np.testing.assert_allclose(sample.box_xywh[2:], e["scale"] * 200, rtol=1e-6)
        np.testing.assert_allclose(sample.box_xywh[:2] + sample.box_xywh[2:] / 2, center, rtol=1e-5)


def test_a_person_without_a_centre_is_not_moved(world: tuple[Path, list[dict[str, Any]]]) -> None:
    folder, entries = world
    entries[0]["center"] = [-1, -1]
    (folder / "a.json").write_text(json.dumps(entries))
    first = read_json(folder / "a.json", folder / "images")[0]
    assert first.center_xy.tolist() == [-2, -2]
    assert first.size_px == entries[0]["scale"] * 200


def test_the_original_file_says_the_same(world: tuple[Path, list[dict[str, Any]]]) -> None:
    folder, entries = world
    people, skipped = read_release(folder / "mpii.mat", folder / "images")
    (folder / "all.json").write_text(json.dumps(entries))
    assert skipped == {"picture of the test set": 1, "not standing apart": PEOPLE}
    for i, (a, b) in enumerate(
        zip(people, read_json(folder / "all.json", folder / "images"), strict=True)
    ):
        np.testing.assert_array_equal(a.joints_xy, b.joints_xy)
        np.testing.assert_array_equal(a.annotated, b.annotated)
        np.testing.assert_array_equal(a.center_xy, b.center_xy)
        assert (a.size_px, a.path) == (b.size_px, b.path)
        assert a.head_px == pytest.approx(0.6 * 5 * (i + 1))
        assert a.tags == {"occluded"}
    _, everybody = read_release(folder / "mpii.mat", folder / "images", separated=False)
    assert everybody == {"picture of the test set": 1, "without keypoints": PEOPLE}


def test_splits_of_the_original_file(world: tuple[Path, list[dict[str, Any]]]) -> None:
    folder, _ = world
    config = Config(annotations=folder / "mpii.mat", images=folder / "images", train_fraction=0.5)
    names = [{s.sample_id for s in open_split(config, split)} for split in ("train", "val")]
    assert len(names[0] | names[1]) == PEOPLE
    assert not names[0] & names[1]
    lists = config.model_copy(update={"val_annotations": folder / "valid.json"})
    train, val = open_split(lists, "train"), open_split(lists, "val")
    assert train.skipped["picture of the validation set"] == len(val) == 4
    assert [s.head_px for s in val] == pytest.approx([3, 6, 9, 12])
    assert {s.sample_id for s in open_split(lists, "calibration")} <= {s.sample_id for s in train}


def test_head_boxes_of_the_validation_list(world: tuple[Path, list[dict[str, Any]]]) -> None:
    folder, entries = world
    boxes = np.zeros((2, 2, 4))
    boxes[1] = [[3, 6, 9, 0], [4, 8, 12, 0]]
    missing = 1 - np.array([e["joints_vis"] for e in entries[:4]]).T
    savemat(folder / "gt.mat", {"headboxes_src": boxes, "jnt_missing": missing})
    config = Config(
        annotations=folder / "train.json", images=folder / "images",
        val_annotations=folder / "valid.json", head_boxes=folder / "gt.mat",
    )  # fmt: skip
    heads = [s.head_px for s in open_split(config, "val")]
    assert heads[:3] == pytest.approx([3, 6, 9])
    assert np.isnan(heads[3])
    savemat(folder / "gt.mat", {"headboxes_src": boxes, "jnt_missing": 1 - missing})
    with pytest.raises(EdgeposeError, match="another order: 4 of 4"):
        open_split(config, "val")
    savemat(folder / "gt.mat", {"headboxes_src": boxes[:, :, :3]})
    with pytest.raises(EdgeposeError, match="3 head boxes, the list has 4 people"):
        open_split(config, "val")
    lost = config.model_copy(update={"head_boxes": folder / "few.mat"})
    savemat(folder / "few.mat", release(entries[1:]))
    with pytest.raises(EdgeposeError, match="does not have 1 of the 4 people"):
        open_split(lost, "val")
    with pytest.raises(ValidationError, match="whose heads"):
        Config(annotations=folder / "a", images=folder, head_boxes=folder / "gt.mat")


def test_public_predictions_score_what_was_published(tmp_path: Path, shared_data: Path) -> None:
    """MPII's 2,958 validation people through our reader: HRNet's mean of the public predictions."""
    truth = np.load(shared_data / "mpii-pckh" / "mpii_valid_gt.npz")
    found = np.load(shared_data / "mpii-pckh" / "hg_s2_b1_preds.npz")["xy"]
    xy, missing = truth["xy"], truth["missing"].astype(bool)
    entries = [
        {"image": f"{i}.jpg", "center": [100, 100], "scale": 1.0,
         "joints": np.where(gone[:, None], -1, joints).tolist(), "joints_vis": (~gone).tolist()}
        for i, (joints, gone) in enumerate(zip(xy, missing, strict=True))
    ]  # fmt: skip
    (tmp_path / "valid.json").write_text(json.dumps(entries))
    boxes = truth["headbox"].transpose(1, 2, 0)
    savemat(tmp_path / "gt_valid.mat", {"headboxes_src": boxes, "jnt_missing": missing.T})
    people = read_json(tmp_path / "valid.json", tmp_path)
    result = pck(
        found - 1,  # predictions are 1-based, what we read is 0-based
        np.stack([p.joints_xy for p in people]),
        size_px=np.array(head_sizes(tmp_path / "gt_valid.mat", people)),
        annotated=np.stack([p.annotated for p in people]),
        counted=counted_joints(MPII16),
    )
    assert result.mean == pytest.approx(87.299, abs=1e-3)


BREAKS = {
    "train.json[0] lacks scale": lambda c: c[0].pop("scale"),
    "train.json[1] has the image '../a.jpg'": lambda c: c[1].update(image="../a.jpg"),
    "train.json[2] has the center [1]": lambda c: c[2].update(center=[1]),
    "train.json[3] has the joints": lambda c: c[3]["joints"].pop(),
    "train.json[4] has the joints": lambda c: c[4]["joints"][0].__setitem__(0, float("nan")),
    "train.json[5] has joints_vis other": lambda c: c[5]["joints_vis"].__setitem__(0, 2),
    "train.json[6] has the scale 'big'": lambda c: c[6].update(scale="big"),
    "train.json[7] lacks image": lambda c: c.__setitem__(7, []),
}


@pytest.mark.parametrize("problem", BREAKS)
def test_each_fault_is_named(world: tuple[Path, list[dict[str, Any]]], problem: str) -> None:
    folder, entries = world
    broken = copy.deepcopy(entries)
    BREAKS[problem](broken)
    (folder / "train.json").write_text(json.dumps(broken))
    with pytest.raises(EdgeposeError) as caught:
        read_json(folder / "train.json", folder)
    assert problem in caught.value.problem
    assert "train.json has 1 problem:" in caught.value.problem


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda p: p["annopoints"]["point"][0, 0].__setitem__("id", 16), "the id 16"),
        (lambda p: p["annopoints"]["point"][0, 1].__setitem__("id", 0), "joint 0 twice"),
        (lambda p: p["annopoints"]["point"][0, 0].__setitem__("x", np.nan), "not finite"),
        (lambda p: p["annopoints"]["point"][0, 0].__setitem__("y", "?"), "not finite"),
    ],
)
def test_faults_of_the_original_file(world: Any, change: Any, problem: str) -> None:
    folder, entries = world
    content = release(entries)
    change(content["RELEASE"]["annolist"][0, 3]["annorect"][0, 0])
    savemat(folder / "mpii.mat", content)
    with pytest.raises(EdgeposeError, match=problem) as caught:
        read_release(folder / "mpii.mat", folder)
    assert "003.jpg/1" in caught.value.problem


def test_files_that_are_no_matlab_files(tmp_path: Path) -> None:
    (tmp_path / "a.mat").write_bytes(b"no")
    with pytest.raises(EdgeposeError, match="not a MATLAB file"):
        read_release(tmp_path / "a.mat", tmp_path)
    hdf = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(400)
    (tmp_path / "b.mat").write_bytes(hdf)
    with pytest.raises(EdgeposeError, match=r"7\.3") as caught:
        read_release(tmp_path / "b.mat", tmp_path)
    assert "-v7" in caught.value.fix
    savemat(tmp_path / "c.mat", {"other": 1})
    with pytest.raises(EdgeposeError, match="no RELEASE"):
        read_release(tmp_path / "c.mat", tmp_path)
    with pytest.raises(EdgeposeError, match="no annotation file"):
        read_release(tmp_path / "none.mat", tmp_path)
