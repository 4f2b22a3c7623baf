from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from edgepose.models.deploy import to_deploy
from edgepose.models.pose_model import ModelSpec, PoseModel
from edgepose.quant import equalize as equalize_module
from edgepose.quant.equalize import Pair, equalize, pairs

HW = (32, 32)


def _spread(model: PoseModel, *, seed: int) -> PoseModel:
    """Channels of very different size, as training leaves them."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {
        key: value
        * torch.exp(torch.randn(value.shape[0], generator=generator)).reshape(-1, 1, 1, 1)
        if value.ndim == 4
        else value
        for key, value in model.tensors.items()
    }
    return PoseModel(model.spec, tensors)


def _uneven(model: PoseModel, found: list[Pair], network: nn.Module) -> float:
    """Mean |log2| of how much larger a channel is in the first than in the second convolution."""
    total = []
    for pair in found:
        first = model.tensors[f"{pair.first}.weight"].abs().amax((1, 2, 3))
        first = first.reshape(pair.copies, -1).amax(0)
        second = model.tensors[f"{pair.second}.weight"]
        groups = network.get_submodule(pair.second).groups
        second = second.reshape(groups, -1, *second.shape[1:]).abs().amax((1, 3, 4)).reshape(-1)
        total.append(torch.log2(first / second).abs().mean())
    return float(torch.stack(total).mean())


@settings(deadline=None, max_examples=2)
@given(st.integers(0, 2**16))
def test_the_function_does_not_change_by_one_bit(float_deploy: PoseModel, seed: int) -> None:
    model = _spread(float_deploy, seed=seed)
    even = equalize(model)
    x = torch.randn(2, 3, *model.spec.input_hw, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        network = model.module()
        assert torch.equal(network(x), even.module()(x))
    found = pairs(network)
    assert _uneven(even, found, network) < 0.6 < _uneven(model, found, network)


def test_pairs_of_a_resnet_are_those_inside_blocks_and_of_the_head(float_deploy: PoseModel) -> None:
    found = {(p.first, p.second): p.copies for p in pairs(float_deploy.module())}
    blocks = [f"layer{i}.{j}" for i in range(1, 5) for j in range(2)]
    expected = {(f"{b}.conv1", f"{b}.conv2"): 1 for b in blocks}
    expected |= {
        ("deconv_layers.0", "deconv_layers.3"): 4,
        ("deconv_layers.3", "deconv_layers.6"): 4,
    }
    assert found == expected | {("deconv_layers.6", "final_layer"): 1}


class _Odd(nn.Module):
    """Depthwise and grouped convolutions, pooling, an activation that does not pass, a fork."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.c = nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.pool, self.relu = nn.MaxPool2d(2), nn.ReLU()
        self.d, self.e = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)
        self.sigmoid = nn.Sigmoid()
        self.f, self.g = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.b(self.relu(self.a(x))))
        x = self.sigmoid(self.d(self.pool(self.c(x))))
        y = self.e(x)
        return self.g(self.f(y) + y.mean())  # type: ignore[no-any-return]


def test_what_lets_a_factor_pass_and_what_does_not() -> None:
    found = [(p.first, p.second) for p in pairs(to_deploy(_Odd()))]
    assert found == [("a", "b"), ("b", "c"), ("c", "d")]


def test_groups_and_dead_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    network = to_deploy(_Odd())
    spec = ModelSpec("nets:Odd", 4, HW, "mpii16", form="deploy")
    model = _spread(PoseModel(spec, {}).with_module(network), seed=3)
    model.tensors["a.weight"][2] = 0
    monkeypatch.setattr(PoseModel, "module", lambda self: _loaded(network, self.tensors))
    even = equalize(model)
    x = torch.randn(2, 3, *HW, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(model.module()(x), even.module()(x))
    assert not torch.equal(model.tensors["c.weight"], even.tensors["c.weight"])
    assert torch.equal(model.tensors["a.bias"][2], even.tensors["a.bias"][2])
    limit = 2.0**equalize_module.LIMIT
    ratio = (even.tensors["a.bias"] / model.tensors["a.bias"]).abs()
    assert ratio.max() <= limit
    assert ratio.min() >= 1 / limit


def _loaded(network: nn.Module, tensors: dict[str, torch.Tensor]) -> nn.Module:
    network.load_state_dict(tensors)
    return network
