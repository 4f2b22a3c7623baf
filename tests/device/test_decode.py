"""Decoding against a literal transcription of the published rule, joint by joint."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgepose.device import decode, geometry
from edgepose.device.errors import DeviceError


def literal_decode(heatmaps):
    n, joints, h, w = heatmaps.shape
    xy = np.zeros((n, joints, 2), np.float32)
    score = np.zeros((n, joints), np.float32)
    for i in range(n):
        for j in range(joints):
            hm = heatmaps[i, j]
            best, by, bx = -np.inf, 0, 0
            for y in range(h):
                for x in range(w):
                    if hm[y, x] > best:
                        best, by, bx = hm[y, x], y, x
            score[i, j] = best
            if best <= 0:
                continue
            x, y = float(bx), float(by)
            if 1 < bx < w - 1 and 1 < by < h - 1:
                x += 0.25 * np.sign(hm[by, bx + 1] - hm[by, bx - 1])
                y += 0.25 * np.sign(hm[by + 1, bx] - hm[by - 1, bx])
            xy[i, j] = x, y
    return xy, score


shapes = hnp.array_shapes(min_dims=4, max_dims=4, min_side=1, max_side=7)
# few distinct values: ties, plateaus and all-negative maps come up all the time
few = hnp.arrays(np.float32, shapes, elements=st.sampled_from([-1.0, 0.0, 0.5, 1.0, 2.0]))
many = hnp.arrays(np.float32, shapes, elements=st.floats(-10, 10, width=32))


@settings(max_examples=200)
@given(st.one_of(few, many))
def test_equals_the_literal_rule(heatmaps):
    xy, score = decode.decode_heatmaps(heatmaps)
    expected_xy, expected_score = literal_decode(heatmaps)
    assert xy.dtype == score.dtype == np.float32
    np.testing.assert_array_equal(xy, expected_xy)
    np.testing.assert_array_equal(score, expected_score)


@given(many)
def test_joints_stay_on_the_heatmap(heatmaps):
    xy, _ = decode.decode_heatmaps(heatmaps)
    h, w = heatmaps.shape[2:]
    assert (xy >= 0).all()
    assert (xy[..., 0] <= w - 1).all()
    assert (xy[..., 1] <= h - 1).all()


@given(few, st.sampled_from([0.125, 0.5, 2.0, 64.0]))
def test_positive_scaling_moves_no_joint(heatmaps, factor):
    a, _ = decode.decode_heatmaps(heatmaps)
    b, _ = decode.decode_heatmaps(heatmaps * np.float32(factor))
    np.testing.assert_array_equal(a, b)


def test_the_quarter_pixel_at_every_place_of_a_small_heatmap():
    """A peak at each pixel in turn, on a slope: where the border rule starts is exact."""
    slope = np.add.outer(np.arange(7), np.arange(9)).astype(np.float32) / 100
    heatmaps = np.tile(slope, (63, 1, 1, 1))
    heatmaps.reshape(63, 63)[np.arange(63), np.arange(63)] = 1
    xy, score = decode.decode_heatmaps(heatmaps)
    expected_xy, expected_score = literal_decode(heatmaps)
    np.testing.assert_array_equal(xy, expected_xy)
    np.testing.assert_array_equal(score, expected_score)
    moved = (xy[:, 0] % 1 == 0.25).all(axis=1)
    assert moved.reshape(7, 9)[2:6, 2:8].all()
    assert moved.sum() == 4 * 6


def test_ties_take_the_lowest_index():
    heatmaps = np.zeros((1, 1, 8, 8), np.float32)
    heatmaps[0, 0, 5, 2] = heatmaps[0, 0, 5, 6] = heatmaps[0, 0, 2, 6] = 1
    xy, _ = decode.decode_heatmaps(heatmaps)
    np.testing.assert_array_equal(xy[0, 0], (6, 2))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_no_number_no_joints(value):
    heatmaps = np.zeros((2, 3, 8, 8), np.float32)
    heatmaps[1, 2, 4, 4] = value
    with pytest.raises(DeviceError, match="1 of 6 heatmaps"):
        decode.decode_heatmaps(heatmaps)
    with pytest.raises(DeviceError, match="shape"):
        decode.decode_heatmaps(heatmaps[0])


def test_half_precision_decodes_like_its_float32_values():
    heatmaps = np.random.default_rng(0).normal(size=(2, 16, 16, 16)).astype(np.float16)
    got = decode.decode_heatmaps(heatmaps)
    expected = decode.decode_heatmaps(heatmaps.astype(np.float32))
    np.testing.assert_array_equal(got[0], expected[0])
    np.testing.assert_array_equal(got[1], expected[1])


@given(
    st.floats(-300, 300), st.floats(20, 900), st.floats(-60, 60), st.floats(0, 63), st.floats(0, 63)
)
def test_heatmap_to_image_inverts_crop_and_stride(center, size, angle, x, y):
    matrix = geometry.crop_matrix((center, 40), (size, size), (256, 256), rotation_deg=angle)
    image_xy = decode.heatmap_to_image_xy(np.array([[[x, y]]]), matrix, 4)
    assert image_xy.shape == (1, 1, 2)
    assert image_xy.dtype == np.float32
    crop_xy = geometry.apply_affine(matrix, image_xy[0])
    np.testing.assert_allclose(crop_xy, [[4 * x, 4 * y]], atol=2e-2)
    batched = decode.heatmap_to_image_xy(np.array([[[x, y]]] * 2), np.stack([matrix] * 2), 4)
    np.testing.assert_array_equal(batched[1], image_xy[0])


def test_flip_average_mirrors_swaps_and_shifts_by_one():
    rng = np.random.default_rng(0)
    plain, flipped = rng.normal(size=(2, 2, 4, 5, 6)).astype(np.float32)
    flip_index = (1, 0, 2, 3)
    untouched = flipped.copy()
    got = decode.flip_average(plain, flipped, flip_index)
    for i in range(2):
        for j in range(4):
            for x in range(6):
                mirrored = 5 - max(x - 1, 0)
                expected = (plain[i, j, :, x] + flipped[i, flip_index[j], :, mirrored]) / 2
                np.testing.assert_allclose(got[i, j, :, x], expected, rtol=1e-6)
    with pytest.raises(DeviceError):
        decode.flip_average(plain, flipped, (1, 0))
    np.testing.assert_array_equal(flipped, untouched)
