"""What is learnt beside a network: it is trained, it is kept, and it leaves."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from edgepose.errors import EdgeposeError
from edgepose.models.pose_model import PoseModel
from edgepose.stages.distill import Config, FeatureLink, objective
from edgepose.train.batches import Batch
from edgepose.train.config import FitConfig, Supervision
from edgepose.train.loop import fit
from edgepose.train.objective import Objective
from tests.networks import short
from tests.train.dots import Dots
from tests.train.test_loop import SPEC, network, run, same


def teacher() -> PoseModel:
    return short((32, 32))


def batch(*, soft: bool = False) -> Batch:
    torch.manual_seed(0)
    maps = torch.rand(2, 2, 16, 8, 8)
    weights = torch.ones(2, 16)
    return Batch(
        torch.zeros(2, 3, 32, 32, dtype=torch.uint8), maps[0], weights, maps[1] if soft else None
    )


def test_alpha_weighs_teacher_against_truth() -> None:
    net, given = network(), batch(soft=True)
    images, found = torch.rand(2, 3, 32, 32), torch.rand(2, 16, 8, 8)
    config = Config(steps=1, alpha=0.3)
    loss = objective(net, teacher(), config, num_joints=16)(images, found, given)
    truth = 0.5 * (found - given.targets).square().mean()
    assert given.teacher is not None
    soft = 0.5 * (found - given.teacher).square().mean()
    assert float(loss) == pytest.approx(float(0.7 * truth + 0.3 * soft), rel=1e-5)


def test_without_kept_heatmaps_the_teacher_is_run() -> None:
    net, given, model = network(), batch(), teacher()
    images, found = torch.rand(2, 3, 32, 32), torch.rand(2, 16, 8, 8)
    loss = objective(net, model, Config(steps=1, alpha=1.0), num_joints=16)(images, found, given)
    with torch.no_grad():
        soft = model.module()(images)
    assert float(loss) == pytest.approx(float(0.5 * (found - soft).square().mean()), rel=1e-4)


CONFIG = Config(
    steps=12,
    batch_size=4,
    checkpoint_every=5,
    features=(FeatureLink(student="2", teacher="layer1"),),
    feature_weight=0.1,
    supervision=Supervision(layers=("0", "2")),
)


def learn(net: nn.Module, folder: Path, *, stop_at: int | None = None) -> Objective:
    loss = objective(net, teacher(), CONFIG, num_joints=16)

    def report(what: str, done: int, total: int) -> None:
        if done == stop_at:
            raise KeyboardInterrupt

    fit(
        net, spec=SPEC, dataset=Dots(), loss=loss, config=CONFIG, seed=0, folder=folder,
        report=report,
    )  # fmt: skip
    return loss


def test_adapters_and_heads_are_trained_and_continue_after_a_kill(tmp_path: Path) -> None:
    whole, cut = network(), network()
    fresh = objective(network(), teacher(), CONFIG, num_joints=16).state_dict()
    torch.manual_seed(5)
    learnt = learn(whole, tmp_path / "a").state_dict()
    assert set(learnt) == set(fresh)
    assert sorted({key.rsplit(".", 2)[0] for key in learnt}) == [
        "terms.2.adapters",
        "terms.3.heads",
    ]
    torch.manual_seed(5)
    with pytest.raises(KeyboardInterrupt):
        learn(cut, tmp_path / "b", stop_at=8)
    torch.manual_seed(5)
    cut = network()
    torch.manual_seed(5)
    again = learn(cut, tmp_path / "b").state_dict()
    assert same(whole, cut)
    for key, value in learnt.items():
        assert torch.equal(value, again[key]), key
        assert not torch.equal(value, fresh[key]), key


def test_the_network_itself_gains_no_layer(tmp_path: Path) -> None:
    net = network()
    before = set(net.state_dict())
    learn(net, tmp_path)
    assert set(net.state_dict()) == before


def test_an_unknown_layer_is_named() -> None:
    config = Config(steps=1, features=(FeatureLink(student="2", teacher="layer9"),))
    with pytest.raises(EdgeposeError, match="the teacher has no layer 'layer9'") as caught:
        objective(network(), teacher(), config, num_joints=16)
    assert "layer1" in caught.value.fix


def test_features_and_kept_heatmaps_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="teacher_views"):
        Config(steps=1, teacher_views=2, features=(FeatureLink(student="a", teacher="b"),))


def test_two_passes_are_one_of_twice_the_size(tmp_path: Path) -> None:
    """With batch norm in eval mode, whose statistics depend on the pass."""
    results = []
    for size, passes in ((8, 1), (4, 2)):
        net = network().eval()
        config = {"batch_size": size, "accumulate": passes, "mixed_precision": "no", "ema": 0.0}
        results.append((net, run(net, tmp_path / str(size), **config)))
    assert FitConfig(steps=1).accumulate == 1
    (a, first), (b, second) = results
    assert first.images_seen == second.images_seen
    for (_, x), (_, y) in zip(first.losses, second.losses, strict=True):
        assert x == pytest.approx(y, rel=1e-4)
    for x, y in zip(a.parameters(), b.parameters(), strict=True):
        assert torch.allclose(x, y, atol=1e-4)
