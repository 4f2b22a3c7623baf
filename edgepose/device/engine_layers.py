"""Which layer of an engine computes in which precision, as TensorRT's engine inspector tells it.

A layer computes in the type of its first input, as NVIDIA's engine explorer counts it. Only convolutions
and deconvolutions are planned; what only moves or converts data is counted apart. Read off TensorRT 8.5's
documentation and engines that others published: no engine of ours has been inspected yet.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Tuple

if TYPE_CHECKING:
    from .engine_settings import Settings

UNKNOWN = "unknown"
_TYPES = (
    ("int8", re.compile(r"\bu?int8\b", re.IGNORECASE)),
    ("fp16", re.compile(r"\b(fp16|half)\b", re.IGNORECASE)),
    ("fp32", re.compile(r"\b(fp32|float)\b", re.IGNORECASE)),
)
_MOVES = re.compile(r"reformat|noop|constant|shuffle|slice|concat|shape|copy", re.IGNORECASE)
_WHOLE = re.compile(r"ForeignNode|DLA")  # many layers as one: a DLA's, whose inside is not told
_PARTS = re.compile(r" \+ | \|\| ")


def layers_of(text: str, settings: Settings) -> Dict[str, Any]:
    """What the inspector's JSON says of an engine of that form; {"why_not": ...} where it says nothing.

    planned:   of the convolutions; those that the form keeps in float are expected in FP16 or FP32
    counts:    {precision: layers} of every layer that computes; moves: of those that only move data
    mac_share: {precision: part of the convolutions' multiply-accumulates}, where sizes are told
    other:     [{"name", "planned", "ran"}], the convolutions that ran otherwise than planned
    """
    try:
        layers = json.loads(text)["Layers"]
        if not isinstance(layers, list) or not layers:
            raise ValueError("it lists no layers")
        return _counted(layers, settings)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        return {"why_not": "TensorRT's engine inspector cannot be read: {!r}".format(error)[:300]}


def _counted(layers: List[Any], settings: Settings) -> Dict[str, Any]:
    counts: Dict[str, int] = {}
    convolutions: Dict[str, int] = {}
    macs: Dict[str, int] = {}
    other: List[Dict[str, str]] = []
    moves, sized = 0, True
    for layer in layers:
        name, kind = _name_and_kind(layer)
        convolution = "convolution" in kind.lower()
        if not convolution and _MOVES.search(kind):
            moves += 1
            continue
        ran = _precision(layer)
        counts[ran] = counts.get(ran, 0) + 1
        if not convolution:
            continue
        convolutions[ran] = convolutions.get(ran, 0) + 1
        found = _macs(layer, kind)
        sized = sized and found is not None
        macs[ran] = macs.get(ran, 0) + (found or 0)
        planned = _planned(name, settings)
        if ran not in planned:
            other.append({"name": name, "planned": planned[0], "ran": ran})
    total = sum(macs.values())
    share = {key: round(value / total, 5) for key, value in macs.items()} if sized and total else {}
    return {
        "planned": settings.precision, "counts": counts, "moves": moves,
        "convolutions": convolutions, "mac_share": share, "other": other,
    }  # fmt: skip


def _name_and_kind(layer: Any) -> Tuple[str, str]:
    """An engine that was built without details lists names only."""
    if isinstance(layer, str):
        return layer, ""
    return str(layer["Name"]), str(layer.get("ParameterType", layer.get("LayerType", "")))


def _precision(layer: Any) -> str:
    if isinstance(layer, str) or _WHOLE.search(layer["Name"]) or not layer.get("Inputs"):
        return UNKNOWN
    told = str(layer["Inputs"][0].get("Format/Datatype", ""))
    return next((name for name, pattern in _TYPES if pattern.search(told)), UNKNOWN)


def _planned(name: str, settings: Settings) -> Tuple[str, ...]:
    """The precisions that a convolution may run in; the first is the one to be told.

    A fused layer is named after all that is in it, "a + b"; two side by side are "a || b".
    """
    kept = set(settings.float_layers) | set(settings.layer_precisions)
    if settings.precision == "int8" and kept.intersection(_PARTS.split(name)):
        return ("fp16", "fp32")
    return (settings.precision,)


def _macs(layer: Dict[str, Any], kind: str) -> Optional[int]:
    """Weights times the positions that they are applied at; None where a size is not told."""
    weights = layer.get("Weights", {}).get("Count")
    end = layer.get("Inputs" if "deconvolution" in kind.lower() else "Outputs")
    if not isinstance(weights, int) or not end:
        return None
    shape = end[0].get("Dimensions", [])
    if len(shape) != 4 or not all(isinstance(side, int) and side > 0 for side in shape):
        return None
    return int(weights * shape[0] * shape[2] * shape[3])
