"""Built engines on the board: used again only for the very GPU, TensorRT and model they are of."""

from __future__ import annotations

import hashlib
import json
import os
from typing import Dict, Optional, Tuple

from .files import write_atomic

MAIN = "main"
"""The counted form of an artifact, whatever it is called."""


def engine_key(facts: Dict[str, str]) -> str:
    """Name of an engine that depends on exactly these facts."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def load_engine(folder: str, facts: Dict[str, str]) -> Optional[Tuple[bytes, float]]:
    """(engine, seconds that it took to build); None where there is none, or one not to be trusted."""
    base = os.path.join(folder, engine_key(facts))
    try:
        with open(base + ".json", "rb") as stream:
            notes = json.loads(stream.read().decode())
        with open(base + ".engine", "rb") as stream:
            engine = stream.read()
    except (OSError, ValueError):
        return None  # not built, or not finished
    whole = isinstance(notes, dict) and notes.get("facts") == facts
    if not whole or notes.get("sha256") != hashlib.sha256(engine).hexdigest():
        return None
    return engine, float(notes["seconds"])


def save_engine(folder: str, facts: Dict[str, str], engine: bytes, seconds: float) -> None:
    """Keep an engine; its notes are written last, so a half-written one is never found."""
    base = os.path.join(folder, engine_key(facts))
    notes = {"facts": facts, "sha256": hashlib.sha256(engine).hexdigest(), "seconds": seconds}
    write_atomic(base + ".engine", engine)
    write_atomic(base + ".json", json.dumps(notes, indent=1, sort_keys=True).encode() + b"\n")


def load_timing(folder: str, place: Dict[str, str]) -> Optional[bytes]:
    """TensorRT's timing cache of this very GPU and TensorRT; None where there is none."""
    try:
        with open(os.path.join(folder, engine_key(place) + ".timing"), "rb") as stream:
            return stream.read()
    except OSError:
        return None


def save_timing(folder: str, place: Dict[str, str], timing: bytes) -> None:
    """Keep what a build timed, for the next: kernels are chosen alike, and in less time."""
    write_atomic(os.path.join(folder, engine_key(place) + ".timing"), timing)
