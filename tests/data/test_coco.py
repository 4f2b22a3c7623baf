"""COCO files: real photographs read as pycocotools reads them, broken files refused all at once."""

import copy
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO
from pydantic import ValidationError

from edgepose.data.coco import Config, open_split
from edgepose.data.coco_file import read_coco
from edgepose.data.crop import crop_batch
from edgepose.data.images import read_image
from edgepose.errors import EdgeposeError
from edgepose.skeleton import COCO17, MPII16

PHOTOS = Path(__file__).parents[3] / "shared" / "data" / "real-people"
needs_photos = pytest.mark.skipif(not PHOTOS.is_dir(), reason=f"no photographs at {PHOTOS}")


def person(identity, image_id, *, joints=17, seen=17, box=(20, 10, 40, 60), **other):
    rng = np.random.default_rng(identity)
    visibility = [2 if j < seen else 0 for j in range(joints)]
    triples = [[float(rng.integers(20, 60)), float(rng.integers(10, 70)), v] for v in visibility]
    return {
        "id": identity,
        "image_id": image_id,
        "category_id": 1,
        "iscrowd": 0,
        "bbox": list(box),
        "area": 1200.5,
        "keypoints": [value for triple in triples for value in triple],
        **other,
    }


@pytest.fixture
def world(tmp_path):
    """A folder of 20 images and the content of a valid file with one person in each."""
    folder = tmp_path / "images"
    folder.mkdir()
    content = {
        "images": [
            {"id": i, "file_name": f"{i}.png", "width": 100, "height": 80} for i in range(20)
        ],
        "annotations": [person(100 + i, i) for i in range(20)],
        "categories": [{"id": 1, "name": "person", "keypoints": list(COCO17.joints)}],
    }
    for i in range(20):
        cv2.imwrite(str(folder / f"{i}.png"), np.full((80, 100, 3), i, np.uint8))
    return folder, content


def written(world, content=None):
    folder, good = world
    path = folder.parent / "a.json"
    path.write_text(json.dumps(good if content is None else content))
    return path


def test_what_the_file_calls_hidden_is_annotated_and_not_visible(world):
    folder, content = world
    content["annotations"][3]["keypoints"][2::3] = [2, 1, 0] + [2] * 14
    path = written(world, content)
    data = open_split(Config(annotations=path, images=folder, train_fraction=0), "val")
    sample = data[3]
    assert sample.annotated[:4].tolist() == [True, True, False, True]
    assert sample.visible[:4].tolist() == [True, False, False, True]
    assert data[4].visible.all()


@needs_photos
def test_real_photographs_as_pycocotools_has_them(capsys):
    path = PHOTOS / "person_keypoints.json"
    data = open_split(Config(annotations=path, images=PHOTOS / "images", train_fraction=0), "val")
    theirs = COCO(str(path))
    expected = {
        a["id"]: a for a in theirs.anns.values() if a["num_keypoints"] > 0 and not a["iscrowd"]
    }
    assert len(data) == len(expected) == 44
    assert data.skipped == {"crowd": 3, "without keypoints": 42}
    assert data.skeleton is COCO17
    assert data.domain == "photographs"
    assert {int(s.sample_id.split("/")[1]) for s in data} == set(expected)
    for sample in data:
        annotation = expected[int(sample.sample_id.split("/")[1])]
        points = np.array(annotation["keypoints"]).reshape(17, 3)
        assert sample.annotated.sum() == annotation["num_keypoints"]
        known = points[:, 2] > 0
        np.testing.assert_array_equal(sample.joints_xy[known], points[known, :2])
        assert sample.area_px2 == annotation["area"]
        assert np.isnan(sample.head_px)
        x, y, w, h = annotation["bbox"]
        np.testing.assert_allclose(sample.center_xy, (x + w / 2, y + h / 2), rtol=1e-6)
        assert sample.size_px == pytest.approx(1.25 * max(w, h))
        info = theirs.imgs[annotation["image_id"]]
        assert sample.image.shape == (info["height"], info["width"], 3)
    assert any("multi_person" in s.tags for s in data)
    assert any("occluded" in s.tags for s in data)
    assert not all(s.tags for s in data)
    crops, _ = crop_batch(list(data), (256, 192))
    assert crops.shape == (44, 256, 192, 3)
    assert (crops.mean(axis=(1, 2, 3)) > 5).all()


def test_splits_do_not_share_images_and_cover_all(world):
    config = Config(annotations=written(world), images=world[0], train_fraction=0.6)
    sets = {name: open_split(config, name) for name in ("train", "val", "calibration")}
    ids = {name: {s.sample_id for s in data} for name, data in sets.items()}
    assert ids["train"] | ids["val"] == {f"{i}/{100 + i}" for i in range(20)}
    assert not ids["train"] & ids["val"]
    assert ids["calibration"] <= ids["train"]
    assert 6 <= len(ids["train"]) <= 18
    assert len({data.fingerprint for data in sets.values()}) == 3
    again = open_split(config, "train")
    assert [s.sample_id for s in again] == [s.sample_id for s in sets["train"]]
    assert again.fingerprint == sets["train"].fingerprint


