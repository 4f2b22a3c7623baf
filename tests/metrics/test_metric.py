"""Every metric that a recipe may name: what it needs, what it calls itself, and its intervals."""

import typing
from dataclasses import replace

import numpy as np
import pytest

from edgepose.errors import EdgeposeError
from edgepose.metrics.metric import METRICS, difference, natural
from edgepose.metrics.pck import head_segment_px, longer_side_px, torso_px
from edgepose.metrics.truth import Truth
from edgepose.recipe_sections import Head
from edgepose.skeleton import COCO17, LSP14, MPII16, Skeleton

TAIL = Skeleton("dog2", ("tail", "snout"), (), ())


def people(skeleton, *, count=30, head=True, area=True, box=True, seed=0):
    rng = np.random.default_rng(seed)
    xy = rng.uniform(0, 200, (count, skeleton.num_joints, 2))
    return Truth(
        xy=xy,
        annotated=np.ones(xy.shape[:2], bool),
        skeleton=skeleton,
        head_px=np.full(count, 20.0 if head else np.nan),
        area_px2=np.full(count, 9000.0 if area else np.nan),
        box_xywh=np.tile([0.0, 0.0, 100.0, 200.0 if box else 0.0], (count, 1)) * box,
        images=tuple(str(i // 2) for i in range(count)),
    )


def noisy(truth, spread, seed=1):
    return truth.xy + np.random.default_rng(seed).normal(size=truth.xy.shape) * spread


def test_the_recipe_knows_these_words():
    assert typing.get_args(Head.model_fields["metric"].annotation) == tuple(METRICS)


@pytest.mark.parametrize(
    ("skeleton", "labels", "word"),
    [
        (MPII16, {}, "pckh"),
        (COCO17, {"head": False}, "oks_ap"),
        (COCO17, {"head": False, "area": False}, "pck"),
        (LSP14, {"head": False, "area": False}, "pck"),
        (MPII16, {"head": False}, "pck"),
        (TAIL, {"head": False}, "pck_box"),
    ],
)
def test_the_natural_metric_of_labels(skeleton, labels, word):
    assert natural(people(skeleton, **labels)).word == word


@pytest.mark.parametrize(
    ("word", "skeleton", "labels", "parts"),
    [
        ("pckh", COCO17, {"head": False}, ["head sizes", "metric: oks_ap"]),
        ("oks_ap", MPII16, {}, ["sigmas (not known for pelvis", "metric: pckh"]),
        ("oks_ap", TAIL, {"head": False}, ["not known for tail, snout", "metric: pck_box"]),
        ("oks_ap", COCO17, {"area": False, "head": False}, ["person areas", "metric: pck"]),
        ("pck", TAIL, {"head": False}, ["left_shoulder, right_hip", "metric: pck_box"]),
        ("pckh_head_segment", COCO17, {"head": False}, ["head_top, upper_neck", "oks_ap"]),
    ],
)
def test_what_labels_do_not_allow_is_refused_with_what_they_allow(word, skeleton, labels, parts):
    truth = people(skeleton, **labels)
    with pytest.raises(EdgeposeError) as error:
        METRICS[word].score(truth.xy, np.ones(truth.annotated.shape), truth)
    for part in parts:
        assert part in str(error.value)


def test_labels_that_allow_nothing_are_refused():
    with pytest.raises(EdgeposeError, match="no person of 30"):
        natural(people(TAIL, head=False, box=False))


@pytest.mark.parametrize("word", METRICS)
def test_scores_intervals_and_paired_differences(word):
    metric = METRICS[word]
    truth = people(COCO17 if word == "oks_ap" else MPII16)
    sure = np.ones(truth.annotated.shape)
    perfect = metric.score(truth.xy, sure, truth)
    assert list(perfect) == [metric.primary, metric.strict]
    assert [s.value for s in perfect.values()] == pytest.approx([100, 100])
    better, worse = (metric.score(noisy(truth, s), sure, truth) for s in (12, 16))
    for name, score in better.items():
        assert score.persons == len(truth)
        low, high = score.ci95
        assert low <= score.value <= high
        gain, low, high = difference(score, worse[name])
        assert gain == pytest.approx(score.value - worse[name].value)
        assert low <= gain <= high
        assert difference(score, score) == (0.0, 0.0, 0.0)
    assert better[metric.strict].value < better[metric.primary].value
    assert (difference(better[metric.primary], worse[metric.primary])[0]) > 0


def test_sizes_are_the_stated_lengths():
    truth = people(LSP14, count=4)
    at = {name: truth.xy[:, j] for j, name in enumerate(LSP14.joints)}
    known = truth.annotated.copy()
    known[1, LSP14.joints.index("right_hip")] = False
    torso = torso_px(truth.xy, known, LSP14)
    expected = np.hypot(*(at["left_shoulder"] - at["right_hip"]).T)
    expected[1] = np.nan
    np.testing.assert_allclose(torso, expected)
    np.testing.assert_allclose(
        head_segment_px(truth.xy, known, LSP14), np.hypot(*(at["head_top"] - at["upper_neck"]).T)
    )
    assert longer_side_px([[0, 0, 3, 7], [0, 0, 9, 2]]).tolist() == [7, 9]


def test_pck_at_a_fifth_of_the_torso():
    """One joint of one person is moved to just inside and just outside of 0.2 torsos."""
    truth = people(LSP14, count=1, head=False, area=False)
    torso = torso_px(truth.xy, truth.annotated, LSP14)[0]
    for part, right in ((0.199, 14), (0.201, 13)):
        pred = truth.xy.copy()
        pred[0, 6, 0] += part * torso
        score = METRICS["pck"].score(pred, np.ones((1, 14)), truth)["pck@0.2"]
        assert score.value == pytest.approx(100 * right / 14)


def test_people_without_a_size_stay_out():
    truth = people(COCO17)
    area = truth.area_px2.copy()
    area[:10] = np.nan
    part = replace(truth, area_px2=area)
    pred = noisy(truth, 10)
    sure = np.random.default_rng(2).uniform(0.3, 1, truth.annotated.shape)
    score = METRICS["oks_ap"].score(pred, sure, part)["oks_ap"]
    alone = METRICS["oks_ap"].score(pred[10:], sure[10:], truth.people(np.arange(30) >= 10))
    assert score.persons == 20
    assert score.value == alone["oks_ap"].value
