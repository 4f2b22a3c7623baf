"""The training loop: reproducible, continued bit for bit, and stopped by NaN."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from edgepose.data.crop import Augment
from edgepose.errors import EdgeposeError
from edgepose.models.pose_model import ModelSpec
from edgepose.train.config import FitConfig, Phase
from edgepose.train.loop import FitResult, fit
from edgepose.train.losses import heatmap_mse
from edgepose.train.schedule import lr_factor
from tests.train.dots import Dots

SPEC = ModelSpec("resnet18", 16, (32, 32), "mpii16")


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1),
    )  # fmt: skip


def run(
    net: nn.Module, folder: Path, *, seed: int = 0, stop_at: int | None = None, **config: object
) -> FitResult:
    def report(what: str, done: int, total: int) -> None:
        if done == stop_at:
            raise KeyboardInterrupt

    values = {"steps": 12, "batch_size": 4, "checkpoint_every": 5, "ema": 0.9, **config}
    return fit(
        net, spec=SPEC, dataset=Dots(), config=FitConfig(**values), seed=seed, folder=folder,
        report=report,
        loss=lambda _, heatmaps, batch: heatmap_mse(heatmaps, batch.targets, batch.weights),
    )  # fmt: skip


def same(a: nn.Module, b: nn.Module) -> bool:
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


def test_same_seed_same_losses_other_seed_other_losses(tmp_path: Path) -> None:
    first = run(network(), tmp_path / "a")
    assert run(network(), tmp_path / "b").losses == first.losses
    assert run(network(), tmp_path / "c", seed=1).losses != first.losses


@pytest.mark.parametrize("killed_after", [1, 5, 7, 11])
@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_a_killed_run_ends_like_an_uninterrupted_one(
    tmp_path: Path, killed_after: int, precision: str
) -> None:
    phases = (
        Phase(input_hw=(32, 32), share=0.5),
        Phase(input_hw=(64, 64), share=0.5, batch_size=3),
    )
    whole, broken = network(), network()
    expected = run(whole, tmp_path / "whole", phases=phases, mixed_precision=precision)
    with pytest.raises(KeyboardInterrupt):
        run(
            network(),
            tmp_path / "k",
            phases=phases,
            stop_at=killed_after,
            mixed_precision=precision,
        )
    assert run(broken, tmp_path / "k", phases=phases, mixed_precision=precision) == expected
    assert same(whole, broken)


def test_loader_processes_change_nothing(tmp_path: Path) -> None:
    alone, helped = network(), network()
    run(alone, tmp_path / "a", steps=3)
    run(helped, tmp_path / "b", steps=3, workers=2)
    assert same(alone, helped)


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    still = Augment(flip=False, rotation_deg=0, scale=(1, 1), shift=0, photometric=0, occlusion=0)
    losses = run(network(), tmp_path, steps=150, lr=0.01, augment=still).losses
    assert losses[-1][1] < 0.7 * losses[0][1]


@pytest.mark.parametrize("content", [b"junk", b"", b"PK\x03\x04 cut"])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(content)
    with pytest.raises(EdgeposeError, match=r"checkpoint\.pt is damaged") as caught:
        run(network(), tmp_path)
    assert "remove that file" in caught.value.fix


def test_nan_stops_and_keeps_the_last_good_state(tmp_path: Path) -> None:
    net = network()

    def poison(step: int) -> None:
        if step == 7:
            with torch.no_grad():
                next(net.parameters()).fill_(math.nan)

    with pytest.raises(EdgeposeError, match=r"nan at step 7.*state of step 5 is kept"):
        fit(
            net, spec=SPEC, dataset=Dots(), seed=0, folder=tmp_path, before_step=poison,
            config=FitConfig(steps=12, batch_size=4, checkpoint_every=5), report=lambda *_: None,
            loss=lambda _, heatmaps, batch: heatmap_mse(heatmaps, batch.targets, batch.weights),
        )  # fmt: skip
    kept = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert kept["progress"]["step"] == 5
    assert all(torch.isfinite(v).all() for v in kept["network"].values())


@pytest.mark.parametrize("schedule", ["one_cycle", "cosine", "constant"])
@pytest.mark.parametrize("steps", [1, 2, 10, 1000])
def test_learning_rate_stays_in_its_range(schedule, steps: int) -> None:  # type: ignore[no-untyped-def]
    factors = [lr_factor(step, steps=steps, schedule=schedule) for step in range(steps)]
    assert all(0 < factor <= 1 for factor in factors)
    assert max(factors) == pytest.approx(1.0)
    if schedule != "constant" and steps > 2:
        assert factors[-1] == pytest.approx(0.01)
