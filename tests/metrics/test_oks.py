"""OKS against pycocotools, which we did not write; AP from our arrays is its AP."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from edgepose.errors import EdgeposeError
from edgepose.metrics.oks import COCO_SIGMAS, mean_oks, oks
from edgepose.skeleton import COCO17, MPII16, shared_joints

_, SHARED_COCO, TWELVE = shared_joints(MPII16, COCO17)


def coco_world(seed, people, joints=17):
    """Random people, one to an image, as our arrays and inside pycocotools."""
    rng = np.random.default_rng(seed)
    true = rng.uniform(0, 300, (people, joints, 2)).round(1)
    pred = true + rng.normal(size=true.shape) * rng.choice([1, 5, 20], (people, 1, 1))
    annotated = rng.random((people, joints)) < 0.7
    annotated[np.arange(people), rng.integers(0, joints, people)] = True
    area = rng.uniform(400, 40_000, people)
    score = rng.random(people)
    return true, pred, annotated, area, score


def coco_eval(world, sigmas):
    true, pred, annotated, area, score = world
    people, joints = annotated.shape

    def triples(xy, v):
        return np.concatenate([xy, v[..., None]], -1).reshape(people, -1).tolist()

    truth, found = triples(true, 2.0 * annotated), triples(pred, np.ones((people, joints)))
    gt = COCO()
    gt.dataset = {
        "info": {},
        "images": [{"id": i + 1} for i in range(people)],
        "categories": [{"id": 1, "name": "person"}],
        "annotations": [
            {"id": i + 1, "image_id": i + 1, "category_id": 1, "iscrowd": 0, "area": area[i],
             "bbox": [0, 0, 9, 9], "keypoints": truth[i], "num_keypoints": annotated[i].sum()}
            for i in range(people)
        ],
    }  # fmt: skip
    gt.createIndex()
    results = [
        {"image_id": i + 1, "category_id": 1, "keypoints": found[i], "score": float(score[i])}
        for i in range(people)
    ]
    evaluation = COCOeval(gt, gt.loadRes(results), "keypoints")
    evaluation.params.kpt_oks_sigmas = np.array(sigmas)
    evaluation.evaluate()
    evaluation.accumulate()
    return evaluation


@pytest.mark.parametrize(
    "names", [COCO17.joints, TWELVE, COCO17.joints[:5]], ids=["17", "12", "head"]
)
@pytest.mark.parametrize("seed", range(4))
def test_equals_pycocotools(names, seed):
    world = coco_world(seed, people=30, joints=len(names))
    true, pred, annotated, area, _ = world
    ours = oks(pred, true, annotated=annotated, area_px2=area, joints=names)
    evaluation = coco_eval(world, [COCO_SIGMAS[n] for n in names])
    theirs = [evaluation.ious[(i + 1, 1)].item() for i in range(30)]
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_sigmas_are_pycocotools_own():
    theirs = COCOeval(iouType="keypoints").params.kpt_oks_sigmas
    np.testing.assert_allclose([COCO_SIGMAS[n] for n in COCO17.joints], theirs)
    assert len(TWELVE) == 12
    assert COCO17.joints[SHARED_COCO[0]] == TWELVE[0]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_oks_is_between_nothing_and_one_and_falls_with_distance(seed):
    true, pred, annotated, area, _ = coco_world(seed, people=6)
    how = {"annotated": annotated, "area_px2": area, "joints": COCO17.joints}
    near, far = oks(pred, true, **how), oks(true + 2 * (pred - true), true, **how)
    assert (near <= 1).all()
    assert (far >= 0).all()
    assert (far <= near).all()
    np.testing.assert_array_equal(oks(true, true, **how), np.ones(6))


def test_people_who_cannot_be_scored_are_nan_and_stay_out():
    true, pred, annotated, area, _ = coco_world(9, people=5)
    annotated[1] = False
    area[2], area[3] = np.nan, 0.0
    values = oks(pred, true, annotated=annotated, area_px2=area, joints=COCO17.joints)
    assert np.isnan(values).tolist() == [False, True, True, True, False]
    assert mean_oks(values) == pytest.approx((values[0] + values[4]) / 2)
    assert np.isnan(mean_oks([np.nan]))


def test_a_prediction_that_is_no_number_scores_nothing():
    true, pred, annotated, area, _ = coco_world(3, people=2)
    pred[0] = np.nan
    values = oks(pred, true, annotated=annotated, area_px2=area, joints=COCO17.joints)
    assert values[0] == 0


def test_bad_arguments_are_named():
    true, pred, annotated, area, _ = coco_world(0, people=2)
    with pytest.raises(EdgeposeError, match="pelvis"):
        oks(pred, true, annotated=annotated, area_px2=area, joints=(*COCO17.joints[:-1], "pelvis"))
    with pytest.raises(EdgeposeError, match="12 joint names"):
        oks(pred, true, annotated=annotated, area_px2=area, joints=TWELVE)
    with pytest.raises(EdgeposeError, match="area_px2"):
        oks(pred, true, annotated=annotated, area_px2=area[:1], joints=COCO17.joints)
