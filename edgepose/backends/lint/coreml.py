"""Core ML: what the target's system cannot load, and what leaves the Neural Engine's INT8.

The package's own declaration is read first (versions, operators, inputs), then the program with its
constants. Sources: coremltools' table of operators per system; its notes on W8A8.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from edgepose.backends.lint.findings import Finding, found
from edgepose.backends.lint.structure import (
    CONVOLUTIONS,
    Net,
    Step,
    float_layers,
    structure,
)
from edgepose.backends.mil.convert import deployment_target
from edgepose.backends.mil.load import Operation, Program, Ref, color_of, load_program, model_path
from edgepose.backends.mil.quiet import quiet
from edgepose.backends.onnx_graph.canonical import DEQUANTIZE, QUANTIZE
from edgepose.errors import EdgeposeError
from edgepose.manifest import Manifest
from edgepose.target import Target
from edgepose.variants import MODEL

with quiet():
    import coremltools
    from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry

SUFFIXES = (".mlpackage",)
_NAMES = {
    "conv": "Conv", "conv_transpose": "ConvTranspose", "add": "Add", "relu": "Relu", "clip": "Clip",
    "quantize": QUANTIZE, "dequantize": DEQUANTIZE, "batch_norm": "BatchNormalization",
}  # fmt: skip
_MOVES = (
    "reshape", "transpose", "slice_by_index", "concat", "stack", "pixel_shuffle", "max_pool",
    "upsample_nearest_neighbor", "expand_dims", "squeeze", "identity", "cast", "gather",
)  # fmt: skip
_HALF_ARRAYS = "iOS16"


def lint(package: Path, target: Target, manifest: Manifest | None = None) -> list[Finding]:
    """Findings of an .mlpackage. EdgeposeError where it cannot be read."""
    limit = int(deployment_target(target.minimum_os))
    system = target.minimum_os or "iOS17"
    spec = _spec(package)
    findings = [*_versions(spec, limit, system), *_ports(spec, limit, system, manifest)]
    try:
        program = load_program(package)
    except EdgeposeError:
        if any(f.level == "error" for f in findings):
            return findings  # what was found says why it cannot be read further
        raise
    net = _net(program)
    planned = _planned(net, float_layers(manifest))
    return [*findings, *_grids(program), *structure(net, target, planned=planned)]


def _planned(net: Net, names: tuple[str, ...]) -> list[str]:
    """The float convolutions, where they are as many as the plan names: Core ML numbers its layers."""
    found = [s.name for s in net.steps if s.op in CONVOLUTIONS and s.weight and not s.int8_weight]
    return found if len(found) == len(names) else []


def _spec(package: Path) -> Any:
    path = model_path(package)
    spec = coremltools.proto.Model_pb2.Model()
    fix = "give an mlpackage that holds an mlprogram (iOS 15 and newer)"
    try:
        spec.ParseFromString(path.read_bytes())
    except Exception as error:  # protobuf's errors share no other base
        raise EdgeposeError(
            f"{package}: {path.name} is no Core ML model: {error}", fix=fix
        ) from error
    if spec.WhichOneof("Type") != "mlProgram":
        raise EdgeposeError(f"{package} holds {spec.WhichOneof('Type')}, not an mlprogram", fix=fix)
    return spec


def _versions(spec: Any, limit: int, system: str) -> Iterator[Finding]:
    if spec.specificationVersion > limit:
        yield found(
            "minimum-os", "",
            f"specification version {spec.specificationVersion}; {system} reads {limit} at most",
        )  # fmt: skip
    for name, function in spec.mlProgram.functions.items():
        digits = function.opset.removeprefix("CoreML")
        if not digits.isdecimal() or int(digits) + 1 > limit:
            yield found(
                "minimum-os", name, f"operator set {function.opset}; {system} has an older one"
            )
        for block in function.block_specializations.values():
            for operation in block.operations:
                yield from _available(operation, limit, system)


def _available(operation: Any, limit: int, system: str) -> Iterator[Finding]:
    kind = operation.type
    label = operation.outputs[0].name if operation.outputs else kind
    since = SSAOpRegistry.core_ops.get(kind)
    if since is None:
        yield found("operator", label, f"Core ML has no operator {kind}")
    elif min(map(int, since)) > limit:
        first = min(since, key=int).name
        yield found("operator-os", label, f"{kind} came with {first}; the target is {system}")


def _ports(spec: Any, limit: int, system: str, manifest: Manifest | None) -> Iterator[Finding]:
    inputs, outputs = list(spec.description.input), list(spec.description.output)
    if manifest is not None:
        have = ([p.name for p in inputs], [p.name for p in outputs])
        wanted = ([manifest.input.name], [manifest.output.name])
        if have != wanted:
            yield found("contract", "", f"takes and gives {have}, artifact.json says {wanted}")
    for port in inputs:
        if port.type.WhichOneof("Type") == "imageType":
            yield from _image(port.name, port.type.imageType, manifest)
        else:
            yield found("image-input", port.name, f"a {port.type.WhichOneof('Type')}, not an image")
    for port in (*inputs, *outputs):
        if port.type.WhichOneof("Type") != "multiArrayType":
            continue
        array = port.type.multiArrayType
        if array.dataType not in array.ArrayDataType.values():
            yield found("contract", port.name, f"an array of type {array.dataType}, which is none")
        elif array.dataType == array.ArrayDataType.Value("FLOAT16") and limit < int(
            coremltools.target[_HALF_ARRAYS]
        ):
            yield found(
                "minimum-os", port.name,
                f"a float16 array, which came with {_HALF_ARRAYS}; the target is {system}",
                fix="declare it float32",
            )  # fmt: skip


def _image(name: str, image: Any, manifest: Manifest | None) -> Iterator[Finding]:
    color = color_of(image)
    if color not in ("RGB", "BGR"):
        yield found("image-input", name, f"a {color} image; RGB or BGR is wanted")
    elif manifest is not None and color != manifest.input.color:
        yield found("input-color", name, f"{color}, artifact.json says {manifest.input.color}")
    if image.WhichOneof("SizeFlexibility") == "imageSizeRange":
        yield found(
            "dynamic-shape", name, "any size within a range keeps it off the Neural Engine",
            fix="name the sizes (ct.EnumeratedShapes), or one", level="warning",
        )  # fmt: skip
    sizes = {(size.height, size.width) for size in image.enumeratedSizes.sizes}
    if manifest is not None:
        own = (int(manifest.input.shape[1]), int(manifest.input.shape[2]))
        wanted = {v.input_hw for v in manifest.variants if v.role == MODEL} or {own}
        have = sizes or {(image.height, image.width)}
        if have != wanted or (image.height, image.width) != own:
            text = ", ".join(f"{h}x{w}" for h, w in sorted(have))
            yield found("contract", name, f"{text}; artifact.json says {sorted(wanted)}")


def _grids(program: Program) -> Iterator[Finding]:
    """Scales and zero-points: activations per tensor and symmetric, weights per channel."""
    for op in program.operations:
        if op.kind == "constexpr_blockwise_shift_scale":
            scale, data = (op.arguments.get(key) for key in ("scale", "data"))
            if (
                isinstance(scale, np.ndarray)
                and isinstance(data, np.ndarray)
                and _blocked(scale, data)
            ):
                yield found("per-block-weights", op.name, f"scales {scale.shape} for {data.shape}")
        if op.kind not in ("quantize", "dequantize", "constexpr_affine_dequantize"):
            continue
        scale = np.asarray(op.arguments.get("scale", 1.0), np.float64)
        zero = np.asarray(op.arguments.get("zero_point", 0))
        if not np.all(np.isfinite(scale) & (scale > 0)):
            yield found("qdq-scale", op.name, f"smallest scale {float(np.min(scale)):g}")
        if op.kind != "constexpr_affine_dequantize" and scale.size > 1:
            yield found(
                "qdq-per-axis-activation", op.name, f"{scale.size} scales for one activation"
            )
        if zero.dtype.kind in "iu" and np.any(zero != 0):
            first = int(zero.reshape(-1)[np.flatnonzero(zero)[0]])
            yield found(
                "qdq-zero-point", op.name, f"zero-point {first}; 0 is wanted", level="warning"
            )


def _blocked(scale: np.ndarray, data: np.ndarray) -> bool:
    return sum(size > 1 for size in scale.shape) > 1 and scale.ndim == data.ndim


def _net(program: Program) -> Net:
    constexpr = {
        tensor.name: tensor.shape
        for op in program.operations
        if op.kind.startswith("constexpr_")
        for tensor in op.outputs
    }
    steps = [
        step
        for op in program.operations
        if not op.kind.startswith("constexpr_") and (step := _step(op, constexpr)) is not None
    ]
    return Net(tuple(steps), frozenset(program.outputs))


def _step(op: Operation, constexpr: dict[str, tuple[int, ...]]) -> Step | None:
    weight = op.arguments.get("weight")
    shape, int8 = (None, False)
    if isinstance(weight, Ref) and weight.name in constexpr:
        shape, int8 = constexpr[weight.name], True
    elif isinstance(weight, np.ndarray):
        shape = weight.shape
    flat = [v for a in op.arguments.values() for v in (a if isinstance(a, tuple) else (a,))]
    data = tuple(v.name for v in flat if isinstance(v, Ref) and v.name not in constexpr)
    if not data:
        return None
    outputs = tuple(tensor.name for tensor in op.outputs)
    word = _NAMES.get(op.kind, op.kind)
    return Step(word, op.name, data, outputs, shape, int8, op.kind in _MOVES)
