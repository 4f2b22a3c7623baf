"""What a network's inner layers give, caught while it runs."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from edgepose.errors import EdgeposeError


class Taps:
    """The latest outputs of named layers of `network`, (N, C, h, w) each, in `outputs`."""

    def __init__(self, network: nn.Module, layers: Sequence[str], *, what: str) -> None:
        """Raises EdgeposeError for a layer that `network` does not have. what: "student", "teacher"."""
        known = dict(network.named_modules())
        self.outputs: dict[str, Tensor] = {}
        for name in layers:
            if name not in known or not name:
                tops = [key for key in known if key and "." not in key]
                raise EdgeposeError(
                    f"the {what} has no layer {name!r}",
                    fix=f"name one of its layers, e.g. {', '.join(tops[:8])}",
                )
        self._hooks = [known[name].register_forward_hook(self._keeper(name)) for name in layers]

    def _keeper(self, name: str) -> Any:
        def keep(module: nn.Module, inputs: Any, output: Tensor) -> None:
            self.outputs[name] = output

        return keep

    def remove(self) -> None:
        """Take the hooks off the network."""
        for hook in self._hooks:
            hook.remove()


@torch.no_grad()
def channels(
    network: nn.Module,
    layers: Sequence[str],
    *,
    what: str,
    input_hw: tuple[int, int] = (64, 64),
) -> dict[str, int]:
    """How many channels each named layer gives, found by running a copy of `network` once.

    input_hw: of the image that it is run on; a network prepared for QAT takes its own size only
    Raises EdgeposeError for an unknown layer and for one that does not give one (N, C, h, w) tensor.
    """
    probe = copy.deepcopy(
        network
    ).eval()  # observers and statistics of the network see nothing of it
    taps = Taps(probe, layers, what=what)
    probe(torch.zeros(1, 3, *input_hw, device=next(network.parameters()).device))
    for name in layers:
        output = taps.outputs.get(name)
        if not isinstance(output, Tensor) or output.dim() != 4:
            raise EdgeposeError(
                f"the {what}'s layer {name!r} does not give one feature map",
                fix="name a layer whose output is a single (N, C, h, w) tensor",
            )
    return {name: taps.outputs[name].shape[1] for name in layers}
