"""Any content of any annotation file: a data set, or our error; never another exception."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.io import savemat

from edgepose.data.coco_file import read_coco
from edgepose.data.folder import Config as FolderConfig
from edgepose.data.folder import open_split as open_folder
from edgepose.data.lsp import read_joints
from edgepose.data.mpii_json import read_json
from edgepose.data.mpii_mat import head_sizes, read_release
from edgepose.data.photographs import Labels
from edgepose.data.sift import sift
from edgepose.errors import EdgeposeError

LIMITS = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
SCALARS = (
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats() | st.text(max_size=6)
    | st.sampled_from(["a.jpg", "../a.jpg", "", "a\0.jpg", "1", 0, 1, 16, -1])
)  # fmt: skip
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["id", "image", "image_id", "file_name", "bbox", "keypoints", "images", "name",
                 "annotations", "categories", "center", "scale", "joints", "joints_vis", "skeleton",
                 "a.jpg"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=14,
)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    cv2.imwrite(str(tmp_path / "a.jpg"), np.zeros((40, 40, 3), np.uint8))
    return tmp_path


def boxed(folder: Path, boxes: Path) -> Sequence[Labels]:
    return open_folder(FolderConfig(root=folder, boxes=boxes, max_bad_share=1), "train").people


def is_sound(people: list[Labels]) -> None:
    """What was read can be sifted, and what is left can be cropped."""
    try:
        kept, _ = sift(people, max_bad_share=1, source="fuzz")
    except EdgeposeError:
        return
    for person in kept:
        assert np.isfinite(person.joints_xy).all()
        assert np.isfinite(person.box_xywh).all()
        assert person.size_px > 0


def mutated(content: Any, place: list[int], value: Any) -> Any:
    """A copy with the value at a place, found by walking down, replaced."""
    if not place or not isinstance(content, (dict, list)) or not content:
        return value
    keys = list(content) if isinstance(content, dict) else list(range(len(content)))
    key = keys[place[0] % len(keys)]
    changed = dict(content) if isinstance(content, dict) else list(content)
    changed[key] = mutated(content[key], place[1:], value)
    return changed


GOOD_MPII = [
    {"image": "a.jpg", "center": [20.0, 20.0], "scale": 0.1, "joints": [[9.0, 9.0]] * 16,
     "joints_vis": [1] * 16}
] * 2  # fmt: skip
GOOD_COCO = {
    "images": [{"id": 1, "file_name": "a.jpg", "width": 40, "height": 40}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 9, 9], "area": 81, "iscrowd": 0,
         "keypoints": [3, 3, 2, 4, 4, 1]}
    ],
    "categories": [{"id": 1, "name": "x", "keypoints": ["left_a", "right_a"], "skeleton": [[1, 2]]}],
}  # fmt: skip


@LIMITS
@given(content=JSON)
def test_any_json(folder: Path, content: Any) -> None:
    path = folder / "x.json"
    path.write_text(json.dumps(content))
    for read in (
        lambda: read_json(path, folder),
        lambda: read_coco(path, folder, max_bad_share=1).people,
        lambda: boxed(folder, path),
    ):
        try:
            people = read()
        except EdgeposeError:
            continue
        is_sound(list(people))


@LIMITS
@given(place=st.lists(st.integers(0, 20), max_size=6), value=JSON)
def test_good_json_with_one_value_replaced(folder: Path, place: list[int], value: Any) -> None:
    path = folder / "x.json"
    for content, read in (
        (GOOD_MPII, lambda: read_json(path, folder)),
        (GOOD_COCO, lambda: read_coco(path, folder, max_bad_share=1).people),
        (GOOD_COCO, lambda: boxed(folder, path)),
        ({"a.jpg": [[1, 2, 3, 4]]}, lambda: boxed(folder, path)),
    ):
        path.write_text(json.dumps(mutated(content, place, value)))
        try:
            people = read()
        except EdgeposeError:
            continue
        is_sound(list(people))


@LIMITS
@given(data=st.binary(max_size=300))
def test_any_bytes(folder: Path, data: bytes) -> None:
    path = folder / "x.bin"
    path.write_bytes(data)
    for read in (
        lambda: read_json(path, folder),
        lambda: read_coco(path, folder),
        lambda: read_release(path, folder),
        lambda: read_joints(path, folder, kind="lsp"),
        lambda: head_sizes(path, []),
    ):
        with pytest.raises(EdgeposeError):
            read()


MAT = st.recursive(
    st.floats() | st.integers(0, 20) | st.text("ab.jpg", max_size=6)
    | st.builds(np.zeros, st.sampled_from([0, (0, 3), (2, 2), (3, 14, 2), (14, 3, 2)])),
    lambda inner: st.dictionaries(
        st.sampled_from(
            ["annolist", "annorect", "annopoints", "point", "image", "name", "x", "y", "id", "scale",
             "objpos", "img_train", "single_person"]
        ),
        inner,
        min_size=1,
        max_size=5,
    ),
    max_leaves=14,
)  # fmt: skip


def good_release() -> dict[str, Any]:
    points = np.empty((1, 2), [("x", object), ("y", object), ("id", object)])
    points[0, 0], points[0, 1] = (5.0, 6.0, 3), (7.0, 8.0, 9)
    person = {"annopoints": {"point": points}, "scale": 0.1, "objpos": {"x": 9.0, "y": 9.0},
              "x1": 1, "y1": 1, "x2": 4, "y2": 5}  # fmt: skip
    return {
        "annolist": {"image": {"name": "a.jpg"}, "annorect": person},
        "img_train": 1,
        "single_person": 1,
    }


@LIMITS
@given(place=st.lists(st.integers(0, 20), max_size=6), value=MAT)
def test_matlab_structs_of_any_shape(folder: Path, place: list[int], value: Any) -> None:
    path = folder / "x.mat"
    content = mutated(good_release(), place, value)
    savemat(path, {"RELEASE": content, "joints": value if not isinstance(value, dict) else 1})
    for read in (
        lambda: read_release(path, folder)[0],
        lambda: read_release(path, folder, separated=False)[0],
        lambda: read_joints(path, folder, kind="lsp"),
        lambda: read_joints(path, folder, kind="extended"),
    ):
        try:
            people = read()
        except EdgeposeError:
            continue
        is_sound(people)


def test_the_good_matlab_file_is_read(folder: Path) -> None:
    savemat(folder / "x.mat", {"RELEASE": good_release()})
    (person,) = read_release(folder / "x.mat", folder)[0]
    assert person.annotated.sum() == 2
    assert person.head_px == pytest.approx(3.0)


@LIMITS
@given(
    keep=st.integers(0, 2000), at=st.integers(0, 127), byte=st.integers(0, 255), pack=st.booleans()
)
def test_damaged_matlab_files(folder: Path, keep: int, at: int, byte: int, pack: bool) -> None:
    """Cut off anywhere, one byte of the head replaced. (Sizes inside are left alone: SciPy believes
    them, and a machine without memory is no test result.)"""
    path = folder / "x.mat"
    content = {"RELEASE": good_release(), "joints": np.ones((3, 14, 2))}
    savemat(path, content, do_compression=pack)
    damaged = bytearray(path.read_bytes())
    damaged[at] = byte
    path.write_bytes(bytes(damaged[:keep]))
    for read in (
        lambda: read_release(path, folder)[0],
        lambda: read_joints(path, folder, kind="lsp"),
    ):
        try:
            people = read()
        except EdgeposeError:
            continue
        is_sound(people)
