"""ORT-format files with their tables in a fixed order.

ONNX Runtime writes initialisers, tensor types, attributes and operator ids in the order of its hash
maps, which differs in every process. The file is a FlatBuffer; it is read by its schema (version 6,
as in onnxruntime's `ort.fbs`) and written again with those lists sorted. Nothing else changes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flatbuffers  # type: ignore[import-untyped]
from flatbuffers import encode, number_types, packer
from flatbuffers.table import Table  # type: ignore[import-untyped]

from edgepose.errors import EdgeposeError

IDENTIFIER = b"ORTM"
DATA_ALIGNMENT = 16
EDGE_BYTES = 12

# Table -> slot -> what is in it: a number of bytes (a scalar), a table's name, "string", "bytes",
# "edges" (12-byte structs), "int32s", "int64s", "floats", or [element] (a list), [element, key] (a
# list to sort by that slot of its elements).
_SCHEMA: dict[str, dict[int, Any]] = {
    "InferenceSession": {0: "string", 1: "Model", 3: "KernelTypes"},
    "Model": {
        0: 8, 1: ["OpsetId", 0], 2: "string", 3: "string", 4: "string", 5: 8, 6: "string",
        7: "Graph", 8: "string", 9: ["StringPair", 0],
    },
    "OpsetId": {0: "string", 1: 8},
    "StringPair": {0: "string", 1: "string"},
    "Graph": {
        0: ["Tensor", 0], 1: ["ValueInfo", 0], 2: ["Node"], 3: 4, 4: ["NodeEdge"],
        5: ["string"], 6: ["string"], 7: ["Nothing"], 8: "Nothing",
    },
    "Tensor": {
        0: "string", 1: "string", 2: "int64s", 3: 4, 4: "bytes", 5: ["string"], 6: 8,
    },
    "ValueInfo": {0: "string", 1: "string", 2: "TypeInfo"},
    "TypeInfo": {0: "string", 1: 1, 2: "TensorType"},
    "TensorType": {0: 4, 1: "Shape"},
    "Shape": {0: ["Dimension"]},
    "Dimension": {0: "DimensionValue", 1: "string"},
    "DimensionValue": {0: 1, 1: 8, 2: "string"},
    "Node": {
        0: "string", 1: "string", 2: "string", 3: 4, 4: 4, 5: "string", 6: 4, 7: "string",
        8: ["string"], 9: ["string"], 10: ["Attribute", 0], 11: "int32s", 12: ["string"],
    },
    "Attribute": {
        0: "string", 1: "string", 2: 4, 3: 4, 4: 8, 5: "string", 6: "Tensor", 8: "floats",
        9: "int64s", 10: ["string"], 11: ["Tensor"],
    },
    "NodeEdge": {0: 4, 1: "edges", 2: "edges"},
    "KernelTypes": {0: ["OpKernelTypes", 0]},
    "OpKernelTypes": {0: "string", 1: ["KernelTypeArgs", 0]},
    "KernelTypeArgs": {0: "string", 1: ["ArgType"]},
    "ArgType": {0: 1, 1: 4},
    "Nothing": {},
}  # fmt: skip
_VECTORS = {
    "bytes": (1, DATA_ALIGNMENT), "edges": (EDGE_BYTES, 4), "int32s": (4, 4), "floats": (4, 4),
    "int64s": (8, 8),
}  # fmt: skip
_MAX_SLOT = 16


def ordered(data: bytes) -> bytes:
    """The same ORT-format model with its unordered lists sorted: equal models give equal bytes.

    Raises EdgeposeError for data that is no ORT-format model, or one of another schema.
    """
    builder = flatbuffers.Builder(len(data) + 1024)
    builder.Finish(_write(builder, "InferenceSession", _root(data)), IDENTIFIER)
    return bytes(builder.Output())


def operators(data: bytes) -> dict[tuple[str, int], set[str]]:
    """(domain, opset since which the operator is as it is) -> operators that the model uses."""
    used: dict[tuple[str, int], set[str]] = {}
    for node in _root(data)[1][7][2]:
        domain = node.get(2, b"").decode() or "ai.onnx"
        since = int.from_bytes(node[3], "little")
        used.setdefault((domain, since), set()).add(node[5].decode())
    return used


def _root(data: bytes) -> dict[int, Any]:
    if data[4:8] != IDENTIFIER:
        raise EdgeposeError("this is no ORT-format model", fix="convert the ONNX model again")
    return _read(Table(bytearray(data), encode.Get(packer.uoffset, data, 0)), "InferenceSession")


def _read(table: Table, kind: str) -> dict[int, Any]:
    """slot -> value of the fields that are present."""
    values = {}
    for slot in range(_MAX_SLOT):
        offset = table.Offset(4 + 2 * slot)
        if not offset:
            continue
        if slot not in _SCHEMA[kind]:
            raise EdgeposeError(
                f"the ORT-format model has a {kind} with field {slot}, which is not known here",
                fix="use the onnxruntime version in constraints.txt",
            )
        values[slot] = _read_field(table, offset, _SCHEMA[kind][slot])
    return values


def _read_field(table: Table, offset: int, what: Any) -> Any:
    position = table.Pos + offset
    if isinstance(what, int):
        return bytes(table.Bytes[position : position + what])
    if what == "string":
        return table.String(position)
    if isinstance(what, list):
        return _read_list(table, offset, what)
    if what in _VECTORS:
        start, count = table.Vector(offset), table.VectorLen(offset)
        return bytes(table.Bytes[start : start + count * _VECTORS[what][0]])
    return _read(Table(table.Bytes, table.Indirect(position)), what)


def _read_list(table: Table, offset: int, what: list[Any]) -> list[Any]:
    start, count = table.Vector(offset), table.VectorLen(offset)
    if start + 4 * count > len(table.Bytes):
        raise ValueError(f"a list of {count} entries goes beyond the end of the file")
    places = [start + 4 * i for i in range(count)]
    if what[0] == "string":
        return [table.String(place) for place in places]
    items = [_read(Table(table.Bytes, table.Indirect(place)), what[0]) for place in places]
    if len(what) == 2:
        items.sort(key=lambda item: item.get(what[1], b""))
    return items


def _write(builder: flatbuffers.Builder, kind: str, values: dict[int, Any]) -> int:
    """Append a table, children first; its offset."""
    children = {
        slot: _write_field(builder, _SCHEMA[kind][slot], value)
        for slot, value in values.items()
        if not isinstance(_SCHEMA[kind][slot], int)
    }
    builder.StartObject(max(_SCHEMA[kind], default=-1) + 1)
    # Widest first: no padding between fields.
    for slot in sorted(values, key=lambda s: (-_width(_SCHEMA[kind][s]), s)):
        if slot in children:
            builder.PrependUOffsetTRelative(children[slot])
        else:
            builder.Prep(len(values[slot]), 0)
            _SCALARS[len(values[slot])](builder, values[slot])
        builder.Slot(slot)
    offset: int = builder.EndObject()
    return offset


def _width(what: Any) -> int:
    return what if isinstance(what, int) else 4


def _place(flags: Any) -> Callable[[flatbuffers.Builder, bytes], None]:
    def place(builder: flatbuffers.Builder, raw: bytes) -> None:
        builder.Place(int.from_bytes(raw, "little"), flags)

    return place


_SCALARS = {
    1: _place(number_types.Uint8Flags),
    4: _place(number_types.Uint32Flags),
    8: _place(number_types.Uint64Flags),
}


def _write_field(builder: flatbuffers.Builder, what: Any, value: Any) -> int:
    if what == "string":
        offset: int = builder.CreateSharedString(value)
        return offset
    if isinstance(what, list):
        if what[0] == "string":
            offsets = [builder.CreateSharedString(item) for item in value]
        else:
            offsets = [_write(builder, what[0], item) for item in value]
        builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            builder.PrependUOffsetTRelative(offset)
        end: int = builder.EndVector()
        return end
    if what in _VECTORS:
        width, alignment = _VECTORS[what]
        builder.StartVector(width, len(value) // width, alignment)
        builder.head = builder.Head() - len(value)
        builder.Bytes[builder.Head() : builder.Head() + len(value)] = value
        end = builder.EndVector()
        return end
    return _write(builder, what, value)
