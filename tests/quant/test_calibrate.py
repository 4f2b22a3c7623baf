from __future__ import annotations

import numpy as np
import pytest
import torch

from edgepose.device.geometry import normalise
from edgepose.errors import EdgeposeError
from edgepose.models.pose_model import PoseModel
from edgepose.quant.calibrate import calibrate


def test_calibration_is_deterministic(slim: PoseModel, static: PoseModel, crops) -> None:  # type: ignore[no-untyped-def]
    assert calibrate(slim, crops(40, seed=1)).sha256 == static.sha256


def test_minmax_covers_what_was_seen(slim: PoseModel, crops) -> None:  # type: ignore[no-untyped-def]
    model = calibrate(slim, crops(32, seed=2), observer="minmax")
    images = [normalise(b, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)) for b in crops(32, seed=2)]
    largest = max(np.abs(batch).max() for batch in images)
    assert model.spec.quant is not None
    scale = model.spec.quant.activation_scales["input"]
    assert largest / 127 <= scale <= largest / 127 * 1.002


def test_too_few_images(slim: PoseModel, crops) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(
        EdgeposeError, match="has 31 images; static INT8 needs at least 32"
    ) as error:
        calibrate(slim, crops(31, seed=0), source="calib_data/")
    assert "quantize.mode: dynamic" in str(error.value)
    with pytest.raises(EdgeposeError, match="calib_data/ has 0 images"):
        calibrate(slim, iter(()), source="calib_data/")


def test_images_of_one_colour(slim: PoseModel, crops) -> None:  # type: ignore[no-untyped-def]
    batches = list(crops(32, seed=0))
    batches[1][3] = np.array([10, 200, 30], np.uint8)
    with pytest.raises(EdgeposeError, match="1 of 32 images of the calibration set are of one"):
        calibrate(slim, batches)


def test_images_of_another_size(slim: PoseModel) -> None:
    with pytest.raises(EdgeposeError, match=r"\(8, 32, 32, 3\), not uint8 \(n, 64, 96, 3\)"):
        calibrate(slim, [np.zeros((8, 32, 32, 3), np.uint8)])


def test_dead_and_infinite_layers_are_named(slim: PoseModel, crops) -> None:  # type: ignore[no-untyped-def]
    def with_bias(value: float) -> PoseModel:
        change = {"layer3.1.bn1.bias": torch.full((32,), value)}
        return PoseModel(slim.spec, {**slim.tensors, **change})

    with pytest.raises(EdgeposeError, match=r"layer3\.1\.relu1 were all zero"):
        calibrate(with_bias(-1e6), crops(32, seed=0))
    with pytest.raises(EdgeposeError, match=r"layer3\.1\.relu1 are not finite"):
        calibrate(with_bias(float("inf")), crops(32, seed=0))
