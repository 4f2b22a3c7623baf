"""`quantize:` decide the integers.

static:  activation scales from QAT where the model has them, else calibrated on `calib_data/`
dynamic: scales found at run time, for CPU runtimes only; needs no images
"""

from __future__ import annotations

import dataclasses
from typing import Literal

from pydantic import BaseModel, ConfigDict

from edgepose.context import Context
from edgepose.data.crop import crop_batches
from edgepose.errors import EdgeposeError
from edgepose.models.plan import QuantPlan
from edgepose.models.pose_model import PoseModel
from edgepose.quant.calibrate import calibrate
from edgepose.quant.graph import deploy_form
from edgepose.recipe import Budget
from edgepose.strict_model import ExistingPath
from edgepose.target import Target


class Config(BaseModel):
    """mode: "static" or "dynamic"; observer: how static ranges are found where QAT has not;
    calibration: folder of pictures for that, null: the data source's own calibration split."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    mode: Literal["static", "dynamic"] = "static"
    observer: Literal["histogram", "minmax"] = "histogram"
    calibration: ExistingPath | None = None


def check(config: Config, *, targets: tuple[Target, ...], budget: Budget) -> None:
    """Raise EdgeposeError where a target cannot execute what `config` asks for."""
    refused = [t.name for t in targets if t.runtime != "onnx_mobile"]
    if config.mode == "dynamic" and refused:
        raise EdgeposeError(
            f"dynamic INT8 runs on CPU runtimes only; {', '.join(refused)} cannot execute it",
            fix="set stages.quantize.mode: static, or export for onnx-android and host alone",
        )


def run(model: PoseModel, config: Config, context: Context) -> PoseModel:
    """The model in deploy form with a complete quantization plan."""
    if config.mode == "dynamic":
        check(config, targets=context.targets, budget=context.budget)
        deploy = deploy_form(model)
        plan = QuantPlan(mode="dynamic", source="none")
        return PoseModel(dataclasses.replace(deploy.spec, quant=plan), deploy.tensors)
    if model.spec.quant is not None and model.spec.quant.source == "qat":
        context.notes["scales"] = "kept from quantization-aware training"
        return model
    images = context.calibration_set(config.calibration, model_domain=model.spec.domain)
    context.notes["scales"] = f"calibrated ({config.observer}, {len(images)} images)"
    crops = crop_batches(images, model.spec.input_hw, alignment=model.spec.codec.alignment)
    return calibrate(model, crops, observer=config.observer)
