"""Bias correction: what rounding does to the mean of a channel is taken off its bias.

Layer by layer in the order of computation, each on what the corrected layers before it give, so the
last layer's mean is right, too. Source: Nagel et al. 2019 (see equalize.py), section 4.2 and appendix
D, measured on images instead of derived from batch norm's statistics.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx

from edgepose.device.geometry import normalise
from edgepose.models.pose_model import PoseModel
from edgepose.quant.graph import deploy_form, export, freeze_observers, prepare_qat
from edgepose.quant.quantizer import CONVOLUTIONS

IMAGES = 64
"""All of them are in memory at once, one layer at a time."""


def correct_biases(model: PoseModel, quantized: PoseModel, crops: NDArray[np.uint8]) -> PoseModel:
    """`quantized` with biases that give every convolution the mean that it has in float.

    model:     the float network that `quantized` (a static plan) was made from
    crops:     (n, H, W, 3) uint8 RGB; the first 64 are used
    A convolution without a bias keeps its error.
    """
    pre = model.spec.preprocessing
    images = torch.from_numpy(normalise(crops[:IMAGES], pre.mean, pre.std))
    means: dict[str, Tensor] = {}

    def keep(name: str, output: Tensor) -> Tensor:
        means[name] = output.double().mean((0, 2, 3))
        return output

    _Convolutions(export(deploy_form(model).module(), input_hw=model.spec.input_hw), keep).run(
        images
    )
    prepared = prepare_qat(quantized)
    freeze_observers(prepared)
    tensors = dict(quantized.tensors)

    def correct(name: str, output: Tensor) -> Tensor:
        bias = tensors.get(f"{name}.bias")
        if bias is None:
            return output
        error = (output.double().mean((0, 2, 3)) - means[name]).float()
        tensors[f"{name}.bias"] = bias - error
        return output - error.reshape(1, -1, 1, 1)

    _Convolutions(prepared, correct).run(images)
    return PoseModel(quantized.spec, tensors)


class _Convolutions(fx.Interpreter):
    """Runs a graph; what each convolution gives passes through `visit(layer's name, output)`."""

    def __init__(self, graph: fx.GraphModule, visit: Callable[[str, Tensor], Tensor]) -> None:
        super().__init__(graph)
        self._visit = visit

    @torch.no_grad()
    def run(self, *args: Any, **kwargs: Any) -> Any:
        return super().run(*args, **kwargs)

    def run_node(self, n: fx.Node) -> Any:
        output = super().run_node(n)
        if n.op != "call_function" or n.target not in CONVOLUTIONS:
            return output
        weight: Any = n.args[1]
        while weight.op != "get_attr":
            weight = weight.args[0]
        return self._visit(str(weight.target).removesuffix(".weight"), output)
