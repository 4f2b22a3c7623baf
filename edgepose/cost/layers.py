"""What a network's layers compute and move, at any widths, without running it."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from edgepose.models.subpixel import PhasedConv2d

# Leaf modules that cost nothing of their own: folded into the layer before, or mere views.
_FREE = (nn.modules.batchnorm._BatchNorm, nn.ReLU, nn.Identity, nn.Dropout, nn.Flatten)


@dataclass(frozen=True)
class LayerCost:
    """One kernel at one input size: macs per image, weights (biases apart), shapes of one image.

    inputs: tensors that it reads; producer: the convolution whose output channels a kernel without
    weights works on, None where that is not known
    """

    name: str
    kind: str
    macs: int
    weights: int
    channels: int
    output_hw: tuple[int, int]
    in_channels: int
    input_hw: tuple[int, int]
    groups: int = 1
    inputs: int = 1
    producer: str | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """The first two dimensions of the weight."""
        if self.kind == "ConvTranspose2d":
            return self.in_channels, self.channels // self.groups
        return self.channels, self.in_channels // self.groups

    @property
    def values_moved(self) -> int:
        """Values read and written: inputs, weights, output."""
        read = self.inputs * self.in_channels * math.prod(self.input_hw)
        return read + self.weights + self.channels * math.prod(self.output_hw)

    def resized(self, in_channels: int, channels: int) -> LayerCost:
        """The same layer of other widths; a depthwise convolution stays one."""
        if (in_channels, channels) == (self.in_channels, self.channels):
            return self
        changed = replace(self, in_channels=in_channels, channels=channels)
        if not self.weights:
            return changed
        depthwise = self.groups > 1 and self.groups == self.in_channels
        changed = replace(changed, groups=in_channels if depthwise else self.groups)
        taps = self.weights // math.prod(self.shape)
        weights = math.prod(changed.shape) * taps
        positions = self.macs // self.weights
        return replace(changed, weights=weights, macs=weights * positions)


def _weighted(name: str, layer: nn.Module, source: Tensor, output: Tensor) -> LayerCost:
    weight: Tensor = layer.weight  # type: ignore[assignment]
    channels, hw = output.shape[1], (output.shape[2], output.shape[3])
    if isinstance(layer, PhasedConv2d):  # what comes out may be interleaved already
        rows, columns = (
            source.shape[2 + axis] + 2 * int(layer.padding[axis]) + 1 - layer.kernel_size[axis]
            for axis in (0, 1)
        )
        channels, hw = layer.out_channels, (rows, columns)
    down = isinstance(layer, nn.ConvTranspose2d)  # works per input position, not per output's
    positions = source.shape[2] * source.shape[3] if down else hw[0] * hw[1]
    return LayerCost(
        name=name,
        kind="ConvTranspose2d" if down else "Conv2d",
        macs=weight.numel() * positions,
        weights=weight.numel(),
        channels=channels,
        output_hw=hw,
        in_channels=source.shape[1],
        input_hw=(source.shape[2], source.shape[3]),
        groups=int(layer.groups),  # type: ignore[arg-type]
    )


def kernel_costs(network: nn.Module, *, input_hw: tuple[int, int]) -> list[LayerCost]:
    """Convolutions, deconvolutions, and the other layers that move images: sums, pooling, resizing.

    Batch norm and ReLU ride on the layer before them. What `forward` does outside layers is not seen.
    Nothing is computed: shapes are propagated on the meta device.
    """
    shadow = copy.deepcopy(network).to("meta").eval()
    costs: list[LayerCost] = []
    producers: dict[int, str] = {}
    alive: list[Tensor] = []  # an id is a tensor's own only while it lives

    def watch(name: str, layer: nn.Module) -> None:
        def note(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            images = [x for x in inputs if isinstance(x, Tensor) and x.dim() == 4]
            if not images or not isinstance(output, Tensor) or output.dim() != 4:
                return
            alive.append(output)
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                costs.append(_weighted(name, layer, images[0], output))
                producers[id(output)] = name
                return
            known = [producers[id(x)] for x in images if id(x) in producers]
            if known:
                producers[id(output)] = known[0]
            if not isinstance(layer, _FREE):
                first = images[0]
                costs.append(
                    LayerCost(
                        name, type(layer).__name__, 0, 0, output.shape[1],
                        (output.shape[2], output.shape[3]), first.shape[1],
                        (first.shape[2], first.shape[3]), inputs=len(images),
                        producer=known[0] if known else None,
                    )
                )  # fmt: skip

        layer.register_forward_hook(note)

    for name, layer in shadow.named_modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) or not any(layer.children()):
            watch(name, layer)
    with torch.no_grad():
        shadow(torch.zeros(1, 3, *input_hw, device="meta"))
    return costs


def layer_costs(network: nn.Module, *, input_hw: tuple[int, int]) -> list[LayerCost]:
    """Every convolution and deconvolution in order of execution, one image of `input_hw`."""
    return [cost for cost in kernel_costs(network, input_hw=input_hw) if cost.weights]


def total_macs(costs: Iterable[LayerCost]) -> int:
    """Multiply-accumulates of one image."""
    return sum(cost.macs for cost in costs)


def count_macs(network: nn.Module, *, input_hw: tuple[int, int]) -> int:
    """Multiply-accumulates of one image; published "GFLOPs" often count deconvolutions four times."""
    return total_macs(layer_costs(network, input_hw=input_hw))
