"""An ONNX graph as plain values that are easy to edit.

Reading keeps operators, attributes, constants and names, and nothing else: doc strings, metadata and
producer versions (where exporters leave file paths and stack traces) do not survive. Writing is
deterministic: the same graph gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper, shape_inference

from edgepose.errors import EdgeposeError

IR_OF_OPSET = {17: 8, 18: 8, 19: 9, 20: 9, 21: 10}
"""The IR version that came with each opset: what a runtime of that time can load."""


@dataclass(eq=False)
class Node:
    """One operator of the default domain. An absent optional input is ""."""

    op: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any] = field(default_factory=dict)
    name: str = ""

    @property
    def output(self) -> str:
        return self.outputs[0]


@dataclass(frozen=True)
class Port:
    """A graph input or output; a dimension is a number or a name."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class Graph:
    """Nodes in execution order. Passes return a new Graph and do not change the old one's nodes."""

    nodes: tuple[Node, ...]
    constants: Mapping[str, NDArray[Any]]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    opset: int = 17

    @cached_property
    def producers(self) -> dict[str, Node]:
        return {name: node for node in self.nodes for name in node.outputs}

    @cached_property
    def consumers(self) -> dict[str, list[Node]]:
        users: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                users.setdefault(name, []).append(node)
        return users

    @cached_property
    def output_names(self) -> frozenset[str]:
        return frozenset(port.name for port in self.outputs)

    @cached_property
    def shapes(self) -> dict[str, tuple[int | str, ...]]:
        """Shape of every tensor that onnx can infer; unknown dimensions are "?"."""
        inferred = shape_inference.infer_shapes(to_model(self), strict_mode=True).graph
        shapes = {
            value.name: _shape(value)
            for value in (*inferred.value_info, *inferred.input, *inferred.output)
        }
        shapes.update({name: array.shape for name, array in self.constants.items()})
        return shapes

    def producer(self, name: str, *ops: str) -> Node | None:
        """The node that makes `name`, if it is one of `ops` (any, where none are given)."""
        node = self.producers.get(name)
        return node if node is not None and (not ops or node.op in ops) else None

    def renamed(self, names: Mapping[str, str]) -> Graph:
        """Every tensor in `names` under its new name."""
        return self.with_(
            nodes=[
                Node(
                    node.op,
                    [names.get(name, name) for name in node.inputs],
                    [names.get(name, name) for name in node.outputs],
                    node.attributes,
                    node.name,
                )
                for node in self.nodes
            ],
            constants={names.get(name, name): array for name, array in self.constants.items()},
        )

    def with_(
        self,
        *,
        nodes: Iterable[Node] | None = None,
        constants: Mapping[str, NDArray[Any]] | None = None,
        inputs: tuple[Port, ...] | None = None,
        outputs: tuple[Port, ...] | None = None,
    ) -> Graph:
        """A copy with parts replaced; what no output needs is dropped."""
        kept = _live(
            list(self.nodes if nodes is None else nodes),
            {port.name for port in (self.outputs if outputs is None else outputs)},
        )
        used = {name for node in kept for name in node.inputs}
        source = self.constants if constants is None else constants
        return Graph(
            nodes=tuple(kept),
            constants={name: array for name, array in source.items() if name in used},
            inputs=self.inputs if inputs is None else inputs,
            outputs=self.outputs if outputs is None else outputs,
            opset=self.opset,
        )


def replace_inputs(nodes: Iterable[Node], replacements: Mapping[str, str]) -> list[Node]:
    """Copies of `nodes` that read the replacement of each tensor, followed through chains."""

    def final(name: str) -> str:
        while name in replacements:
            name = replacements[name]
        return name

    return [
        Node(n.op, [final(i) for i in n.inputs], list(n.outputs), dict(n.attributes), n.name)
        for n in nodes
    ]


def with_batch(graph: Graph, batch: int | str) -> Graph:
    """`batch` as the first dimension of every input and output."""

    def changed(ports: tuple[Port, ...]) -> tuple[Port, ...]:
        return tuple(Port(p.name, p.dtype, (batch, *p.shape[1:])) for p in ports)

    return graph.with_(inputs=changed(graph.inputs), outputs=changed(graph.outputs))


