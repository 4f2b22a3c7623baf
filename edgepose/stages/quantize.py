"""`quantize:` decide the integers.

static:  activation scales from QAT where the model has them, else calibrated on `calib_data/`
dynamic: scales found at run time, for CPU runtimes only; needs no images
weights: INT8 weights, float arithmetic: for size where no integer kernel is at hand; needs no images
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
from edgepose.quant.equalize import equalize
from edgepose.quant.graph import DEFAULT_METHOD, CalibrationMethod, deploy_form, head_layers
from edgepose.quant.weights import round_weights
from edgepose.recipe_sections import Budget
from edgepose.stages.fallback import Trial, fall_back
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
    calibration: folder of pictures, null: the data source's own calibration split;
    float_layers: convolutions that stay float, by name;
    max_drop: points of the primary metric that static INT8 may cost against the float network; where
        it costs more, layers go to float, most points per multiply-add first, until it does not;
    rank_layers: what INT8 in each layer alone costs, noted for the report;
    people: so many of the training split decide both
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    mode: Literal["static", "dynamic", "weights"] = "static"
    calibration_method: CalibrationMethod = DEFAULT_METHOD
    equalize: bool = False
    bias_correction: bool = False
    head: Literal["int8", "float"] = "int8"
    calibration: ExistingPath | None = None
    float_layers: tuple[str, ...] = ()
    max_drop: float | None = Field(default=None, ge=0)
    rank_layers: bool = False
    people: int = Field(default=128, ge=1)

    @model_validator(mode="after")
    def _only_static_ranges_are_tried(self) -> Config:
        if self.mode != "static" and (self.max_drop is not None or self.rank_layers):
            raise ValueError("max_drop and rank_layers are of mode: static")
        return self

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
    kept = config.float_layers + tuple(head_layers(model) if config.head == "float" else ())
    if kept:
        context.notes["float_layers"] = list(kept)
    if config.mode == "weights":
        return round_weights(model, float_layers=kept)
    if config.mode == "dynamic":
        deploy = deploy_form(model)
        precision = dict.fromkeys(sorted(kept), "float")
        plan = QuantPlan(mode="dynamic", source="none", precision=precision)
        return PoseModel(dataclasses.replace(deploy.spec, quant=plan), deploy.tensors)
    if model.spec.quant is not None and model.spec.quant.source == "qat":
        context.notes["scales"] = "kept from quantization-aware training"
        if config.max_drop is not None or config.rank_layers:
            raise EdgeposeError(
                "the network was trained through the INT8 grid; there is no float one to compare with",
                fix="leave out quantize.max_drop and rank_layers, or qat; qat has float_layers, too",
            )
        return _keep_float(model, kept)
    images = context.calibration_set(config.calibration, model_domain=model.spec.domain)
    extras = [name for name in ("equalize", "bias_correction") if getattr(config, name)]
    said = ", ".join([config.calibration_method, *extras, f"{len(images)} images"])
    context.notes["scales"] = f"calibrated ({said})"
    crops = list(crop_batches(images, model.spec.input_hw, alignment=model.spec.codec.alignment))
    start = equalize(model) if config.equalize else model

    def quantize(float_layers: tuple[str, ...]) -> PoseModel:
        return calibrate(
            start,
            crops,
            observer=config.calibration_method,
            bias_corrected=config.bias_correction,
            float_layers=float_layers,
        )

    quantized = quantize(kept)
    if config.max_drop is None and not config.rank_layers:
        return quantized
    trial = Trial(start, context, people=config.people)
    if config.rank_layers:
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
