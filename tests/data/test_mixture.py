"""Pictures without labels among labelled people, in the share that was asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepose.data.mixture import Mixture, Unlabelled, open_unlabelled, round_counts
from edgepose.errors import EdgeposeError
from edgepose.skeleton import COCO17, MPII16
from tests.train.dots import Dots

Photos = Callable[[int], Path]


@pytest.fixture
def photos(tmp_path: Path) -> Photos:
    """A folder of so many noisy pictures."""

    def make(count: int) -> Path:
        folder = tmp_path / f"photos{count}"
        folder.mkdir()
        for k in range(count):
            noise = np.random.default_rng(100 + k).integers(0, 256, (48, 40, 3), dtype=np.uint8)
            cv2.imwrite(str(folder / f"{k:03d}.png"), noise)
        return folder

    return make


@given(
    labelled=st.integers(1, 10_000),
    unlabelled=st.integers(1, 10_000),
    share=st.floats(0.01, 0.99),
)
def test_a_round_shows_everybody_in_the_share(labelled: int, unlabelled: int, share: float) -> None:
    a, b = round_counts(labelled, unlabelled, share=share)
    assert a >= labelled
    assert b >= unlabelled
    assert a == labelled or b == unlabelled
    assert abs(b - share * (a + b)) <= 1
    assert round_counts(labelled, unlabelled, share=1.0) == (0, unlabelled)


def test_every_sample_is_of_one_of_the_two(photos: Photos) -> None:
    pictures = open_unlabelled(Unlabelled(root=photos(3)), MPII16)
    mixture = Mixture(Dots(), pictures, share=0.5)
    assert len(mixture) == 20
    samples = [mixture[i] for i in range(len(mixture))]
    assert [s.sample_id for s in samples[:10]] == [str(i) for i in range(10)]
    assert {s.sample_id for s in samples[10:]} == {"000.png", "001.png", "002.png"}
    assert not any(s.annotated.any() for s in samples[10:])
    assert mixture.skeleton == MPII16
    with pytest.raises(IndexError):
        mixture[20]
    other = Mixture(Dots(), pictures, share=0.25)
    assert mixture.fingerprint != other.fingerprint


def test_both_need_the_same_joints(photos: Photos) -> None:
    pictures = open_unlabelled(Unlabelled(root=photos(1)), COCO17)
    with pytest.raises(EdgeposeError, match="mpii16 joints, the unlabelled coco17"):
        Mixture(Dots(), pictures, share=0.5)
