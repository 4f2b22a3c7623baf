"""The options of a training, as a recipe writes them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from edgepose.data.crop import Augment
from edgepose.train.schedule import Schedule

Precision = Literal["auto", "no", "bf16", "fp16"]


class Phase(BaseModel):
    """A part of the training at its own input size (progressive resizing). input_hw: height and width
    of the crops; share: of the steps; batch_size: null: the training's."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    input_hw: tuple[int, int]
    share: float = Field(gt=0, le=1)
    batch_size: int | None = Field(default=None, ge=1)


class Supervision(BaseModel):
    """Heads that exist in training alone. layers: names of the network's layers; each gets a 1x1
    convolution that must find the heatmaps, too; weight: of their mean loss beside the network's."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    layers: tuple[str, ...] = Field(min_length=1)
    weight: float = Field(default=0.3, gt=0)


class TargetSigma(BaseModel):
    """The width of the target Gaussians, in units of the coding's sigma. per_joint: by COCO's spread of
    annotators, over its mean; confidence: a joint of which one is c sure (0..1: the teacher's peak where
    its heatmaps are kept; else 1, and 0.5 for a labelled joint that the data calls hidden) gets
    1 + confidence x (1 - c). Never below one heatmap pixel."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    per_joint: bool = False
    confidence: float = Field(default=0.0, ge=0, le=4)

    @property
    def is_off(self) -> bool:
        return not self.per_joint and self.confidence == 0


class FitConfig(BaseModel):
    """steps: optimiser steps (a budget in steps, never in seconds); batch_size: crops per process and
    pass; accumulate: passes per step; lr: peak learning rate of AdamW; weight_decay: of AdamW; schedule:
    how the learning rate runs over the steps; ema: decay of the weight average, 0 is off; clip_norm:
    longest gradient; phases: parts at other input sizes; augment: how crops are varied; ohkm: so many
    joints of each person count, the worst ones, 0 counts all; supervision: heads on inner layers while
    training; target: widths of the Gaussians to learn; mixed_precision: "auto" takes bf16 where the
    processor has it; workers: processes that load pictures, 0 loads in line; checkpoint_every: a kill
    costs at most so many steps."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    steps: int = Field(ge=1)
    batch_size: int = Field(default=32, ge=1)
    accumulate: int = Field(default=1, ge=1)
    lr: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=1e-4, ge=0)
    schedule: Schedule = "one_cycle"
    ema: float = Field(default=0.0, ge=0, lt=1)
    clip_norm: float = Field(default=1.0, gt=0)
    phases: tuple[Phase, ...] = ()
    augment: Augment = Augment()
    ohkm: int = Field(default=0, ge=0)
    supervision: Supervision | None = None
    target: TargetSigma = TargetSigma()
    mixed_precision: Precision = "auto"
    workers: int = Field(default=0, ge=0)
    checkpoint_every: int = Field(default=200, ge=1)
