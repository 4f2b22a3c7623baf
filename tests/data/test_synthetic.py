"""Synthetic people v1: frozen, deterministic, split apart, and labelled as the pictures are."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from edgepose.data import synthetic
from edgepose.data.base import SPLITS, PoseSample
from edgepose.data.people import scene
from edgepose.data.people.camera import Camera
from edgepose.data.people.draws import Draws
from edgepose.data.people.poses import ACTIVITIES, sample_pose
from edgepose.data.people.skeleton3d import ANGLES, clamp, limit, pose, sample_proportions
from edgepose.errors import EdgeposeError
from edgepose.skeleton import MPII16

THUMBNAILS = Path(__file__).with_name("synthetic_v1_thumbnails.npy")
J = {name: i for i, name in enumerate(MPII16.joints)}


@pytest.fixture(scope="module")
def frozen() -> list[PoseSample]:
    return synthetic.frozen_samples()


@pytest.fixture(scope="module")
def many() -> list[PoseSample]:
    dataset = synthetic.open_split(synthetic.Config(frame_px=96), "val")
    return [dataset[i] for i in range(300)]


def test_the_frozen_version_still_draws_the_same(frozen: list[PoseSample]) -> None:
    assert synthetic.labels_hash(frozen) == synthetic.FROZEN_LABELS_SHA256
    if synthetic.frozen_hash() != synthetic.FROZEN_SHA256:  # another processor's last bits
        difference = synthetic.thumbnails(frozen).astype(int) - np.load(THUMBNAILS).astype(int)
        assert np.abs(difference).max() <= 3


def test_thumbnails_belong_to_the_frozen_images(frozen: list[PoseSample]) -> None:
    difference = synthetic.thumbnails(frozen).astype(int) - np.load(THUMBNAILS).astype(int)
    assert np.abs(difference).max() <= 3


def test_order_and_threads_do_not_matter(frozen: list[PoseSample]) -> None:
    config = synthetic.Config(train=8, val=8, calibration=8, frame_px=synthetic.FROZEN_PX)
    train = synthetic.open_split(config, "train")
    before = cv2.getNumThreads()
    try:
        for threads in (1, 4):
            cv2.setNumThreads(threads)
            for i in (7, 0, 3):
                again, first = train[i], frozen[i]
                assert again.image.tobytes() == first.image.tobytes()
                assert synthetic.label_bytes(again) == synthetic.label_bytes(first)
    finally:
        cv2.setNumThreads(before)


def test_a_longer_split_starts_with_the_shorter_one(frozen: list[PoseSample]) -> None:
    longer = synthetic.open_split(synthetic.Config(train=99, frame_px=synthetic.FROZEN_PX), "train")
    assert longer[5].image.tobytes() == frozen[5].image.tobytes()


def test_seeds_of_splits_never_meet() -> None:
    count = 40_000
    seeds = {s: {synthetic.sample_seed(s, i) for i in range(count)} for s in SPLITS}
    assert all(len(of) == count for of in seeds.values())
    assert len(set().union(*seeds.values())) == count * len(SPLITS)
    # and by construction: the hashed texts differ, because no split's name holds a "/"
    assert not any("/" in s for s in SPLITS)


def test_fingerprints_tell_contents_apart() -> None:
    configs = [synthetic.Config(), synthetic.Config(frame_px=128), synthetic.Config(train=5, val=6)]
    prints = {synthetic.open_split(c, s).fingerprint for c in configs for s in ("train", "val")}
    assert len(prints) == 6
    assert (
        synthetic.open_split(configs[0], "train").fingerprint
        == synthetic.open_split(synthetic.Config(val=9), "train").fingerprint
    )


def test_samples_keep_the_contract(many: list[PoseSample]) -> None:
    for s in many:
        assert s.image.shape == (96, 96, 3)
        assert s.image.dtype == np.uint8
        assert s.joints_xy.shape == (16, 2)
        assert s.joints_xy.dtype == np.float32
        inside = ((s.joints_xy >= -0.5) & (s.joints_xy <= 95.5)).all(axis=1)
        assert np.array_equal(s.annotated, inside)
        assert s.head_px > 0
        assert s.area_px2 > 0
        x, y, w, h = s.box_xywh
        assert min(x, y) >= 0
        assert max(x + w, y + h) <= 95 + 1e-3
        assert s.size_px == pytest.approx(1.25 * max(w, h), abs=0.05)
        assert np.allclose(s.center_xy, [x + w / 2, y + h / 2], atol=0.05)
        margin = np.array([x - 1, y - 1]), np.array([x + w + 1, y + h + 1])
        held = s.joints_xy[s.annotated]
        assert (held >= margin[0]).all()
        assert (held <= margin[1]).all()


def test_people_fill_the_frame_and_subsets_are_minorities(many: list[PoseSample]) -> None:
    share = np.array([s.size_px / 96 for s in many])
    assert 0.76 < np.median(share) < 0.86
    occluded = np.mean(["occluded" in s.tags for s in many])
    several = np.mean(["multi_person" in s.tags for s in many])
    assert 0.13 < occluded < 0.32
    assert 0.15 < several < 0.35
    assert np.mean([s.annotated.all() for s in many]) > 0.88
    assert {t for s in many for t in s.tags} == {"occluded", "multi_person"}


def test_every_image_is_its_own(many: list[PoseSample]) -> None:
    assert len({s.image.tobytes() for s in many}) == len(many)
    assert len({s.sample_id for s in many}) == len(many)
    assert all(s.image.std() > 8 for s in many)


def test_sampled_poses_stay_within_joint_limits() -> None:
    seen = set()
    for seed in range(1500):
        chosen = sample_pose(Draws(seed))
        seen.add(chosen.activity)
        for name in ANGLES:
            low, high = limit(name)
            assert low <= chosen.angles[name] <= high, (seed, name)
    assert seen == set(ACTIVITIES)


def test_limbs_keep_their_lengths_in_every_pose() -> None:
    for seed in range(50):
        d = Draws(seed)
        body = sample_proportions(d)
        p = pose(body, sample_pose(d).angles).places
        for a, b, length in (
            ("hip", "knee", body.thigh),
            ("knee", "ankle", body.shank),
            ("shoulder", "elbow", body.upper_arm),
            ("elbow", "wrist", body.forearm),
        ):
            for side in "lr":
                gap = np.linalg.norm(np.subtract(p[f"{side}_{a}"], p[f"{side}_{b}"]))
                assert gap == pytest.approx(length, abs=1e-9)


def test_flexion_goes_where_anatomy_says() -> None:
    body = sample_proportions(Draws(1))
    rest = pose(body, clamp({})).places
    bent = pose(
        body,
        clamp({"l_knee": 90, "l_hip_flex": 60, "r_elbow": 90, "r_sho_abd": 90, "neck_yaw": 40}),
    ).places
    assert rest["l_hip"][0] > 0 > rest["r_hip"][0]  # the person's left is +x
    assert bent["l_knee"][2] > rest["l_knee"][2] + 0.1  # thigh forward
    assert bent["l_ankle"][2] < bent["l_knee"][2]  # shank back
    assert bent["r_elbow"][0] < rest["r_elbow"][0] - 0.1  # arm out to the right
    assert bent["r_wrist"][2] > bent["r_elbow"][2] + 0.1  # forearm forward
    assert rest["head_top"][1] > rest["neck"][1] > rest["thorax"][1] > rest["pelvis"][1]


@pytest.mark.parametrize(("azimuth", "left_is_right_of"), [(0.0, True), (180.0, False)])
def test_left_is_on_the_viewers_right_only_from_the_front(
    azimuth: float, left_is_right_of: bool
) -> None:
    places = pose(sample_proportions(Draws(2)), clamp({})).places
    camera = Camera((0, 0, 0), azimuth, 0.0, 0.0, 4.0, 300.0, (80.0, 80.0))
    xy, depth = camera.project(np.array([places["l_shoulder"], places["r_shoulder"]]))
    assert (xy[0, 0] > xy[1, 0]) == left_is_right_of
    assert depth[0] == pytest.approx(depth[1], abs=0.05)


def test_camera_agrees_with_opencv() -> None:
    camera = Camera((0.1, 0.9, -0.2), 37.0, 12.0, 5.0, 4.0, 300.0, (80.0, 70.0))
    points = np.random.default_rng(0).uniform(-1, 1, (20, 3))
    right, up, towards = (np.array(a) for a in camera.axes())
    roll = np.deg2rad(camera.roll_deg)
    turn = np.array(
        [[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1.0]]
    )
    rotation = turn @ np.stack([right, -up, -towards])
    shift = -rotation @ np.array(camera.target) + np.array([0, 0, camera.distance_m])
    matrix = np.array([[300.0, 0, 80], [0, 300, 70], [0, 0, 1]])
    expected, _ = cv2.projectPoints(points, cv2.Rodrigues(rotation)[0], shift, matrix, np.zeros(4))
    assert np.allclose(camera.project(points)[0], expected[:, 0], atol=1e-6)


def test_joints_lie_on_the_drawn_body(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without others and occluders, nearly every joint's pixel belongs to the person."""
    monkeypatch.setattr(scene, "_others", lambda d, camera, count: [])
    drawn: list[scene.Layer] = []
    render = scene.render

    def keep(*args: object) -> scene.Layer | None:
        layer = render(*args)  # type: ignore[arg-type]
        if layer is not None:
            drawn.append(layer)
        return layer

    monkeypatch.setattr(scene, "render", keep)
    on_body = total = 0
    for index in range(60):
        drawn.clear()
        sample = scene.draw_scene(synthetic.sample_seed("train", index), 96, "")
        layer = drawn[0]
        for (x, y), annotated in zip(np.rint(sample.joints_xy), sample.annotated, strict=True):
            i, j = int(y) - layer.y, int(x) - layer.x
            if annotated and 0 <= i < layer.alpha.shape[0] and 0 <= j < layer.alpha.shape[1]:
                total += 1
                on_body += int(layer.alpha[max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2].max() > 0)
    assert total > 900
    assert on_body / total > 0.99


