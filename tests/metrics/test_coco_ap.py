"""AP from our arrays is pycocotools' AP, and so is every resample of it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepose.errors import EdgeposeError
from edgepose.metrics import coco_ap
from edgepose.metrics.coco_ap import match, rescored
from edgepose.metrics.oks import COCO_SIGMAS
from edgepose.skeleton import COCO17

SIGMAS = np.array([COCO_SIGMAS[name] for name in COCO17.joints])


def crowd(seed, images, *, noise=(1, 6, 25)):
    """A few people per image, close enough that a prediction can be taken for a neighbour's."""
    rng = np.random.default_rng(seed)
    of_image = np.repeat(np.arange(images), rng.integers(1, 4, images))
    people = len(of_image)
    pose = rng.uniform(0, 60, (people, 17, 2))
    true = (pose + rng.uniform(0, 40, (people, 1, 2))).round(1)
    pred = true + rng.normal(size=true.shape) * rng.choice(noise, (people, 1, 1))
    annotated = rng.random((people, 17)) < 0.7
    annotated[:, 0] = True
    return {
        "pred_xy": pred, "confidence": rng.random(people), "true_xy": true,
        "annotated": annotated, "area_px2": rng.uniform(900, 4000, people),
        "images": [f"image {i}" for i in of_image],
    }  # fmt: skip


def found(world):
    return match(**world, joints=COCO17.joints)


def package(world, images):
    """pycocotools on these images, in their order; one that stands twice is two images."""
    truth, results = [], []
    for number, image in enumerate(images, 1):
        for i in np.nonzero([name == image for name in world["images"]])[0]:
            v = 2.0 * world["annotated"][i][:, None]
            place = {"image_id": number, "category_id": 1}
            truth.append({**place, "id": len(truth) + 1, "iscrowd": 0, "bbox": [0, 0, 9, 9],
                          "area": world["area_px2"][i], "num_keypoints": int(v.sum() / 2),
                          "keypoints": np.hstack([world["true_xy"][i], v]).ravel().tolist()})  # fmt: skip
            points = np.hstack([world["pred_xy"][i], np.ones((17, 1))]).ravel().tolist()
            results.append({**place, "keypoints": points, "score": world["confidence"][i]})
    dataset = {"info": {}, "categories": [{"id": 1}], "annotations": truth,
               "images": [{"id": n} for n in range(1, len(images) + 1)]}  # fmt: skip
    return coco_ap.evaluate(dataset, results, SIGMAS).eval


@pytest.mark.parametrize("seed", range(4))
def test_noisy_ground_truth_scores_what_the_package_says(seed):
    world = crowd(seed, 12)
    ours, theirs = found(world), package(world, list(dict.fromkeys(world["images"])))
    np.testing.assert_allclose(ours.ap, theirs["precision"][:, :, 0, 0, 0].mean(1), atol=1e-12)
    np.testing.assert_allclose(ours.recall, theirs["recall"][:, 0, 0, 0], atol=1e-12)
    assert 0.1 < ours.ap.mean() < 0.9


def test_perfect_predictions_give_one():
    world = crowd(0, 20)
    world["pred_xy"] = world["true_xy"]
    ours = found(world)
    assert ours.ap == pytest.approx(np.ones(10), abs=1e-12)
    assert ours.recall == pytest.approx(np.ones(10))
    assert ours.ap_draws == pytest.approx(np.ones((1000, 10)), abs=1e-12)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_resample_is_the_package_on_the_drawn_images(seed):
    world = crowd(seed, 6)
    names = list(dict.fromkeys(world["images"]))
    rng = np.random.default_rng(seed)
    rows = np.stack([np.arange(6), rng.integers(0, 6, 6), rng.integers(0, 6, 6)])
    ours = found(world)
    drawn = ours._weighted(rows)
    np.testing.assert_allclose(drawn[0], ours.ap, atol=1e-12)
    for row, values in zip(rows, drawn, strict=True):
        theirs = package(world, [names[i] for i in row])
        expected = theirs["precision"][:, :, 0, 0, 0].mean(1)
        np.testing.assert_allclose(values, expected, atol=1e-12)


def test_the_interval_holds_the_score_and_shrinks_with_people():
    few, many = found(crowd(1, 20)), found(crowd(1, 320))
    widths = []
    for one in (few, many):
        low, high = np.percentile(one.ap_draws.mean(1), [2.5, 97.5])
        assert low < one.ap.mean() < high
        widths.append(high - low)
    assert widths[1] == pytest.approx(widths[0] / 4, rel=0.4)


def test_people_whom_nobody_found_and_predictions_that_are_no_numbers():
    world = crowd(3, 8)
    world["pred_xy"] = np.full_like(world["pred_xy"], np.nan)
    assert found(world).ap.tolist() == [0] * 10
    assert not found(world).ap_draws.any()


def test_confidence_is_hrnets():
    scores = [[0.9, 0.5, 0.2, 0.1], [0.2, 0.1, 0, 0]]
    assert rescored(scores).tolist() == [0.7, 0]


def test_a_joint_without_a_sigma_is_named():
    world = crowd(0, 2)
    with pytest.raises(EdgeposeError, match="for pelvis"):
        match(**world, joints=(*COCO17.joints[:-1], "pelvis"))
