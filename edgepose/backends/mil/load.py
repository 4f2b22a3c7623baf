"""Reads an .mlpackage on any system into a plain list of operations.

coremltools parses the protobuf and the weight blob (`milproto.load`); what comes back is turned
into the small immutable types below, so that the interpreter needs nothing else of coremltools.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from edgepose.backends.mil.quiet import quiet
from edgepose.errors import EdgeposeError

with quiet():
    import coremltools
    from coremltools.converters.mil.frontend.milproto.load import load as _load_milproto
    from coremltools.converters.mil.mil import types as _types

DATA_FOLDER = "Data"
FUNCTION = "main"


@dataclass(frozen=True)
class Ref:
    """A value that an earlier operation, or the caller, provides."""

    name: str


@dataclass(frozen=True)
class Tensor:
    """shape: one int per axis, -1 where the file leaves it open; dtype: fp16, fp32, int8, ..."""

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Image:
    """An image input: uint8 (height, width, 3) in the order `color` (RGB or BGR).

    sizes: (height, width) of all that the program takes, its default among them
    """

    height: int
    width: int
    color: str
    sizes: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Operation:
    """One MIL operation. Arguments are Ref, a tuple of those, numpy arrays, or plain values."""

    kind: str
    name: str
    arguments: Mapping[str, Any]
    outputs: tuple[Tensor, ...]


@dataclass(frozen=True)
class Program:
    """The `main` function of an mlpackage, constants inlined, in execution order."""

    inputs: tuple[Tensor, ...]
    images: Mapping[str, Image]
    operations: tuple[Operation, ...]
    outputs: tuple[str, ...]


def load_program(package: Path) -> Program:
    """The program in the folder `package`; EdgeposeError where that is no readable mlprogram."""
    model_file = model_path(package)
    spec = coremltools.proto.Model_pb2.Model()
    try:
        spec.ParseFromString(model_file.read_bytes())
    except Exception as error:
        raise _unreadable(package, f"{model_file.name} is not a Core ML model: {error}") from error
    if spec.WhichOneof("Type") != "mlProgram":
        raise _unreadable(package, f"it holds a {spec.WhichOneof('Type')}, not an mlProgram")
    weights = model_file.parent / "weights"
    try:
        with quiet():
            program = _load_milproto(
                spec,
                specification_version=spec.specificationVersion,
                file_weights_dir=str(weights),
            )
    except Exception as error:  # coremltools raises many kinds; each means the same to the user
        raise _unreadable(package, str(error) or type(error).__name__) from error
    if list(program.functions) != [FUNCTION]:
        raise _unreadable(package, f"functions {', '.join(program.functions)}; only main is read")
    function = program.functions[FUNCTION]
    return Program(
        inputs=tuple(_tensor(var) for var in function.inputs.values()),
        images=_images(package, spec.description),
        operations=tuple(_operation(op) for op in function.operations if op.op_type != "const"),
        outputs=tuple(var.name for var in function.outputs),
    )


def model_path(package: Path) -> Path:
    """The model file that Manifest.json names as the root; never outside the package."""
    manifest_path = package / "Manifest.json"
    try:
        manifest = json.loads(manifest_path.read_text("utf-8"))
        item = manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]
        relative = PurePosixPath(item["path"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _unreadable(package, f"its Manifest.json cannot be read: {error}") from error
    if relative.is_absolute() or ".." in relative.parts:
        raise _unreadable(package, f"its manifest points outside the package: {relative}")
    path = package / DATA_FOLDER / relative
    if not path.is_file():
        raise _unreadable(package, f"{DATA_FOLDER}/{relative} is missing")
    return path


def _unreadable(package: Path, why: str) -> EdgeposeError:
    return EdgeposeError(
        f"cannot read {package}: {why}",
        fix="use an mlpackage that edgepose exported, or export it again",
    )


def color_of(image: Any) -> str:
    """Core ML's word for the color space of an image input; its number where Core ML has none."""
    words: dict[int, str] = {number: word for word, number in image.ColorSpace.items()}
    return words.get(image.colorSpace, str(image.colorSpace))


def _images(package: Path, description: Any) -> dict[str, Image]:
    images = {}
    for feature in description.input:
        if feature.type.WhichOneof("Type") != "imageType":
            continue
        kind = feature.type.imageType
        color = color_of(kind)
        if color not in ("RGB", "BGR"):
            raise _unreadable(
                package, f"input {feature.name} is a {color} image; RGB or BGR is read"
            )
        sizes = tuple((size.height, size.width) for size in kind.enumeratedSizes.sizes)
        images[feature.name] = Image(
            kind.height, kind.width, color, sizes or ((kind.height, kind.width),)
        )
    return images


def _tensor(var: Any) -> Tensor:
    shape = tuple(int(d) if isinstance(d, int | np.integer) else -1 for d in var.shape or ())
    return Tensor(name=var.name, shape=shape, dtype=_types.builtin_to_string(var.dtype))


def _operation(op: Any) -> Operation:
    arguments = {
        key: _argument(value)
        for key, value in op.inputs.items()
        if value is not None and not key.startswith("_")
    }
    return Operation(
        kind=op.op_type,
        name=op.name,
        arguments=arguments,
        outputs=tuple(_tensor(var) for var in op.outputs),
    )


def _argument(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return tuple(_argument(item) for item in value)
    if value.op is None or value.op.op_type != "const":
        return Ref(value.name)
    constant = value.val
    return constant.item() if isinstance(constant, np.generic) else constant
