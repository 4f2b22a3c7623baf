"""Predictions land where the image says, drawings touch only their surroundings, JSON loads."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from edgepose.data.coco import Config, open_split
from edgepose.device.codec import HeatmapCodec
from edgepose.errors import EdgeposeError
from edgepose.predict import Contract, Prediction, coco_results, parse_box
from edgepose.report.overlay import LEFT_RGB, RIGHT_RGB, draw_skeletons, fade
from edgepose.skeleton import COCO17, MPII16, Skeleton
from edgepose.video.box_file import BoxFile
from edgepose.video.boxes import OneBox, WholeFrame
from edgepose.video.finder import Finder, Model
from edgepose.video.frames import Frame
from edgepose.video.overlay import draw
from edgepose.video.sinks import PictureSink
from edgepose.video.sources import Pictures
from tests.video.conftest import BrightSpots

PHOTOS = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "real-people"
needs_photos = pytest.mark.skipif(not PHOTOS.is_dir(), reason=f"no photographs at {PHOTOS}")
ONE = Skeleton("pair", ("right_hand", "left_hand"), flip_pairs=((0, 1),), limbs=((0, 1),))


def spots(red_xy: tuple[int, int], blue_xy: tuple[int, int], hw: tuple[int, int]) -> np.ndarray:
    image = np.zeros((*hw, 3), np.uint8)
    cv2.circle(image, red_xy, 4, (255, 0, 0), -1)
    cv2.circle(image, blue_xy, 4, (0, 0, 255), -1)
    return image


@pytest.mark.parametrize("input_hw", [(64, 64), (96, 64)])
def test_joints_come_back_in_image_pixels(input_hw: tuple[int, int]) -> None:
    image = spots((150, 90), (190, 140), (300, 400))
    contract = Contract(input_hw=input_hw, codec=HeatmapCodec(), skeleton=ONE)
    boxes = np.array([[120.0, 60.0, 100.0, 120.0], [130.0, 70.0, 80.0, 100.0]])
    joints, _ = Finder([Model(BrightSpots(), contract)]).find(image, boxes).joints()
    assert joints.shape == (2, 2, 2)
    # Half a heatmap pixel of this crop is about 4.7 image pixels.
    assert np.abs(joints - [[150, 90], [190, 140]]).max() < 6


def test_flip_averages_the_mirror_image() -> None:
    class Recorder(BrightSpots):
        def run(self, crops: np.ndarray) -> np.ndarray:
            heatmaps = super().run(crops)
            # A real network names the mirrored right hand "left": so does this one.
            return heatmaps if len(self.crops) % 2 else heatmaps[:, ::-1]

    image = spots((150, 90), (190, 140), (300, 400))
    contract = Contract(input_hw=(64, 64), codec=HeatmapCodec(), skeleton=ONE)
    executor = Recorder()
    finder = Finder([Model(executor, contract)], flip=True)
    joints, _ = finder.find(image, np.array([[120.0, 60.0, 100.0, 120.0]])).joints()
    assert np.array_equal(executor.crops[1], executor.crops[0][:, :, ::-1])
    assert np.abs(joints[0] - [[150, 90], [190, 140]]).max() < 6


def test_more_people_than_a_batch() -> None:
    image = spots((50, 50), (60, 60), (120, 120))
    boxes = np.tile([[20.0, 20.0, 80.0, 80.0]], (37, 1))
    executor = BrightSpots()
    finder = Finder([Model(executor, Contract((64, 64), HeatmapCodec(), ONE))])
    joints, _ = finder.find(image, boxes).joints()
    assert [len(crops) for crops in executor.crops] == [16, 16, 5]
    assert len({j.tobytes() for j in joints}) == 1
    nobody, scores = finder.find(image, np.zeros((0, 4))).joints()
    assert nobody.shape == (0, 2, 2)
    assert scores.shape == (0, 2)


def test_a_model_with_other_joints_is_refused() -> None:
    finder = Finder([Model(BrightSpots(), Contract((64, 64), HeatmapCodec(), MPII16))])
    with pytest.raises(EdgeposeError, match="2 heatmaps"):
        finder.find(np.zeros((64, 64, 3), np.uint8), np.array([[0.0, 0, 64, 64]]))


points = st.tuples(st.floats(-300, 600), st.floats(-300, 600))


@given(st.lists(points, min_size=2, max_size=2), st.floats(0.2, 1))
def test_drawing_changes_pixels_near_the_limb_only(
    xy: list[tuple[float, float]], score: float
) -> None:
    image = np.full((120, 160, 3), 128, np.uint8)
    joints = np.array(xy, np.float32)
    drawn = draw_skeletons(image, [joints], [np.full(2, score, np.float32)], ONE)
    assert (image == 128).all()  # the original is left alone
    changed = np.argwhere((drawn != image).any(axis=2))[:, ::-1]
    a, b = joints.astype(np.float64)
    along = b - a
    squared = float(along @ along)
    for pixel in changed[:: max(1, len(changed) // 200)]:
        t = np.clip((pixel - a) @ along / squared, 0, 1) if squared > 0 else 0.0
        assert np.linalg.norm(pixel - (a + t * along)) < 26  # the widest joint and its edge
    for joint in joints:
        x, y = (int(v) for v in np.rint(joint))
        if 0 <= x < 160 and 0 <= y < 120:
            assert (drawn[y, x] != 128).any()


def test_sides_have_their_colours_and_confidence_fades() -> None:
    image = np.zeros((100, 100, 3), np.uint8)
    legs = Skeleton("legs", ("right_knee", "right_ankle", "left_knee", "left_ankle"),
                    flip_pairs=((0, 2), (1, 3)), limbs=((0, 1), (2, 3)))  # fmt: skip
    xy = np.array([[25, 10], [25, 90], [75, 10], [75, 90]], np.float32)
    sure = draw_skeletons(image, [xy], [np.ones(4)], legs)
    assert np.abs(sure[50, 25].astype(int) - RIGHT_RGB).max() < 20
    assert np.abs(sure[50, 75].astype(int) - LEFT_RGB).max() < 20
    unsure = draw_skeletons(image, [xy], [np.full(4, 0.25)], legs)
    assert 0 < unsure[50, 25].max() < sure[50, 25].max()
    assert np.array_equal(draw_skeletons(image, [xy], [np.full(4, 0.19)], legs), image)
    hidden = draw_skeletons(image, [np.where(xy == 90, np.nan, xy)], [np.ones(4)], legs)
    assert (hidden[50, 25] == 0).all()
    assert list(fade(np.array([0.1, 0.2, 0.6, 1.0]), threshold=0.2, full=0.6)) == pytest.approx(
        [0, 0.35, 1, 1]
    )


def test_lines_grow_with_the_person() -> None:
    image = np.zeros((400, 400, 3), np.uint8)

    def area(length: float) -> int:
        xy = np.array([[50, 20], [50, 20 + length]])
        drawn = draw_skeletons(image, [xy], [np.ones(2)], ONE)
        return int((drawn[int(20 + length / 2)] > 0).any(axis=1).sum())

    assert area(350) > area(120) > 1


def test_boxes_come_from_the_file_the_option_or_the_image(tmp_path: Path) -> None:
    frame = Frame("photos/a.png", 0, 0.0, np.zeros((40, 60, 3), np.uint8))
    coco = tmp_path / "boxes.json"
    annotations = [
        {"image_id": 5, "category_id": 1, "bbox": [1, 2, 10, 20]},
        {"image_id": 5, "category_id": 1, "bbox": [9, 9, 0, 3]},
        {"image_id": 5, "category_id": 2, "bbox": [1, 1, 3, 3]},
        {"image_id": 5, "category_id": 1, "bbox": [1, 1, 3, 3], "iscrowd": 1},
    ]
    document = {
        "images": [{"id": 5, "file_name": "sub/a.png"}],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "person"}, {"id": 2, "name": "dog"}],
    }
    coco.write_text(json.dumps(document))
    boxes = BoxFile(coco)
    assert boxes.image_id(frame) == 5
    assert boxes.find(frame, None).tolist() == [[1, 2, 10, 20]]
    assert OneBox(parse_box("3,4,5,6")).find(frame, None).tolist() == [[3, 4, 5, 6]]
    assert WholeFrame().find(frame, None).tolist() == [[0, 0, 60, 40]]
    with pytest.raises(EdgeposeError, match="lies outside"):
        OneBox((60, 0, 5, 5)).find(frame, None)
    with pytest.raises(EdgeposeError, match=r"does not list the image b\.png"):
        boxes.find(Frame("b.png", 1, 0.0, frame.image), None)


@pytest.mark.parametrize(
    "content",
    ["", "[3]", "{}",
     '[{"image_id": 1}]', '{"images": [], "annotations": [{}]}', '{"images": [1], "annotations": []}',
     '{"images": [], "annotations": [{"image_id": 3, "bbox": [1, 2, 3, 4]}]}',
     '{"images": [{"id": 1, "file_name": "a"}], "annotations": [{"image_id": 1, "bbox": "abcd"}]}',
     '{"images": [], "annotations": [], "categories": 3}'],
)  # fmt: skip
def test_broken_box_files_are_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "boxes.json"
    path.write_text(content)
    with pytest.raises(EdgeposeError):
        BoxFile(path)


@pytest.mark.parametrize("text", ["", "1,2,3", "1,2,3,x", "1,2,0,4", "1,2,3,-4", "nan,1,2,3"])
def test_bad_boxes_are_refused(text: str) -> None:
    with pytest.raises(EdgeposeError, match="box"):
        parse_box(text)


def person(xy: np.ndarray, scores: np.ndarray, image_id: int, box: np.ndarray) -> Prediction:
    return Prediction("x.jpg", image_id, box, xy.astype(np.float32), scores.astype(np.float32))


def test_results_in_another_skeleton_go_by_name() -> None:
    xy = np.arange(32, dtype=float).reshape(16, 2)
    one = person(xy, np.full(16, 0.5), 3, np.array([0.0, 0, 9, 9]))
    (own,) = coco_results([one], MPII16)
    assert len(own["keypoints"]) == 48
    (coco,) = coco_results([one], MPII16, as_skeleton=COCO17)
    triples = np.array(coco["keypoints"]).reshape(17, 3)
    assert (triples[COCO17.joints.index("nose")] == 0).all()
    wrist = MPII16.joints.index("left_wrist")
    assert triples[COCO17.joints.index("left_wrist")].tolist() == [*xy[wrist], 0.5]


def test_written_files_hold_every_photo_and_person(tmp_path: Path) -> None:
    black = np.zeros((40, 60, 3), np.uint8)
    names = ("a/x.jpg", "b/x.png", "c.png")
    sink = PictureSink(tmp_path / "out", ONE)
    joints, box = np.array([[10, 10], [40, 30]], np.float32), np.array([0.0, 0, 60, 40])
    for i, name in enumerate(names):
        people = [Prediction(name, i, box, joints, np.ones(2))] if i < 2 else []
        sink.add(Frame(name, i, 0.0, black), people, image_id=i, figures="")
    sink.summarise()
    assert [path.name for path in sink.files] == [
        "x.png", "x-2.png", "c.png", "predictions.json", "images.json", "predictions.csv",
    ]  # fmt: skip
    assert cv2.imread(str(sink.files[1])).any()
    assert not cv2.imread(str(sink.files[2])).any()  # nobody was found there
    results = json.loads(sink.files[3].read_text())
    assert [r["image_id"] for r in results] == [0, 1]
    assert results[0]["keypoints"] == [10, 10, 1, 40, 30, 1]
    loaded = COCO(str(sink.files[4])).loadRes(str(sink.files[3]))
    assert loaded.getImgIds() == [0, 1, 2]
    assert len(loaded.getAnnIds(imgIds=[1])) == 1


@needs_photos
def test_perfect_predictions_are_perfect_for_the_coco_tools(tmp_path: Path) -> None:
    annotations = PHOTOS / "person_keypoints.json"
    truth = COCO(str(annotations))
    labelled = [a for a in truth.anns.values() if a["num_keypoints"] > 0 and not a["iscrowd"]]
    people = []
    for a in labelled:
        values = np.array(a["keypoints"], float).reshape(17, 3)
        people.append(person(values[:, :2], values[:, 2] / 2, a["image_id"], np.array(a["bbox"])))
    results = tmp_path / "results.json"
    results.write_text(json.dumps(coco_results(people, COCO17)))
    evaluation = COCOeval(truth, truth.loadRes(str(results)), "keypoints")
    evaluation.params.imgIds = sorted({a["image_id"] for a in labelled})
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] > 0.99  # AP over .50:.05:.95


@needs_photos
def test_photographs_open_with_their_boxes_and_are_drawn_on() -> None:
    annotations = PHOTOS / "person_keypoints.json"
    dataset = open_split(Config(annotations=annotations, images=PHOTOS / "images",
                                train_fraction=0.0), "val")  # fmt: skip
    sample = dataset[0]
    name = f"{int(sample.sample_id.split('/')[0]):012d}.jpg"
    (photo,) = Pictures([PHOTOS / "images" / name], name="one").frames()
    boxes = BoxFile(annotations).find(photo, None)
    assert photo.image.shape == sample.image.shape
    assert any(np.allclose(box, sample.box_xywh, atol=0.01) for box in boxes)
    one = person(sample.joints_xy, sample.annotated.astype(float), 1, boxes[0])
    drawn = draw(photo.image, [one], COCO17)
    changed = (drawn != photo.image).any(axis=2)
    assert 0.0005 < changed.mean() < 0.2
    ys, xs = np.nonzero(changed)
    x, y, w, h = sample.box_xywh
    margin = 0.25 * max(w, h)
    assert x - margin < xs.min()
    assert xs.max() < x + w + margin
    assert y - margin < ys.min()
    assert ys.max() < y + h + margin
