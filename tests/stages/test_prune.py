"""Channel pruning: smallest L1 norms go, the head is left alone, what it saves is known beforehand."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from edgepose.cost import kernel_costs
from edgepose.models import build
from edgepose.models.pose_model import ModelSpec, PoseModel
from edgepose.stages.prune import prune_channels
from edgepose.stages.pruning.channels import Channels, uniform_widths

HW = (64, 64)


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return build("resnet18", num_joints=16).eval()


@pytest.mark.parametrize("arch", ["resnet18_attention", "resnet50"])
def test_pruned_networks_run_cost_what_was_said_and_come_back(arch: str, tmp_path: Path) -> None:
    """Random widths in every group: arithmetic on layers equals the pruned network's own costs."""
    fresh = PoseModel.fresh(ModelSpec(arch, 16, HW, "mpii16"), seed=0)
    channels = Channels(fresh.module(), input_hw=HW)
    rng = random.Random(0)
    widths = [rng.choice(group.widths(8)) for group in channels.groups]
    planned = channels.at(widths)
    pruned = channels.narrowed(widths).eval()
    assert kernel_costs(pruned, input_hw=HW) == planned
    image = torch.rand(1, 3, *HW)
    with torch.no_grad():
        heatmaps = pruned(image)
        assert heatmaps.shape == (1, 16, 16, 16)
        fresh.with_module(pruned).save(tmp_path / "m")  # its shape is in the file
        assert torch.equal(PoseModel.load(tmp_path / "m").module()(image), heatmaps)


def test_the_joint_outputs_are_in_no_group(network: torch.nn.Module) -> None:
    channels = Channels(network, input_hw=HW)
    assert "final_layer" not in [group.layer for group in channels.groups]
    assert len(channels.groups) == 15
    least = [group.widths(8)[0] for group in channels.groups]
    assert channels.at(least)[-1].channels == 16


def test_the_smallest_norms_leave(network: torch.nn.Module) -> None:
    marked = build("resnet18", num_joints=16)
    weak = [3, 5, 6, 9, 17, 21, 40, 63]
    with torch.no_grad():
        layer = marked.get_submodule("layer1.0.conv1")
        layer.weight[weak] *= 1e-3  # type: ignore[index, operator]
        kept = [c for c in range(64) if c not in weak]
        expected = layer.weight[kept].clone()  # type: ignore[index]
    pruned = prune_channels(marked, ratio=8 / 64, round_to=8, input_hw=HW)
    found = pruned.get_submodule("layer1.0.conv1").weight
    assert found.shape[0] == 56
    rows = expected.reshape(56, 64, 9).abs().sum(dim=(1, 2))
    assert found.abs().sum(dim=(1, 2, 3)).min() > 0.5 * rows.min() * found.shape[1] / 64


def test_the_original_is_not_touched(network: torch.nn.Module) -> None:
    before = {k: v.clone() for k, v in network.state_dict().items()}
    prune_channels(network, ratio=0.5, round_to=8, input_hw=HW)
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


def test_ratios_round_down_to_steps_and_leave_one(network: torch.nn.Module) -> None:
    groups = Channels(network, input_hw=HW).groups
    sizes = [group.channels for group in groups]
    assert uniform_widths(groups, 0.45, 8) == [n * 55 // 100 // 8 * 8 for n in sizes]
    assert set(uniform_widths(groups, 0.99, 8)) == {8}


def test_hrnet_w32_loses_forty_percent_everywhere() -> None:
    channels = Channels(build("hrnet_w32", num_joints=16), input_hw=HW)
    widths = uniform_widths(channels.groups, 0.4, 4)
    assert all(0.5 <= w / g.channels <= 0.6 for w, g in zip(widths, channels.groups, strict=True))
    before, after = (sum(c.weights for c in x) for x in (channels.costs, channels.at(widths)))
    assert after < 0.38 * before
    planned = channels.at(widths)
    found = kernel_costs(channels.narrowed(widths), input_hw=HW)
    assert found == planned  # fusion sums and upsampling included
    assert (found[-1].channels, found[-1].output_hw) == (16, (16, 16))
