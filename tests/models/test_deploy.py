from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from edgepose.errors import EdgeposeError
from edgepose.models import build
from edgepose.models.deploy import rebuild, to_deploy
from edgepose.models.subpixel import Interleave, PhasedConv2d, Phases, phases_of

small = st.integers(1, 5)


def _randomise(module: nn.Module, seed: int) -> nn.Module:
    """Weights, biases and statistics that are all different from their initial values."""
    generator = torch.Generator().manual_seed(seed)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean = 0.2 * torch.randn(layer.num_features, generator=generator)
            layer.running_var = 0.5 + torch.rand(layer.num_features, generator=generator)
            layer.weight.data = 0.5 + torch.rand(layer.num_features, generator=generator)
            layer.bias.data = 0.2 * torch.randn(layer.num_features, generator=generator)
        elif isinstance(layer, nn.ConvTranspose2d | nn.Conv2d):
            spread = (2 / (layer.weight[0].numel())) ** 0.5
            layer.weight.data = spread * torch.randn(layer.weight.shape, generator=generator)
    return module.eval()


@settings(deadline=None, max_examples=60)
@given(
    cin=small, cout=small, height=st.integers(1, 9), width=st.integers(1, 9), batch=st.integers(1, 3),
    bias=st.booleans(), norm=st.booleans(), relu=st.booleans(), joints=st.integers(0, 4),
    seed=st.integers(0, 2**16),
)  # fmt: skip
def test_deconvolution_with_all_that_may_follow_it(
    cin: int, cout: int, height: int, width: int, batch: int,
    bias: bool, norm: bool, relu: bool, joints: int, seed: int,
) -> None:  # fmt: skip
    layers: list[nn.Module] = [nn.ConvTranspose2d(cin, cout, 4, stride=2, padding=1, bias=bias)]
    layers += [nn.BatchNorm2d(cout)] * norm + [nn.ReLU()] * relu
    layers += [nn.Conv2d(cout, joints, 1)] if joints else []
    network = _randomise(nn.Sequential(*layers), seed)
    x = torch.randn(batch, cin, height, width, generator=torch.Generator().manual_seed(seed))
    deploy = to_deploy(network)
    with torch.no_grad():
        expected, got = network(x), deploy(x)
    assert got.shape == (batch, joints or cout, 2 * height, 2 * width)
    assert (got - expected).abs().max() <= 1e-5
    assert not any(isinstance(m, nn.ConvTranspose2d | nn.BatchNorm2d) for m in deploy.modules())


