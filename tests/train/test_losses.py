"""Losses against their formulas, written out with loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgepose.train.losses import feature_mse, heatmap_kl, heatmap_mse

SHAPE = (3, 5, 4, 6)


def draw(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    predicted, target = rng.normal(size=(2, *SHAPE)).astype(np.float32)
    return predicted, target, (rng.random(SHAPE[:2]) < 0.7).astype(np.float32)


def per_joint(predicted: np.ndarray, target: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(N, J): half the mean squared error of each joint of each person, as JointsMSELoss has it."""
    out = np.zeros(SHAPE[:2])
    for n in range(SHAPE[0]):
        for j in range(SHAPE[1]):
            w = weights[n, j]
            out[n, j] = 0.5 * np.mean((w * predicted[n, j] - w * target[n, j]) ** 2)
    return out


@given(st.integers(0, 2**32 - 1), st.integers(0, 7))
def test_mse_and_its_hardest_joints(seed: int, ohkm: int) -> None:
    values = draw(seed)
    each = per_joint(*values)
    if 0 < ohkm < SHAPE[1]:
        each = np.sort(each, axis=1)[:, -ohkm:]
    found = heatmap_mse(*(torch.from_numpy(v) for v in values), ohkm=ohkm)
    assert float(found) == pytest.approx(each.mean(), rel=1e-5)


@given(st.integers(0, 2**32 - 1), st.floats(0.05, 5))
def test_kl_against_its_definition(seed: int, temperature: float) -> None:
    predicted, teacher, _ = draw(seed)

    def softmax(maps: np.ndarray) -> np.ndarray:
        scores = maps.reshape(*SHAPE[:2], -1).astype(np.float64) / temperature
        exp = np.exp(scores - scores.max(axis=2, keepdims=True))
        return exp / exp.sum(axis=2, keepdims=True)

    p, q = softmax(teacher), softmax(predicted)
    wanted = temperature**2 * (p * (np.log(p) - np.log(q))).sum(axis=2).mean()
    tensors = [torch.from_numpy(v) for v in (predicted, teacher)]
    assert float(heatmap_kl(*tensors, temperature=temperature)) == pytest.approx(wanted, rel=1e-3)
    assert float(heatmap_kl(tensors[1], tensors[1], temperature=temperature)) == pytest.approx(0)


def test_feature_loss_does_not_depend_on_the_teachers_scale() -> None:
    a, b, _ = (torch.from_numpy(v) for v in draw(0))
    assert float(feature_mse(a, b)) == pytest.approx(float(feature_mse(9 * a, 9 * b)), rel=1e-5)
    assert float(feature_mse(b, b)) == 0