def test_skin_shows_where_the_face_is() -> None:
    """Seen from the front the face is lighter in blue than hair is only by chance; eyes are not:
    the head's texture differs between front and back, so left and right can be told."""
    from edgepose.data.people.banks import TILE
    from edgepose.data.people.paint import CELL, GUARD, atlas
    from edgepose.data.people.wardrobe import Material, sample_outfit

    for seed in range(20):
        outfit = sample_outfit(Draws(seed), child=False, womanly=seed % 2 == 0, patterns=10)
        sheet = atlas(outfit)
        top = Material.HEAD * CELL + GUARD
        head = sheet[top : top + TILE, GUARD : GUARD + TILE, :3].astype(int)
        front, back = head[24:52, 24:40], np.roll(head, 32, axis=1)[24:52, 24:40]
        assert np.abs(np.diff(front, axis=0)).mean() > 2 * np.abs(np.diff(back, axis=0)).mean()


def test_bad_requests_are_refused() -> None:
    with pytest.raises(EdgeposeError, match="unknown split 'test'"):
        synthetic.open_split(synthetic.Config(), "test")
    with pytest.raises(ValidationError):
        synthetic.Config(trian=3)  # type: ignore[call-arg]
    with pytest.raises(IndexError):
        synthetic.open_split(synthetic.Config(val=3), "val")[3]
