"""A folder of pictures without labels."""

import json

import cv2
import numpy as np
import pytest

from edgepose.data.codec import encode_heatmaps
from edgepose.data.crop import Augment, augment, crop_batch
from edgepose.data.folder import Config, open_split
from edgepose.errors import EdgeposeError


@pytest.fixture
def folder(tmp_path):
    for name, size in (("b.png", (40, 60)), ("a.JPG", (50, 30)), ("deep/c.webp", (64, 64))):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        image = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / name), image)
    (tmp_path / "README.md").write_text("not a picture")
    (tmp_path / ".hidden.png").write_bytes(b"")
    return tmp_path


def test_every_picture_is_one_person_who_fills_it(folder):
    data = open_split(Config(root=folder), "calibration")
    assert [s.sample_id for s in data] == ["a.JPG", "b.png", "deep/c.webp"]
    sample = data[1]
    assert sample.image.shape == (40, 60, 3)
    assert sample.box_xywh.tolist() == [0, 0, 60, 40]
    assert (sample.center_xy.tolist(), sample.size_px) == ([30, 20], 60)
    assert not sample.annotated.any()
    assert data.skeleton.num_joints == len(sample.joints_xy) == 16
    crops, matrices = crop_batch(list(data), (64, 64))
    assert crops.shape == (3, 64, 64, 3)
    corner = matrices[1] @ [60, 40, 1]
    np.testing.assert_allclose(corner, (64, 32 + 64 / 3))


def test_the_skeleton_and_the_domain_are_as_configured(folder):
    data = open_split(Config(root=folder, skeleton="coco17", domain="drawings"), "calibration")
    assert data[0].joints_xy.shape == (17, 2)
    assert data.domain == "drawings"


def test_the_fingerprint_follows_content_and_names(folder):
    prints = [open_split(Config(root=folder), "calibration").fingerprint]
    prints.append(open_split(Config(root=folder), "calibration").fingerprint)
    (folder / "b.png").rename(folder / "z.png")
    prints.append(open_split(Config(root=folder), "calibration").fingerprint)
    cv2.imwrite(str(folder / "z.png"), np.zeros((20, 20, 3), np.uint8))
    prints.append(open_split(Config(root=folder), "calibration").fingerprint)
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3


def test_what_it_cannot_do_is_said(folder, tmp_path):
    with pytest.raises(EdgeposeError, match="has no labels"):
        open_split(Config(root=folder), "val")
    with pytest.raises(EdgeposeError, match="unknown split"):
        open_split(Config(root=folder), "test")
    with pytest.raises(EdgeposeError, match="no image folder"):
        open_split(Config(root=folder / "none"), "calibration")
    (folder / "empty").mkdir()
    with pytest.raises(EdgeposeError, match="holds no images"):
        open_split(Config(root=folder / "empty"), "calibration")
    with pytest.raises(EdgeposeError, match="unknown skeleton"):
        open_split(Config(root=folder, skeleton="octopus"), "calibration")


def test_it_can_train_but_no_label_counts(folder):
    data = open_split(Config(root=folder), "train")
    crop = augment(data[0], (64, 64), np.random.default_rng(0), Augment(), data.skeleton)
    heatmaps, weights = encode_heatmaps(
        crop.joints_xy, crop.annotated, heatmap_hw=(16, 16), stride=4, sigma=1
    )
    assert not weights.any()
    assert not heatmaps.any()
    assert len(data) == 3


BOXES = {"a.JPG": [[5, 5, 10, 20], [0, 0, 30, 50]], "deep/c.webp": [[8, 8, 32, 16]]}


@pytest.mark.parametrize("kind", ["names", "coco"])
def test_people_are_those_of_the_boxes(folder, tmp_path, kind):
    content = BOXES
    if kind == "coco":
        content = {
            "images": [{"id": i, "file_name": name} for i, name in enumerate(BOXES)],
            "annotations": [
                {"image_id": i, "bbox": box}
                for i, boxes in enumerate(BOXES.values())
                for box in boxes
            ],
        }
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(content))
    data = open_split(Config(root=folder, boxes=path), "train")
    assert [s.sample_id for s in data] == ["a.JPG/0", "a.JPG/1", "deep/c.webp/0"]
    assert data[0].box_xywh.tolist() == [5, 5, 10, 20]
    assert (data[2].center_xy.tolist(), data[2].size_px) == ([24, 16], 40)
    assert data.skipped == {"picture without a box": 1}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ([], "is not a JSON object"),
        ({"a.JPG": 5}, "not a list of boxes"),
        ({"a.JPG": [[1, 2, 3]]}, "not x, y, width, height"),
        ({"../a.JPG": [[1, 2, 3, 4]]}, "outside"),
        ({"none.jpg": [[1, 2, 3, 4]]}, "image missing"),
        ({"a.JPG": []}, "lists no box"),
    ],
)
def test_boxes_that_are_none(folder, tmp_path, content, reason):
    (tmp_path / "boxes.json").write_text(json.dumps(content))
    with pytest.raises(EdgeposeError, match=reason):
        open_split(Config(root=folder, boxes=tmp_path / "boxes.json"), "train")


def test_a_skeleton_by_its_definition(folder):
    config = Config(root=folder, skeleton={"joints": ["nose", "left_ear", "right_ear"]})
    assert open_split(config, "train").skeleton.flip_pairs == ((2, 1),)
