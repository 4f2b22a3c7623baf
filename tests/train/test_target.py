"""Targets whose width depends on the joint and on how sure its place is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from edgepose.data.base import PoseSample
from edgepose.data.crop import Augment, crop_sample, crop_view
from edgepose.device.codec import HeatmapCodec
from edgepose.metrics.oks import COCO_SIGMAS
from edgepose.models.pose_model import ModelSpec, PoseModel
from edgepose.skeleton import COCO17, MPII16
from edgepose.train import teacher_cache
from edgepose.train.batches import Batch, make_loader
from edgepose.train.config import FitConfig, TargetSigma
from edgepose.train.target import OCCLUDED, confidence, joint_factors, target_sigma
from edgepose.train.teacher_cache import TeacherCache
from tests.train.dots import Dots

STILL = Augment(flip=False, rotation_deg=0, scale=(1, 1), shift=0, photometric=0, occlusion=0)


def test_factors_are_coco_s_sigmas_over_their_mean() -> None:
    factors = joint_factors(COCO17.joints)
    assert factors.mean() == pytest.approx(1)
    ratio = factors[COCO17.joints.index("left_hip")] / factors[COCO17.joints.index("nose")]
    assert ratio == pytest.approx(0.107 / 0.026)
    mpii = dict(zip(MPII16.joints, joint_factors(MPII16.joints), strict=True))
    assert {name for name, factor in mpii.items() if factor == 1} == set(MPII16.joints) - set(
        COCO_SIGMAS
    )
    assert joint_factors(("tail", "beak")).tolist() == [1, 1]


def test_confidence_is_the_teacher_s_peak_else_what_the_labels_say() -> None:
    known, hidden = np.ones(3, bool), np.array([True, False, True])
    assert confidence(known, None, None).tolist() == [1, 1, 1]
    assert confidence(known, hidden, None).tolist() == [1, OCCLUDED, 1]
    maps = np.zeros((3, 4, 4), np.float32)
    maps[0, 1, 2], maps[1, 0, 0], maps[2] = 0.25, 1.5, -1
    assert confidence(known, hidden, maps).tolist() == [0.25, 1, 0]


@settings(deadline=None)
@given(
    st.lists(st.floats(0, 1), min_size=16, max_size=16),
    st.floats(0, 4),
    st.floats(1, 4),
    st.booleans(),
)
def test_less_sure_is_wider_and_never_below_a_pixel(
    sure: list[float], weight: float, sigma: float, per_joint: bool
) -> None:
    config = TargetSigma(per_joint=per_joint, confidence=weight)
    confidences = np.array([sure, np.ones(16)])
    found = target_sigma(sigma, config=config, joints=MPII16.joints, confidences=confidences)
    assert found.shape == (2, 16)
    assert (found >= 1).all()
    assert (found[0] >= found[1]).all()
    factors = joint_factors(MPII16.joints) if per_joint else np.ones(16)
    np.testing.assert_allclose(found[1], np.maximum(sigma * factors, 1))
    wanted = np.maximum(sigma * factors * (1 + weight * (1 - np.array(sure))), 1)
    np.testing.assert_allclose(found[0], wanted)


class Hidden(Dots):
    """Dots, in the middle of the picture, whose every second joint is occluded."""

    def __getitem__(self, index: int) -> PoseSample:
        sample = super().__getitem__(index)
        return dataclasses.replace(
            sample, visible=np.arange(16) % 2 == 0, annotated=np.ones(16, bool),
            joints_xy=np.full((16, 2), 20, np.float32),
        )  # fmt: skip


def widths(dataset: Dots, target: TargetSigma | None, coding: str = "udp") -> np.ndarray:
    """(N, 16) sigma of each target in heatmap pixels, by its mean square distance from the peak."""
    loader = make_loader(
        dataset, positions=range(4), input_hw=(256, 256), batch_size=4, seed=0,
        codec=HeatmapCodec(coding=coding), augment_config=STILL, target=target,
    )  # fmt: skip
    (batch,) = (Batch(*tensors) for tensors in loader)
    maps = batch.targets.numpy().astype(np.float64)
    columns = np.arange(64)
    share = maps.sum(axis=2) / maps.sum(axis=(2, 3))[..., None]
    mean = (share * columns).sum(axis=2)
    return np.sqrt((share * (columns - mean[..., None]) ** 2).sum(axis=2))


@pytest.mark.parametrize("coding", ["standard", "dark", "udp"])
def test_batches_have_the_widths_that_the_recipe_asks_for(coding: str) -> None:
    off = widths(Hidden(), None, coding)
    np.testing.assert_allclose(off, 2.0, rtol=0.03)
    np.testing.assert_array_equal(off, widths(Hidden(), TargetSigma(), coding))
    found = widths(Hidden(), TargetSigma(confidence=0.5), coding)
    np.testing.assert_allclose(found[:, ::2], 2.0, rtol=0.03)
    np.testing.assert_allclose(found[:, 1::2], 2.5, rtol=0.03)
    each = widths(Hidden(), TargetSigma(per_joint=True), coding)
    wanted = np.tile(np.maximum(2 * joint_factors(MPII16.joints), 1), (4, 1))
    np.testing.assert_allclose(each, wanted, rtol=0.03)


def test_what_is_hidden_is_mirrored_with_its_joint() -> None:
    sample = Hidden()[0]
    left, right = MPII16.joints.index("left_wrist"), MPII16.joints.index("right_wrist")
    seen = np.arange(16) == left
    crop = crop_sample(
        dataclasses.replace(sample, visible=seen), (64, 64), flip=True, skeleton=MPII16
    )
    assert crop.visible is not None
    assert np.flatnonzero(crop.visible).tolist() == [right]


def test_the_recipe_words() -> None:
    assert FitConfig(steps=1).target.is_off
    words = {"target": {"per_joint": True, "confidence": 0.5}}
    assert FitConfig(steps=1, **words).target == TargetSigma(per_joint=True, confidence=0.5)
    with pytest.raises(ValidationError, match="confidence"):
        TargetSigma(confidence=-1)


def test_a_udp_teacher_is_asked_about_udp_crops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kept heatmaps are of the crops that the student trains on, and have their own folder."""
    seen: list[np.ndarray] = []

    def runner(teacher: PoseModel) -> Callable[[list[np.ndarray]], Iterator[np.ndarray]]:
        def run(crops: list[np.ndarray]) -> Iterator[np.ndarray]:
            seen.extend(crops)
            return iter(np.zeros((len(crops), 16, 8, 8), np.float32))

        return run

    monkeypatch.setattr(teacher_cache, "_runner", runner)

    def make(coding: Any) -> TeacherCache:
        codec = HeatmapCodec(coding=coding)
        spec = ModelSpec("resnet18", 16, (32, 32), "mpii16", codec=codec)
        return teacher_cache.cache_teacher(
            PoseModel(spec, {}), Dots(), tmp_path, input_hw=(32, 32), views=1, augment=STILL,
            seed=0, report=lambda *_: None,
        )  # fmt: skip

    made = {coding: make(coding) for coding in ("udp", "dark")}
    assert made["udp"].path != made["dark"].path
    for alignment, crops in (("centers", seen[:10]), ("edges", seen[10:])):
        for index, crop in enumerate(crops):
            view = made["udp"].view(index, 0)
            same = crop_view(Dots()[index], (32, 32), view, alignment=alignment).image
            np.testing.assert_array_equal(crop, same)
    assert not np.array_equal(seen[0], seen[10])
