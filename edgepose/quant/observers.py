"""What sits on the edges of a prepared graph: fake quantizers that learn their ranges.

All of them follow torchao's `FakeQuantizeBase`, so `prepare_pt2e` inserts them and `convert_pt2e`
turns them into quantize/dequantize pairs. All state is in buffers: a prepared network's state dict
restores it.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from edgepose.errors import EdgeposeError
from edgepose.quant.grid import (
    ACTIVATION_RANGE,
    WEIGHT_RANGE,
    activation_scale,
    weight_scales,
)
from edgepose.quant.pt2e import FakeQuantizeBase

EMA_MOMENTUM = 0.05


class WeightGridPerChannel(FakeQuantizeBase):  # type: ignore[misc]  # untyped library
    """Weights to their grid, per output channel; the gradient passes straight through.

    The scale follows the weight (max |w| / 127), so nothing is ever clipped.
    torchao passes `ch_axis` only to classes with "PerChannel" in their name.
    """

    def __init__(self, dtype: torch.dtype = torch.int8, ch_axis: int = 0, **_: Any) -> None:
        super().__init__()
        self.dtype, self.ch_axis = dtype, ch_axis
        self.qscheme = torch.per_channel_symmetric
        self.quant_min, self.quant_max = WEIGHT_RANGE
        self.is_dynamic = False
        self._scale: Tensor | None = None

    def observe(self, weight: Tensor) -> None:
        self._scale = weight_scales(weight)

    def calculate_qparams(self, **_: Any) -> tuple[Tensor, Tensor]:
        assert self._scale is not None, "observe() a weight first"
        return self._scale, torch.zeros_like(self._scale, dtype=torch.int64)

    def forward(self, x: Tensor) -> Tensor:
        rounded: Tensor = _RoundWeight.apply(x)  # type: ignore[no-untyped-call]
        return rounded


class _RoundWeight(torch.autograd.Function):
    """Forward: onto the grid; backward: identity, for nothing is clipped.

    Plain multiply and round: 15 times faster on a CPU than torch's own fake quantizers.
    """

    @staticmethod
    def forward(ctx: Any, weight: Tensor) -> Tensor:
        scales = weight_scales(weight).reshape(-1, *([1] * (weight.ndim - 1)))
        return torch.mul(weight, scales.reciprocal()).round_().mul_(scales)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad


class _RoundActivation(torch.autograd.Function):
    """Forward: onto the grid, codes low..high; backward: identity inside, zero where clipped."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float, low: int, high: int) -> Tensor:
        ctx.save_for_backward(x)
        ctx.limits = (scale * (low - 0.5) if low else 0.0, scale * (high + 0.5))
        return torch.mul(x, 1.0 / scale).round_().clamp_(low, high).mul_(scale)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        (x,) = ctx.saved_tensors
        return torch.ops.aten.hardtanh_backward(grad, x, *ctx.limits), None, None, None


class ActivationGrid(FakeQuantizeBase):  # type: ignore[misc]  # untyped library
    """One tensor's grid: observes |x|, and rounds to the grid where that is switched on.

    key:  the tensor's name in the plan, set after insertion
    relu: whether this grid is its ReLU as well (codes 0..127), which saves a pass each way
    Subclasses say how a range is learnt: `observe(x)` and `bound() -> max |x| to represent`.
    """

    scale: Tensor
    zero_point: Tensor
    seen: Tensor

    def __init__(self, dtype: torch.dtype = torch.int8, **_: Any) -> None:
        super().__init__()
        self.dtype = dtype
        self.qscheme = torch.per_tensor_symmetric
        self.quant_min, self.quant_max = ACTIVATION_RANGE
        self.is_dynamic = False
        self.key = ""
        self.relu = False
        self.register_buffer("scale", torch.ones(1))
        self.register_buffer("zero_point", torch.zeros(1, dtype=torch.int32))
        self.register_buffer("seen", torch.zeros(1))

    def fix(self, scale: float) -> None:
        """Use `scale` from here on and observe no more."""
        self.scale.fill_(scale)
        self.seen.fill_(scale * self.quant_max)
        self.disable_observer()

    def largest(self, x: Tensor) -> Tensor:
        x = x.detach()
        largest = x.amax().relu() if self.relu else torch.maximum(x.amax(), -x.amin())
        if not torch.isfinite(largest):
            raise EdgeposeError(
                f"the activations of {self.key or 'a layer'} are not finite",
                fix="check the checkpoint and the input's normalisation; "
                "lower the learning rate if this happened while training",
            )
        return largest

    @abstractmethod
    def observe(self, x: Tensor) -> None:
        """Take one batch of activations, any shape, into account."""

    def bound(self) -> Tensor:
        return self.seen

    def calculate_qparams(self, **_: Any) -> tuple[Tensor, Tensor]:
        return self.scale, self.zero_point

    def settle(self) -> bool:
        """Set the scale from what was observed; False where that is nothing but zeros."""
        if not self.observer_enabled.item():
            return True
        bound = self.bound()
        if not bound.item() > 0:
            return False
        self.scale.copy_(activation_scale(bound))
        return True

    def forward(self, x: Tensor) -> Tensor:
        if self.observer_enabled.item():
            self.observe(x)
        if not self.fake_quant_enabled.item():
            return x.relu() if self.relu else x
        low = 0 if self.relu else self.quant_min
        scale = self.scale.item()
        rounded: Tensor = _RoundActivation.apply(x, scale, low, self.quant_max)  # type: ignore[no-untyped-call]
        return rounded


class MovingMaxGrid(ActivationGrid):
    """Moving average of each batch's max |x|: for training."""

    def observe(self, x: Tensor) -> None:
        largest = self.largest(x)
        if self.seen.item() > 0:
            self.seen.lerp_(largest, EMA_MOMENTUM)
        else:
            self.seen.fill_(largest)
        self.scale.copy_(activation_scale(self.seen))


class MaxGrid(ActivationGrid):
    """The largest |x| of all batches: calibration without clipping."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.disable_fake_quant()

    def observe(self, x: Tensor) -> None:
        self.seen.copy_(torch.maximum(self.seen, self.largest(x)))
