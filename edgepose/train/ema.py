"""Exponential moving average of weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Ema:
    """Average of a network's floating-point state; integer state is copied.

    The decay warms up as min(decay, (1 + n) / (10 + n)) so that short trainings are not held at
    their random start.
    """

    def __init__(self, network: nn.Module, *, decay: float) -> None:
        self.decay, self.updates = decay, 0
        self.state = {key: value.detach().clone() for key, value in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for key, value in network.state_dict().items():
            if value.is_floating_point():
                self.state[key].lerp_(value, 1 - decay)
            else:
                self.state[key].copy_(value)

    def state_dict(self) -> dict[str, Tensor | int]:
        return {**self.state, "ema.updates": self.updates}

    def load_state_dict(self, saved: dict[str, Tensor | int]) -> None:
        for key, value in saved.items():
            if isinstance(value, Tensor):
                self.state[key].copy_(value)
            else:
                self.updates = value
