"""A small network that is quick to trace: ResNet-18 with an eighth of its channels."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import fx

from edgepose.models.pose_model import ModelSpec, PoseModel
from edgepose.quant.calibrate import calibrate
from edgepose.quant.graph import deploy_form, int8_graph

INPUT_HW = (64, 96)
JOINTS = 5
FACTOR = 8
Crops = Callable[..., Iterator[NDArray[np.uint8]]]


def _crops(count: int, *, seed: int, batch: int = 8) -> Iterator[NDArray[np.uint8]]:
    """Batches of smooth random pictures, (n, H, W, 3) uint8."""
    rng = np.random.default_rng(seed)
    for start in range(0, count, batch):
        n = min(batch, count - start)
        coarse = rng.integers(0, 256, (n, INPUT_HW[0] // 8, INPUT_HW[1] // 8, 3))
        noise = rng.integers(-20, 21, (n, *INPUT_HW, 3))
        yield np.clip(coarse.repeat(8, 1).repeat(8, 2) + noise, 0, 255).astype(np.uint8)


def _slim(model: PoseModel, *, seed: int) -> PoseModel:
    """Widths divided by FACTOR, statistics as after a training, heatmaps of about unit size."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for key, value in model.tensors.items():
        if value.ndim == 0:
            tensors[key] = value
            continue
        small = [n // FACTOR if d < 2 and n >= 64 else n for d, n in enumerate(value.shape)]
        tensor = torch.randn(small, generator=generator) * (2 / (value[0].numel() / FACTOR)) ** 0.5
        if key.endswith(("running_var", "weight")) and value.ndim == 1:
            tensor = 0.5 + torch.rand(small, generator=generator)
        elif value.ndim == 1:
            tensor = 0.1 * torch.randn(small, generator=generator)
        tensors[key] = tensor
    return PoseModel(model.spec, tensors)


@pytest.fixture(scope="session")
def crops() -> Crops:
    return _crops


@pytest.fixture(scope="session")
def slim() -> PoseModel:
    """Train form, pruned widths."""
    spec = ModelSpec("resnet18", JOINTS, INPUT_HW, "mpii16")
    return _slim(PoseModel.fresh(spec, seed=3), seed=5)


@pytest.fixture(scope="session")
def float_deploy(slim: PoseModel) -> PoseModel:
    return deploy_form(slim)


@pytest.fixture(scope="session")
def static(slim: PoseModel) -> PoseModel:
    """`slim` in static INT8, calibrated."""
    return calibrate(slim, _crops(40, seed=1))


@pytest.fixture(scope="session")
def int8(static: PoseModel) -> fx.GraphModule:
    """The INT8 graph of `static`."""
    return int8_graph(static)


@pytest.fixture
def images() -> torch.Tensor:
    """(3, 3, H, W) float32, normalised."""
    return torch.randn(3, 3, *INPUT_HW, generator=torch.Generator().manual_seed(0))
