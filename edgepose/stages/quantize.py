"""`quantize:` decide the integers.

static:  activation scales from QAT where the model has them, else calibrated on `calib_data/`
dynamic: scales found at run time, for CPU runtimes only; needs no images
"""

from __future__ import annotations

import dataclasses
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from edgepose.context import Context
from edgepose.data.crop import crop_batches
from edgepose.models.plan import QuantPlan
from edgepose.models.pose_model import PoseModel
from edgepose.quant.calibrate import calibrate
from edgepose.quant.graph import deploy_form
from edgepose.errors import EdgeposeError


class Config(BaseModel):
    """mode: "static" or "dynamic"; observer: how static ranges are found where QAT has not."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    mode: Literal["static", "dynamic"] = "static"
    observer: str = Field(default="histogram", pattern="^(histogram|minmax)$")


def run(model: PoseModel, config: Config, context: Context) -> PoseModel:
    """The model in deploy form with a complete quantization plan."""
    if config.mode == "dynamic":
        refused = [t.name for t in context.targets if t.runtime != "onnx_mobile"]
        if refused:
            raise EdgeposeError(
                f"dynamic INT8 runs on CPU runtimes only; {', '.join(refused)} cannot execute it",
                fix="set stages.quantize.mode: static, or export for onnx-android and host alone",
            )
        deploy = deploy_form(model)
        plan = QuantPlan(mode="dynamic", source="none")
        return PoseModel(dataclasses.replace(deploy.spec, quant=plan), deploy.tensors)
    if model.spec.quant is not None and model.spec.quant.source == "qat":
        context.notes["scales"] = "kept from quantization-aware training"
        return model
    context.notes["scales"] = f"calibrated ({config.observer}, {len(context.calibration)} images)"
    crops = crop_batches(context.calibration, model.spec.input_hw)
    return calibrate(model, crops, observer=config.observer)
