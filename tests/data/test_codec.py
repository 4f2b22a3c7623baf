"""Heatmap targets against a literal transcription of the published rule."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepose.data.codec import encode_batch, encode_heatmaps
from edgepose.device.codec import sigma_for
from edgepose.device.decode import decode_heatmaps
from edgepose.errors import EdgeposeError


def literal_target(joints, annotated, heatmap_hw, stride, sigma):
    h, w = heatmap_hw
    target = np.zeros((len(joints), h, w))
    weights = np.array(annotated, dtype=float)
    radius = int(sigma * 3)
    for j, (x, y) in enumerate(joints):
        if not annotated[j]:
            continue
        mu_x, mu_y = int(x / stride + 0.5), int(y / stride + 0.5)
        hit = False
        for v in range(mu_y - radius, mu_y + radius + 1):
            for u in range(mu_x - radius, mu_x + radius + 1):
                if 0 <= u < w and 0 <= v < h:
                    hit = True
                    d2 = (u - mu_x) ** 2 + (v - mu_y) ** 2
                    target[j, v, u] = np.exp(-d2 / (2 * sigma**2))
        weights[j] = float(hit)
    return target, weights


coordinate = st.one_of(st.floats(-60, 320), st.sampled_from([-1e9, -2.0, -1.9, 0.0, 255.0, 1e9]))
people = st.lists(st.tuples(coordinate, coordinate, st.booleans()), min_size=1, max_size=5)


@settings(max_examples=150, deadline=None)
@given(people, st.sampled_from([((64, 64), 4, 2.0), ((16, 24), 4, 1.0), ((48, 32), 8, 1.5)]))
def test_equals_the_literal_rule(person, shape):
    heatmap_hw, stride, sigma = shape
    joints = np.array([p[:2] for p in person])
    annotated = np.array([p[2] for p in person])
    heatmaps, weights = encode_heatmaps(
        joints, annotated, heatmap_hw=heatmap_hw, stride=stride, sigma=sigma
    )
    expected, expected_weights = literal_target(joints, annotated, heatmap_hw, stride, sigma)
    assert heatmaps.dtype == weights.dtype == np.float32
    np.testing.assert_allclose(heatmaps, expected, atol=1e-6)
    np.testing.assert_array_equal(weights, expected_weights)


@pytest.mark.parametrize("axis", [0, 1])
def test_where_a_joint_leaves_the_heatmap(axis):
    """Pixel by pixel across both borders: the weight drops when the last pixel is gone."""
    joints = np.full((60, 2), 40.0)
    joints[:, axis] = np.arange(-20, 40) * 4.0
    heatmaps, weights = encode_heatmaps(
        joints, np.ones(60, bool), heatmap_hw=(20, 20), stride=4, sigma=2.0
    )
    expected, expected_weights = literal_target(joints, np.ones(60, bool), (20, 20), 4, 2.0)
    np.testing.assert_array_equal(weights, expected_weights)
    np.testing.assert_allclose(heatmaps, expected, atol=1e-6)
    assert weights.sum() == 7 + 20 + 6  # int() truncates: -7 counts as -6


def test_batch_is_each_person_on_its_own():
    rng = np.random.default_rng(0)
    joints, annotated = rng.uniform(-40, 300, (9, 16, 2)), rng.random((9, 16)) < 0.8
    how = {"heatmap_hw": (64, 64), "stride": 4, "sigma": 2.0}
    heatmaps, weights = encode_batch(joints, annotated, **how)
    for i in range(9):
        one, weight = encode_heatmaps(joints[i], annotated[i], **how)
        np.testing.assert_array_equal(heatmaps[i], one)
        np.testing.assert_array_equal(weights[i], weight)


def test_round_trip_is_as_good_as_this_coding_can_be():
    joints = np.random.default_rng(1).uniform(16, 239, (200, 16, 2))
    heatmaps, weights = encode_batch(
        joints, np.ones((200, 16), bool), heatmap_hw=(64, 64), stride=4, sigma=2.0
    )
    assert (weights == 1).all()
    assert (heatmaps.max(axis=(2, 3)) == 1).all()
    xy, score = decode_heatmaps(heatmaps)
    error = np.linalg.norm(4 * xy - joints, axis=-1)
    assert error.mean() <= 1.6
    assert error.max() <= np.sqrt(8) + 1e-3
    assert (score == 1).all()


def test_joints_without_annotation_may_have_no_coordinates():
    joints = np.array([[np.nan, np.nan], [8.0, 8.0]])
    how = {"heatmap_hw": (16, 16), "stride": 4, "sigma": 1.0}
    heatmaps, weights = encode_heatmaps(joints, np.array([False, True]), **how)
    assert not heatmaps[0].any()
    assert weights.tolist() == [0, 1]
    with pytest.raises(EdgeposeError, match="1 annotated joints"):
        encode_heatmaps(joints, np.array([True, True]), **how)
    with pytest.raises(ValueError, match="annotated"):
        encode_heatmaps(joints, np.array([True]), **how)


def test_sigma_grows_with_the_heatmap():
    sizes = [(64, 64), (64, 48), (96, 72), (32, 32), (16, 16)]
    assert [sigma_for(hw) for hw in sizes] == [2, 2, 3, 1, 1]
