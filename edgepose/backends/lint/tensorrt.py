"""TensorRT 8.5: what its ONNX parser refuses, what leaves INT8, and what DLA does not take.

Sources: onnx-tensorrt's operators.md and builtin_op_importers.cpp, release/8.5-GA; NVIDIA's issues
#2163, #3360 (INT8 initializers), #2976, #2597 (deconvolutions), #2222 (Q/DQ on DLA).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edgepose.backends.lint.findings import Finding, found
from edgepose.backends.lint.onnx_rules import ports, scales, source_type, versions
from edgepose.backends.lint.onnx_view import Operator, View, read
from edgepose.backends.lint.structure import float_layers, structure
from edgepose.backends.onnx_graph.canonical import DEQUANTIZE, QUANTIZE
from edgepose.manifest import Manifest
from edgepose.target import Target

SUFFIXES = (".onnx", ".onnx.xz")
_INTEGER_OPERATORS = {
    "ConvInteger": "ONNX Runtime's dynamic INT8",
    "DynamicQuantizeLinear": "ONNX Runtime's dynamic INT8",
    "MatMulInteger": "ONNX Runtime's dynamic INT8",
    "QLinearConv": "ONNX Runtime's operator format",
    "QLinearMatMul": "ONNX Runtime's operator format",
    "QLinearAdd": "ONNX Runtime's operator format",
}
_RESIZE_COORDINATES = (
    b"half_pixel", b"pytorch_half_pixel", b"tf_half_pixel_for_nn", b"asymmetric", b"align_corners",
)  # fmt: skip


def lint(data: bytes, target: Target, manifest: Manifest | None = None) -> list[Finding]:
    """Findings of an ONNX file's bytes. EdgeposeError where they are no whole ONNX model."""
    view = read(data)
    findings = [*versions(view, target), *ports(view, target, manifest), *_operators(view, target)]
    findings += [
        *scales(view),
        *_pairs(view),
        *structure(view.net, target, planned=float_layers(manifest)),
    ]
    return findings + (list(_dla(view)) if target.limits.dla else [])


def _operators(view: View, target: Target) -> Iterator[Finding]:
    known = set(target.limits.operators)
    if not known:
        yield found(
            "not-checked", "", f"{target.name} names no operators", fix="set limits.operators"
        )
    for node in view.nodes:
        if node.op in _INTEGER_OPERATORS:
            yield found(
                "operator", node.label,
                f"{node.word} is {_INTEGER_OPERATORS[node.op]}; TensorRT takes Q/DQ pairs",
                fix="quantize statically, with Q/DQ pairs of symmetric int8",
            )  # fmt: skip
        elif node.domain:
            yield found("operator", node.label, f"{node.word} is not one of ONNX's own operators")
        elif known and node.op not in known:
            yield found("operator", node.label, f"{target.name} has no {node.op}")
        else:
            yield from _attributes(view, node)


def _attributes(view: View, node: Operator) -> Iterator[Finding]:
    if node.op in ("Conv", "ConvTranspose") and len(node.inputs) > 1:
        shape, _ = view.weight(node.inputs[1])
        if shape is None:
            yield found("operator-attribute", node.label, "its weights are no initializer")
        elif len(shape) not in (4, 5):
            yield found("operator-attribute", node.label, f"weights {shape}; 2D or 3D is wanted")
    if node.op == "MaxPool" and len(node.outputs) > 1 and node.outputs[1]:
        yield found("operator-attribute", node.label, "its Indices output is not supported")
    if node.op == "Resize":
        mode = _text(node, "mode", b"nearest")
        place = _text(node, "coordinate_transformation_mode", b"half_pixel")
        if mode not in (b"nearest", b"linear") or place not in _RESIZE_COORDINATES:
            yield found(
                "operator-attribute", node.label, f"Resize {mode.decode()}, {place.decode()}"
            )


def _text(node: Operator, key: str, default: bytes) -> bytes:
    value = node.attributes.get(key, default)
    return value if isinstance(value, bytes) else str(value).encode()


def _pairs(view: View) -> Iterator[Finding]:
    """Each Q and DQ against the one form that the parser takes."""
    outputs = {port.name for port in view.outputs}
    for node in view.nodes:
        if not node.is_qdq:
            continue
        stored = view.dtype(node.inputs[0]) if node.op == DEQUANTIZE else None
        if stored == "int8":
            yield found("int8-weights", node.label, f"{node.inputs[0]} is stored as int8")
        elif stored == "int32":
            yield found("int32-bias", node.label, f"{node.inputs[0]} is stored as int32")
        if len(node.inputs) < 3 or not node.inputs[2]:
            yield found("qdq-two-inputs", node.label, f"{node.op} has no zero-point input")
        zero = view.array(node.inputs[2]) if len(node.inputs) > 2 else None
        kind = source_type(view, node)
        if kind not in (None, "int8") and stored != "int32":
            yield found("qdq-zero-point-type", node.label, f"{kind}; int8 is wanted")
        if zero is not None and np.any(zero != 0):
            yield found("qdq-zero-point", node.label, f"zero-point {_first(zero)}; 0 is wanted")
        if not outputs.isdisjoint(node.outputs):
            yield found("qdq-output", node.label, f"{node.op} makes the output {node.outputs[0]}")
        if node.op == QUANTIZE:
            for reader in view.readers.get(node.outputs[0], []):
                if reader.op != DEQUANTIZE:
                    yield found("int8-direct", reader.label, f"{reader.op} reads {node.outputs[0]}")


def _first(zero: np.ndarray) -> int:
    return int(zero.reshape(-1)[np.flatnonzero(zero)[0]])


def _dla(view: View) -> Iterator[Finding]:
    pairs = [node for node in view.nodes if node.is_qdq]
    if pairs:
        yield found("dla-qdq", pairs[0].label, f"{len(pairs)} Q/DQ nodes; DLA takes implicit INT8")
    for node in view.nodes:
        if node.op != "ConvTranspose":
            continue
        pads, groups = node.attributes.get("pads", []), node.attributes.get("group", 1)
        automatic = _text(node, "auto_pad", b"NOTSET") in (b"SAME_UPPER", b"SAME_LOWER")
        spread = list(node.attributes.get("dilations", [1]))
        if automatic or any(pads) or groups != 1 or set(spread) != {1}:
            what = "automatic padding" if automatic else f"padding {list(pads)}"
            yield found(
                "dla-deconvolution", node.label, f"{what}, groups {groups}, dilations {spread}"
            )