@pytest.mark.parametrize("arch", ["resnet18", "hrnet_w18"])
def test_networks_stay_exact_and_are_rebuilt_from_their_tensors(arch: str) -> None:
    network = _randomise(build(arch, num_joints=7), seed=1)
    deploy = to_deploy(network)
    again = rebuild(arch, 7, deploy.state_dict())
    x = torch.randn(2, 3, 32, 64, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        expected, got = network(x), deploy(x)
        assert torch.equal(again(x), got)
        assert torch.equal(to_deploy(deploy)(x), got)
    assert (got - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert not any(isinstance(m, nn.ConvTranspose2d | nn.BatchNorm2d) for m in deploy.modules())


def test_the_last_interleave_moves_joints_only() -> None:
    deploy = to_deploy(build("resnet18", num_joints=16))
    head = deploy.get_submodule("final_layer")
    assert isinstance(head, PhasedConv2d)
    assert (head.in_channels, head.out_channels, head.groups) == (4 * 256, 4 * 16, 4)
    assert isinstance(deploy.get_submodule("deconv_layers.6.interleave"), nn.Identity)


def test_the_original_is_left_alone() -> None:
    network = _randomise(build("resnet18", num_joints=3), seed=4).train()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    to_deploy(network)
    assert network.training
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())


@st.composite
def _geometries(draw: st.DrawFn) -> dict[str, tuple[int, int]]:
    """A kernel, stride, padding, output_padding and dilation for each axis, as torch takes them."""
    axes = []
    for _ in range(2):
        kernel, stride, dilation = (draw(st.integers(1, n)) for n in (5, 4, 2))
        size = dilation * (kernel - 1) + 1
        output_padding = draw(st.integers(0, max(stride, dilation) - 1))
        axes.append((kernel, stride, draw(st.integers(0, size)), output_padding, dilation))
    names = ("kernel_size", "stride", "padding", "output_padding", "dilation")
    return dict(zip(names, zip(*axes, strict=True), strict=True))  # type: ignore[arg-type]


@settings(deadline=None, max_examples=100)
@given(
    geometry=_geometries(), cin=small, cout=small, height=st.integers(1, 7), width=st.integers(1, 7),
    norm=st.booleans(), relu=st.booleans(), joints=st.integers(0, 4), seed=st.integers(0, 2**16),
)  # fmt: skip
def test_every_ungrouped_deconvolution_has_an_exact_form(
    geometry: dict[str, tuple[int, int]], cin: int, cout: int, height: int, width: int,
    norm: bool, relu: bool, joints: int, seed: int,
) -> None:  # fmt: skip
    deconv = nn.ConvTranspose2d(cin, cout, **geometry)  # type: ignore[arg-type]
    layers: list[nn.Module] = [deconv]
    layers += [nn.BatchNorm2d(cout)] * norm + [nn.ReLU()] * relu
    layers += [nn.Conv2d(cout, joints, 1)] if joints else []
    network = _randomise(nn.Sequential(*layers), seed)
    x = torch.randn(2, cin, height, width, generator=torch.Generator().manual_seed(seed))
    sizes = [
        (n - 1) * s - 2 * p + d * (k - 1) + o + 1
        for n, k, s, p, o, d in zip((height, width), *geometry.values(), strict=True)
    ]
    assume(min(sizes) > 0)
    deploy = to_deploy(network)
    with torch.no_grad():
        expected, got = network(x), deploy(x)
    assert list(got.shape[2:]) == sizes
    assert (got - expected).abs().max() <= 1e-5 * max(1.0, float(expected.abs().max()))
    assert not any(isinstance(m, nn.ConvTranspose2d | nn.BatchNorm2d) for m in deploy.modules())
    interleaves = [m for m in deploy.modules() if isinstance(m, Interleave)]
    assert len(interleaves) == 1
    if joints:  # on the joints, not on the deconvolution's channels
        assert interleaves[0] is deploy.get_submodule(f"{len(layers) - 1}.interleave")


def test_the_usual_deconvolution_computes_one_row_and_column_more_and_no_other() -> None:
    rows, columns = phases_of(nn.ConvTranspose2d(2, 2, 4, stride=2, padding=1))
    assert rows == columns == Phases(stride=2, size=4, taps=2, padding=1, first=1, last=1)
    plain, _ = phases_of(nn.ConvTranspose2d(2, 2, 2, stride=2))
    assert plain == Phases(stride=2, size=2, taps=1, padding=0, first=0, last=0)


def test_deconvolutions_without_a_form_are_refused_by_name() -> None:
    network = nn.Sequential()
    network.add_module("up", nn.ConvTranspose2d(2, 2, 4, stride=2, padding=1, groups=2))
    with pytest.raises(EdgeposeError, match=r"^up: .*groups 2"):
        to_deploy(network)

    class Sized(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up = nn.ConvTranspose2d(2, 2, 3, stride=2, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.up(x, output_size=[8, 8])  # type: ignore[no-any-return]

    with pytest.raises(EdgeposeError, match=r"^up: .*output_size"):
        to_deploy(Sized())


def test_a_batch_norm_that_cannot_be_folded_is_refused_by_name() -> None:
    network = nn.Sequential(nn.Conv2d(2, 2, 1), nn.ReLU(), nn.BatchNorm2d(2))
    with pytest.raises(EdgeposeError, match="batch norm 2 "):
        to_deploy(network)


def test_a_shared_convolution_is_refused_by_name() -> None:
    conv = nn.Conv2d(2, 2, 1)
    network = nn.Sequential(conv, nn.BatchNorm2d(2), conv)
    with pytest.raises(EdgeposeError, match="0 is called 2 times"):
        to_deploy(network)


def test_rebuild_names_keys_and_shapes_that_do_not_fit() -> None:
    tensors = dict(to_deploy(build("resnet18", num_joints=3)).state_dict())
    with pytest.raises(EdgeposeError, match=r"missing \['conv1.bias'\]"):
        rebuild("resnet18", 3, {k: v for k, v in tensors.items() if k != "conv1.bias"})
    with pytest.raises(EdgeposeError, match=r"layer1\.0\.conv1"):
        rebuild("resnet18", 3, {**tensors, "layer1.0.conv1.weight": torch.zeros(64, 64, 1, 1)})
