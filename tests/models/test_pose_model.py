"""PoseModel: what is saved is what is loaded, and damage is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from edgepose.errors import EdgeposeError
from edgepose.models.plan import QuantPlan
from edgepose.models.pose_model import ModelSpec, PoseModel, fit_widths
from edgepose.stages.prune import prune_channels


def small(**changes: object) -> PoseModel:
    values = {
        "arch": "resnet18", "num_joints": 4, "input_hw": (64, 64), "skeleton": "mpii16", **changes,
    }  # fmt: skip
    return PoseModel.fresh(ModelSpec(**values), seed=3)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def model() -> PoseModel:
    return small()


def test_round_trip_keeps_everything(model: PoseModel, tmp_path: Path) -> None:
    model.save(tmp_path / "m")
    again = PoseModel.load(tmp_path / "m")
    assert again.spec == model.spec
    assert again.sha256 == model.sha256
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(again.module()(x), model.module()(x))


def test_spec_with_a_plan_survives_json(model: PoseModel) -> None:
    plan = QuantPlan("static", "qat", {"layer1.0.add": 0.1 + 0.2}, {"final_layer": "float"})
    spec = ModelSpec("resnet18", 4, (64, 96), "mpii16", form="deploy", quant=plan)
    assert ModelSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_seed_decides_the_weights(model: PoseModel) -> None:
    assert small().sha256 == model.sha256
    assert PoseModel.fresh(model.spec, seed=4).sha256 != model.sha256


def test_fresh_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    small()
    assert torch.equal(torch.rand(1), expected)


def test_pruned_network_needs_no_code_of_its_own(model: PoseModel, tmp_path: Path) -> None:
    pruned = prune_channels(model.module(), ratio=0.5, round_to=8, input_hw=(64, 64))
    narrow = model.with_module(pruned)
    narrow.save(tmp_path / "p")
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(PoseModel.load(tmp_path / "p").module()(x), pruned(x))
    assert narrow.num_params < 0.4 * model.num_params
    assert narrow.num_params == sum(p.numel() for p in pruned.parameters())


def test_fit_widths_keeps_parameters_trainable(model: PoseModel) -> None:
    pruned = prune_channels(model.module(), ratio=0.5, round_to=8, input_hw=(64, 64))
    shapes = {key: value.shape for key, value in pruned.state_dict().items()}
    network = fit_widths(model.module(), shapes)
    assert all(isinstance(p, torch.nn.Parameter) and p.requires_grad for p in network.parameters())


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "model.json").write_text("{"),
        lambda folder: (folder / "model.json").write_text("[]"),
        lambda folder: (folder / "model.json").write_text('{"format_version": 99}'),
        lambda folder: (folder / "model.json").write_text('{"format_version": 1, "spec": {}}'),
        lambda folder: (folder / "model.json").unlink(),
        lambda folder: (folder / "model.safetensors").unlink(),
        lambda folder: (folder / "model.safetensors").write_bytes(b"\x80\x04pickle"),
        lambda folder: (folder / "model.safetensors").write_bytes(
            (folder / "model.safetensors").read_bytes()[:-1] + b"\0"
        ),
    ],
)
def test_damage_is_named(model: PoseModel, tmp_path: Path, damage) -> None:  # type: ignore[no-untyped-def]
    model.save(tmp_path / "m")
    damage(tmp_path / "m")
    with pytest.raises(EdgeposeError) as raised:
        PoseModel.load(tmp_path / "m")
    assert str(tmp_path / "m") in raised.value.problem
    assert raised.value.fix


def test_weights_of_another_architecture_are_refused(model: PoseModel) -> None:
    wrong = PoseModel(ModelSpec("hrnet_w18", 4, (64, 64), "mpii16"), model.tensors)
    with pytest.raises(EdgeposeError, match="do not fit hrnet_w18"):
        wrong.module()


@pytest.mark.parametrize("input_hw", [(0, 64), (64, 65), (-32, 32), (100, 100)])
def test_input_size_must_be_a_multiple_of_32(input_hw: tuple[int, int]) -> None:
    with pytest.raises(EdgeposeError, match="multiple of 32"):
        small(input_hw=input_hw)
