"""The teacher cache: what is read back is what the teacher said, wherever the making was cut off."""

from __future__ import annotations

import functools
import itertools
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgepose.data.codec import encode_heatmaps, mirror_heatmaps
from edgepose.data.crop import Augment, crop_view
from edgepose.device.codec import HeatmapCodec
from edgepose.device.geometry import normalise
from edgepose.errors import EdgeposeError
from edgepose.models.pose_model import PoseModel
from edgepose.skeleton import MPII16
from edgepose.train import teacher_cache
from edgepose.train.batches import Batch, make_loader
from edgepose.train.teacher_cache import NOISE_FLOOR, TeacherCache, cache_teacher, pack, unpack
from tests.networks import short
from tests.train.dots import Dots

HW = (32, 32)
CLOSE = (NOISE_FLOOR - 0.5) / 255 + 1e-6  # a value below the floor is kept as 0


@functools.cache
def teacher() -> PoseModel:
    """A random network whose heatmaps reach over most of 0..1."""
    return short(HW)


def make(
    folder: Path, *, views: int = 2, seed: int = 7, stop_at: int | None = None
) -> TeacherCache:
    def report(what: str, done: int, total: int) -> None:
        if stop_at is not None and done >= stop_at:
            raise KeyboardInterrupt

    return cache_teacher(
        teacher(), Dots(), folder, input_hw=HW, views=views, augment=Augment(), seed=seed,
        report=report,
    )  # fmt: skip


def test_it_gives_what_the_teacher_says_of_that_view(tmp_path: Path) -> None:
    cache, network, data = make(tmp_path), teacher().module(), Dots()
    pre = teacher().spec.preprocessing
    for index, view in itertools.product(range(len(data)), range(2)):
        crop = crop_view(data[index], HW, cache.view(index, view))
        with torch.no_grad():
            direct = network(torch.from_numpy(normalise(crop.image[None], pre.mean, pre.std)))
        assert np.abs(cache.heatmaps(index, view) - direct[0].clip(0, 1).numpy()).max() < CLOSE
    assert cache.view(0, 0) != cache.view(0, 1) != cache.view(1, 1)


@given(st.integers(0, 2**32 - 1))
def test_packing_rounds_to_one_255th_and_clips(seed: int) -> None:
    heatmaps = np.random.default_rng(seed).normal(0.2, 0.5, (3, 5, 7)).astype(np.float32)
    found = unpack(pack(heatmaps), (3, 5, 7))
    wanted = heatmaps.clip(0, 1)
    loud = wanted >= (NOISE_FLOOR + 0.5) / 255
    assert np.abs(found - wanted)[loud].max(initial=0) <= 0.5 / 255 + 1e-6
    assert np.abs(found - wanted).max() < CLOSE


def test_a_cut_off_making_goes_on_and_ends_with_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teacher_cache, "SHARD", 3)
    whole = make(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "cut", stop_at=6)
    shards = sorted((tmp_path / "cut").glob("*.partial/shard-*"))
    assert [path.name for path in shards] == ["shard-00000", "shard-00001"]
    before = [path.stat().st_mtime_ns for path in shards]
    cut = make(tmp_path / "cut")
    assert before, "the first shards were not made again"
    for name in teacher_cache.FILES:
        assert (cut.path / name).read_bytes() == (whole.path / name).read_bytes()
    assert not list(cut.path.glob("shard-*"))


def test_another_teacher_seed_or_number_of_views_is_another_cache(tmp_path: Path) -> None:
    paths = {make(tmp_path, views=v, seed=s).path for v, s in ((1, 7), (2, 7), (2, 8))}
    assert len(paths) == 3
    assert make(tmp_path, views=2, seed=8).path in paths


@pytest.mark.parametrize("name", teacher_cache.FILES)
def test_a_changed_byte_is_found(tmp_path: Path, name: str) -> None:
    path = make(tmp_path).path / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(EdgeposeError, match=f"{name} has changed"):
        make(tmp_path)


def batches(cache: TeacherCache, *, flip: bool, workers: int = 0) -> list[Batch]:
    loader = make_loader(
        Dots(), positions=range(20), input_hw=HW, batch_size=5, codec=teacher().spec.codec,
        augment_config=Augment(flip=flip), seed=0, workers=workers, teacher=cache,
    )  # fmt: skip
    return [Batch(*tensors) for tensors in loader]


def test_a_batch_carries_the_heatmaps_of_its_own_pictures(tmp_path: Path) -> None:
    cache = make(tmp_path, views=1)
    kept = {cache.heatmaps(i, 0).tobytes() for i in range(10)}
    seen = [maps.numpy().tobytes() for b in batches(cache, flip=False) for maps in b.teacher]  # type: ignore[union-attr]
    assert set(seen) == kept, "both epochs show every picture's heatmaps"
    assert set(seen[:10]) == set(seen[10:]) == kept
    mirrored = [maps.numpy().tobytes() for b in batches(cache, flip=True) for maps in b.teacher]  # type: ignore[union-attr]
    assert 0 < len(set(mirrored) & kept) < 10, "about half of the pictures are mirrored"


def test_it_travels_to_another_process(tmp_path: Path) -> None:
    cache = make(tmp_path)
    first = cache.heatmaps(4, 1)
    assert np.array_equal(pickle.loads(pickle.dumps(cache)).heatmaps(4, 1), first)


@given(st.floats(20, 108), st.floats(20, 108))
def test_mirrored_heatmaps_lie_on_the_mirrored_joints(x: float, y: float) -> None:
    """The centre of mass of a mirrored target is that of the mirrored crop's joint."""
    joints = np.full((16, 2), -1e3, np.float32)
    left, right = MPII16.joints.index("left_wrist"), MPII16.joints.index("right_wrist")
    joints[left] = x, y
    known = np.arange(16) == left
    maps, _ = encode_heatmaps(joints, known, heatmap_hw=(32, 32), stride=4, sigma=1.0)
    mirrored = mirror_heatmaps(maps, flip_index=MPII16.flip_index, codec=HeatmapCodec())

    def center(one: np.ndarray) -> np.ndarray:
        rows, columns = np.mgrid[:32, :32]
        return np.array([(one * columns).sum(), (one * rows).sum()]) / one.sum()

    assert mirrored[left].max() == 0
    u, v = center(maps[left])
    assert np.allclose(center(mirrored[right]), [(127 - 4 * u) / 4, v], atol=1e-3)
