"""`quantize:` decide the integers.

static:  activation scales from QAT where the model has them, else calibrated on `calib_data/`
dynamic: scales found at run time, for CPU runtimes only; needs no images
weights: INT8 weights, float arithmetic: for size where no integer kernel is at hand; needs no images
"""

from __future__ import annotations

import dataclasses
from typing import Literal

from pydantic import BaseModel, ConfigDict, model_validator

from edgepose.context import Context
from edgepose.data.crop import crop_batches
from edgepose.errors import EdgeposeError
from edgepose.models.plan import QuantPlan
from edgepose.models.pose_model import PoseModel
from edgepose.quant.calibrate import calibrate
from edgepose.quant.graph import DEFAULT_METHOD, CalibrationMethod, deploy_form, head_layers
from edgepose.quant.weights import round_weights
from edgepose.recipe import Budget
from edgepose.strict_model import ExistingPath
from edgepose.target import Target

_REFUSED = {
    "dynamic": "dynamic INT8 runs on CPU runtimes only",
    "weights": (
        "TensorRT 8.5 has no INT8 weights for float convolutions: its parser refuses the initialisers "
        "and its engine would hold them in FP16 all the same"
    ),
}


class Config(BaseModel):
    """mode: "static", "dynamic" or "weights"; where QAT has not found the static ranges:
    calibration_method: "minmax", "entropy", "percentile" or "mse" (which bound to clip at);
    equalize: make channels of neighbouring layers alike first (cross-layer equalisation);
    bias_correction: give every channel the mean that it has in float;
    head: "float" leaves the layer that makes the heatmaps out of INT8;
    calibration: folder of pictures, null: the data source's own calibration split."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    mode: Literal["static", "dynamic", "weights"] = "static"
    calibration_method: CalibrationMethod = DEFAULT_METHOD
    equalize: bool = False
    bias_correction: bool = False
    head: Literal["int8", "float"] = "int8"
    calibration: ExistingPath | None = None

    @model_validator(mode="after")
    def _only_static_ranges_are_calibrated(self) -> Config:
        if self.mode != "static" and (self.equalize or self.bias_correction):
            raise ValueError("equalize and bias_correction are of mode: static")
        return self


def check(config: Config, *, targets: tuple[Target, ...], budget: Budget) -> None:
    """Raise EdgeposeError where a target cannot execute what `config` asks for."""
    able = {"static": None, "dynamic": ("onnx_mobile",), "weights": ("onnx_mobile", "coreml")}
    runtimes = able[config.mode]
    refused = [t.name for t in targets if runtimes is not None and t.runtime not in runtimes]
    if refused:
        raise EdgeposeError(
            f"{_REFUSED[config.mode]}; {', '.join(refused)} cannot execute it",
            fix="set stages.quantize.mode: static, or export for other targets alone"
            if config.mode == "weights"
            else "set stages.quantize.mode: static, or export for onnx-android and host alone",
        )


def run(model: PoseModel, config: Config, context: Context) -> PoseModel:
    """The model in deploy form with a complete quantization plan."""
    check(config, targets=context.targets, budget=context.budget)
    if config.mode != "static":
        head = head_layers(model) if config.head == "float" else ()
        if config.mode == "weights":
            return round_weights(model, float_layers=head)
        deploy = deploy_form(model)
        plan = QuantPlan(mode="dynamic", source="none", precision=dict.fromkeys(head, "float"))
        return PoseModel(dataclasses.replace(deploy.spec, quant=plan), deploy.tensors)
    if model.spec.quant is not None and model.spec.quant.source == "qat":
        context.notes["scales"] = "kept from quantization-aware training"
        return model
    images = context.calibration_set(config.calibration, model_domain=model.spec.domain)
    extras = [name for name in ("equalize", "bias_correction") if getattr(config, name)]
    said = ", ".join([config.calibration_method, *extras, f"{len(images)} images"])
    context.notes["scales"] = f"calibrated ({said})"
    return calibrate(
        model,
        crop_batches(images, model.spec.input_hw, alignment=model.spec.codec.alignment),
        observer=config.calibration_method,
        equalized=config.equalize,
        bias_corrected=config.bias_correction,
        float_layers=head_layers(model) if config.head == "float" else None,
    )
