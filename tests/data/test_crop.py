"""Crops and augmentation: pixels and joints move together, mirrors are exact, dice are seeded."""

import dataclasses

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from edgepose.data.base import PoseSample
from edgepose.data.crop import (
    Augment,
    View,
    augment,
    crop_batch,
    crop_sample,
    crop_view,
    draw_view,
    half_body,
)
from edgepose.device.decode import heatmap_to_image_xy
from edgepose.skeleton import COCO17, LSP14, MPII16

PLAIN = Augment(photometric=0, occlusion=0)


def dotted_sample(seed=0, side=200, joints=MPII16.num_joints, box=None):
    """Joint j is drawn as a bright disc, so a crop can be asked where the joint really is."""
    rng = np.random.default_rng(seed)
    image = np.zeros((side, side, 3), np.uint8)
    grid = np.stack(np.meshgrid(np.arange(4), np.arange(5)), -1).reshape(-1, 2)
    xy = (grid[:joints] * 25 + 40 + rng.uniform(-4, 4, (joints, 2))).astype(np.float32)
    for j, (x, y) in enumerate(xy):
        cv2.circle(image, (round(float(x) * 16), round(float(y) * 16)), 4 * 16,
                   (255, 10 * j + 5, 0), -1, cv2.LINE_AA, 4)  # fmt: skip
    annotated = rng.random(joints) < 0.9
    box = (40, 40, 80, 110) if box is None else box
    return PoseSample(
        image, xy, annotated, np.array(box, np.float32), np.array([90, 95], np.float32), 150.0,
        20.0, 1e4, f"dots-{seed}",
    )  # fmt: skip


def disc_center(image, joint_xy, reach=7):
    """Centre of mass of the red channel around a joint; None where it touches the border."""
    x, y = np.round(joint_xy).astype(int)
    if not (reach <= x < image.shape[1] - reach and reach <= y < image.shape[0] - reach):
        return None
    patch = image[y - reach : y + reach + 1, x - reach : x + reach + 1, 0].astype(float)
    vs, us = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    return np.array([x + (patch * us).sum() / patch.sum(), y + (patch * vs).sum() / patch.sum()])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_joints_sit_on_their_pixels_after_any_geometry(seed):
    sample = dotted_sample(seed % 7)
    crop = augment(sample, (128, 128), np.random.default_rng(seed), PLAIN, MPII16)
    found = [(disc_center(crop.image, xy), xy) for xy in crop.joints_xy]
    seen = [(got, xy) for got, xy in found if got is not None]
    assert len(seen) >= 3
    for got, xy in seen:
        assert np.abs(got - xy).max() < 0.4


@pytest.mark.parametrize("skeleton", [MPII16, COCO17, LSP14], ids=lambda s: s.name)
def test_flip_mirrors_pixels_and_swaps_joints_exactly(skeleton):
    sample = dotted_sample(1, joints=skeleton.num_joints)
    plain = crop_sample(sample, (128, 96), rotation_deg=20, scale=1.1)
    mirrored = crop_sample(
        sample, (128, 96), rotation_deg=20, scale=1.1, flip=True, skeleton=skeleton
    )
    np.testing.assert_array_equal(mirrored.image, plain.image[:, ::-1])
    for j, partner in enumerate(skeleton.flip_index):
        x, y = plain.joints_xy[partner]
        np.testing.assert_allclose(mirrored.joints_xy[j], (95 - x, y), atol=1e-4)
        assert mirrored.annotated[j] == plain.annotated[partner]
    with pytest.raises(ValueError, match="skeleton"):
        crop_sample(sample, (128, 96), flip=True)


