from __future__ import annotations

import copy

import torch
from torch import nn

from edgepose.models.pose_model import PoseModel
from edgepose.quant.graph import finish, int8_graph, prepare_qat
from edgepose.quant.norms import LiveNorm, fold_norms, freeze_norms, revive_norms


def _norms(prepared: nn.Module) -> dict[str, LiveNorm]:
    return {name: m for name, m in prepared.named_modules() if isinstance(m, LiveNorm)}


def test_norms_come_back_without_a_change_and_fold_without_one(
    slim: PoseModel, static: PoseModel, images: torch.Tensor
) -> None:
    plain, prepared = prepare_qat(static), prepare_qat(static)
    assert revive_norms(prepared, slim) == 20  # all but those of the three deconvolutions
    assert all(m.live.item() == 1 for m in _norms(prepared).values())
    freeze_norms(prepared)
    for network in (plain, prepared):
        for grid in network.modules():
            if hasattr(grid, "disable_observer"):
                grid.disable_observer()
    with torch.no_grad():
        expected, got = plain(images), prepared(images)
    # 3-bit scales may round one channel's up where k is 1 + 1e-7: close, not equal.
    assert (got - expected).norm() <= 0.05 * expected.norm()
    fold_norms(prepared)
    for key, value in plain.named_parameters():
        torch.testing.assert_close(prepared.get_parameter(key), value, rtol=1e-4, atol=1e-5)


def test_they_follow_the_batches_until_they_are_frozen_and_ship_folded(
    slim: PoseModel, static: PoseModel, images: torch.Tensor
) -> None:
    prepared = prepare_qat(static)
    revive_norms(prepared, slim)
    first = _norms(prepared)["norm_layer1_0_conv1"]
    before = first.mean.clone(), first.var.clone()
    optimiser = torch.optim.SGD(prepared.parameters(), lr=1e-3)
    for _ in range(2):
        prepared(3 * images).square().mean().backward()
        optimiser.step()
    assert first.gain.grad is not None
    assert first.gain.grad.abs().sum() > 0
    assert not torch.equal(first.mean, before[0])
    assert not torch.equal(first.var, before[1])
    saved = copy.deepcopy(prepared.state_dict())
    freeze_norms(prepared)
    kept = first.mean.clone()
    prepared(images)
    assert torch.equal(first.mean, kept)

    again = prepare_qat(static)
    revive_norms(again, slim)
    again.load_state_dict(saved)
    assert _norms(again)["norm_layer1_0_conv1"].live.item() == 1
    freeze_norms(again)
    with torch.no_grad():
        again(images)
        fold_norms(again)
        expected = again(images)
        model = finish(slim, again, source="qat")
        got = int8_graph(model)(images)
    assert set(model.tensors) == set(static.tensors)
    assert (got - expected).norm() <= 0.05 * expected.norm()
