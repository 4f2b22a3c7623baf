"""The words for how joints stand in heatmaps; `codec.py` says what they mean. Imports nothing."""

from __future__ import annotations

from typing import Literal

from .errors import DeviceError

Coding = Literal["standard", "dark", "udp"]
Alignment = Literal["edges", "centers"]
CODINGS: tuple[Coding, ...] = ("standard", "dark", "udp")
Rule = Literal["argmax-quarter-pixel", "argmax-dark", "argmax-dark-udp"]
RULES: dict[Coding, Rule] = {
    "standard": "argmax-quarter-pixel",
    "dark": "argmax-dark",
    "udp": "argmax-dark-udp",
}
"""How heatmaps of a coding are read, in an artifact's words."""


def check_coding(word: str) -> Coding:
    """The word; DeviceError where it is none of the codings."""
    for known in CODINGS:
        if word == known:
            return known
    raise DeviceError(f"unknown coding {word!r}", fix=f"use one of {', '.join(CODINGS)}")


def alignment_of(coding: Coding) -> Alignment:
    """How a coding's crops lie on their regions, see `geometry.crop_matrix`."""
    return "centers" if coding == "udp" else "edges"
