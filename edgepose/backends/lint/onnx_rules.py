"""Rules over one ONNX file that TensorRT and ONNX Runtime share, each with the target's limits."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edgepose.backends.lint.findings import Finding, Level, found
from edgepose.backends.lint.onnx_view import Operator, Port, View
from edgepose.backends.onnx_graph.canonical import DEQUANTIZE, QUANTIZE
from edgepose.manifest import Manifest
from edgepose.target import Target

CHANNELS = 3


def versions(view: View, target: Target) -> Iterator[Finding]:
    if target.opset is None:
        yield found(
            "not-checked", "", f"{target.name} names no opset", fix="set opset in the target"
        )
    elif view.opset > target.opset:
        yield found(
            "opset", "", f"opset {view.opset}; {target.name} reads {target.opset} at most",
            fix=f"export with opset {target.opset}",
        )  # fmt: skip
    limit = target.limits.ir_version
    if limit is not None and view.ir_version > limit:
        yield found(
            "ir-version", "", f"IR version {view.ir_version}; {target.name} reads {limit} at most",
            fix=f"save with ir_version={limit}",
        )  # fmt: skip


def ports(view: View, target: Target, manifest: Manifest | None) -> Iterator[Finding]:
    """Input layout and open dimensions; with a manifest, that the file is what it says."""
    if manifest is not None:
        yield from _contract(view, manifest)
    elif len(view.inputs) != 1:
        names = ", ".join(port.name for port in view.inputs) or "none"
        yield found("input-layout", "", f"inputs: {names}; one image is wanted")
    for port in view.inputs:
        if manifest is None and len(view.inputs) == 1:
            yield from _layout(port)
        if None in port.shape and (target.limits.dla or not target.limits.dynamic_shapes):
            shape = ", ".join("?" if side is None else str(side) for side in port.shape)
            rule, where = (
                ("dla-dynamic", "DLA takes fixed shapes only")
                if target.limits.dla
                else ("dynamic-shape", f"{target.name} takes fixed shapes only")
            )
            yield found(rule, port.name, f"shape ({shape}); {where}")


def _layout(port: Port) -> Iterator[Finding]:
    if port.dtype not in ("float32", "float16"):
        yield found("input-layout", port.name, f"{port.dtype}; normalised float32 is wanted")
    if len(port.shape) != 4:
        yield found("input-layout", port.name, f"{len(port.shape)} dimensions; (N, 3, H, W) has 4")
    elif port.shape[1] != CHANNELS:
        last = port.shape[3] == CHANNELS
        what = "channels last (NHWC)" if last else f"{port.shape[1]} channels"
        yield found("input-layout", port.name, f"{what}; (N, 3, H, W) is wanted")


def _contract(view: View, manifest: Manifest) -> Iterator[Finding]:
    for kind, found_ports, port in (
        ("input", view.inputs, manifest.input),
        ("output", view.outputs, manifest.output),
    ):
        shape = tuple(side if isinstance(side, int) else None for side in port.shape)
        wanted = Port(port.name, port.dtype, shape)
        if len(found_ports) != 1 or found_ports[0] != wanted:
            have = "; ".join(f"{p.name} {p.dtype} {p.shape}" for p in found_ports)
            yield found(
                "contract", port.name,
                f"the file's {kind} is {have}, artifact.json says {port.name} {port.dtype} {shape}",
            )  # fmt: skip


def scales(view: View, *, level: Level = "error") -> Iterator[Finding]:
    """Scales and zero-points of every Q/DQ: constants, positive, one per channel of a weight.

    level: of what a runtime may still execute, though slowly
    """
    for node in view.nodes:
        if not node.is_qdq:
            continue
        scale = view.array(node.inputs[1])
        zero = view.array(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] else None
        for name in node.inputs[1:3]:
            if name and name not in view.constants:
                source = view.producers.get(name)
                by = f"made by {source.op}" if source is not None else "an input"
                yield found("qdq-scale-source", node.label, f"{name} is {by}", level=level)
        if scale is None:
            continue
        if scale.dtype.kind != "f" or not np.all(np.isfinite(scale) & (scale > 0)):
            low = float(np.min(scale)) if scale.size and scale.dtype.kind in "fiu" else scale.dtype
            yield found("qdq-scale", node.label, f"smallest scale {low}")
        if zero is not None and zero.size != scale.size:
            yield found(
                "qdq-per-axis-count", node.label, f"{scale.size} scales, {zero.size} zero-points"
            )
        if scale.size > 1:
            yield from _per_axis(view, node, scale.size, level)


def _per_axis(view: View, node: Operator, count: int, level: Level) -> Iterator[Finding]:
    shape, _ = view.weight(node.inputs[0])
    if shape is None:
        yield found(
            "qdq-per-axis-activation", node.label, f"{count} scales for one activation", level=level
        )
        return
    axis = node.attributes.get("axis", 1)
    axis = axis if isinstance(axis, int) else 1
    width = shape[axis] if -len(shape) <= axis < len(shape) else None
    if width != count:
        yield found(
            "qdq-per-axis-count", node.label,
            f"{count} scales along axis {axis} of weights {shape}",
        )  # fmt: skip


def source_type(view: View, node: Operator) -> str | None:
    """numpy's name for the integer type of a Q or DQ node: its zero-point's, or its data's."""
    if len(node.inputs) > 2 and node.inputs[2]:
        return view.dtype(node.inputs[2])
    if node.op == DEQUANTIZE:
        stored = view.dtype(node.inputs[0])
        quantize = view.producers.get(node.inputs[0])
        if stored is None and quantize is not None and quantize.op == QUANTIZE:
            return source_type(view, quantize)
        return stored
    return "uint8"
