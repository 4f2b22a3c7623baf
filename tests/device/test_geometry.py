"""Crop geometry against OpenCV and against the published construction."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepose.device import geometry
from edgepose.device.errors import DeviceError

finite = st.floats(-500, 500, allow_nan=False)
sizes = st.floats(8, 2000, allow_nan=False)
angles = st.floats(-180, 180, allow_nan=False)


def published_matrix(center, size_w, out_wh, rotation_deg):
    """Three point pairs as SimpleBaseline describes them, solved by OpenCV."""
    out_w, out_h = out_wh
    rad = np.pi * rotation_deg / 180
    source_up = np.array([np.sin(rad), -np.cos(rad)]) * size_w / 2
    target_up = np.array([0.0, -out_w / 2])

    def third(a, b):
        d = a - b
        return b + np.array([-d[1], d[0]])

    source = np.array([center, center + source_up])
    middle = np.array([out_w / 2, out_h / 2])
    target = np.array([middle, middle + target_up])
    source = np.vstack([source, third(source[0], source[1])]).astype(np.float32)
    target = np.vstack([target, third(target[0], target[1])]).astype(np.float32)
    return cv2.getAffineTransform(source, target)


@given(finite, finite, sizes, angles, st.sampled_from([(128, 128), (192, 256), (256, 192)]))
def test_crop_matrix_is_the_published_one(cx, cy, size, angle, out_wh):
    center = np.array([cx, cy])
    ours = geometry.crop_matrix(center, (size, size), out_wh, rotation_deg=angle)
    theirs = published_matrix(center, size, out_wh, angle)
    corners = center + size / 2 * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
    difference = geometry.apply_affine(ours, corners) - geometry.apply_affine(theirs, corners)
    assert np.abs(difference).max() < 0.05  # OpenCV solves from float32 points


@given(finite, finite, sizes, angles)
def test_inverse_undoes_the_crop(cx, cy, size, angle):
    matrix = geometry.crop_matrix((cx, cy), (size, size), (256, 256), rotation_deg=angle)
    points = np.array([[0.0, 0.0], [cx, cy], [640.0, 480.0]])
    back = geometry.apply_affine(
        geometry.invert_affine(matrix), geometry.apply_affine(matrix, points)
    )
    np.testing.assert_allclose(back, points, atol=1e-6)
    np.testing.assert_allclose(geometry.apply_affine(matrix, (cx, cy)), (128, 128), atol=1e-9)
    np.testing.assert_allclose(
        geometry.invert_affine(matrix), cv2.invertAffineTransform(matrix), rtol=1e-6, atol=1e-6
    )


def test_batched_matrices_move_each_image_by_its_own():
    rng = np.random.default_rng(0)
    matrices = rng.normal(size=(5, 2, 3))
    points = rng.normal(size=(5, 7, 2))
    together = geometry.apply_affine(matrices, points)
    inverses = geometry.invert_affine(matrices)
    for i in range(5):
        alone = points[i] @ matrices[i, :, :2].T + matrices[i, :, 2]
        np.testing.assert_allclose(together[i], alone, atol=1e-12)
        np.testing.assert_allclose(inverses[i], geometry.invert_affine(matrices[i]), atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 90),
    st.integers(1, 90),
    st.floats(-1.5, 2.5),
    st.floats(-1.5, 2.5),
    st.floats(4, 300),
    angles,
    st.sampled_from([(64, 64), (96, 48), (33, 70)]),
)
def test_numpy_resampler_equals_opencv_to_one_grey_level(
    seed, height, width, rel_x, rel_y, size, angle, out_hw
):
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    center = (rel_x * width, rel_y * height)
    matrix = geometry.crop_matrix(center, (size, size), (out_hw[1], out_hw[0]), rotation_deg=angle)
    opencv, name = geometry.resampler()
    assert name == "OpenCV " + cv2.__version__
    expected = opencv(image, matrix, out_hw).astype(int)
    got = geometry.warp_affine_numpy(image, matrix, out_hw).astype(int)
    assert got.shape == (*out_hw, 3)
    assert np.abs(got - expected).max() <= 1


def test_numpy_resampler_on_a_large_image_far_from_the_origin():
    image = np.random.default_rng(3).integers(0, 256, (3000, 4000, 3), dtype=np.uint8)
    matrix = geometry.crop_matrix((3700.3, 2800.7), (517.0, 517.0), (256, 256), rotation_deg=17)
    opencv, _ = geometry.resampler()
    expected = opencv(image, matrix, (256, 256)).astype(int)
    got = geometry.warp_affine_numpy(image, matrix, (256, 256)).astype(int)
    assert np.abs(got - expected).max() <= 1


def test_numpy_resampler_rounds_as_opencv_does_not_just_near_it():
    image = np.random.default_rng(4).integers(0, 256, (160, 160, 3), dtype=np.uint8)
    matrix = geometry.crop_matrix((80, 80), (131, 131), (128, 128), rotation_deg=-21)
    opencv, _ = geometry.resampler()
    expected = opencv(image, matrix, (128, 128))
    got = geometry.warp_affine_numpy(image, matrix, (128, 128))
    assert (got != expected).mean() < 0.001


def test_a_crop_outside_the_image_is_black():
    image = np.full((40, 40, 3), 255, np.uint8)
    matrix = geometry.crop_matrix((1e6, -1e6), (50, 50), (32, 32))
    assert not geometry.warp_affine_numpy(image, matrix, (32, 32)).any()


def test_identity_crop_is_the_image():
    image = np.random.default_rng(1).integers(0, 256, (24, 31, 3), dtype=np.uint8)
    identity = np.array([[1.0, 0, 0], [0, 1.0, 0]])
    np.testing.assert_array_equal(geometry.warp_affine_numpy(image, identity, (24, 31)), image)


def test_without_opencv_the_resampler_is_numpy(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cv2", None)
    function, name = geometry.resampler()
    assert function is geometry.warp_affine_numpy
    assert name == "numpy " + np.__version__


def test_normalise_is_the_formula_and_contiguous():
    crops = np.random.default_rng(2).integers(0, 256, (3, 20, 30, 3), dtype=np.uint8)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    out = geometry.normalise(crops, mean, std)
    expected = ((crops / 255.0 - np.array(mean)) / np.array(std)).transpose(0, 3, 1, 2)
    assert out.dtype == np.float32
    assert out.flags.c_contiguous
    np.testing.assert_allclose(out, expected, atol=1e-6)


@given(finite, finite, sizes, sizes)
def test_square_region_covers_the_box(x, y, w, h):
    center, size = geometry.box_to_crop((x, y, w, h))
    low, high = center - size / 2, center + size / 2
    assert (low <= (x, y)).all()
    assert (high >= (x + w, y + h)).all()
    assert size == pytest.approx(1.25 * max(w, h))


@given(sizes, sizes, st.sampled_from([(192, 256), (256, 192), (128, 128)]))
def test_region_has_the_aspect_and_the_margin_of_hrnet(w, h, out_wh):
    _, size = geometry.box_to_crop((0, 0, w, h))
    region_w, region_h = geometry.region_wh((w, h), size, out_wh)
    aspect = out_wh[0] / out_wh[1]
    if w > aspect * h:
        want_w, want_h = w, w / aspect
    else:
        want_w, want_h = h * aspect, h
    assert region_w == pytest.approx(want_w * 1.25)
    assert region_h == pytest.approx(want_h * 1.25)


@pytest.mark.parametrize(
    "call",
    [
        lambda: geometry.box_to_crop((0, 0, 0, 5)),
        lambda: geometry.box_to_crop((0, float("nan"), 4, 5)),
        lambda: geometry.box_to_crop((0, 0, 5)),
        lambda: geometry.crop_matrix((0, 0), (0, 0), (64, 64)),
        lambda: geometry.crop_matrix((float("inf"), 0), (10, 10), (64, 64)),
        lambda: geometry.region_wh((0, 0), 10, (64, 64)),
        lambda: geometry.invert_affine(np.zeros((2, 3))),
        lambda: geometry.normalise(np.zeros((2, 4, 4), np.uint8), (0.5,), (0.5,)),
    ],
)
def test_bad_input_says_what_to_do(call):
    with pytest.raises(DeviceError) as caught:
        call()
    assert caught.value.problem
    assert caught.value.fix
