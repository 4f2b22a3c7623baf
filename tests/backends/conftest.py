"""A small quantized pose network that the backends' tests share."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from edgepose.models import build
from edgepose.models.pose_model import ModelSpec, PoseModel, fit_widths
from edgepose.quant.graph import finish, int8_graph, prepare_calibration

JOINTS, SIDE, SHRINK = 16, 64, 8


def _narrow(network: nn.Module) -> nn.Module:
    """Every width divided by SHRINK, image channels and joints kept."""
    keep = {3, JOINTS}
    shapes = {
        key: torch.Size(
            d // SHRINK if i < 2 and d not in keep and value.ndim in (1, 4) else d
            for i, d in enumerate(value.shape)
        )
        for key, value in network.state_dict().items()
        if value.ndim
    }
    return fit_widths(network, shapes)


@pytest.fixture(scope="session")
def tiny_float() -> PoseModel:
    """resnet18 at an eighth of its widths, 64x64, random weights that give lively heatmaps."""
    generator = torch.Generator().manual_seed(3)
    network = _narrow(build("resnet18", num_joints=JOINTS))
    with torch.no_grad():
        for key, value in network.state_dict().items():
            if value.ndim == 4:
                fan_in = value[0].numel() / (4 if "deconv" in key else 1)
                value.copy_(torch.randn(value.shape, generator=generator) * (2 / fan_in) ** 0.5)
            elif "running_var" in key or (value.ndim == 1 and key.endswith("weight")):
                value.copy_(0.75 + 0.5 * torch.rand(value.shape, generator=generator))
            elif value.ndim == 1:
                value.copy_(torch.randn(value.shape, generator=generator) * 0.1)
    spec = ModelSpec("resnet18", JOINTS, (SIDE, SIDE), "mpii16", domain="noise")
    return PoseModel(spec, {}).with_module(network)


@pytest.fixture(scope="session")
def noise() -> Callable[[int], NDArray[np.uint8]]:
    """Crops (N, 64, 64, 3) of smooth noise."""

    def crops(count: int) -> NDArray[np.uint8]:
        rng = np.random.default_rng(7)
        coarse = rng.integers(0, 256, (count, SIDE // 8, SIDE // 8, 3), dtype=np.uint8)
        return coarse.repeat(8, axis=1).repeat(8, axis=2)

    return crops


@pytest.fixture(scope="session")
def tiny(tiny_float: PoseModel, noise: Callable[[int], NDArray[np.uint8]]) -> PoseModel:
    """The same network with static INT8 calibrated on the noise."""
    from edgepose.device.geometry import normalise

    pre = tiny_float.spec.preprocessing
    prepared = prepare_calibration(tiny_float, observer="minmax")
    with torch.no_grad():
        prepared(torch.from_numpy(normalise(noise(8), pre.mean, pre.std)))
    return finish(tiny_float, prepared, source="calibration")


@pytest.fixture(scope="session")
def torch_int8(tiny: PoseModel) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """The converted PT2E graph: the reference that no exporter has touched."""
    graph = int8_graph(tiny)

    def run(images: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.no_grad():
            heatmaps: NDArray[np.float32] = graph(torch.from_numpy(images)).numpy()
        return heatmaps

    return run
