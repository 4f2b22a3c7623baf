"""Static post-training INT8: activation ranges from a few dozen images, no training."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import numpy as np
import torch
from numpy.typing import NDArray

from edgepose.device.geometry import normalise
from edgepose.errors import EdgeposeError
from edgepose.models.pose_model import PoseModel
from edgepose.quant.bias import correct_biases
from edgepose.quant.equalize import equalize
from edgepose.quant.graph import DEFAULT_METHOD, finish, prepare_calibration

MIN_IMAGES = 32


def calibrate(
    model: PoseModel,
    crops: Iterable[NDArray[np.uint8]],
    *,
    observer: str = DEFAULT_METHOD,
    float_layers: Collection[str] | None = None,
    equalized: bool = False,
    bias_corrected: bool = False,
    source: str = "the calibration set",
) -> PoseModel:
    """`model` in deploy form on the INT8 grid, with scales from `crops`.

    crops:    batches of (n, H, W, 3) uint8 RGB at the model's input size
    observer: one of OBSERVERS, by name
    float_layers: convolutions that stay float, by name; those of the model's plan if None
    equalized, bias_corrected: with cross-layer equalisation before, bias correction behind
    source:   where the images are from, for messages
    Raises EdgeposeError for fewer than 32 images, images of one colour, and activations that are
    not finite or nothing but zeros (naming the layer).
    """
    batches = list(crops)
    count, plain = 0, 0
    for batch in batches:
        _check_size(batch, model)
        plain += int((np.ptp(batch.reshape(len(batch), -1, 3), axis=1).max(axis=1) == 0).sum())
        count += len(batch)
    if count < MIN_IMAGES:
        raise EdgeposeError(
            f"{source} has {count} images; static INT8 needs at least {MIN_IMAGES}",
            fix="add images, or set quantize.mode: dynamic",
        )
    if plain:
        raise EdgeposeError(
            f"{plain} of {count} images of {source} are of one colour",
            fix="replace them by photographs like those that the model will see",
        )
    if equalized:
        model = equalize(model)
    prepared = prepare_calibration(model, observer=observer, float_layers=float_layers)
    for batch in batches:
        images = normalise(batch, model.spec.preprocessing.mean, model.spec.preprocessing.std)
        with torch.no_grad():
            prepared(torch.from_numpy(images))
    quantized = finish(model, prepared, source="calibration")
    if not bias_corrected:
        return quantized
    return correct_biases(model, quantized, np.concatenate(batches))


def _check_size(batch: NDArray[np.uint8], model: PoseModel) -> None:
    expected = (*model.spec.input_hw, 3)
    if batch.dtype != np.uint8 or batch.ndim != 4 or batch.shape[1:] != expected:
        raise EdgeposeError(
            f"calibration images are {batch.dtype} {batch.shape}, not uint8 (n, "
            f"{', '.join(str(s) for s in expected)})",
            fix="crop them to the model's input size",
        )