@pytest.mark.parametrize("flip", [False, True])
def test_the_matrix_leads_back_to_the_image(flip):
    sample = dotted_sample(2)
    crop = crop_sample(
        sample, (256, 192), rotation_deg=-33, scale=0.9, shift_xy=(0.1, -0.05), flip=flip,
        skeleton=MPII16,
    )  # fmt: skip
    back = heatmap_to_image_xy(crop.joints_xy[None] / 4, crop.matrix, 4)[0]
    expected = sample.joints_xy[list(MPII16.flip_index)] if flip else sample.joints_xy
    np.testing.assert_allclose(back, expected, atol=1e-3)


def test_a_tall_input_follows_the_box_and_a_square_one_the_region():
    sample = dotted_sample(3)
    tall = crop_sample(sample, (256, 192))
    assert np.linalg.norm(tall.matrix[0, :2]) == pytest.approx(256 / 150)
    square = crop_sample(sample, (128, 128))
    assert np.linalg.norm(square.matrix[0, :2]) == pytest.approx(128 / 150)
    np.testing.assert_allclose(square.matrix @ [90, 95, 1], (64, 64), atol=1e-9)


def test_scale_and_shift_change_the_region():
    sample = dotted_sample(3)
    crop = crop_sample(sample, (128, 128), scale=2.0, shift_xy=(0.25, 0))
    np.testing.assert_allclose(crop.matrix, [[128 / 300, 0, 64 - 165 * 128 / 300],
                                             [0, 128 / 300, 64 - 95 * 128 / 300]])  # fmt: skip


def test_crop_batch_stacks_plain_crops():
    samples = [dotted_sample(s) for s in range(3)]
    crops, matrices = crop_batch(samples, (96, 128))
    assert crops.shape == (3, 96, 128, 3)
    assert crops.dtype == np.uint8
    assert matrices.shape == (3, 2, 3)
    for i, sample in enumerate(samples):
        one = crop_sample(sample, (96, 128))
        np.testing.assert_array_equal(crops[i], one.image)
        np.testing.assert_array_equal(matrices[i], one.matrix)
    empty, none = crop_batch([], (64, 64))
    assert empty.shape == (0, 64, 64, 3)
    assert none.shape == (0, 2, 3)


def test_the_same_seed_gives_the_same_crop_and_the_sample_stays_as_it_was():
    sample = dotted_sample(4)
    before = sample.image.copy(), sample.joints_xy.copy(), sample.annotated.copy()
    for seed in range(30):
        a, b = (
            augment(sample, (64, 64), np.random.default_rng(seed), Augment(occlusion=1), MPII16)
            for _ in range(2)
        )
        np.testing.assert_array_equal(a.image, b.image)
        np.testing.assert_array_equal(a.joints_xy, b.joints_xy)
        assert a.image.dtype == np.uint8
        assert a.image.shape == (64, 64, 3)
    for old, new in zip(before, (sample.image, sample.joints_xy, sample.annotated), strict=True):
        np.testing.assert_array_equal(old, new)


def test_every_switch_off_is_the_plain_crop():
    off = Augment(flip=False, rotation_deg=0, scale=(1, 1), shift=0, photometric=0, occlusion=0)
    sample = dotted_sample(5)
    plain = crop_sample(sample, (128, 128))
    for seed in range(5):
        crop = augment(sample, (128, 128), np.random.default_rng(seed), off, MPII16)
        np.testing.assert_array_equal(crop.image, plain.image)
        np.testing.assert_array_equal(crop.matrix, plain.matrix)


def test_variations_stay_in_their_ranges_and_use_them():
    sample = dotted_sample(6)
    config = Augment(rotation_deg=40, scale=(0.7, 1.4), shift=0.1, photometric=0, occlusion=0)
    angles, scales, shifts, mirrored = [], [], [], 0
    for seed in range(300):
        crop = augment(sample, (128, 128), np.random.default_rng(seed), config, MPII16)
        m = crop.matrix
        sign = np.sign(np.linalg.det(m[:, :2]))
        mirrored += sign < 0
        factor = np.sqrt(abs(np.linalg.det(m[:, :2])))
        scales.append(128 / 150 / factor)
        angles.append(np.degrees(np.arctan2(m[1, 0], m[1, 1])))
        middle = np.linalg.solve(m[:, :2], [63.5 + sign * 0.5, 64] - m[:, 2])
        shifts.append((middle - sample.center_xy) / (150 * scales[-1]))
    assert 0.7 <= min(scales) < 0.75
    assert 1.35 < max(scales) <= 1.4
    assert 30 < max(angles) <= 40
    assert -40 <= min(angles) < -30
    assert 0.07 < np.abs(shifts).max() <= 0.1 + 1e-9
    assert 110 < mirrored < 190
    assert 0.3 < np.mean(np.abs(angles) < 1e-9) < 0.5


