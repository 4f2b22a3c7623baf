"""`qat:` train through the INT8 grid.

Batch norm is folded and deconvolutions are rewritten first; activation ranges start from a calibration
and follow the training until `freeze_at`, then they stand.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edgepose.context import Context
from edgepose.data.crop import crop_batches
from edgepose.models.pose_model import PoseModel
from edgepose.quant.calibrate import calibrate
from edgepose.quant.graph import finish, freeze_observers, prepare_qat
from edgepose.stages import distill
from edgepose.stages.distill import teach
from edgepose.strict_model import ExistingPath
from edgepose.train.config import Precision


class Config(distill.Config):
    """As distill, and: freeze_at: share of the steps after which activation ranges stand; observer:
    how the starting ranges are calibrated; calibration: folder of pictures for that, null: the data
    source's own calibration split; float_layers: convolutions that stay float, by name."""

    lr: float = Field(default=1e-4, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    mixed_precision: Precision = "no"
    freeze_at: float = Field(default=0.7, ge=0, le=1)
    observer: Literal["histogram", "minmax"] = "histogram"
    calibration: ExistingPath | None = None
    float_layers: tuple[str, ...] = ()


def run(model: PoseModel, config: Config, context: Context) -> PoseModel:
    """The deploy form, on the INT8 grid, with the activation scales that it was trained with."""
    images = context.calibration_set(config.calibration, model_domain=model.spec.domain)
    crops = crop_batches(images, model.spec.input_hw, alignment=model.spec.codec.alignment)
    start = calibrate(model, crops, observer=config.observer, float_layers=config.float_layers)
    prepared = prepare_qat(start)
    if config.float_layers:
        context.notes["float_layers"] = list(config.float_layers)
    freeze_step = round(config.freeze_at * config.steps)

    def before_step(step: int) -> None:
        if step == freeze_step:
            freeze_observers(prepared)

    teach(
        prepared,
        spec=model.spec,
        config=config,
        context=context,
        label="qat",
        before_step=before_step,
    )
    return finish(model, prepared, source="qat")
