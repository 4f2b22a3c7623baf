"""A small quantized pose network that the backends' tests share."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from edgepose.models.pose_model import PoseModel
from edgepose.quant.graph import finish, int8_graph, prepare_calibration
from tests.networks import short

SIDE = 64


@pytest.fixture(scope="session")
def tiny_float() -> PoseModel:
    """A ResNet cut short, 64x64, random weights that give lively heatmaps. Whole ones, through every
    backend: test_attention.py."""
    return short((SIDE, SIDE))


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
