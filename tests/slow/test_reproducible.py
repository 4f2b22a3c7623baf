"""Same recipe, seed and machine: the same loss, step for step."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgepose.data import synthetic
from edgepose.models.pose_model import ModelSpec, PoseModel
from edgepose.train.config import FitConfig
from edgepose.train.loop import FitResult, fit
from edgepose.train.objective import GroundTruth

pytestmark = pytest.mark.slow
STEPS = 200


def train(folder: Path, *, seed: int, mixed_precision: str) -> FitResult:
    spec = ModelSpec("resnet18", 16, (64, 64), "mpii16")
    return fit(
        PoseModel.fresh(spec, seed=seed).module().train(),
        spec=spec,
        dataset=synthetic.open_split(synthetic.Config(train=200, frame_px=64), "train"),
        loss=GroundTruth(),
        config=FitConfig(steps=STEPS, batch_size=8, ema=0.99, mixed_precision=mixed_precision),  # type: ignore[arg-type]
        seed=seed,
        folder=folder,
        report=lambda what, done, total: None,
    )


@pytest.mark.parametrize("mixed_precision", ["no", "bf16"])
def test_two_trainings_lose_the_same_at_each_of_200_steps(
    tmp_path: Path, mixed_precision: str
) -> None:
    first = train(tmp_path / "a", seed=0, mixed_precision=mixed_precision).losses
    second = train(tmp_path / "b", seed=0, mixed_precision=mixed_precision).losses
    assert [step for step, _ in first] == list(range(1, STEPS + 1))
    assert first == second
    assert first[0][1] != first[-1][1]