def _live(nodes: list[Node], outputs: set[str]) -> list[Node]:
    """`nodes` that an output needs, in an order in which each runs after what it reads."""
    producers = {name: index for index, node in enumerate(nodes) for name in node.outputs}
    placed: set[int] = set()
    order: list[int] = []
    for root in [producers[name] for name in sorted(outputs) if name in producers]:
        stack = [(root, False)]
        while stack:
            index, ready = stack.pop()
            if index in placed:
                continue
            if ready:
                placed.add(index)
                order.append(index)
                continue
            stack.append((index, True))
            stack += [
                (producers[name], False)
                for name in reversed(nodes[index].inputs)
                if name in producers and producers[name] not in placed
            ]
    return [nodes[index] for index in order]


def _shape(value: onnx.ValueInfoProto) -> tuple[int | str, ...]:
    dims = value.type.tensor_type.shape.dim
    return tuple(d.dim_value if d.HasField("dim_value") else d.dim_param or "?" for d in dims)


def _port(value: onnx.ValueInfoProto) -> Port:
    dtype = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
    return Port(value.name, np.dtype(dtype), _shape(value))


def from_model(model: onnx.ModelProto) -> Graph:
    """Read an ONNX model; EdgeposeError for functions, subgraphs, foreign domains, loose weights."""
    graph, nodes = model.graph, []
    fix = "this is a model that edgepose did not export; export it again with edgepose"
    opsets = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    if model.functions or len(opsets) != 1:
        raise EdgeposeError("the ONNX model has functions or no single default opset", fix=fix)
    constants: dict[str, NDArray[Any]] = {}
    for tensor in graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            raise EdgeposeError(f"the ONNX weights of {tensor.name} are in another file", fix=fix)
        constants[tensor.name] = numpy_helper.to_array(tensor)
    for proto in graph.node:
        if proto.domain not in ("", "ai.onnx"):
            raise EdgeposeError(
                f"ONNX node {proto.name} is {proto.domain}.{proto.op_type}, not a standard operator",
                fix=fix,
            )
        values = {a.name: helper.get_attribute_value(a) for a in proto.attribute}
        if any(isinstance(value, onnx.GraphProto) for value in values.values()):
            raise EdgeposeError(f"ONNX node {proto.name} ({proto.op_type}) has a subgraph", fix=fix)
        if proto.op_type == "Constant" and isinstance(values.get("value"), onnx.TensorProto):
            constants[proto.output[0]] = numpy_helper.to_array(values["value"])
            continue
        nodes.append(Node(proto.op_type, list(proto.input), list(proto.output), values, proto.name))
    ports = [p for p in map(_port, graph.input) if p.name not in constants]
    return Graph(
        tuple(nodes), constants, tuple(ports), tuple(map(_port, graph.output)), opsets[0]
    ).with_()


def to_model(graph: Graph) -> onnx.ModelProto:
    """The ONNX model, checked. Constants come in the order of their first use."""
    used = dict.fromkeys(name for node in graph.nodes for name in node.inputs)
    model = helper.make_model(
        helper.make_graph(
            [
                helper.make_node(
                    n.op, n.inputs, n.outputs, name=n.name, **dict(sorted(n.attributes.items()))
                )
                for n in graph.nodes
            ],
            "pose",
            [_value(port) for port in graph.inputs],
            [_value(port) for port in graph.outputs],
            [
                numpy_helper.from_array(
                    np.ascontiguousarray(graph.constants[name]).reshape(
                        graph.constants[name].shape
                    ),
                    name,
                )
                for name in used
                if name in graph.constants
            ],
        ),
        opset_imports=[helper.make_opsetid("", graph.opset)],
        ir_version=IR_OF_OPSET[graph.opset],
        producer_name="edgepose",
    )
    onnx.checker.check_model(model)
    return model


def _value(port: Port) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(
        port.name, helper.np_dtype_to_tensor_dtype(port.dtype), port.shape
    )


def to_bytes(graph: Graph) -> bytes:
    """Serialized ONNX; the same graph gives the same bytes."""
    data: bytes = to_model(graph).SerializeToString(deterministic=True)
    return data
