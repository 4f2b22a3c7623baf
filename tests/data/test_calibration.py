"""Calibration folders: the committed one, one's own, and broken ones."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgepose.data import synthetic
from edgepose.data.calibration import open_calibration, warn_domain
from edgepose.errors import EdgeposeError

OURS = Path(__file__).parents[2] / "calib_data"


def picture(path: Path, side: int = 40) -> Path:
    noise = np.random.default_rng(side).integers(0, 255, (side, side + 10, 3)).astype(np.uint8)
    assert cv2.imwrite(str(path), noise)
    return path


def with_manifest(folder: Path, **entry: object) -> Path:
    picture(folder / "a.png")
    (folder / "manifest.json").write_text(
        json.dumps({"domain": "shop", "images": [{"file": "a.png", **entry}]})
    )
    return folder


def test_committed_images_are_the_calibration_split() -> None:
    ours = open_calibration(OURS)
    drawn = synthetic.open_split(synthetic.Config(), "calibration")
    assert len(ours) == len(drawn) == 128
    assert ours.domain == synthetic.VERSION
    for i in (0, 64, 127):
        a, b = ours[i], drawn[i]
        assert a.image.shape == b.image.shape
        error = np.abs(a.image.astype(float) - b.image).mean()
        assert error < 9  # JPEG
        assert np.allclose(a.center_xy, b.center_xy, atol=0.01)
        assert a.size_px == pytest.approx(b.size_px, abs=0.01)
        assert not a.annotated.any()
    assert sum(p.stat().st_size for p in OURS.iterdir()) < 2_000_000


def test_plain_pictures_are_used_whole(tmp_path: Path) -> None:
    picture(tmp_path / "b.png")
    picture(tmp_path / "a.jpg", 60)
    found = open_calibration(tmp_path)
    assert found.domain == "photographs"
    assert [s.sample_id for s in (found[0], found[1])] == ["a.jpg", "b.png"]
    assert found[0].image.shape == (60, 70, 3)
    assert found[0].size_px == 70
    assert np.array_equal(found[0].box_xywh, [0, 0, 70, 60])


def test_a_box_gives_its_square_with_margin(tmp_path: Path) -> None:
    sample = open_calibration(with_manifest(tmp_path, box_xywh=[4, 6, 10, 20]), skeleton="coco17")[
        0
    ]
    assert sample.joints_xy.shape == (17, 2)
    assert sample.size_px == 25
    assert np.array_equal(sample.center_xy, [9, 16])


def test_fingerprint_follows_content(tmp_path: Path) -> None:
    first = open_calibration(with_manifest(tmp_path)).fingerprint
    boxed = open_calibration(with_manifest(tmp_path, box_xywh=[4, 6, 10, 20])).fingerprint
    picture(tmp_path / "a.png", 44)
    assert len({first, boxed, open_calibration(tmp_path).fingerprint}) == 3


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "not readable JSON"),
        ('{"images": []}', "holds no images"),
        ('{"images": [{"file": "a.png", "size": 3}]}', "images.0.size"),
        ('{"images": [{"file": "../a.png"}]}', "outside of its folder"),
        ('{"images": [{"file": "gone.png"}]}', "which is not there"),
        ('{"images": [{"file": "a.png", "sha256": "%s"}]}' % ("0" * 64), "is not the image"),
        ('{"version": 2, "images": []}', "version"),
    ],
)
def test_broken_manifests_are_refused_by_name(tmp_path: Path, text: str, problem: str) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    picture(folder / "a.png")
    picture(tmp_path / "a.png")
    (folder / "manifest.json").write_text(text)
    with pytest.raises(EdgeposeError, match=problem):
        open_calibration(folder)


def test_empty_and_missing_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(EdgeposeError, match="holds no images"):
        open_calibration(tmp_path)
    with pytest.raises(EdgeposeError, match="no calibration folder"):
        open_calibration(tmp_path / "gone")


def test_another_domain_warns_loudly_and_the_same_does_not() -> None:
    assert warn_domain("photographs", "photographs") is None
    text = warn_domain("photographs", "synthetic-people-v1")
    assert text is not None
    assert text.startswith("WARNING: CALIBRATING ON ANOTHER DOMAIN")
    assert "photographs" in text
    assert "synthetic-people-v1" in text
