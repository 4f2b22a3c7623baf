"""Names that say where in the network a tensor is, the same in every export.

A convolution is named by its weight (`layer1.0.conv2`, with `.weight` and `.bias`); what follows it
lies in the same module (`layer1.0.relu`). A quantized tensor x has `x.q`, `x.dq`,
`x.q.scale` and `x.q.zero_point`. Constants other than weights are not shared between nodes.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepose.backends.onnx_graph.graph import Graph, Node

CONVOLUTIONS = ("Conv", "ConvTranspose")
_ROLES = {
    "Conv": ("", "weight", "bias"),
    "ConvTranspose": ("", "weight", "bias"),
    "QuantizeLinear": ("", "scale", "zero_point"),
    "DequantizeLinear": ("", "scale", "zero_point"),
    "Slice": ("", "starts", "ends", "axes", "steps"),
    "Reshape": ("", "shape"),
    "Unsqueeze": ("", "axes"),
    "Squeeze": ("", "axes"),
    "Resize": ("", "roi", "scales", "sizes"),
    "Pad": ("", "pads", "value", "axes"),
}


def fingerprint(weight: NDArray[Any]) -> str:
    """What a weight is recognised by: the hash of its float32 values."""
    return sha256(np.ascontiguousarray(weight, np.float32).tobytes()).hexdigest()


class _Unique:
    def __init__(self, taken: set[str]) -> None:
        self.taken = taken

    def __call__(self, base: str) -> str:
        numbered = (f"{base}_{i}" for i in itertools.count(1))
        name = next(n for n in itertools.chain([base], numbered) if n not in self.taken)
        self.taken.add(name)
        return name


def _snake(op: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", op).lower()


def _module(graph: Graph, node: Node, modules: Mapping[str, str]) -> str:
    """The module whose weight `node` reads; "" where no module has that weight."""
    source = graph.producer(node.inputs[1], "DequantizeLinear")
    weight = graph.constants.get(source.inputs[0] if source else node.inputs[1])
    if weight is not None and source is not None:
        scale = graph.constants[source.inputs[1]]
        shape = [-1 if i == source.attributes.get("axis", 1) else 1 for i in range(weight.ndim)]
        weight = weight.astype(np.float32) * (scale.reshape(shape) if scale.ndim else scale)
    return "" if weight is None else modules.get(fingerprint(weight), "")


def node_names(graph: Graph, modules: Mapping[str, str]) -> dict[Node, str]:
    """A unique name for every node. modules: fingerprint of a weight -> name of its module."""
    unique = _Unique({port.name for port in graph.inputs})
    scope: dict[str, str] = {}
    names: dict[Node, str] = {}
    compute = [n for n in graph.nodes if n.op not in ("QuantizeLinear", "DequantizeLinear")]
    for node in graph.nodes:
        inside = next((scope[name] for name in node.inputs if name in scope), "")
        if node in compute:
            base = f"{inside}{_snake(node.op)}"
            module = _module(graph, node, modules) if node.op in CONVOLUTIONS else ""
            if module:
                base = module
                inside = base.rpartition(".")[0] + "." if "." in base else ""
            names[node] = unique(base)
        scope.update(dict.fromkeys(node.outputs, inside))
    for node in compute:
        for index, name in enumerate(node.inputs[1:], 1):
            source = graph.producer(name, "DequantizeLinear")
            if node.op in CONVOLUTIONS and source and source.inputs[0] in graph.constants:
                names[source] = unique(f"{names[node]}.{_ROLES[node.op][index]}.dq")
    for node in graph.nodes:
        if node not in names:
            producer = graph.producers.get(node.inputs[0])
            origin = names[producer] if producer else node.inputs[0]
            suffix = ".q" if node.op == "QuantizeLinear" else ".dq"
            names[node] = unique(origin.removesuffix(".q") + suffix)
    return names


def _owner(graph: Graph, node: Node, names: dict[Node, str]) -> str:
    """What the constants of `node` are named after; a DQ shares with the Q that it undoes."""
    if node.op != "DequantizeLinear":
        return names[node]
    quantize = graph.producer(node.inputs[0], "QuantizeLinear")
    return names[quantize] if quantize else names[node].removesuffix(".dq")


def name_by_module(graph: Graph, modules: Mapping[str, str]) -> Graph:
    """Nodes, tensors and constants renamed; graph inputs and outputs keep their names."""
    names = node_names(graph, modules)
    ports = {port.name for port in (*graph.inputs, *graph.outputs)}
    tensors = {
        name: name if name in ports else names[node] + (f".{i}" if i else "")
        for node in graph.nodes
        for i, name in enumerate(node.outputs)
    }
    constants: dict[str, NDArray[Any]] = {}
    shared: dict[str, str] = {}
    nodes = []
    for node in graph.nodes:
        owner, roles, inputs = _owner(graph, node, names), _ROLES.get(node.op, ()), []
        for index, name in enumerate(node.inputs):
            if name not in graph.constants:
                inputs.append(tensors.get(name, name))
                continue
            array = graph.constants[name]
            role = roles[index] if index < len(roles) else f"input_{index}"
            new = shared.get(name, f"{owner}.{role}" if role else owner)
            if array.ndim > 1:
                shared[name] = new
            constants[new] = array
            inputs.append(new)
        outputs = [tensors[name] for name in node.outputs]
        nodes.append(Node(node.op, inputs, outputs, dict(node.attributes), names[node]))
    return graph.with_(nodes=nodes, constants=constants)
