"""`quantize:` decide the integers.

static:  activation scales from QAT where the model has them, else calibrated on `calib_data/`
dynamic: scales found at run time, for CPU runtimes only; needs no images
"""

from __future__ import annotations

import dataclasses
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from edgepose.context import Context
from edgepose.data.crop import crop_batches
from edgepose.errors import EdgeposeError
from edgepose.models.plan import QuantPlan
from edgepose.models.pose_model import PoseModel
from edgepose.quant.calibrate import calibrate
from edgepose.quant.graph import deploy_form
from edgepose.stages.fallback import Trial, fall_back
from edgepose.strict_model import ExistingPath
from edgepose.target import Target


class Config(BaseModel):
    """mode: "static" or "dynamic"; observer: how static ranges are found where QAT has not;
    calibration: folder of pictures for that, null: the data source's own calibration split
    float_layers: convolutions that stay float, by name
    max_drop: points of the primary metric that static INT8 may cost against the float network; where
        it costs more, layers go to float, most points per multiply-add first, until it does not
    sensitivity: what INT8 in each layer alone costs, noted for the report
    people: so many of the training split decide both
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    mode: Literal["static", "dynamic"] = "static"
    observer: Literal["histogram", "minmax"] = "histogram"
    calibration: ExistingPath | None = None
    float_layers: tuple[str, ...] = ()
    max_drop: float | None = Field(default=None, ge=0)
    sensitivity: bool = False
    people: int = Field(default=128, ge=1)

    @model_validator(mode="after")
    def _only_static_ranges_are_tried(self) -> Config:
        if self.mode == "dynamic" and (self.max_drop is not None or self.sensitivity):
            raise ValueError("max_drop and sensitivity are of mode: static")
        return self


def check(config: Config, *, targets: tuple[Target, ...], size_mb: float | None) -> None:
    """Raise EdgeposeError where a target cannot execute what `config` asks for."""
    refused = [t.name for t in targets if t.runtime != "onnx_mobile"]
    if config.mode == "dynamic" and refused:
        raise EdgeposeError(
            f"dynamic INT8 runs on CPU runtimes only; {', '.join(refused)} cannot execute it",
            fix="set stages.quantize.mode: static, or export for onnx-android and host alone",
        )


def run(model: PoseModel, config: Config, context: Context) -> PoseModel:
    """The model in deploy form with a complete quantization plan."""
    if config.float_layers:
        context.notes["float_layers"] = list(config.float_layers)
    if config.mode == "dynamic":
        check(config, targets=context.targets, size_mb=context.size_mb)
        deploy = deploy_form(model)
        kept = dict.fromkeys(sorted(config.float_layers), "float")
        plan = QuantPlan(mode="dynamic", source="none", precision=kept)
        return PoseModel(dataclasses.replace(deploy.spec, quant=plan), deploy.tensors)
    if model.spec.quant is not None and model.spec.quant.source == "qat":
        context.notes["scales"] = "kept from quantization-aware training"
        if config.max_drop is not None or config.sensitivity:
            raise EdgeposeError(
                "the network was trained through the INT8 grid; there is no float one to compare with",
                fix="leave out quantize.max_drop and sensitivity, or qat; qat has float_layers, too",
            )
        return _keep_float(model, config.float_layers)
    images = context.calibration_set(config.calibration, model_domain=model.spec.domain)
    context.notes["scales"] = f"calibrated ({config.observer}, {len(images)} images)"
    crops = list(crop_batches(images, model.spec.input_hw, alignment=model.spec.codec.alignment))

    def quantize(float_layers: tuple[str, ...]) -> PoseModel:
        return calibrate(model, crops, observer=config.observer, float_layers=float_layers)

    quantized = quantize(config.float_layers)
    if config.max_drop is None and not config.sensitivity:
        return quantized
    trial = Trial(model, context, people=config.people)
    if config.sensitivity:
        trial.layers(quantized)
    if config.max_drop is not None:
        quantized = fall_back(trial, quantized, quantize, max_drop=config.max_drop)
    return quantized


def _keep_float(model: PoseModel, layers: tuple[str, ...]) -> PoseModel:
    """The same plan with more layers in float."""
    assert model.spec.quant is not None, "it was trained through the grid"
    precision = model.spec.quant.precision | dict.fromkeys(layers, "float")
    plan = dataclasses.replace(model.spec.quant, precision=dict(sorted(precision.items())))
    return PoseModel(dataclasses.replace(model.spec, quant=plan), model.tensors)
