"""The codings: what each promises of its crop, its heatmaps and its mirror image."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepose.data.codec import encode_batch, mirror_heatmaps
from edgepose.device import decode, geometry
from edgepose.device.codec import HeatmapCodec
from edgepose.device.coding import CODINGS, check_coding
from edgepose.device.errors import DeviceError

UNBIASED = ("dark", "udp")
SIZES = [(256, 256), (256, 192), (128, 128)]
seeds = st.integers(0, 2**32 - 1)


def encoded(codec, crop_xy, hw, *, sigma=None, annotated=None):
    heatmap_hw = hw[0] // codec.stride, hw[1] // codec.stride
    known = np.ones(crop_xy.shape[:2], bool) if annotated is None else annotated
    return encode_batch(
        crop_xy, known, heatmap_hw=heatmap_hw, stride=codec.pitch_xy(heatmap_hw),
        sigma=codec.sigma_px(heatmap_hw) if sigma is None else sigma, coding=codec.coding,
    )  # fmt: skip


def read(codec, heatmaps):
    xy, score = codec.decode(heatmaps)
    return codec.crop_xy(xy, heatmaps.shape[2:]), score


@pytest.mark.parametrize("coding", UNBIASED)
@settings(max_examples=20, deadline=None)
@given(seeds, st.sampled_from(SIZES))
def test_ground_truth_comes_back_to_a_tenth_of_a_pixel(coding, seed, hw):
    codec = HeatmapCodec(coding=coding)
    rng = np.random.default_rng(seed)
    crop_xy = rng.uniform((16, 16), (hw[1] - 17, hw[0] - 17), (4, 16, 2))
    heatmaps, weights = encoded(codec, crop_xy, hw)
    found, score = read(codec, heatmaps)
    error = np.linalg.norm(found - crop_xy, axis=-1)
    assert (weights == 1).all()
    assert error.mean() < 0.1
    assert error.max() < 0.5
    assert (score > 0.77).all()  # a peak between four pixels, sigma 1


def test_the_standard_coding_is_what_it_was():
    crop_xy = np.random.default_rng(0).uniform(16, 239, (40, 16, 2))
    heatmaps, _ = encoded(HeatmapCodec(), crop_xy, (256, 256))
    found, score = read(HeatmapCodec(), heatmaps)
    xy, expected = decode.decode_heatmaps(heatmaps)
    np.testing.assert_array_equal(found, xy * np.float32(4))
    np.testing.assert_array_equal(score, expected)
    assert 1.4 < np.linalg.norm(found - crop_xy, axis=-1).mean() <= 1.6


@settings(max_examples=30, deadline=None)
@given(seeds, st.sampled_from(CODINGS))
def test_decoding_is_finite_and_silent_about_nothing(seed, coding):
    """Noise, constants and empty maps: finite joints, (0, 0) where there is no positive value."""
    rng = np.random.default_rng(seed)
    heatmaps = rng.normal(size=(3, 4, 16, 12)).astype(np.float32)
    heatmaps[1, 1], heatmaps[1, 2], heatmaps[2, 0] = 0, 0.5, -np.abs(heatmaps[2, 0])
    xy, score = HeatmapCodec(coding=coding).decode(heatmaps)
    assert np.isfinite(xy).all()
    assert np.isfinite(score).all()
    assert xy[1, 1].tolist() == xy[2, 0].tolist() == [0, 0]


def test_udp_follows_its_peak_to_the_border():
    """DARK leaves a joint within two pixels of the border on a whole pixel; UDP moves it, too."""
    hw, crop_xy = (64, 64), np.array([[[4.9, 30.3]]])
    for coding, nearer in (("dark", 2.0), ("udp", 1.0)):
        codec = HeatmapCodec(coding=coding)
        found, _ = read(codec, encoded(codec, crop_xy, hw)[0])
        error = np.abs(found - crop_xy)
        assert error[..., 0].max() < nearer
        assert (error[..., 0] > 0.5).all() == (coding == "dark")


@settings(max_examples=30, deadline=None)
@given(
    st.floats(0, 500), st.floats(0, 500), st.floats(20, 600), st.floats(20, 600),
    st.sampled_from([(192, 256), (256, 256), (64, 96)]), st.floats(-90, 90),
)  # fmt: skip
def test_centers_meets_the_first_and_the_last_pixel(x, y, width, height, out_wh, angle):
    """Without a turn the region's corners are the corner pixels' centres; a turn keeps the centre."""
    matrix = geometry.crop_matrix((x, y), (width, height), out_wh, alignment="centers")
    corners = [[x - width / 2, y - height / 2], [x + width / 2, y + height / 2]]
    last = [out_wh[0] - 1, out_wh[1] - 1]
    np.testing.assert_allclose(geometry.apply_affine(matrix, corners), [[0, 0], last], atol=1e-6)
    turned = geometry.crop_matrix(
        (x, y), (width, height), out_wh, rotation_deg=angle, alignment="centers"
    )
    middle = geometry.apply_affine(turned, [[x, y]])[0]
    np.testing.assert_allclose(middle, np.array(last) / 2, atol=1e-6)
    with pytest.raises(DeviceError, match="no crop"):
        geometry.crop_matrix((x, y), (width, 0), out_wh, alignment="centers")


@pytest.mark.parametrize(("coding", "off_px"), [("standard", 1.0), ("dark", 1.0), ("udp", 0.0)])
def test_the_flip_test_and_the_mirrored_target(coding, off_px):
    """A crop's heatmaps and its mirror's: mirrored back they are the same with UDP; the others' flip
    test leaves 1/stride heatmap pixels, one crop pixel, which `mirror_heatmaps` does not."""
    codec, index, w = HeatmapCodec(coding=coding), (1, 0), 128
    crop_xy = np.random.default_rng(3).uniform(24, 100, (6, 2, 2))
    mirrored_xy = crop_xy[:, list(index)] * [-1, 1] + [w - 1, 0]
    if coding == "standard":  # on whole pixels, and so that the mirror image is on one, too
        crop_xy = np.round(crop_xy / 4) * 4
        mirrored_xy = crop_xy[:, list(index)] * [-1, 1] + [w, 0]
    maps, _ = encoded(codec, crop_xy, (w, w))
    seen, _ = encoded(codec, mirrored_xy, (w, w))
    back = 2 * codec.flip_average(maps, seen, index) - maps
    found, _ = read(codec, back)
    offset = (found - read(codec, maps)[0])[..., 0]
    wanted = (
        off_px if coding != "standard" else 0.0
    )  # there the mirror image was moved by that pixel
    np.testing.assert_allclose(offset, wanted, atol=0.05)
    if coding != "standard":
        again = mirror_heatmaps(maps[0], flip_index=index, codec=codec)[None]
        np.testing.assert_allclose(read(codec, again)[0], mirrored_xy[:1], atol=0.15)


@pytest.mark.parametrize("coding", CODINGS)
@settings(max_examples=15, deadline=None)
@given(seeds)
def test_a_sigma_for_each_joint_is_that_sigma_for_each_alone(coding, seed):
    rng, codec = np.random.default_rng(seed), HeatmapCodec(coding=coding)
    crop_xy, known = rng.uniform(-30, 160, (3, 5, 2)), rng.random((3, 5)) < 0.8
    sigma = rng.uniform(1, 4, (3, 5))
    maps, weights = encoded(codec, crop_xy, (128, 96), sigma=sigma, annotated=known)
    for n in range(3):
        for j in range(5):
            one, weight = encoded(
                codec, crop_xy[n : n + 1, j : j + 1], (128, 96), sigma=float(sigma[n, j]),
                annotated=known[n : n + 1, j : j + 1],
            )  # fmt: skip
            np.testing.assert_array_equal(maps[n, j], one[0, 0])
            assert weights[n, j] == weight[0, 0]


def test_words():
    assert [check_coding(word) for word in CODINGS] == ["standard", "dark", "udp"]
    with pytest.raises(DeviceError, match="'drak'"):
        check_coding("drak")
    assert HeatmapCodec(coding="udp").pitch_xy((64, 48)) == (191 / 47, 255 / 63)
    assert HeatmapCodec(stride=32, coding="udp").pitch_xy((1, 2)) == (63.0, 31.0)
