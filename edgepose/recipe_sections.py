"""The sections of a recipe whose meaning does not depend on a stage or a data source."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from edgepose.device.coding import Coding
from edgepose.errors import EdgeposeError
from edgepose.fetch import Source, check_source
from edgepose.skeleton import SKELETONS
from edgepose.strict_files import NAME_PATTERN
from edgepose.strict_model import ExistingPathOrUrl
from edgepose.strict_yaml import did_you_mean, shown
from edgepose.target import TargetName

MACS_PATTERN = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([kMGT])MACs?")
MACS_UNITS = {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Weights(_Strict):
    """checkpoint: a model folder, a checkpoint file, or its URL, null: random weights; sha256: of the
    file, 64 hex digits; color: channel order of the pictures that a file was trained on; coding: how
    joints stand in heatmaps, null: a model folder's own, else standard."""

    checkpoint: ExistingPathOrUrl | None = None
    sha256: str | None = None
    color: Literal["RGB", "BGR"] = "RGB"
    coding: Coding | None = None

    @property
    def source(self) -> Source | None:
        return None if self.checkpoint is None else Source(self.checkpoint, self.sha256)

    @model_validator(mode="after")
    def _can_be_trusted(self) -> Self:
        if self.source is not None:
            try:
                check_source(self.source)
            except EdgeposeError as error:
                raise ValueError(f"{error.problem}; {error.fix}") from error
        elif self.sha256 is not None or self.color != "RGB":
            raise ValueError("sha256 and color are of a checkpoint, and none is named")
        return self


class Student(Weights):
    """The network to make small. arch: its name; input_hw: (height, width) of the crop that it sees,
    pixels, multiples of 32; num_joints, skeleton: null: the data set's."""

    arch: str
    input_hw: tuple[int, int]
    num_joints: Annotated[int, Field(ge=1, le=1000)] | None = None
    skeleton: str | None = None

    @field_validator("input_hw")
    @classmethod
    def _multiples_of_32(cls, value: tuple[int, int]) -> tuple[int, int]:
        for side in value:
            if not 32 <= side <= 4096 or side % 32:
                near = min(max(round(side / 32) * 32, 32), 4096) if abs(side) < 10**9 else 256
                raise ValueError(
                    f"height and width must be multiples of 32, got {side} (nearest: {near})"
                )
        return value

    @field_validator("skeleton")
    @classmethod
    def _known_skeleton(cls, value: str | None) -> str | None:
        if value is not None and value not in SKELETONS:
            raise ValueError(f"unknown skeleton '{value}'{did_you_mean(value, SKELETONS)}")
        return value

    @model_validator(mode="after")
    def _joints_agree(self) -> Student:
        if self.skeleton is not None and self.num_joints is not None:
            joints = SKELETONS[self.skeleton].num_joints
            if joints != self.num_joints:
                raise ValueError(f"{self.skeleton} has {joints} joints, not {self.num_joints}")
        return self


def _macs(value: object) -> object:
    """ "1.2 GMAC" as a number."""
    found = MACS_PATTERN.fullmatch(value) if isinstance(value, str) else None
    return value if found is None else float(found[1]) * MACS_UNITS[found[2]]


class Budget(_Strict):
    """Limits of the result; those that are named hold together. size_mb: largest counted file, 10^6
    bytes; macs: multiply-accumulates of one image, 1.2e9 or "1.2 GMAC"; latency_ms: of one image on the
    target `latency_on`, by the cost model; latency_on: that target's name; max_drop: points of the
    metric."""

    size_mb: Annotated[float, Field(gt=0)] | None = None
    macs: Annotated[float, Field(gt=0), BeforeValidator(_macs)] | None = None
    latency_ms: Annotated[float, Field(gt=0)] | None = None
    latency_on: TargetName | None = None
    max_drop: Annotated[float, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _latency_is_of_a_target(self) -> Self:
        if self.latency_ms is not None and self.latency_on is None:
            raise ValueError("latency_ms needs latency_on, the target that it is of")
        if self.latency_on is not None and self.latency_ms is None:
            raise ValueError("latency_on names a target, and no latency_ms is asked of it")
        return self

    @property
    def limits_width(self) -> bool:
        """Whether anything here says how large the network may be."""
        return any(value is not None for value in (self.size_mb, self.macs, self.latency_ms))


class Head(_Strict):
    """The keys whose meaning does not depend on a stage or a data source. name: of the report's folder;
    description: one line for people; seed: of weights, batches and
    augmentation; metric: what budgets, drops and tables are in; flip_test: score models in
    torch with the heatmaps of the mirrored crop averaged in; artifacts are scored as devices run them."""

    name: str
    description: str = ""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    student: Student
    metric: Literal["pckh", "oks_ap", "pck", "pckh_head_segment", "pck_box"] = "pckh"
    flip_test: bool = False
    budget: Budget | None = None

    @field_validator("name")
    @classmethod
    def _names_a_folder(cls, value: str) -> str:
        if not NAME_PATTERN.fullmatch(value):
            raise ValueError(
                f"{shown(value)} cannot name the report's folder; "
                "use at most 100 letters, digits, '.', '_' and '-'"
            )
        return value


class TeacherHead(Weights):
    """arch: of the network to train here; of a checkpoint file it is read off the tensors."""

    arch: str | None = None

    @model_validator(mode="after")
    def _trained_here_has_the_students_coding(self) -> Self:
        if self.coding is not None and self.checkpoint is None:
            raise ValueError("coding is of a checkpoint; a teacher trained here has the student's")
        return self
