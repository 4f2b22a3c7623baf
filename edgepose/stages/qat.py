"""`qat:` train through the INT8 grid.

Deconvolutions are rewritten and batch norm is folded first, or lives until `freeze_batch_norm_at`;
activation ranges start from a calibration and follow the training until `freeze_observers_at`, then
they stand.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import fx

from edgepose.context import Context
from edgepose.data.crop import crop_batches
from edgepose.models.pose_model import PoseModel
from edgepose.quant.calibrate import calibrate
from edgepose.quant.graph import (
    DEFAULT_METHOD,
    CalibrationMethod,
    finish,
    freeze_observers,
    head_layers,
    layer_output,
    prepare_qat,
)
from edgepose.quant.norms import fold_norms, freeze_norms, revive_norms
from edgepose.stages import distill
from edgepose.stages.distill import teach
from edgepose.strict_model import ExistingPath
from edgepose.train.config import Precision


class Config(distill.Config):
    """As distill, and: freeze_observers_at: share of the steps after which activation ranges stand;
    freeze_batch_norm_at: share after which batch norm's statistics stand (0: folded from the start; a
    deconvolution's always is); calibration_method: how the starting ranges are found; head: "float"
    leaves the layer that makes the heatmaps out of INT8; float_layers: convolutions that stay float,
    by name; calibration: folder of pictures, null: the data source's own calibration split."""

    lr: float = Field(default=1e-4, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    mixed_precision: Precision = "no"
    freeze_observers_at: float = Field(default=0.7, ge=0, le=1)
    freeze_batch_norm_at: float = Field(default=0.0, ge=0, le=1)
    calibration_method: CalibrationMethod = DEFAULT_METHOD
    head: Literal["int8", "float"] = "int8"
    calibration: ExistingPath | None = None
    float_layers: tuple[str, ...] = ()


def run(model: PoseModel, config: Config, context: Context) -> PoseModel:
    """The deploy form, on the INT8 grid, with the activation scales that it was trained with."""
    images = context.calibration_set(config.calibration, model_domain=model.spec.domain)
    crops = crop_batches(images, model.spec.input_hw, alignment=model.spec.codec.alignment)
    kept = config.float_layers + tuple(head_layers(model) if config.head == "float" else ())
    calibrated = calibrate(model, crops, observer=config.calibration_method, float_layers=kept)
    prepared = prepare_qat(calibrated)
    if kept:
        context.notes["float_layers"] = list(kept)
    if config.freeze_batch_norm_at > 0:
        context.notes["live_batch_norms"] = revive_norms(prepared, model)
    freeze_observers_step = round(config.freeze_observers_at * config.steps)
    freeze_norms_step = round(config.freeze_batch_norm_at * config.steps)

    def before_step(step: int) -> None:
        if step == freeze_observers_step:
            freeze_observers(prepared)
        if step == freeze_norms_step:
            freeze_norms(prepared)

    teach(
        prepared,
        spec=model.spec,
        config=_inner_layers(config, prepared, model),
        context=context,
        label="qat",
        before_step=before_step,
    )
    fold_norms(prepared)
    return finish(model, prepared, source="qat")


def _inner_layers(config: Config, prepared: fx.GraphModule, model: PoseModel) -> Config:
    """`config` with the names of inner layers as the prepared graph has them."""
    supervision, features = config.supervision, config.features
    if supervision is not None:
        names = tuple(layer_output(prepared, model, name) for name in supervision.layers)
        supervision = supervision.model_copy(update={"layers": names})
    features = tuple(
        link.model_copy(update={"student": layer_output(prepared, model, link.student)})
        for link in features
    )
    return config.model_copy(update={"supervision": supervision, "features": features})
