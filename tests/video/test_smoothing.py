"""The One-Euro filter: an exponential filter where beta is 0, calmer at rest, quick in motion."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter

from edgepose.video.smoothing import Config, OneEuro, alpha

FPS = 25.0


def run(values: np.ndarray, config: Config, *, side_px: float = 1.0) -> np.ndarray:
    smooth = OneEuro(config)
    seen = np.ones(values.shape[1], bool)
    return np.stack(
        [smooth(xy, i / FPS, seen=seen, side_px=side_px) for i, xy in enumerate(values)]
    )


def test_without_beta_it_is_scipys_exponential_filter() -> None:
    values = np.random.default_rng(0).normal(size=(60, 3, 2))
    a = float(alpha(1.7, 1 / FPS))
    start = (1 - a) * values[:1]
    wanted, _ = lfilter([a], [1, a - 1], values, axis=0, zi=start)
    found = run(values, Config(min_cutoff=1.7, beta=0.0))
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_it_calms_what_rests_and_follows_what_moves() -> None:
    rng = np.random.default_rng(1)
    still = np.full((100, 1, 2), 50.0) + rng.normal(0, 1.5, (100, 1, 2))
    calm = run(still, Config(), side_px=200)
    assert np.std(calm[20:]) < 0.6 * np.std(still[20:])
    fast = np.stack([np.arange(100) * 12.0, np.zeros(100)], axis=1)[:, None]
    lag = (fast - run(fast, Config(), side_px=200))[50:, 0, 0]
    slow = (fast - run(fast, Config(beta=0.0), side_px=200))[50:, 0, 0]
    assert lag.max() < 0.25 * slow.max()


def test_the_size_of_the_person_changes_nothing() -> None:
    values = np.random.default_rng(2).normal(0, 5, (40, 2, 2)).cumsum(axis=0)
    near = run(4 * values, Config(), side_px=400)
    np.testing.assert_allclose(near, 4 * run(values, Config(), side_px=100), atol=1e-3)


def test_unseen_joints_pass_and_start_afresh() -> None:
    smooth = OneEuro(Config())
    for i, (x, seen) in enumerate([(0.0, True), (500.0, False), (20.0, True)]):
        out = smooth(np.array([[x, 0.0]]), i / FPS, seen=np.array([seen]))
        assert out[0, 0] == x
    assert 20 < smooth(np.array([[30.0, 0.0]]), 3 / FPS, seen=np.array([True]))[0, 0] < 30


def test_time_must_pass() -> None:
    smooth = OneEuro(Config())
    smooth(np.zeros((1, 2)), 1.0, seen=np.ones(1, bool))
    with pytest.raises(ValueError, match="time does not pass"):
        smooth(np.zeros((1, 2)), 1.0, seen=np.ones(1, bool))