def test_a_bigger_fraction_only_adds_training_images(world):
    path = written(world)
    grown = [
        {
            s.sample_id
            for s in open_split(
                Config(annotations=path, images=world[0], train_fraction=fraction), "train"
            )
        }
        for fraction in (0.3, 0.6, 1.0)
    ]
    assert grown[0] < grown[1] < grown[2]


def test_one_image_and_its_people_stay_on_one_side(world):
    folder, content = world
    content["annotations"] = [person(100 * k + i, i) for i in range(20) for k in (1, 2, 3)]
    config = Config(annotations=written(world), images=folder, train_fraction=0.5)
    train, val = (
        {s.sample_id.split("/")[0] for s in open_split(config, name)} for name in ("train", "val")
    )
    assert not train & val


def test_a_validation_file_of_its_own(world, tmp_path):
    folder, content = world
    other = tmp_path / "val.json"
    other.write_text(json.dumps({**content, "annotations": content["annotations"][:3]}))
    config = Config(annotations=written(world), images=folder, val_annotations=other)
    assert len(open_split(config, "train")) == 20
    assert len(open_split(config, "val")) == 3
    with pytest.raises(ValidationError, match="val_annotations"):
        Config(annotations=other, images=folder, val_images=folder)


def test_calibration_takes_so_many_of_the_training_people(world):
    config = Config(
        annotations=written(world), images=world[0], train_fraction=1, calibration_people=5
    )
    chosen = open_split(config, "calibration")
    assert len(chosen) == 5
    more = open_split(config.model_copy(update={"calibration_people": 9}), "calibration")
    assert {s.sample_id for s in chosen} < {s.sample_id for s in more}


def test_splits_without_people_and_unknown_ones_are_refused(world):
    config = Config(annotations=written(world), images=world[0], train_fraction=1)
    with pytest.raises(EdgeposeError, match="train_fraction 1"):
        open_split(config, "val")
    with pytest.raises(EdgeposeError, match="unknown split 'test'"):
        open_split(config, "test")


def test_what_cannot_be_used_is_skipped_and_counted(world):
    folder, content = world
    content["annotations"] += [
        person(200, 0, iscrowd=1),
        person(201, 0, seen=0),
        person(202, 0, seen=2),
        person(204, 0, category_id=7),
    ]
    bare = person(205, 0)
    del bare["keypoints"]
    content["annotations"].append(bare)
    file = read_coco(written(world), folder, min_joints=3)
    assert len(file.people) == 20
    assert file.skipped == {
        "crowd": 1, "without keypoints": 2, "too few keypoints": 1, "other category": 1,
    }  # fmt: skip


def test_joints_without_a_label_have_no_position(world):
    folder, content = world
    content["annotations"] = [person(1, 0, seen=5), person(2, 1, seen=5)]
    content["annotations"][0]["keypoints"][2] = 1
    sample = open_split(
        Config(annotations=written(world), images=folder, train_fraction=1), "train"
    )
    assert sample[0].annotated.tolist() == [True] * 5 + [False] * 12
    assert not sample[0].joints_xy[5:].any()
    assert (sample[0].tags, sample[1].tags) == ({"occluded"}, set())


def test_overlapping_people_are_tagged(world):
    folder, content = world
    content["annotations"] = [
        person(1, 0, box=(0, 0, 40, 40)),
        person(2, 0, box=(30, 0, 40, 40)),
        person(3, 0, box=(69, 0, 30, 40)),
        person(4, 1, box=(0, 0, 40, 40)),
    ]
    people = read_coco(written(world), folder).people
    assert [p.tags for p in people] == [{"multi_person"}, {"multi_person"}, set(), set()]


def test_mpii_joints_in_coco_format(world):
    folder, content = world
    names = [n.replace("_", " ").title() for n in MPII16.joints]
    content["categories"][0]["keypoints"] = names
    content["annotations"] = [person(1, 0, joints=16, seen=16)]
    assert read_coco(written(world), folder).skeleton is MPII16


def test_a_missing_area_is_unknown_not_invented(world):
    folder, content = world
    for key, value in enumerate((None, 0, -4, "big")):
        content["annotations"][key]["area"] = value
    del content["annotations"][4]["area"]
    people = read_coco(written(world), folder).people
    assert np.isnan([p.area_px2 for p in people[:5]]).all()
    assert people[5].area_px2 == 1200.5


