"""The layers of the network that a run ends with, one by one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgepose.cost import layer_costs
from edgepose.models import build
from edgepose.models.deploy import to_deploy
from edgepose.models.pose_model import PoseModel


@dataclass(frozen=True)
class Layer:
    """One convolution. before: its channels in the architecture as published, None where unknown;
    precision: "int8", or "float"; output: (channels, height, width)"""

    name: str
    output: tuple[int, int, int]
    before: int | None
    weights: int
    macs: int
    precision: str


def model_layers(folder: Path) -> list[Layer]:
    """Every convolution of the network in `folder`, in order of execution.

    EdgeposeError where the folder is missing or changed.
    """
    model = PoseModel.load(folder)
    spec, quant = model.spec, model.spec.quant
    whole = build(spec.arch, num_joints=spec.num_joints).eval()
    if spec.form == "deploy":
        whole = to_deploy(whole)
    published = {c.name: c.channels for c in layer_costs(whole, input_hw=spec.input_hw)}
    return [
        Layer(
            name=cost.name,
            output=(cost.channels, *cost.output_hw),
            before=published.get(cost.name),
            weights=cost.weights,
            macs=cost.macs,
            precision="float" if quant is None else quant.precision.get(cost.name, "int8"),
        )
        for cost in layer_costs(model.module(), input_hw=spec.input_hw)
    ]