def test_occlusion_covers_some_pixels_and_keeps_every_joint_annotated():
    sample = dotted_sample(7)
    calm = {"flip": False, "rotation_deg": 0, "scale": (1, 1), "shift": 0, "photometric": 0}
    plain = crop_sample(sample, (128, 128))
    covered = []
    for seed in range(40):
        crop = augment(
            sample, (128, 128), np.random.default_rng(seed), Augment(**calm, occlusion=1), MPII16
        )
        covered.append((crop.image != plain.image).any(axis=2).mean())
        np.testing.assert_array_equal(crop.annotated, plain.annotated)
    assert min(covered) > 0.005
    assert max(covered) < 0.25


def test_colour_changes_keep_grey_grey_on_average_and_never_wrap_around():
    """Saturating arithmetic: white under any variation must not turn dark, nor black bright."""
    white = dotted_sample(8)
    white.image[:] = 255
    calm = {"flip": False, "rotation_deg": 0, "scale": (0.4, 0.4), "shift": 0, "occlusion": 0}
    for seed in range(60):
        crop = augment(white, (64, 64), np.random.default_rng(seed), Augment(**calm), MPII16)
        assert crop.image.mean() > 120


@pytest.mark.parametrize(
    "wrong",
    [{"scale": (1.2, 0.8)}, {"scale": (0, 1)}, {"occlusion": 2}, {"rotation": 3}, {"shift": -1}],
)
def test_nonsense_settings_are_refused(wrong):
    with pytest.raises(ValidationError):
        Augment(**wrong)


@pytest.mark.parametrize("half", ["upper", "lower"])
def test_half_a_body_fills_the_crop_with_that_half(half: str) -> None:
    """Every joint of the half is inside, and it is larger than in the whole crop."""
    person = dotted_sample(0)
    person = dataclasses.replace(person, annotated=np.ones(16, dtype=bool))
    view = View(scale=1.0, rotation_deg=0.0, shift_xy=(0.0, 0.0), half=half)  # type: ignore[arg-type]
    crop = crop_view(person, (128, 128), view, skeleton=MPII16)
    whole = crop_sample(person, (128, 128))
    legs = np.array([n.endswith(("hip", "knee", "ankle", "pelvis")) for n in MPII16.joints])
    chosen = legs if half == "lower" else ~legs
    inside = ((crop.joints_xy >= 0) & (crop.joints_xy <= 127)).all(axis=1)
    assert inside[chosen].all()
    assert (
        np.ptp(crop.joints_xy[chosen], axis=0).max() > np.ptp(whole.joints_xy[chosen], axis=0).max()
    )
    assert np.abs(crop.joints_xy[chosen].mean(axis=0) - 64).max() < 0.5


def test_half_a_body_needs_enough_joints() -> None:
    few = dataclasses.replace(dotted_sample(0), annotated=np.arange(16) < 5)
    assert half_body(few, "upper", MPII16) is few


def test_half_bodies_come_as_often_as_asked_for() -> None:
    rng, config = np.random.default_rng(0), Augment(half_body=0.3)
    views = [draw_view(rng, config).half for _ in range(2000)]
    assert 0.25 < 1 - views.count("whole") / 2000 < 0.35
    assert 0.4 < views.count("upper") / (views.count("upper") + views.count("lower")) < 0.6
