"""One changed layer of a float network: what is computed again is what the whole network gives."""

from __future__ import annotations

import pytest
import torch
import torch_pruning as tp

from edgepose.models.groups import channel_groups
from edgepose.models.pose_model import PoseModel
from edgepose.quant.grid import snap
from edgepose.quant.probe import Change, Probe, on_the_grid, without_channels

LAYERS = ("conv1", "layer1.1.conv2", "layer3.0.downsample.0", "deconv_layers.3", "final_layer")


@pytest.fixture(scope="module")
def probe(slim: PoseModel) -> Probe:
    return Probe(slim)


def test_nothing_changed_is_the_float_network(
    probe: Probe, slim: PoseModel, images: torch.Tensor
) -> None:
    with torch.no_grad():
        expected = slim.module()(images)
    torch.testing.assert_close(probe.remember(images), expected, rtol=0, atol=1e-4)
    assert torch.equal(probe.changed({}), probe.remember(images))
    assert next(iter(probe.layers)) == "conv1"
    assert list(probe.layers)[-1] == "final_layer"
    assert set(probe.input_keys) == set(probe.layers)


@pytest.mark.parametrize("layer", LAYERS)
def test_one_layer_on_the_grid_is_that_layer_alone(
    probe: Probe, float_deploy: PoseModel, images: torch.Tensor, layer: str
) -> None:
    """Reference: the eager deploy network, with torch's own fake quantizer before one layer."""
    scale = 0.03
    network = float_deploy.module()
    conv = network.get_submodule(layer)
    with torch.no_grad():
        conv.weight.copy_(snap(conv.weight))  # type: ignore[operator, union-attr, arg-type]

    def rounded(_: torch.nn.Module, args: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        return (torch.fake_quantize_per_tensor_affine(args[0], scale, 0, -128, 127),)

    conv.register_forward_pre_hook(rounded)
    with torch.no_grad():
        expected = network(images)
    before = probe.remember(images).clone()
    found = probe.changed({layer: on_the_grid(scale)})
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-3)
    assert (found - before).abs().max() > 1e-3
    assert torch.equal(probe.changed({}), before)  # what was kept is not touched


def test_masked_channels_are_pruned_channels(slim: PoseModel, images: torch.Tensor) -> None:
    """Reference: torch-pruning takes the same channels out of the network."""
    network = slim.module()
    groups = {
        g.layer: g for g in channel_groups(network, input_hw=slim.spec.input_hw, ratios=(0.5,))
    }
    assert "final_layer" not in groups
    assert set(groups["layer1.0.conv1"].removed[0.5]) == {"layer1.0.conv1"}
    assert {"conv1", "layer1.0.conv2", "layer1.1.conv2"} == set(groups["conv1"].removed[0.5])
    probe = Probe(slim)
    probe.remember(images)
    for name in ("conv1", "layer2.0.conv1"):
        removed = groups[name].removed[0.5]
        assert all(len(c) == groups[name].channels // 2 for c in removed.values())
        pruned = slim.module()
        graph = tp.DependencyGraph().build_dependency(pruned, images[:1])
        graph.get_pruning_group(
            pruned.get_submodule(name), tp.prune_conv_out_channels, list(removed[name])
        ).prune()
        with torch.no_grad():
            expected = pruned(images)
        changes = {layer: without_channels(list(rows)) for layer, rows in removed.items()}
        torch.testing.assert_close(probe.changed(changes), expected, rtol=1e-4, atol=1e-3)


def test_the_weakest_channels_are_taken(slim: PoseModel) -> None:
    network = slim.module()
    conv = network.get_submodule("layer2.0.conv1")
    with torch.no_grad():
        conv.weight[[1, 4]] *= 1e-3  # type: ignore[index, operator]
    groups = channel_groups(network, input_hw=slim.spec.input_hw, ratios=(2 / 16,))
    group = next(g for g in groups if g.layer == "layer2.0.conv1")
    assert sorted(group.removed[2 / 16]["layer2.0.conv1"]) == [1, 4]


def test_weights_alone_can_change(probe: Probe, images: torch.Tensor) -> None:
    before = probe.remember(images)
    same = Change(weights=lambda weight, bias: (weight, bias))
    torch.testing.assert_close(probe.changed({"layer4.1.conv1": same}), before)
