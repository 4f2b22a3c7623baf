"""Properties of the person bootstrap, and its agreement with theory and with scipy."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepose.errors import EdgeposeError
from edgepose.metrics.bootstrap import interval, percent_draws
from edgepose.metrics.metric import Score, difference


def mean_ci(correct, valid, *, level=0.95, **how):
    return interval(percent_draws(correct, valid, **how), level)


def paired_difference_ci(a, valid, b, **how):
    valid = np.asarray(valid, bool)
    scores = []
    for correct in (a, b):
        value = 100 * np.mean(np.asarray(correct)[valid]) if valid.any() else np.nan
        draws = percent_draws(correct, valid, **how)
        scores.append(Score(value, len(valid), lambda draws=draws: draws))
    return difference(*scores)


def random_scores(seed, people=40, joints=14, rate=0.8):
    rng = np.random.default_rng(seed)
    skill = rng.beta(6 * rate, 6 * (1 - rate), (people, 1))
    return rng.random((people, joints)) < skill, rng.random((people, joints)) < 0.9


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.floats(0.05, 0.95))
def test_the_interval_contains_the_score(seed, people, rate):
    correct, valid = random_scores(seed, people=people, rate=rate)
    if not valid.any():
        return
    score = 100 * (correct & valid).sum() / valid.sum()
    low, high = mean_ci(correct, valid, resamples=300)
    assert low - 1e-9 <= score <= high + 1e-9
    assert 0 <= low <= high <= 100


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_nothing_differs_from_itself(seed):
    correct, valid = random_scores(seed)
    assert paired_difference_ci(correct, valid, correct) == (0.0, 0.0, 0.0)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_swapping_the_sides_turns_the_sign(seed_a, seed_b):
    (a, valid), (b, _) = random_scores(seed_a), random_scores(seed_b)
    d, low, high = paired_difference_ci(a, valid, b, resamples=200)
    e, other_low, other_high = paired_difference_ci(b, valid, a, resamples=200)
    np.testing.assert_allclose((d, low, high), (-e, -other_high, -other_low), atol=1e-9)
    assert low <= d <= high


def test_the_seed_decides():
    correct, valid = random_scores(1)
    assert mean_ci(correct, valid, seed=5) == mean_ci(correct, valid, seed=5)
    assert mean_ci(correct, valid, seed=5) != mean_ci(correct, valid, seed=6)


def test_agrees_with_scipy():
    correct, valid = random_scores(2, people=200)
    hits, counts = (correct & valid).sum(axis=1), valid.sum(axis=1)
    theirs = scipy.stats.bootstrap(
        (hits, counts), lambda h, c, axis: 100 * h.sum(axis) / c.sum(axis), paired=True,
        n_resamples=20_000, method="percentile", rng=np.random.default_rng(0), batch=1000,
    ).confidence_interval  # fmt: skip
    ours = mean_ci(correct, valid, resamples=20_000)
    np.testing.assert_allclose(ours, (theirs.low, theirs.high), atol=0.15)


def test_persons_are_the_unit_not_joints():
    """Whole persons right or wrong: the interval is that of N coins, not of N x J."""
    right = np.repeat(np.arange(100)[:, None] < 50, 16, axis=1)
    low, high = mean_ci(right, np.ones_like(right), resamples=4000)
    assert high - low == pytest.approx(2 * 1.96 * 5.0, rel=0.1)


def test_pairing_cancels_what_is_shared():
    correct, valid = random_scores(3, people=300, rate=0.6)
    slightly = correct.copy()
    slightly[0, 0] = not slightly[0, 0]
    _, low, high = paired_difference_ci(correct, valid, slightly)
    alone = mean_ci(correct, valid)
    assert high - low < 0.1 * (alone[1] - alone[0])


def test_a_wider_level_is_a_wider_interval():
    correct, valid = random_scores(4)
    narrow, wide = (mean_ci(correct, valid, level=level) for level in (0.5, 0.99))
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_blocks_change_nothing(monkeypatch):
    correct, valid = random_scores(5)
    whole = mean_ci(correct, valid, resamples=500)
    monkeypatch.setattr("edgepose.metrics.bootstrap._BLOCK", 7 * len(correct))
    assert mean_ci(correct, valid, resamples=500) == whole


def test_persons_without_valid_joints_and_nan_cells_do_not_matter():
    correct, valid = random_scores(6)
    score = correct.astype(float)
    score[~valid] = np.nan
    extra = np.concatenate([score, np.full((3, 14), np.nan)])
    extra_valid = np.concatenate([valid, np.zeros((3, 14), bool)])
    assert mean_ci(extra, extra_valid) == mean_ci(correct, valid)


def test_nothing_to_score_is_nan_and_wrong_shapes_are_named():
    assert np.isnan(mean_ci(np.zeros((3, 2)), np.zeros((3, 2)))).all()
    assert np.isnan(paired_difference_ci(*[np.zeros((0, 2))] * 3)).all()
    with pytest.raises(EdgeposeError, match=r"\(3, 2\)"):
        mean_ci(np.zeros((3, 2)), np.zeros((3, 3)))
