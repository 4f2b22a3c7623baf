"""An ONNX file read as it is, broken or foreign: lint must see what `from_model` would refuse."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgepose.backends.lint.structure import CONVOLUTIONS, Net, Step
from edgepose.backends.onnx_graph.canonical import DEQUANTIZE, QUANTIZE, is_movement
from edgepose.backends.onnx_graph.graph import Node
from edgepose.errors import EdgeposeError

MAX_BYTES = 2 << 30
_STANDARD = ("", "ai.onnx")
_WITH_WEIGHTS = (*CONVOLUTIONS, "Gemm", "MatMul")
_FIX = "give an ONNX model that is whole: one file, weights inside, no functions or subgraphs"


@dataclass(eq=False)
class Operator(Node):
    """A node with its domain; "" is ONNX's own."""

    domain: str = ""

    @property
    def label(self) -> str:
        return self.name or f"{self.op} {self.outputs[0]}"

    @property
    def word(self) -> str:
        return self.op if not self.domain else f"{self.domain}.{self.op}"

    @property
    def is_qdq(self) -> bool:
        return self.op in (QUANTIZE, DEQUANTIZE) and len(self.inputs) >= 2


@dataclass(frozen=True)
class Port:
    """dtype: numpy's name; shape: None for a dimension that is left open."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]


@dataclass(frozen=True)
class View:
    """Nodes in the file's order; constants as they are stored."""

    ir_version: int
    opset: int
    nodes: tuple[Operator, ...]
    constants: dict[str, TensorProto]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]

    @cached_property
    def producers(self) -> dict[str, Operator]:
        return {name: node for node in self.nodes for name in node.outputs}

    @cached_property
    def readers(self) -> dict[str, list[Operator]]:
        users: dict[str, list[Operator]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                users.setdefault(name, []).append(node)
        return users

    def array(self, name: str) -> NDArray[Any] | None:
        """The constant `name`, or None; EdgeposeError where its bytes are not what it declares."""
        tensor = self.constants.get(name)
        if tensor is None:
            return None
        try:
            return np.asarray(numpy_helper.to_array(tensor))
        except Exception as error:
            raise EdgeposeError(
                f"the ONNX constant {name} is damaged: {error}", fix=_FIX
            ) from error

    def dtype(self, name: str) -> str | None:
        """numpy's name for the type of the constant `name`."""
        tensor = self.constants.get(name)
        return None if tensor is None else _dtype(tensor.data_type)

    def weight(self, name: str) -> tuple[tuple[int, ...] | None, bool]:
        """Shape of the weights behind `name`, and whether they are on the INT8 grid."""
        on_grid = False
        while name not in self.constants:
            node = self.producers.get(name)
            if node is None or node.op not in (QUANTIZE, DEQUANTIZE, "Identity", "Cast"):
                return None, on_grid
            on_grid = on_grid or node.is_qdq
            name = node.inputs[0]
        return tuple(self.constants[name].dims), on_grid

    def is_weight(self, name: str) -> bool:
        """Whether `name` comes from a constant alone, through Q/DQ or not."""
        return self.weight(name)[0] is not None

    @cached_property
    def net(self) -> Net:
        steps = []
        for node in self.nodes:
            data = tuple(n for n in node.inputs if n and not self.is_weight(n))
            if not data:
                continue
            shape, on_grid = None, False
            if node.op in _WITH_WEIGHTS and len(node.inputs) > 1:
                shape, on_grid = self.weight(node.inputs[1])
            if node.is_qdq:
                data = data[:1]
            steps.append(
                Step(
                    node.op,
                    node.label,
                    data,
                    tuple(node.outputs),
                    shape,
                    on_grid,
                    is_movement(node),
                )
            )
        return Net(tuple(steps), frozenset(port.name for port in self.outputs))


def read(data: bytes) -> View:
    """The view of an ONNX file's bytes; EdgeposeError for what is no whole ONNX model."""
    if len(data) > MAX_BYTES:
        raise EdgeposeError(f"the ONNX model has {len(data)} bytes; 2 GiB are read", fix=_FIX)
    try:
        model = onnx.load_from_string(data)
    except Exception as error:  # protobuf's errors share no other base
        raise EdgeposeError(
            f"this is no ONNX model, or not all of it: {error}", fix=_FIX
        ) from error
    opsets = {entry.version for entry in model.opset_import if entry.domain in _STANDARD}
    graph = model.graph
    if not all(
        isinstance(text, str) for text in _texts(graph)
    ):  # protobuf gives broken ones as bytes
        raise EdgeposeError("this ONNX model is damaged: a name in it is no text", fix=_FIX)
    if not graph.node or not graph.output or len(opsets) != 1:
        raise EdgeposeError("this is no ONNX model: it lacks nodes, outputs or an opset", fix=_FIX)
    if model.functions:
        raise EdgeposeError(f"the ONNX model has functions ({model.functions[0].name})", fix=_FIX)
    constants: dict[str, TensorProto] = {}
    for tensor in graph.initializer:
        if tensor.data_location == TensorProto.EXTERNAL:
            raise EdgeposeError(f"the ONNX weights of {tensor.name} are in another file", fix=_FIX)
        constants[tensor.name] = tensor
    nodes = []
    for proto in graph.node:
        node = _operator(proto)
        if node.op == "Constant" and len(node.outputs) == 1:
            value = node.attributes.get("value")
            if not isinstance(value, TensorProto):
                value = _plain_constant(node)
            constants[node.outputs[0]] = value
            continue
        nodes.append(node)
    inputs = tuple(_port(value) for value in graph.input if value.name not in constants)
    view = View(
        model.ir_version, opsets.pop(), _sorted(nodes, {p.name for p in inputs} | set(constants)),
        constants, inputs, tuple(map(_port, graph.output)),
    )  # fmt: skip
    missing = [p.name for p in view.outputs if p.name not in {*view.producers, *constants}]
    if missing:
        raise EdgeposeError(f"no node of the ONNX model makes its output {missing[0]}", fix=_FIX)
    return view


def _texts(graph: onnx.GraphProto) -> Iterator[Any]:
    """Every name that is read."""
    for value in (*graph.initializer, *graph.input, *graph.output):
        yield value.name
    for node in graph.node:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        yield from (attribute.name for attribute in node.attribute)


def _operator(proto: onnx.NodeProto) -> Operator:
    try:
        values = {a.name: helper.get_attribute_value(a) for a in proto.attribute}
    except Exception as error:
        raise EdgeposeError(f"ONNX node {proto.name} has a damaged attribute", fix=_FIX) from error
    if any(isinstance(v, onnx.GraphProto) for v in values.values()):
        raise EdgeposeError(f"ONNX node {proto.name} ({proto.op_type}) has a subgraph", fix=_FIX)
    if not proto.output or not proto.op_type:
        raise EdgeposeError(f"ONNX node {proto.name!r} has no operator or no output", fix=_FIX)
    domain = "" if proto.domain in _STANDARD else proto.domain
    return Operator(
        proto.op_type, list(proto.input), list(proto.output), values, proto.name, domain
    )


def _plain_constant(node: Operator) -> TensorProto:
    for key, dtype in (("value_float", np.float32), ("value_floats", np.float32),
                       ("value_int", np.int64), ("value_ints", np.int64)):  # fmt: skip
        if key in node.attributes:
            return numpy_helper.from_array(np.asarray(node.attributes[key], dtype))
    raise EdgeposeError(f"the ONNX constant {node.outputs[0]} holds no tensor", fix=_FIX)


def _sorted(nodes: list[Operator], known: set[str]) -> tuple[Operator, ...]:
    """`nodes`, which must each read only what is there before them, as ONNX demands."""
    for node in nodes:
        missing = [name for name in node.inputs if name and name not in known]
        if missing:
            raise EdgeposeError(
                f"ONNX node {node.label} reads {missing[0]}, which nothing before it makes",
                fix=_FIX,
            )
        twice = [name for name in node.outputs if name and name in known]
        if twice:
            raise EdgeposeError(f"ONNX node {node.label} makes {twice[0]} a second time", fix=_FIX)
        known.update(node.outputs)
    return tuple(nodes)


def _dtype(elem_type: int) -> str:
    try:
        return str(np.dtype(helper.tensor_dtype_to_np_dtype(elem_type)))
    except (KeyError, TypeError, ValueError):
        return f"type {elem_type}"


def _port(value: onnx.ValueInfoProto) -> Port:
    tensor = value.type.tensor_type
    shape = tuple(
        d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None
        for d in tensor.shape.dim
    )
    return Port(value.name, _dtype(tensor.elem_type), shape)
