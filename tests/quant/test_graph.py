from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import pytest
import torch
from torch import fx, nn

from edgepose.device.decode import decode_heatmaps
from edgepose.errors import EdgeposeError
from edgepose.models.pose_model import PoseModel
from edgepose.quant.graph import (
    activation_grids,
    export,
    finish,
    freeze_observers,
    int8_graph,
    prepare_calibration,
    prepare_qat,
)
from edgepose.quant.grid import snap


def _train(prepared: nn.Module, optimiser: torch.optim.Optimizer, steps: range) -> list[float]:
    """A few steps on data that depends on the step number alone."""
    losses = []
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        x = torch.randn(2, 3, 64, 96, generator=generator)
        target = torch.randn(2, 5, 16, 24, generator=generator)
        loss = (prepared(x) - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


def test_int8_stays_close_to_float(
    int8: fx.GraphModule, float_deploy: PoseModel, images: torch.Tensor
) -> None:
    with torch.no_grad():
        expected, got = float_deploy.module()(images), int8(images)
    noise = (got - expected).square().mean() / expected.square().mean()
    assert 0 < noise < 0.02


def test_int8_graph_computes_what_was_trained(static: PoseModel, images: torch.Tensor) -> None:
    prepared = prepare_qat(static)
    _train(prepared, torch.optim.SGD(prepared.parameters(), lr=1e-3), range(2))
    freeze_observers(prepared)
    trained = finish(static, prepared, source="qat")
    with torch.no_grad():
        expected, got = prepared(images), int8_graph(trained)(images)
    assert (got - expected).abs().max() <= 1e-4 * expected.abs().max()
    for a, b in zip(decode_heatmaps(expected.numpy()), decode_heatmaps(got.numpy()), strict=True):
        assert abs(a - b).max() <= 1e-3


def test_a_saved_model_gives_the_same_graph(
    static: PoseModel, int8: fx.GraphModule, images: torch.Tensor, tmp_path: Path
) -> None:
    static.save(tmp_path / "model")
    loaded = PoseModel.load(tmp_path / "model")
    assert loaded.sha256 == static.sha256
    with torch.no_grad():
        assert torch.equal(int8(images), int8_graph(loaded)(images))


def test_batch_is_free_or_fixed(
    static: PoseModel, int8: fx.GraphModule, images: torch.Tensor
) -> None:
    fixed = int8_graph(static, batch=1)
    with torch.no_grad():
        whole = int8(images)
        single = torch.cat([fixed(image[None]) for image in images])
    assert whole.shape == (3, 5, 16, 24)
    # A rounding that goes the other way in one of the sums spreads; see docs/adr/0005.
    assert (whole - single).norm() <= 0.05 * whole.norm()


def test_weights_are_on_the_grid_and_the_plan_is_complete(static: PoseModel) -> None:
    plan = static.spec.quant
    assert plan is not None
    assert (static.spec.form, plan.mode, plan.source) == ("deploy", "static", "calibration")
    for key, value in static.tensors.items():
        if key.endswith(".weight"):
            assert torch.equal(snap(value), value)


def test_training_moves_every_weight_and_lowers_the_loss(static: PoseModel) -> None:
    prepared = prepare_qat(static)
    before = {k: v.detach().clone() for k, v in prepared.named_parameters()}
    assert set(before) == set(static.tensors)
    optimiser = torch.optim.Adam(prepared.parameters(), lr=1e-3)
    x = torch.randn(4, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    target = torch.randn(4, 5, 16, 24, generator=torch.Generator().manual_seed(2))
    losses = []
    for _ in range(12):
        loss = (prepared(x) - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
    assert all(not torch.equal(before[k], v) for k, v in prepared.named_parameters())


def test_training_resumes_bit_for_bit(slim: PoseModel) -> None:
    fresh = prepare_qat(slim)

    def start(prepared: nn.Module) -> tuple[nn.Module, torch.optim.Optimizer]:
        return prepared, torch.optim.Adam(prepared.parameters(), lr=1e-3)

    whole, optimiser = start(copy.deepcopy(fresh))
    first = _train(whole, optimiser, range(2))
    freeze_observers(whole)
    rest = _train(whole, optimiser, range(2, 4))

    part, optimiser = start(copy.deepcopy(fresh))
    assert _train(part, optimiser, range(2)) == first
    freeze_observers(part)
    saved, steps = part.state_dict(), optimiser.state_dict()
    resumed, optimiser = start(prepare_qat(slim))
    resumed.load_state_dict(saved)
    optimiser.load_state_dict(steps)
    assert _train(resumed, optimiser, range(2, 4)) == rest
    left = finish(slim, whole, source="qat")
    assert left.sha256 == finish(slim, resumed, source="qat").sha256


def test_frozen_scales_stand(slim: PoseModel, images: torch.Tensor) -> None:
    prepared = prepare_qat(slim)
    prepared(images)
    prepared(2 * images)
    freeze_observers(prepared)
    before = {k: g.scale.item() for k, g in activation_grids(prepared).items()}
    prepared(100 * images)
    assert {k: g.scale.item() for k, g in activation_grids(prepared).items()} == before


def test_gradients_stop_where_values_are_clipped(static: PoseModel) -> None:
    prepared = prepare_qat(static)
    freeze_observers(prepared)
    limit = activation_grids(prepared)["input"].scale.item() * 127
    x = torch.full((1, 3, 64, 96), 0.5 * limit)
    x[..., 48:] = 3 * limit
    x.requires_grad_()
    prepared(x).square().sum().backward()
    assert x.grad is not None
    assert x.grad[..., :48].abs().sum() > 0
    assert not x.grad[..., 48:].any()


def test_float_layers_stay_as_they_are(slim: PoseModel, images: torch.Tensor) -> None:
    layers = ["final_layer", "layer1.0.conv1"]
    prepared = prepare_calibration(slim, float_layers=layers)
    with torch.no_grad():
        prepared(images)
    model = finish(slim, prepared, source="calibration")
    assert model.spec.quant is not None
    assert model.spec.quant.precision == dict.fromkeys(layers, "float")
    graph = int8_graph(model)
    dequantized = [n for n in graph.graph.nodes if "dequantize_per_channel" in str(n.target)]
    assert len(dequantized) == 22
    for layer in layers:
        weight = model.tensors[f"{layer}.weight"]
        assert not torch.equal(snap(weight), weight)
    with torch.no_grad():
        assert torch.isfinite(graph(images)).all()


def test_unknown_float_layers_are_refused(slim: PoseModel) -> None:
    with pytest.raises(EdgeposeError, match=r"no layer layer1\.0\.conv9"):
        prepare_calibration(slim, float_layers=["layer1.0.conv9"])


def test_problems_are_named(slim: PoseModel, static: PoseModel) -> None:
    with pytest.raises(EdgeposeError, match="no static quantization plan"):
        int8_graph(slim)
    with pytest.raises(EdgeposeError, match="unknown observer 'entropy2'"):
        prepare_calibration(slim, observer="entropy2")
    with pytest.raises(EdgeposeError, match="activations of input were all zero"):
        finish(slim, prepare_calibration(slim), source="calibration")
    assert static.spec.quant is not None
    scales = {k: v for k, v in static.spec.quant.activation_scales.items() if k != "relu"}
    plan = dataclasses.replace(static.spec.quant, activation_scales=scales)
    with pytest.raises(EdgeposeError, match="no scale for relu"):
        int8_graph(PoseModel(dataclasses.replace(static.spec, quant=plan), static.tensors))


def test_a_network_that_cannot_be_traced_is_refused() -> None:
    class Branches(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(EdgeposeError, match=r"torch\.export cannot trace"):
        export(Branches(), input_hw=(8, 8))
