"""The contact sheet shows what it was given, labels where the joints are."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edgepose.data import synthetic
from edgepose.data.preview import contact_sheet, drawn, limb_colour
from edgepose.errors import EdgeposeError
from edgepose.skeleton import MPII16

PEOPLE = synthetic.open_split(synthetic.Config(val=7, frame_px=64), "val")


def test_sheet_has_a_tile_per_sample(tmp_path: Path) -> None:
    path = contact_sheet(PEOPLE, 7, tmp_path / "sheet.png", columns=3, scale=1.0, labels=False)
    sheet = cv2.imread(str(path))[..., ::-1]
    assert sheet.shape == (3 * 64, 3 * 64, 3)
    for i in (0, 4, 6):
        row, column = divmod(i, 3)
        tile = sheet[row * 64 : row * 64 + 64, column * 64 : column * 64 + 64]
        assert np.array_equal(tile, PEOPLE[i].image)
    assert not sheet[128:, 64:].any()


def test_more_than_there_are_is_all_there_are(tmp_path: Path) -> None:
    sheet = cv2.imread(str(contact_sheet(PEOPLE, 99, tmp_path / "s.png", columns=7, scale=0.5)))
    assert sheet.shape == (32, 7 * 32, 3)


def test_joints_are_marked_where_they_are() -> None:
    sample = PEOPLE[0]
    tile = drawn(sample, MPII16, side_px=256)
    for xy in sample.joints_xy[sample.annotated]:
        x, y = np.rint((xy + 0.5) * 4 - 0.5).astype(int)
        assert tile[y, x].min() > 240
    assert np.array_equal(drawn(sample, MPII16, side_px=64, labels=False), sample.image)


def test_sides_have_their_colours() -> None:
    right = limb_colour(MPII16, 10, 11)
    left = limb_colour(MPII16, 14, 15)
    assert right[0] > right[2]
    assert left[2] > left[0]
    assert limb_colour(MPII16, 8, 9) not in (left, right)


@pytest.mark.parametrize("wrong", [{"columns": 0}, {"scale": 0.0}])
def test_nothing_to_show_is_refused(tmp_path: Path, wrong: dict[str, float]) -> None:
    with pytest.raises(EdgeposeError, match="nothing to preview"):
        contact_sheet(PEOPLE, 2, tmp_path / "s.png", **wrong)  # type: ignore[arg-type]
    with pytest.raises(EdgeposeError, match="nothing to preview"):
        contact_sheet(PEOPLE, 0, tmp_path / "s.png")
    assert not list(tmp_path.iterdir())
