"""Any skeleton: mirror pairs that follow from names or are given, and the definition's whole way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgepose.backends.common.contract import header_of
from edgepose.data.coco import Config, open_split
from edgepose.data.coco_file import read_coco
from edgepose.data.custom_skeleton import Definition, make_skeleton, skeleton_of, tidy
from edgepose.errors import EdgeposeError
from edgepose.manifest import SkeletonContract
from edgepose.models.pose_model import ModelSpec, PoseModel
from edgepose.predict import Contract
from edgepose.skeleton import COCO17, LSP14, MPII16, Skeleton, from_json
from edgepose.target import load_target

HORSE = ["Nose", "Left Eye", "Right Eye", "leftFrontHoof", "right_front-hoof", "tail"]


def make(names: list[str], flip_pairs: Any = None) -> Skeleton:
    return make_skeleton(
        [tidy(n) for n in names], [], flip_pairs=flip_pairs, label="Horse", source="f"
    )


@pytest.fixture
def world(tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    images = tmp_path / "images"
    images.mkdir()
    for i in range(10):
        cv2.imwrite(str(images / f"{i}.png"), np.full((60, 80, 3), i, np.uint8))
    points = [v for j in range(6) for v in (10 + 5 * j, 20, 2)]
    content = {
        "images": [{"id": i, "file_name": f"{i}.png"} for i in range(10)],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 3, "bbox": [5, 5, 50, 40], "keypoints": points}
            for i in range(10)
        ],
        "categories": [
            {"id": 3, "name": "horse", "keypoints": HORSE, "skeleton": [[1, 2], [1, 3], [1, 6]]}
        ],
    }
    return tmp_path, content


def read(world: tuple[Path, dict[str, Any]], **options: Any) -> Skeleton:
    folder, content = world
    (folder / "a.json").write_text(json.dumps(content))
    return read_coco(folder / "a.json", folder / "images", **options).skeleton


def test_names_say_what_a_mirror_swaps(world: tuple[Path, dict[str, Any]]) -> None:
    found = read(world)
    assert found.joints == (
        "nose", "left_eye", "right_eye", "left_front_hoof", "right_front_hoof", "tail",
    )  # fmt: skip
    assert set(found.flip_pairs) == {(2, 1), (4, 3)}
    assert found.limbs == ((0, 1), (0, 2), (0, 5))
    assert found.name.startswith("horse6-")
    assert found.flip_index == (0, 2, 1, 4, 3, 5)


@pytest.mark.parametrize("known", [MPII16, COCO17, LSP14])
def test_pairs_of_known_skeletons_follow_from_their_names_too(known: Skeleton) -> None:
    """The rule, tried on skeletons whose pairs somebody else wrote down; one joint more, so that
    they are not recognised."""
    found = make([*known.joints, "hat"])
    assert set(found.flip_pairs) == set(known.flip_pairs)
    assert make(list(known.joints)) is known


@pytest.mark.parametrize(
    ("names", "pairs"),
    [
        (["l_eye", "r_eye"], {(1, 0)}),
        (["eye_L", "eye_R", "nose"], {(1, 0)}),
        (["paw_left_front", "paw_right_front"], {(1, 0)}),
    ],
)
def test_other_ways_to_write_sides(names: list[str], pairs: set[tuple[int, int]]) -> None:
    assert set(make(names).flip_pairs) == pairs


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["left_eye", "nose"], r"left_eye \(no right_eye\)"),
        (["left_eye", "right_eye", "right_ear"], r"right_ear \(no left_ear\)"),
        (["lelbow", "relbow", "nose"], "lelbow, relbow"),
        (["1", "2", "3"], "no joint name says left or right"),
        (["a", "b", "a"], "'a' appears twice"),
        ([], "not one or more"),
    ],
)
def test_what_does_not_follow_is_asked_for(names: list[str], reason: str) -> None:
    with pytest.raises(EdgeposeError, match=reason):
        make(names)


def test_pairs_that_the_recipe_gives() -> None:
    assert make(["lelbow", "relbow"], (("relbow", "lelbow"),)).flip_pairs == ((1, 0),)
    assert make(["1", "2"], ()).flip_pairs == ()
    assert make(["left_eye", "nose"], ()).flip_pairs == ()
    with pytest.raises(EdgeposeError, match="no joint 'ear'"):
        make(["a", "b"], (("a", "ear"),))
    with pytest.raises(EdgeposeError, match="a joint twice"):
        make(["a", "b", "c"], (("a", "b"), ("b", "c")))
    with pytest.raises(EdgeposeError, match="are coco17, which has other flip pairs"):
        make(list(COCO17.joints), (("left_eye", "left_ear"),))


def test_equal_names_are_equal_skeletons() -> None:
    a, b = make(["x", "y"], ()), make(["x", "y"], (("x", "y"),))
    assert a.name != b.name
    assert make(["x", "y"], (("y", "x"),)).name == b.name
    assert make(["y", "x"], ()).name != a.name


@pytest.mark.parametrize("limbs", [[[0, 1]], [[1, 7]], [[1]], "x", [[1, "2"]]])
def test_limbs_that_are_none(world: tuple[Path, dict[str, Any]], limbs: Any) -> None:
    world[1]["categories"][0]["skeleton"] = limbs
    with pytest.raises(EdgeposeError, match="keypoint numbers 1 to 6"):
        read(world)


def test_one_of_several_categories(world: tuple[Path, dict[str, Any]]) -> None:
    world[1]["categories"].append({"id": 4, "name": "cow", "keypoints": ["a", "b"]})
    with pytest.raises(EdgeposeError, match="no single category") as caught:
        read(world)
    assert "cow, horse" in caught.value.fix
    assert read(world, category="horse").num_joints == 6
    with pytest.raises(EdgeposeError, match="called 'dog'"):
        read(world, category="dog")


def test_the_definition_travels_with_the_model(
    world: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    read(world)
    config = Config(annotations=tmp_path / "a.json", images=tmp_path / "images", train_fraction=1)
    data = open_split(config, "train")
    spec = ModelSpec("resnet18", 6, (32, 32), data.skeleton.reference, data.domain)
    PoseModel.fresh(spec, seed=0).save(tmp_path / "m")
    loaded = PoseModel.load(tmp_path / "m")
    assert loaded.spec == spec
    assert Contract.of_spec(loaded.spec).skeleton == data.skeleton
    assert SkeletonContract.of(data.skeleton).to_skeleton() == data.skeleton
    target = load_target("host")
    header = header_of(loaded, target, input_name="i", output_name="o", batch=1, tools=("numpy",))
    assert header.skeleton.to_skeleton() == data.skeleton
    document = json.loads((tmp_path / "m" / "model.json").read_text())
    document["spec"]["skeleton"]["flip_pairs"] = [[0, 9]]
    (tmp_path / "m" / "model.json").write_text(json.dumps(document))
    with pytest.raises(EdgeposeError, match="outside of its 6 joints"):
        PoseModel.load(tmp_path / "m")


def test_known_skeletons_are_referred_to_by_name() -> None:
    assert MPII16.reference == "mpii16"
    assert from_json("mpii16") == "mpii16"
    renamed = Skeleton("mpii16", ("a", "b"), (), ())
    assert renamed.reference is renamed


@pytest.mark.parametrize(
    "broken",
    [{}, {"name": "x"}, {"name": "x", "joints": 3, "flip_pairs": [], "limbs": [], "uncounted": []},
     {"name": "x", "joints": ["a", "a"], "flip_pairs": [], "limbs": [], "uncounted": []},
     {"name": "x", "joints": ["a", "b"], "flip_pairs": [[0]], "limbs": [], "uncounted": []},
     {"name": "x", "joints": ["a", "b"], "flip_pairs": [[0, 1], [1, 0]], "limbs": [], "uncounted": []}],
)  # fmt: skip
def test_definitions_that_are_none(broken: dict[str, Any]) -> None:
    with pytest.raises(EdgeposeError, match="cannot be right"):
        from_json(broken)


def test_a_definition_in_a_recipe() -> None:
    given = Definition(joints=("Nose", "left ear", "right ear"), limbs=(("nose", "left_ear"),))
    found = skeleton_of(given, source="data.skeleton")
    assert found.limbs == ((0, 1),)
    assert found.flip_pairs == ((2, 1),)
    with pytest.raises(EdgeposeError, match="no joint 'tail'"):
        skeleton_of(Definition(joints=("a",), limbs=(("a", "tail"),), flip_pairs=()), source="x")
