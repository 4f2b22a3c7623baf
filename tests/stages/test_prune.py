"""Channel pruning: smallest L1 norms go, budgets are kept, the head is left alone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepose.errors import EdgeposeError
from edgepose.models import build
from edgepose.stages.prune import largest_file, prune_channels, ratio_for_size
from edgepose.target import load_target

HW = (64, 64)


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return build("resnet18", num_joints=16).eval()


@pytest.mark.parametrize("arch", ["resnet18", "resnet50", "hrnet_w18"])
def test_pruned_networks_run_and_keep_their_heatmaps(arch: str) -> None:
    pruned = prune_channels(build(arch, num_joints=7), ratio=0.4, round_to=8, input_hw=HW).eval()
    with torch.no_grad():
        assert pruned(torch.zeros(1, 3, *HW)).shape == (1, 7, 16, 16)
    for name, value in pruned.state_dict().items():
        if value.dim() == 4 and not name.startswith("final_layer"):
            outputs = value.shape[1] if name.startswith("deconv_layers") else value.shape[0]
            assert outputs % 8 == 0


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


@settings(max_examples=2, deadline=None)
@given(size_mb=st.floats(0.6, 14), runtime=st.sampled_from(["jetson-xavier", "onnx-android"]))
def test_the_solver_lands_under_the_budget_and_near_it(size_mb: float, runtime: str) -> None:
    network, targets = build("resnet18", num_joints=16).eval(), (load_target(runtime),)
    size = round(size_mb * 1e6)
    ratio = ratio_for_size(network, size_bytes=size, targets=targets, round_to=8, input_hw=HW)
    pruned = prune_channels(network, ratio=ratio, round_to=8, input_hw=HW)
    assert 0.85 * size <= largest_file(pruned, targets) <= size


def test_a_budget_that_is_met_already_prunes_nothing(network: torch.nn.Module) -> None:
    targets = (load_target("host"),)
    assert ratio_for_size(network, size_bytes=10**8, targets=targets, round_to=8, input_hw=HW) == 0


def test_an_impossible_budget_names_the_closest(network: torch.nn.Module) -> None:
    with pytest.raises(EdgeposeError, match="cannot be met") as raised:
        ratio_for_size(
            network, size_bytes=50_000, targets=(load_target("host"),), round_to=8, input_hw=HW
        )
    closest = float(raised.value.fix.split("budget.size_mb to ")[1].split()[0])
    ratio_for_size(
        network, size_bytes=round(closest * 1e6), targets=(load_target("host"),), round_to=8,
        input_hw=HW,
    )  # fmt: skip
