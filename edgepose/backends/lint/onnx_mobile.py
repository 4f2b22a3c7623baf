"""ONNX Runtime: what it cannot load, and what its CPU provider leaves in float."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np
import onnx

from edgepose.backends.lint.findings import Finding, found
from edgepose.backends.lint.onnx_rules import ports, scales, source_type, versions
from edgepose.backends.lint.onnx_view import View, read
from edgepose.backends.lint.structure import float_layers, structure
from edgepose.backends.onnx_graph.canonical import QUANTIZE
from edgepose.backends.onnx_graph.ort_order import IDENTIFIER, operators
from edgepose.errors import EdgeposeError
from edgepose.manifest import Manifest
from edgepose.target import Target

SUFFIXES = (".onnx", ".ort")
MICROSOFT = "com.microsoft"
_X86_ONLY = "com.microsoft.nchwc"
_OPERATORS_OF_ITS_OWN = frozenset(
    (
        "BiasGelu", "ConvTransposeWithDynamicPads", "DequantizeLinear", "FastGelu", "FusedConv",
        "FusedGemm", "FusedMatMul", "Gelu", "NhwcFusedConv", "NhwcMaxPool", "QGemm", "QLinearAdd",
        "QLinearAveragePool", "QLinearConcat", "QLinearConv", "QLinearGlobalAveragePool",
        "QLinearLeakyRelu", "QLinearMul", "QLinearReduceMean", "QLinearSigmoid", "QLinearSoftmax",
        "QLinearWhere", "QuantizeLinear", "QuickGelu",
    )
)  # fmt: skip


def lint(data: bytes, target: Target, manifest: Manifest | None = None) -> list[Finding]:
    """Findings of an ONNX or ORT-format file's bytes. EdgeposeError where they are neither."""
    if data[4:8] == IDENTIFIER:
        return list(_ort_format(data, target))
    view = read(data)
    return [
        *versions(view, target),
        *ports(view, target, manifest),
        *_operators((node.domain, node.op, node.label) for node in view.nodes),
        *scales(view, level="warning"),
        *_zero_points(view),
        *_relus(view),
        *structure(view.net, target, planned=float_layers(manifest)),
    ]


def _operators(used: Iterator[tuple[str, str, str]]) -> Iterator[Finding]:
    for domain, op, label in used:
        known = op in _OPERATORS_OF_ITS_OWN if domain == MICROSOFT else domain in ("", "ai.onnx")
        if domain == _X86_ONLY:
            yield found("x86-only", label, f"{domain}.{op} runs on x86 only")
        elif not known:
            yield found("operator", label, f"ONNX Runtime's CPU provider has no {domain}.{op}")
        elif domain != MICROSOFT and not onnx.defs.has(op):
            yield found("operator", label, f"ONNX has no operator {op}")


def _ort_format(data: bytes, target: Target) -> Iterator[Finding]:
    """Only operators and opsets: the graph was made from an ONNX file, which says the rest."""
    try:
        used = operators(data)
    except EdgeposeError:
        raise
    except (KeyError, IndexError, struct.error, TypeError, ValueError, RecursionError) as error:
        raise EdgeposeError(
            f"the ORT-format model is damaged: {type(error).__name__}",
            fix="export again, or copy the file again",
        ) from error
    yield from _operators(
        (domain, op, op) for (domain, _), ops in used.items() for op in sorted(ops)
    )
    newest = max((since for (domain, since) in used if domain == "ai.onnx"), default=0)
    if target.opset is not None and newest > target.opset:
        yield found("opset", "", f"operators of opset {newest}; {target.name} reads {target.opset}")


def _zero_points(view: View) -> Iterator[Finding]:
    """Weights off centre are computed, by slower kernels; a type beside its data's is not loaded."""
    for node in view.nodes:
        if not node.is_qdq or len(node.inputs) < 3:
            continue
        stored, kind = view.dtype(node.inputs[0]), source_type(view, node)
        if node.op != QUANTIZE and stored is not None and kind not in (None, stored):
            yield found("qdq-zero-point-type", node.label, f"{kind} for data of {stored}")
        zero = view.array(node.inputs[2])
        if stored in ("int8", "int32") and zero is not None and np.any(zero != 0):
            yield found(
                "qdq-zero-point",
                node.label,
                f"weights {node.inputs[0]} off centre",
                level="warning",
            )


def _relus(view: View) -> Iterator[Finding]:
    """Conv -> Relu -> int8 with zero-point 0: fused in float, because the ReLU does something that
    the quantizer does not."""
    for node in view.nodes:
        if not node.is_qdq or node.op != QUANTIZE or source_type(view, node) != "int8":
            continue
        relu = view.producers.get(node.inputs[0])
        conv = (
            view.producers.get(relu.inputs[0]) if relu is not None and relu.op == "Relu" else None
        )
        zero = view.array(node.inputs[2])
        if conv is None or conv.op not in ("Conv", "Add") or zero is None or np.all(zero == -128):
            continue
        yield found(
            "float-relu", conv.label,
            f"{conv.op}, Relu, then int8 with zero-point {int(zero.reshape(-1)[0])}: the CPU provider "
            "computes it in float",
        )  # fmt: skip
