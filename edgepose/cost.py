"""What a network costs: true multiply-accumulates and planned artifact bytes."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

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
FIXED_BYTES = 90_000


@dataclass(frozen=True)
class LayerCost:
    """One convolution at one input size: macs per image, weights (biases apart), output shape."""

    name: str
    kind: str
    macs: int
    weights: int
    channels: int
    output_hw: tuple[int, int]


def _macs(layer: nn.Module, source: Tensor, output: Tensor) -> int:
    """True multiply-accumulates: a deconvolution works per input position, not per output position."""
    if isinstance(layer, nn.ConvTranspose2d):
        return layer.weight.numel() * source.shape[2] * source.shape[3]
    return layer.weight.numel() * output.shape[2] * output.shape[3]  # type: ignore[operator]


def layer_costs(network: nn.Module, *, input_hw: tuple[int, int]) -> list[LayerCost]:
    """Every convolution and deconvolution in order of execution, one image of `input_hw`.

    Nothing is computed: shapes are propagated on the meta device.
    """
    shadow = copy.deepcopy(network).to("meta").eval()
    names = {layer: name for name, layer in shadow.named_modules()}
    costs: list[LayerCost] = []

    def note(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        weight: Tensor = layer.weight  # type: ignore[assignment]
        costs.append(
            LayerCost(
                name=names[layer],
                kind=type(layer).__name__,
                macs=_macs(layer, inputs[0], output),
                weights=weight.numel(),
                channels=output.shape[1],
                output_hw=(output.shape[2], output.shape[3]),
            )
        )

    for layer in shadow.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            layer.register_forward_hook(note)
    with torch.no_grad():
        shadow(torch.zeros(1, 3, *input_hw, device="meta"))
    return costs


def count_macs(network: nn.Module, *, input_hw: tuple[int, int]) -> int:
    """Multiply-accumulates of one image; published "GFLOPs" often count deconvolutions four times."""
    return sum(cost.macs for cost in layer_costs(network, input_hw=input_hw))


def planned_bytes(shapes: Mapping[str, torch.Size], *, runtime: str, precision: str) -> int:
    """Bytes of the counted file that a network of these weight shapes will have, a little above."""
    per_weight = BYTES_PER_WEIGHT.get((runtime, precision)) or FLOAT_BYTES[precision]
    weights = sum(shape.numel() for shape in shapes.values() if len(shape) == 4)
    channels = sum(max(shape[0], shape[1]) for shape in shapes.values() if len(shape) == 4)
    return round(per_weight * weights + BYTES_PER_CHANNEL * channels + FIXED_BYTES)


def model_shapes(model: PoseModel) -> dict[str, torch.Size]:
    """Shapes of a model's tensors by key."""
    return {key: value.shape for key, value in model.tensors.items()}
