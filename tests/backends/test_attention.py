"""ResNet with spatial attention, through pruning, INT8 and every runtime's file."""

from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from edgepose.backends.onnx_graph.integer_share import integer_mac_share
from edgepose.backends.onnx_mobile import emit as emit_onnx
from edgepose.evaluation import TorchExecutor
from edgepose.models import ARCHITECTURES, build
from edgepose.models.blocks import SpatialAttention
from edgepose.models.checkpoints import load_checkpoint
from edgepose.models.deploy import to_deploy
from edgepose.models.pose_model import ModelSpec, PoseModel
from edgepose.quant.calibrate import calibrate
from edgepose.quant.graph import finish, int8_graph, prepare_qat
from edgepose.stages.prune import prune_channels
from edgepose.target import load_target

HW, JOINTS = (64, 64), 16


def pictures(count: int, *, seed: int) -> NDArray[np.uint8]:
    """(n, H, W, 3) of smooth noise."""
    coarse = np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    return coarse.repeat(8, axis=1).repeat(8, axis=2)


@pytest.fixture(scope="module")
def pruned() -> PoseModel:
    """resnet18_attention at an eighth of its channels, with lively weights."""
    spec = ModelSpec("resnet18_attention", JOINTS, HW, "mpii16", domain="noise")
    network = PoseModel.fresh(spec, seed=2).module()
    network = prune_channels(network, ratio=0.875, round_to=8, input_hw=HW)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for key, value in network.state_dict().items():
            if value.ndim == 4:
                fan = value[0].numel() / (4 if "deconv" in key else 1)
                lively = (2 / fan) ** 0.5 * (0.05 if "attention" in key else 1)
                value.copy_(torch.randn(value.shape, generator=generator) * lively)
            elif value.ndim == 1 and "var" not in key and not key.endswith("weight"):
                value.copy_(0.1 * torch.randn(value.shape, generator=generator))
    return PoseModel(spec, {}).with_module(network)


@pytest.fixture(scope="module")
def quantized(pruned: PoseModel) -> PoseModel:
    return calibrate(pruned, [pictures(32, seed=1)])


def test_attention_is_cbams_and_adds_99_weights() -> None:
    attention = SpatialAttention()
    x = torch.randn(2, 6, 5, 7, generator=torch.Generator().manual_seed(0))
    padded = np.pad(np.stack([x.numpy().mean(1), x.numpy().max(1)], 1), [(0, 0)] * 2 + [(3, 3)] * 2)
    weight, bias = (p.detach().numpy() for p in attention.conv.parameters())
    expected = x.numpy().copy()
    for n, row, column in np.ndindex(2, 5, 7):
        window = padded[n, :, row : row + 7, column : column + 7]
        expected[n, :, row, column] /= 1 + np.exp(-((window * weight[0]).sum() + bias[0]))
    np.testing.assert_allclose(attention(x).detach().numpy(), expected, rtol=1e-5, atol=1e-6)
    for arch in [a for a in ARCHITECTURES if a.endswith("_attention")]:
        with torch.device("meta"):
            plain, seen = (build(a, num_joints=16) for a in (arch.removesuffix("_attention"), arch))
        added = set(seen.state_dict()) - set(plain.state_dict())
        assert added == {"attention.conv.weight", "attention.conv.bias"}
        assert set(plain.state_dict()) < set(seen.state_dict())
        assert sum(seen.state_dict()[key].numel() for key in added) == 99
    assert sum(a.endswith("_attention") for a in ARCHITECTURES) == 5


def test_pruning_narrows_what_attention_sees_and_keeps_it(pruned: PoseModel) -> None:
    assert pruned.tensors["attention.conv.weight"].shape == (1, 2, 7, 7)
    assert pruned.tensors["layer4.1.conv2.weight"].shape[0] == 64
    assert isinstance(pruned.module().get_submodule("attention"), SpatialAttention)


def test_deploy_form_computes_the_same(pruned: PoseModel) -> None:
    x = torch.randn(2, 3, *HW, generator=torch.Generator().manual_seed(1))
    network = pruned.module()
    with torch.no_grad():
        torch.testing.assert_close(to_deploy(network)(x), network(x), rtol=1e-3, atol=1e-3)


def test_it_is_saved_loaded_and_recognised(
    quantized: PoseModel, pruned: PoseModel, tmp_path: Path
) -> None:
    quantized.save(tmp_path / "model")
    assert PoseModel.load(tmp_path / "model").sha256 == quantized.sha256
    torch.save(pruned.tensors, tmp_path / "net.pth")
    loaded = load_checkpoint(tmp_path / "net.pth", skeleton="mpii16", input_hw=HW)
    assert loaded.model.spec.arch == "resnet18_attention"
    plain = build("resnet18", num_joints=16).state_dict()
    backbone = {k: v for k, v in plain.items() if not k.startswith(("deconv", "final"))}
    torch.save(backbone, tmp_path / "backbone.pth")
    loaded = load_checkpoint(
        tmp_path / "backbone.pth", skeleton="mpii16", input_hw=HW, arch="resnet18_attention"
    )
    assert "attention" in loaded.notes[0]
    assert torch.equal(loaded.model.tensors["conv1.weight"], plain["conv1.weight"])


def test_the_attentions_convolution_stays_float_and_learns(quantized: PoseModel) -> None:
    plan = quantized.spec.quant
    assert plan is not None
    assert plan.precision == {"attention.conv": "float"}
    prepared = prepare_qat(quantized)
    before = quantized.tensors["attention.conv.weight"]
    optimiser = torch.optim.SGD(prepared.parameters(), lr=0.1)
    x = torch.randn(2, 3, *HW, generator=torch.Generator().manual_seed(1))
    prepared(x).square().mean().backward()
    nn.utils.clip_grad_norm_(prepared.parameters(), 1.0)
    optimiser.step()
    trained = finish(quantized, prepared, source="qat")
    assert not torch.equal(trained.tensors["attention.conv.weight"], before)
    assert trained.spec.quant is not None
    assert trained.spec.quant.precision == {"attention.conv": "float"}


@pytest.mark.parametrize("name", ["jetson-xavier", "coreml-ios17", "onnx-android", "host"])
def test_every_file_agrees_with_the_model(name: str, quantized: PoseModel, tmp_path: Path) -> None:
    target = load_target(name, overrides=["extra_precisions=[]", "forms=[]"])
    backend = importlib.import_module(f"edgepose.backends.{target.runtime}")
    artifact = backend.emit(quantized, target, tmp_path / name)
    crops = pictures(6, seed=9)
    found = backend.open_executor(artifact).run(crops)
    expected = TorchExecutor(int8_graph(quantized), quantized.spec).run(crops)
    assert found.shape == expected.shape == (6, JOINTS, 16, 16)
    assert np.abs(found - expected).mean() < 0.08 * expected.std()  # 0.04 without attention
    without = {k: v for k, v in quantized.tensors.items() if not k.startswith("attention")}
    spec = dataclasses.replace(quantized.spec, arch="resnet18", quant=None)
    blind = TorchExecutor(PoseModel(spec, without).module(), spec).run(crops)
    assert np.abs(blind - expected).mean() > 0.2 * expected.std()


def test_nearly_all_of_it_is_computed_in_integers(quantized: PoseModel, tmp_path: Path) -> None:
    artifact = emit_onnx(quantized, load_target("host"), tmp_path / "host")
    share = integer_mac_share(artifact.path("model"))
    assert share.share >= 0.95
    assert all("attention" in node for node in share.float_nodes if "final_layer" not in node)
