"""Planned bytes of the counted files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch

from edgepose.cost.layers import LayerCost
from edgepose.models.pose_model import PoseModel

# Bytes per weight of the counted file, and bytes per output channel for biases and scales. TensorRT:
# float32 values on the INT8 grid after LZMA, measured 1.07 on weights near their random start, which
# pack worst, and 1.06 on trained ones; float32 as it is 3.38 (the engine, built from it, is fp16).
BYTES_PER_WEIGHT = {
    ("tensorrt", "int8"): 1.09,
    ("tensorrt", "fp16"): 3.45,
    ("tensorrt", "fp32"): 3.45,
    ("onnx_mobile", "int8"): 1.0,
    ("coreml", "int8"): 1.0,
}
FLOAT_BYTES = {"fp16": 2.0, "fp32": 4.0}
BYTES_PER_CHANNEL = 16
# The graph itself; names and shapes pack well. Measured: ResNet-18 of 0.3 to 7.2 M weights.
FIXED_BYTES = {"tensorrt": 60_000, "onnx_mobile": 92_000, "coreml": 92_000}


def _planned(weights: int, channels: int, *, runtime: str, precision: str) -> int:
    per_weight = BYTES_PER_WEIGHT.get((runtime, precision)) or FLOAT_BYTES[precision]
    return round(per_weight * weights + BYTES_PER_CHANNEL * channels + FIXED_BYTES[runtime])


def planned_bytes(shapes: Mapping[str, torch.Size], *, runtime: str, precision: str) -> int:
    """Bytes of the counted file that a network of these weight shapes will have, a little above."""
    kernels = [shape for shape in shapes.values() if len(shape) == 4]
    return _planned(
        sum(shape.numel() for shape in kernels),
        sum(max(shape[0], shape[1]) for shape in kernels),
        runtime=runtime,
        precision=precision,
    )


def planned_layer_bytes(costs: Iterable[LayerCost], *, runtime: str, precision: str) -> int:
    """The same, from a network's layers; a layer that is called twice is stored once."""
    layers = {cost.name: cost for cost in costs if cost.weights}.values()
    return _planned(
        sum(layer.weights for layer in layers),
        sum(max(layer.shape) for layer in layers),
        runtime=runtime,
        precision=precision,
    )


def model_shapes(model: PoseModel) -> dict[str, torch.Size]:
    """Shapes of a model's tensors by key."""
    return {key: value.shape for key, value in model.tensors.items()}
