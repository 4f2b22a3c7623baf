"""What cannot be used: counted, named, passed over up to a share, and then refused."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edgepose.data import sift as module
from edgepose.data.photographs import Labels, Photographs, around
from edgepose.data.sift import box_fault, look_at, sift
from edgepose.device.geometry import box_to_crop
from edgepose.errors import EdgeposeError
from edgepose.skeleton import MPII16


def person(path: Path, name: str, box: tuple[float, ...] = (5, 5, 20, 30)) -> Labels:
    center, size = around(box)
    return Labels(
        sample_id=name, image_id=path.name, path=path, joints_xy=np.zeros((16, 2), np.float32),
        annotated=np.zeros(16, bool), box_xywh=np.array(box, np.float32), center_xy=center,
        size_px=size, image_hw=(60, 80),
    )  # fmt: skip


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{i}.jpg" for i in range(20)]
    rng = np.random.default_rng(0)
    for path in paths:
        cv2.imwrite(str(path), rng.integers(0, 255, (60, 80, 3), dtype=np.uint8))
    return paths


def test_what_is_whole_is_kept_in_order(pictures: list[Path]) -> None:
    people = [person(path, path.stem) for path in pictures]
    kept, bad = sift(people, max_bad_share=0, source="x")
    assert kept == people
    assert (bad.count, bad.total) == (0, 20)


def test_every_reason_is_counted_and_named(pictures: list[Path]) -> None:
    people = [person(path, path.stem) for path in pictures]
    pictures[0].unlink()
    pictures[1].write_bytes(pictures[1].read_bytes()[:-900])
    pictures[2].write_bytes(b"GIF89a")
    pictures[3].write_bytes(b"")
    cv2.imwrite(str(pictures[4]), np.zeros((60, 90, 3), np.uint8))
    boxes = [(5, 5, 0, 9), (90, 5, 10, 10), (math.nan, 0, 9, 9), (0, 0, 900, 9), (0, 0, 9, -9)]
    people += [person(pictures[9], f"b{i}", box) for i, box in enumerate(boxes)]
    kept, bad = sift(people, max_bad_share=0.5, source="x")
    assert [p.sample_id for p in kept] == [str(i) for i in range(5, 20)]
    assert bad.counts == {
        "image missing": 1, "image broken": 3, "image of another size than labelled": 1,
        "box without area": 2, "box outside the image": 1, "box not a number": 1,
        "box over 10 images large": 1,
    }  # fmt: skip
    assert bad.examples["image broken"] == ("1.jpg", "2.jpg", "3.jpg")
    assert bad.examples["image of another size than labelled"] == ("4.jpg: 90 x 60, not 80 x 60",)
    assert bad.examples["box without area"] == ("b0", "b4")
    assert "10 of 25 people left out" in bad.text


@pytest.mark.parametrize(
    ("gone", "share", "refused"), [(1, 0.05, False), (2, 0.05, True), (1, 0, True)]
)
def test_the_share_is_the_limit(
    pictures: list[Path], gone: int, share: float, refused: bool
) -> None:
    people = [person(path, path.stem) for path in pictures]
    for path in pictures[:gone]:
        path.unlink()
    if not refused:
        assert len(sift(people, max_bad_share=share, source="x")[0]) == 20 - gone
        return
    with pytest.raises(
        EdgeposeError, match=rf"image missing \(0\.jpg.*the limit is {share:.0%}".replace("%", " %")
    ) as caught:
        sift(people, max_bad_share=share, source="x")
    assert "max_bad_share" in caught.value.fix


def test_a_picture_that_was_repaired_is_looked_at_again(pictures: list[Path]) -> None:
    whole = pictures[0].read_bytes()
    pictures[0].write_bytes(whole[:100])
    assert look_at(pictures[:1])[pictures[0]] == "image broken"
    pictures[0].write_bytes(whole)
    assert look_at(pictures[:1])[pictures[0]].hw == (60, 80)  # type: ignore[union-attr]


def test_looks_are_remembered_on_disk(
    pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEPOSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "_WORTH_KEEPING", 1)
    monkeypatch.setattr(module, "_KNOWN", {})
    pictures[3].write_bytes(b"?")
    first = look_at(pictures)
    (note,) = (tmp_path / "cache" / "pictures").iterdir()
    monkeypatch.setattr(module, "_KNOWN", {})

    def never(path: Path) -> None:
        raise AssertionError(f"{path} was decoded again")

    monkeypatch.setattr(module, "_look", never)
    assert look_at(pictures) == first
    monkeypatch.undo()
    monkeypatch.setenv("EDGEPOSE_CACHE", str(tmp_path / "cache"))
    note.write_text('[["0.jpg", 1]]')
    monkeypatch.setattr(module, "_KNOWN", {})
    assert look_at(pictures) == first


def test_a_box_that_touches_the_picture_is_one() -> None:
    def box(*values: float) -> NDArray[np.float32]:
        return np.array(values, np.float32)

    assert box_fault(box(-30, -30, 31, 31), (60, 80)) == ""
    assert box_fault(box(-30, -30, 30, 31), (60, 80)) == "box outside the image"
    assert box_fault(box(0, 0, 800, 60), (60, 80)) == ""
    assert box_fault(box(0, 0, 801, 60), (60, 80)) == "box over 10 images large"
    assert box_fault(box(0, np.inf, 1, 1), (60, 80)) == "box not a number"


def test_the_crop_region_is_the_devices(pictures: list[Path]) -> None:
    for box in ((1.5, 2.25, 40, 30), (-3, 0, 7, 90)):
        center, size = box_to_crop(box)
        ours, ours_size = around(box)
        np.testing.assert_allclose(ours, center, rtol=1e-6)
        assert ours_size == pytest.approx(size)


def test_fingerprints_follow_labels_and_files(pictures: list[Path]) -> None:
    def fingerprint(people: list[Labels]) -> str:
        return Photographs(people, MPII16, version="v").fingerprint

    people = [person(path, path.stem) for path in pictures[:3]]
    first = fingerprint(people)
    assert fingerprint(people) == first
    assert fingerprint(people[:2]) != first
    assert fingerprint([*people[:2], person(pictures[2], "2", (5, 5, 21, 30))]) != first
    pictures[0].write_bytes(pictures[0].read_bytes() + b"\0")
    assert fingerprint(people) != first
