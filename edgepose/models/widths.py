"""A network's widths are in its tensors: pruned networks need no code of their own."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

# What a layer remembers of the shape of its weight: attribute -> axis of the weight.
_REMEMBERED: dict[type[nn.Module], dict[str, int]] = {
    nn.modules.batchnorm._BatchNorm: {"num_features": 0},
    nn.GroupNorm: {"num_channels": 0},
    nn.PReLU: {"num_parameters": 0},
    nn.Linear: {"out_features": 0, "in_features": 1},
}


def set_conv_widths(layer: nn.Conv2d | nn.ConvTranspose2d, shape: torch.Size) -> None:
    """Channels, and the groups of a depthwise convolution, as a weight of `shape` has them."""
    groups, outputs = layer.groups, shape[0]
    if groups > 1 and groups == layer.in_channels and layer.weight.shape[1] == 1:
        groups = shape[0] // max(1, layer.out_channels // layer.in_channels)
    if isinstance(layer, nn.ConvTranspose2d):
        layer.in_channels, layer.out_channels = outputs, shape[1] * layer.groups
        return
    layer.groups, layer.in_channels, layer.out_channels = groups, shape[1] * groups, outputs


def fit_widths(module: nn.Module, shapes: Mapping[str, torch.Size]) -> nn.Module:
    """Give every layer of `module` the widths that `shapes` (by key) says, in place.

    Layers that the keys do not name stay as they are; kernel sizes are not changed.
    """
    for name, layer in module.named_modules():
        prefix = f"{name}." if name else ""
        shape = shapes.get(f"{prefix}weight")
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) and shape is not None:
            if len(shape) == 4:
                set_conv_widths(layer, shape)
        elif shape is not None:
            for kind, axes in _REMEMBERED.items():
                if isinstance(layer, kind):
                    for attribute, axis in axes.items():
                        if axis < len(shape):
                            setattr(layer, attribute, shape[axis])
        for key, value in (
            *layer.named_parameters(recurse=False),
            *layer.named_buffers(recurse=False),
        ):
            wanted = shapes.get(f"{prefix}{key}")
            if wanted is not None and value.shape != wanted:
                fresh = torch.zeros(wanted, dtype=value.dtype)
                setattr(
                    layer, key, nn.Parameter(fresh) if isinstance(value, nn.Parameter) else fresh
                )
    return module
