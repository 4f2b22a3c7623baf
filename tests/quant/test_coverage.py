"""The quantized graph of every kind of network: nothing between INT8 layers is left in float."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgepose.errors import EdgeposeError
from edgepose.models.pose_model import ModelSpec, PoseModel
from edgepose.quant.calibrate import calibrate
from edgepose.quant.graph import (
    activation_grids,
    finish,
    freeze_observers,
    head_layers,
    int8_graph,
    layer_output,
    prepare_qat,
)
from edgepose.quant.norms import fold_norms, freeze_norms, revive_norms
from edgepose.quant.quantizer import ADDS, CONVOLUTIONS, MOVES
from edgepose.train.config import Supervision
from edgepose.train.objective import supervised

HW, JOINTS = (64, 32), 3
NETS = ["basic", "bottleneck", "attentive", "HighResolution"]
_qd = torch.ops.quantized_decomposed
Q, DQ = _qd.quantize_per_tensor.default, _qd.dequantize_per_tensor.default


@pytest.fixture(autouse=True, scope="module")
def _nets() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent / "nets"))
        yield


@pytest.fixture(scope="module", params=NETS)
def model(request: pytest.FixtureRequest, _nets: None) -> PoseModel:
    spec = ModelSpec(f"quant_nets:{request.param}", JOINTS, HW, "mpii16")
    return PoseModel.fresh(spec, seed=2)


@pytest.fixture(scope="module")
def batch() -> np.ndarray:
    rng = np.random.default_rng(3)
    coarse = rng.integers(0, 256, (32, HW[0] // 8, HW[1] // 8, 3), dtype=np.uint8)
    return coarse.repeat(8, 1).repeat(8, 2)


@pytest.fixture(scope="module")
def quantized(model: PoseModel, batch: np.ndarray) -> PoseModel:
    return calibrate(model, [batch])


def _images() -> torch.Tensor:
    return torch.randn(4, 3, *HW, generator=torch.Generator().manual_seed(4))


def test_convolutions_sums_and_moves_are_int8(model: PoseModel, quantized: PoseModel) -> None:
    nodes = list(int8_graph(quantized).graph.nodes)
    attention = "attention.conv"
    floats = 0
    for node in nodes:
        if node.target in CONVOLUTIONS:
            in_float = str(node.args[1].target) == f"{attention}.weight"
            floats += in_float
            assert (node.args[0].target is DQ) != in_float, node
            assert (node.args[1].op == "get_attr") == in_float, node
        elif node.target in ADDS:
            assert [a.target for a in node.args[:2]] == [DQ, DQ], node
        elif node.target in MOVES and any(n.target is DQ for n in node.all_input_nodes):
            scales = {n.args[1] for n in node.all_input_nodes if n.target is DQ}
            scales |= {n.args[1] for n in node.users if n.target is Q}
            assert len(scales) <= 1, node
    assert floats == (model.spec.arch == "quant_nets:attentive")
    assert any(node.target in ADDS for node in nodes)
    used = {str(node.target).split(".")[1] for node in nodes if node.target in MOVES}
    if model.spec.arch == "quant_nets:HighResolution":
        assert used == {"max_pool2d", "upsample_nearest2d", "cat"}
    else:
        assert {"max_pool2d", "permute"} <= used
    output = next(n for n in nodes if n.op == "output").args[0][0]
    assert output.target not in (Q, DQ)


def test_it_is_near_the_float_network(model: PoseModel, quantized: PoseModel) -> None:
    with torch.no_grad():
        wanted, got = model.module()(_images()), int8_graph(quantized)(_images())
    assert 0 < (got - wanted).norm() < 0.2 * wanted.norm()


def test_the_head_is_float_by_choice(model: PoseModel, quantized: PoseModel) -> None:
    assert head_layers(model) == ["final_layer"]
    assert quantized.spec.quant is not None
    precision = quantized.spec.quant.precision | {"final_layer": "float"}
    plan = replace(quantized.spec.quant, precision=precision)
    chosen = PoseModel(replace(quantized.spec, quant=plan), quantized.tensors)
    nodes = [n for n in int8_graph(chosen).graph.nodes if n.target in CONVOLUTIONS]
    floats = {str(n.args[1].target) for n in nodes if n.args[1].op == "get_attr"}
    assert floats - {"attention.conv.weight"} == {"final_layer.weight"}


def test_it_trains_with_heads_on_inner_layers_and_live_norms(
    model: PoseModel, quantized: PoseModel
) -> None:
    prepared = prepare_qat(quantized)
    assert revive_norms(prepared, model) > 3
    layer = "fuse.branches.0" if "High" in model.spec.arch else "layer2"
    name = layer_output(prepared, model, layer)
    before = {k: g.seen.clone() for k, g in activation_grids(prepared).items()}
    [(weight, heads)] = supervised(
        prepared, Supervision(layers=(name,)), num_joints=JOINTS, input_hw=HW
    )
    assert weight == 0.3
    assert all(torch.equal(before[k], g.seen) for k, g in activation_grids(prepared).items())
    width = dict(heads.named_parameters())["heads.0.weight"].shape[1]
    assert width == (8 if layer != "layer2" or "bottleneck" not in model.spec.arch else 32)
    for parameter in prepared.parameters():
        parameter.grad = None
    prepared(_images())
    found = heads._taps.outputs[name]  # type: ignore[union-attr]
    heads.heads[0](found).square().mean().backward()  # type: ignore[index, operator]
    assert prepared.get_parameter("stem.0.weight").grad is not None
    freeze_observers(prepared)
    freeze_norms(prepared)
    with torch.no_grad():
        fold_norms(prepared)
        trained = finish(model, prepared, source="qat")
        expected, got = prepared(_images()), int8_graph(trained)(_images())
    assert (got - expected).abs().max() <= 1e-4 * expected.abs().max()


def test_rewritten_and_unknown_layers_have_no_inner_head(
    model: PoseModel, quantized: PoseModel
) -> None:
    prepared = prepare_qat(quantized)
    for layer in ("up", "nowhere"):
        with pytest.raises(EdgeposeError, match=f"no tensor that layer '{layer}' gives"):
            layer_output(prepared, model, layer)
