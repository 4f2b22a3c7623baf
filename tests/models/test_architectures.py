"""Architectures against the official key lists and published parameter counts and MACs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from edgepose.cost import count_macs
from edgepose.errors import EdgeposeError
from edgepose.models import ARCHITECTURES, build

# Parameters at 16 joints and GMAC at 256x256 of the official implementations, instantiated.
OFFICIAL = {
    "hrnet_w32": (28_536_080, 10.193),
    "hrnet_w48": (63_595_696, 20.922),
    "resnet18": (15_376_464, 3.862),
    "resnet34": (25_484_624, 6.278),
    "resnet50": (33_999_440, 7.234),
    "resnet101": (52_991_568, 12.083),
    "resnet152": (68_635_216, 16.931),
}


@pytest.mark.parametrize("arch", OFFICIAL)
def test_parameters_and_macs_are_the_official_ones(arch: str) -> None:
    params, gmac = OFFICIAL[arch]
    with torch.device("meta"):
        network = build(arch, num_joints=16)
    assert sum(p.numel() for p in network.parameters()) == params
    assert count_macs(network, input_hw=(256, 256)) / 1e9 == pytest.approx(gmac, abs=5e-4)


@pytest.mark.parametrize(
    ("arch", "file"),
    [
        ("resnet18", "pose_resnet_18_mpii16.json"),
        ("resnet50", "pose_resnet_50_mpii16.json"),
        ("hrnet_w48", "pose_hrnet_w48_mpii16.json"),
    ],
)
def test_keys_and_shapes_are_the_official_ones(arch: str, file: str, shared_data: Path) -> None:
    official = json.loads((shared_data / "state-dict-keys" / file).read_text())
    with torch.device("meta"):
        state = build(arch, num_joints=16).state_dict()
    assert {key: list(value.shape) for key, value in state.items()} == official


def test_every_architecture_is_covered() -> None:
    variants = {f"{arch}_attention" for arch in OFFICIAL if arch.startswith("resnet")}
    assert set(ARCHITECTURES) == {*OFFICIAL, "hrnet_w18", *variants}


@pytest.mark.parametrize("arch", ["resnet18", "resnet50_attention", "hrnet_w18"])
@pytest.mark.parametrize("input_hw", [(64, 32), (96, 160)])
def test_heatmaps_are_a_quarter_of_the_input(arch: str, input_hw: tuple[int, int]) -> None:
    network = build(arch, num_joints=5).eval()
    with torch.no_grad():
        heatmaps = network(torch.zeros(2, 3, *input_hw))
    assert heatmaps.shape == (2, 5, input_hw[0] // 4, input_hw[1] // 4)
    assert torch.isfinite(heatmaps).all()


def test_unknown_architecture_names_the_known_ones() -> None:
    with pytest.raises(EdgeposeError, match="resnet19") as raised:
        build("resnet19", num_joints=16)
    assert "resnet18" in raised.value.fix
