"""What a board's engine says of its layers' precisions; device/engine_layers.py reads it."""

from __future__ import annotations

from pydantic import Field

from edgepose.bench.document import Strict


class Unplanned(Strict):
    """A convolution that ran in another precision than the form plans."""

    name: str
    planned: str
    ran: str


class EngineLayers(Strict):
    """Precisions as TensorRT's engine inspector tells them: "int8", "fp16", "fp32", "unknown".

    planned:      of the form's convolutions
    counts:       layers that compute, by precision; convolutions: those among them that are planned
    moves:        layers that only move or convert data
    mac_share:    part of the convolutions' multiply-accumulates by precision; {} where sizes lack
    other:        convolutions that ran otherwise than planned
    why_not:      why none of this is known; the rest is then empty
    """

    planned: str | None = None
    counts: dict[str, int] = Field(default_factory=dict)
    convolutions: dict[str, int] = Field(default_factory=dict)
    moves: int = 0
    mac_share: dict[str, float] = Field(default_factory=dict)
    other: tuple[Unplanned, ...] = ()
    why_not: str | None = None
