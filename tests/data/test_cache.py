"""The cache gives back what it was given, survives being killed, and notices damage."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from edgepose.data import cache, synthetic
from edgepose.data.base import PoseDataset, PoseSample
from edgepose.errors import EdgeposeError
from edgepose.skeleton import MPII16


@pytest.fixture(scope="module")
def small() -> PoseDataset:
    return synthetic.open_split(synthetic.Config(val=10, frame_px=40), "val")


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "SHARD", 4)


def same(a: PoseSample, b: PoseSample) -> bool:
    arrays = ("image", "joints_xy", "annotated", "box_xywh", "center_xy")
    scalars = ("size_px", "head_px", "area_px2", "sample_id", "tags")
    return all(
        np.array_equal(getattr(a, n), getattr(b, n)) and getattr(a, n).dtype == getattr(b, n).dtype
        for n in arrays
    ) and all(getattr(a, n) == getattr(b, n) for n in scalars)


def test_gives_back_every_sample(small: PoseDataset, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    kept = cache.cached(small, tmp_path, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(0, 10), (4, 10), (8, 10), (10, 10)]
    assert (len(kept), kept.domain, kept.fingerprint) == (10, small.domain, small.fingerprint)
    assert all(same(kept[i], small[i]) for i in (9, 0, 5))
    assert all(same(a[3], small[3]) for a in (kept, pickle.loads(pickle.dumps(kept))))
    images = np.load(tmp_path / small.fingerprint[:32] / "images.npy", mmap_mode="r")
    assert np.array_equal(images[7], small[7].image)  # an ordinary .npy for anyone else
    with pytest.raises(IndexError):
        kept[10]


def test_second_opening_draws_nothing(small: PoseDataset, tmp_path: Path) -> None:
    cache.cached(small, tmp_path)
    calls: list[int] = []
    again = cache.cached(small, tmp_path, progress=lambda d, t: calls.append(d), verify=True)
    assert not calls
    assert same(again[2], small[2])


class Dies:
    """Stops after some samples, as a killed process would."""

    def __init__(self, inner: PoseDataset, after: int) -> None:
        self.inner, self.left = inner, after
        self.skeleton, self.domain = inner.skeleton, inner.domain
        self.fingerprint = inner.fingerprint
        self.drawn: list[int] = []

    def __len__(self) -> int:
        return len(self.inner)

    def __getitem__(self, index: int) -> PoseSample:
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        self.drawn.append(index)
        return self.inner[index]


@pytest.mark.parametrize("after", [1, 3, 6, 10])
def test_a_killed_run_goes_on_and_ends_equal(
    small: PoseDataset, tmp_path: Path, after: int
) -> None:
    whole = tmp_path / "whole"
    cache.cached(small, whole)
    with pytest.raises(KeyboardInterrupt):
        cache.cached(Dies(small, after), tmp_path / "killed")
    rest = Dies(small, 99)
    cache.cached(rest, tmp_path / "killed")
    finished = (after - 1) // 4 * 4  # one draw tells the frame's size
    assert sorted(set(rest.drawn[1:])) == list(range(finished, 10))
    key = small.fingerprint[:32]
    for name in ("images.npy", "labels.npz", "index.json"):
        assert (whole / key / name).read_bytes() == (tmp_path / "killed" / key / name).read_bytes()
    assert not list((tmp_path / "killed").glob("*.partial"))


@pytest.mark.parametrize(
    ("name", "at", "verify"), [("labels.npz", 200, False), ("images.npy", 9000, True)]
)
def test_changed_bytes_are_noticed(
    small: PoseDataset, tmp_path: Path, name: str, at: int, verify: bool
) -> None:
    cache.cached(small, tmp_path)
    path = tmp_path / small.fingerprint[:32] / name
    data = bytearray(path.read_bytes())
    data[at] ^= 255
    path.write_bytes(data)
    with pytest.raises(EdgeposeError, match="damaged"):
        cache.cached(small, tmp_path, verify=verify)


def test_short_images_are_noticed_without_hashing(small: PoseDataset, tmp_path: Path) -> None:
    cache.cached(small, tmp_path)
    path = tmp_path / small.fingerprint[:32] / "images.npy"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(EdgeposeError, match="another size"):
        cache.cached(small, tmp_path)


def test_frames_of_unequal_size_are_refused(small: PoseDataset, tmp_path: Path) -> None:
    class Uneven(Dies):
        def __getitem__(self, index: int) -> PoseSample:
            config = synthetic.Config(val=10, frame_px=40 if index < 5 else 44)
            return synthetic.open_split(config, "val")[index]

    with pytest.raises(EdgeposeError, match="differ in size"):
        cache.cached(Uneven(small, -1), tmp_path)


def test_a_full_disk_is_one_clear_error(
    small: PoseDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache.os, "posix_fallocate", full, raising=False)
    with pytest.raises(EdgeposeError, match="no room for a cache"):
        cache.cached(small, tmp_path)
    assert not list(tmp_path.glob("*/images.npy"))


def test_processes_draw_the_same(small: PoseDataset, tmp_path: Path) -> None:
    both = cache.cached(small, tmp_path, workers=2, verify=True)
    assert both.skeleton is MPII16
    assert all(same(both[i], small[i]) for i in range(10))


def test_an_empty_set_needs_no_cache(tmp_path: Path) -> None:
    empty = synthetic.open_split(synthetic.Config(val=0), "val")
    assert cache.cached(empty, tmp_path / "x") is empty
