"""Overlaps equal the COCO tools', people keep their numbers."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask

from edgepose.video.tracking import Config, Tracker, iou

boxes = st.lists(
    st.tuples(st.floats(-50, 50), st.floats(-50, 50), st.floats(1, 60), st.floats(1, 60)),
    min_size=1, max_size=5,
)  # fmt: skip


@given(boxes, boxes)
def test_iou_is_that_of_the_coco_tools(
    a: list[tuple[float, ...]], b: list[tuple[float, ...]]
) -> None:
    wanted = mask.iou(np.array(a), np.array(b), [False] * len(b))
    np.testing.assert_allclose(iou(a, b), wanted, atol=1e-9)


def test_people_who_pass_each_other_keep_their_numbers() -> None:
    tracker = Tracker()
    seen = []
    for step in range(30):
        left, right = [10.0 + 8 * step, 40, 40, 100], [250.0 - 8 * step, 70, 60, 120]
        order = (left, right) if step % 2 else (right, left)  # a detector's order means nothing
        numbers = tracker.update(order)
        seen.append(numbers if step % 2 else numbers[::-1])
    assert len({tuple(pair) for pair in seen}) == 1
    assert sorted(seen[0]) == [1, 2]


def test_the_assignment_is_the_best_in_all_not_box_by_box() -> None:
    tracker = Tracker(Config(min_iou=0.05))
    assert tracker.update([[0, 0, 10, 10], [9, 0, 10, 10]]) == [1, 2]
    # Both overlap person 1 most; taken greedily, person 2 would be lost.
    assert tracker.update([[1, 0, 10, 10], [4, 0, 10, 10]]) == [1, 2]


def test_a_number_waits_for_its_person_and_is_never_given_again() -> None:
    tracker = Tracker(Config(max_age=2))
    assert tracker.update([[0, 0, 10, 10]]) == [1]
    assert tracker.update([]) == []
    assert tracker.update([]) == []
    assert tracker.update([[1, 0, 10, 10]]) == [1]
    for _ in range(3):
        tracker.update([])
    assert not tracker.knows(1)
    assert tracker.update([[1, 0, 10, 10], [200, 0, 10, 10]]) == [2, 3]
