"""Boxes from files go by picture or frame; following keeps to the joints; sizes go by boxes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgepose.device.codec import HeatmapCodec
from edgepose.device.input_sizes import choose_size
from edgepose.errors import EdgeposeError
from edgepose.predict import Contract
from edgepose.skeleton import COCO17, MPII16, Skeleton
from edgepose.video.box_file import BoxFile
from edgepose.video.boxes import Before, Following, OneBox, Rough, follow
from edgepose.video.finder import Finder, Model
from edgepose.video.frames import Frame

from .conftest import BrightSpots, frame_of, spots_at

PAIR = Skeleton("pair", ("right_hand", "left_hand"), flip_pairs=((0, 1),), limbs=((0, 1),))


def frame(index: int, name: str = "film.mp4") -> Frame:
    return Frame(name, index, index / 20, frame_of(index))


def entry(image_id: int | str, box: list[float], **more: object) -> dict[str, object]:
    return {"image_id": image_id, "category_id": 1, "bbox": box, "score": 0.9, **more}


def test_results_go_by_stem_number_or_frame(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps([
        entry(785, [1, 2, 3, 4]), entry(785, [9, 9, 9, 9], score=0.1),
        entry(785, [5, 5, 5, 5], category_id=18), entry("walk", [5, 6, 7, 8]),
    ]))  # fmt: skip
    boxes = BoxFile(path)
    assert boxes.find(frame(0, "x/000000000785.jpg"), None).tolist() == [[1, 2, 3, 4]]
    assert boxes.find(frame(0, "walk.png"), None).tolist() == [[5, 6, 7, 8]]
    assert boxes.find(frame(0, "other.png"), None).shape == (0, 4)
    assert BoxFile(path, min_score=0.05).find(frame(0, "785.png"), None).shape == (2, 4)
    film = BoxFile(path, moving=True)
    assert film.find(frame(785), None).tolist() == [[1, 2, 3, 4]]
    assert [film.knows(frame(i)) for i in (784, 785)] == [False, True]


def before(xy: np.ndarray, scores: np.ndarray, box: list[float]) -> Before:
    return [Rough(box, list(map(tuple, xy.tolist())), scores.tolist())]


def test_the_next_box_holds_the_joints() -> None:
    xy = np.random.default_rng(0).uniform(40, 140, (16, 2))
    (box,) = follow(before(xy, np.ones(16), [30, 30, 120, 120]), frame_hw=(200, 200))
    low, high = xy.min(axis=0), xy.max(axis=0)
    assert (box[:2] < low).all()
    assert (box[:2] + box[2:] > high).all()
    assert (box[2:] < 1.35 * (high - low)).all()
    # A joint that was not seen does not pull the box.
    xy[3], scores = (190, 190), np.where(np.arange(16) == 3, 0.05, 1.0)
    (again,) = follow(before(xy, scores, [30, 30, 120, 120]), frame_hw=(200, 200))
    assert (again[:2] + again[2:] < 175).all()


def test_people_who_are_lost_doubled_or_gone_are_not_followed() -> None:
    xy = np.random.default_rng(0).uniform(40, 140, (16, 2))
    unsure = np.where(np.arange(16) < 3, 1.0, 0.1)
    assert follow(before(xy, unsure, [30, 30, 120, 120]), frame_hw=(200, 200)).shape == (0, 4)
    gone = before(xy + 500, np.ones(16), [530, 530, 120, 120])
    assert follow(gone, frame_hw=(200, 200)).shape == (0, 4)
    one = before(xy, np.ones(16), [30, 30, 120, 120])
    assert len(follow([*one, *one], frame_hw=(200, 200))) == 1


def test_following_walks_along_and_starts_again_when_all_are_lost() -> None:
    finder = Finder([Model(BrightSpots(), Contract((64, 64), HeatmapCodec(), PAIR))])
    boxes = Following(OneBox((40.0, 30.0, 60.0, 100.0)))
    last: Before | None = None
    for index in range(24):
        here = boxes.find(frame(index), last)
        assert len(here) == 1
        x, y, w, h = here[0]
        assert (
            (spots_at(index) > (x - 9, y - 9)) & (spots_at(index) < (x + w + 9, y + h + 9))
        ).all()
        found = finder.find(frame(index).image, here)
        last = found.roughly()
    dark = [person._replace(scores=[0.0, 0.0]) for person in last or []]
    assert boxes.find(frame(3), dark).tolist() == [[40, 30, 60, 100]]


def test_a_file_that_knows_some_frames_leaves_the_others_to_following(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps([entry(0, [40, 30, 60, 100]), entry(2, [1, 1, 50, 50])]))
    boxes = Following(BoxFile(path, moving=True))
    assert boxes.find(frame(0), None).tolist() == [[40, 30, 60, 100]]
    last = before(spots_at(0), np.ones(2), [40, 30, 60, 100])
    assert boxes.find(frame(2), last).tolist() == [[1, 1, 50, 50]]
    assert boxes.find(frame(1), last).tolist() not in ([[40, 30, 60, 100]], [[1, 1, 50, 50]])


def test_the_size_nearest_above_the_box_is_chosen() -> None:
    sizes = [(256, 192), (64, 48), (128, 96)]
    for box, wanted in (
        ((60, 40), (64, 48)), ((64, 48), (64, 48)), ((64, 49), (128, 96)), ((200, 200), (256, 192)),
        ((900, 400), (256, 192)),
    ):  # fmt: skip
        assert choose_size(box, sizes) == wanted


def test_each_person_goes_to_the_model_of_their_size() -> None:
    small, large = BrightSpots(), BrightSpots()
    models = [
        Model(executor, Contract(hw, HeatmapCodec(), PAIR))
        for executor, hw in ((large, (128, 128)), (small, (64, 64)))
    ]
    boxes = np.array([[50.0, 20, 50, 110], [40, 30, 60, 60], [40, 40, 20, 20]])
    found = Finder(models).find(frame_of(0), boxes)
    assert found.input_hw == [(128, 128), (64, 64), (64, 64)]
    assert [c.shape for c in large.crops] == [(1, 128, 128, 3)]
    assert [c.shape for c in small.crops] == [(2, 64, 64, 3)]
    joints, _ = found.joints()
    assert np.abs(joints[0] - spots_at(0)).max() < 5  # in pixels of the picture, whatever the crop


@pytest.mark.parametrize(
    ("coding", "hw"), [("standard", (64, 64)), ("dark", (64, 48)), ("udp", (96, 64))]
)
def test_rough_joints_are_within_a_heatmap_pixel_of_the_exact(
    coding: str, hw: tuple[int, int]
) -> None:
    contract = Contract(hw, HeatmapCodec(coding=coding), PAIR)  # type: ignore[arg-type]
    boxes = np.array([[40.0, 30, 60, 100], [30, 20, 80, 120]])
    found = Finder([Model(BrightSpots(), contract)]).find(frame_of(0), boxes)
    (exact, scores), people = found.joints(), found.roughly()
    assert [person.box_xywh for person in people] == boxes.tolist()
    np.testing.assert_array_equal(scores, [person.scores for person in people])
    rough = np.array([person.joints_xy for person in people])
    pitch = 4 * 1.25 * max(boxes[:, 3]) / min(hw)  # image pixels in a heatmap's
    assert np.abs(exact - rough).max() < pitch


def test_models_that_do_not_belong_together_are_refused() -> None:
    def model(hw: tuple[int, int], skeleton: Skeleton) -> Model:
        return Model(BrightSpots(), Contract(hw, HeatmapCodec(), skeleton))

    with pytest.raises(EdgeposeError, match="different joints: mpii16, coco17"):
        Finder([model((64, 64), MPII16), model((128, 128), COCO17)])
    with pytest.raises(EdgeposeError, match="crops of one size: 64x64, 64x64"):
        Finder([model((64, 64), PAIR), model((64, 64), PAIR)])