BREAKS = {
    "has 50 keypoint numbers; coco17 needs 51": lambda c: c["annotations"][0]["keypoints"].pop(),
    "annotation 101 has keypoints that are not finite": lambda c: c["annotations"][1][
        "keypoints"
    ].__setitem__(0, float("nan")),
    "annotation 102 has keypoints that are not finite": lambda c: c["annotations"][2][
        "keypoints"
    ].__setitem__(4, "left"),
    "visibility other than 0, 1, 2": lambda c: c["annotations"][3]["keypoints"].__setitem__(2, 3),
    "annotation 104 has the bbox": lambda c: c["annotations"][4].update(bbox=[1, 2, 3]),
    "annotation 105 has the bbox": lambda c: c["annotations"][5].update(bbox=[1, 2, "3", 4]),
    "annotation 106 has the bbox": lambda c: c["annotations"][6].pop("bbox"),
    "annotation 108 appears twice": lambda c: c["annotations"][7].update(id=108),
    "image 3 appears twice": lambda c: c["images"].append(dict(c["images"][3])),
    "of image 77, which is not listed": lambda c: c["annotations"][9].update(image_id=77),
    "outside": lambda c: c["images"][11].update(file_name="../../etc/passwd"),
    "annotations[20] has no id": lambda c: c["annotations"].append({"image_id": 1}),
    "images[20] has no id or no file_name": lambda c: c["images"].append({"id": 99}),
    "images[20] has the id [4]": lambda c: c["images"].append({"id": [4], "file_name": "4.png"}),
}


@pytest.mark.parametrize("problem", BREAKS)
def test_each_fault_is_named(world, problem):
    content = copy.deepcopy(world[1])
    BREAKS[problem](content)
    with pytest.raises(EdgeposeError) as caught:
        read_coco(written(world, content), world[0])
    assert problem in caught.value.problem
    assert "a.json has 1 problem" in caught.value.problem or "outside" in problem


def test_all_faults_come_in_one_message(world):
    content = copy.deepcopy(world[1])
    for entry in content["annotations"]:
        entry["keypoints"].pop()
    with pytest.raises(EdgeposeError) as caught:
        read_coco(written(world, content), world[0])
    assert "20 problems" in caught.value.problem
    assert "annotation 109 has 50" in caught.value.problem
    assert "and 10 more" in caught.value.problem


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is not JSON"),
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "lacks the lists images, annotations, categories"),
        ('{"images": [], "annotations": {}, "categories": []}', "lacks the list annotations"),
        ('{"images": [], "annotations": [], "categories": []}', "no single category"),
    ],
)
def test_files_that_are_no_keypoint_files(tmp_path, text, reason):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(EdgeposeError, match=reason):
        read_coco(tmp_path / "a.json", tmp_path)


ODD = [
    None,
    -1,
    0,
    1.5,
    10**30,
    float("nan"),
    float("inf"),
    True,
    "",
    "x",
    [],
    {},
    [[]],
    [None],
    {"id": 1},
]


def test_nonsense_anywhere_in_the_file_gives_our_error_or_is_read(world):
    """Any value of the file replaced by any other kind of value: never another exception."""

    def places(node, here=()):
        yield here
        children = node.items() if isinstance(node, dict) else enumerate(node)
        if isinstance(node, (dict, list)):
            for key, child in children if node else ():
                if not isinstance(child, (dict, list)):
                    yield (*here, key)
                else:
                    yield from places(child, (*here, key))

    folder, content = world
    for key in ("images", "annotations"):
        del content[key][2:]
    refused = 0
    for place in [p for p in places(content) if p and not (len(p) == 4 and p[3] > 3)]:
        for value in ODD:
            broken = copy.deepcopy(content)
            node = broken
            for key in place[:-1]:
                node = node[key]
            node[place[-1]] = value
            try:
                file = read_coco(written(world, broken), folder)
            except EdgeposeError:
                refused += 1
            else:
                assert all(np.isfinite(p.joints_xy).all() for p in file.people)
    assert refused > 200


def test_missing_files_and_folders(world, tmp_path):
    with pytest.raises(EdgeposeError, match="no annotation file"):
        read_coco(tmp_path / "none.json", world[0])
    with pytest.raises(EdgeposeError, match="no image folder"):
        read_coco(written(world), tmp_path / "none")


def test_the_fingerprint_follows_labels_images_and_split(world):
    folder, content = world
    path = written(world)
    prints = {open_split(Config(annotations=path, images=folder), "train").fingerprint}
    content["annotations"][0]["area"] = 5
    path = written(world)
    prints.add(open_split(Config(annotations=path, images=folder), "train").fingerprint)
    config = Config(annotations=path, images=folder, train_fraction=1)
    prints.add(open_split(config, "train").fingerprint)
    cv2.imwrite(str(folder / "0.png"), np.arange(24000, dtype=np.uint8).reshape(80, 100, 3))
    prints.add(open_split(config, "train").fingerprint)
    assert len(prints) == 4


def test_samples_are_the_callers_to_change_but_images_are_shared(world):
    data = open_split(
        Config(annotations=written(world), images=world[0], train_fraction=1), "train"
    )
    data[2].joints_xy[:] = -5
    assert (data[2].joints_xy > 0).all()
    assert not data[2].image.flags.writeable
    np.testing.assert_array_equal(data[2].image, read_image(world[0] / "2.png"))
