"""Which tensors of an exported graph are INT8, and which share a scale.

Rules, in the order in which a graph is read:
- a convolution takes an INT8 input and INT8 weights; with a ReLU behind it only the ReLU's output
  is a tensor of its own (the two are one kernel);
- both inputs of a sum are INT8, unless every convolution around it stays float; sum and ReLU are one
  kernel as well;
- whatever only moves values (pooling by maximum, slice, concat, reshape, transpose, nearest
  upsampling, zero padding) keeps the scale of what it moves;
- the network's input is INT8, its output stays float.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from typing import Any

import torch
from torch.fx import GraphModule, Node

from edgepose.quant.pt2e import (
    Q_ANNOTATION_KEY,
    QuantizationAnnotation,
    QuantizationSpec,
    Quantizer,
    SharedQuantizationSpec,
)

KEY = "edgepose_tensor"
_aten = torch.ops.aten
CONVOLUTIONS = {_aten.conv2d.default, _aten.conv2d.padding, _aten.convolution.default}
RELUS = {_aten.relu.default, _aten.relu_.default}
ADDS = {_aten.add.Tensor, _aten.add_.Tensor}
MOVES = {
    _aten.max_pool2d.default,
    _aten.slice.Tensor,
    _aten.cat.default,
    _aten.concat.default,
    _aten.stack.default,
    _aten.reshape.default,
    _aten.view.default,
    _aten._unsafe_view.default,
    _aten.flatten.using_ints,
    _aten.permute.default,
    _aten.transpose.int,
    _aten.contiguous.default,
    _aten.clone.default,
    _aten.pad.default,
    _aten.constant_pad_nd.default,
    _aten.upsample_nearest2d.default,
    _aten.upsample_nearest2d.vec,
    _aten.pixel_shuffle.default,
}


def module_path(node: Node) -> str:
    """The module that `node` was traced from, e.g. "layer1.0.add"; "" at the top."""
    stack: dict[str, tuple[str, Any]] = node.meta.get("nn_module_stack") or {}
    return list(stack.values())[-1][0] if stack else ""


def moved_inputs(node: Node) -> list[Node]:
    """The tensors whose values `node` only moves; empty for every other node."""
    if node.op != "call_function" or node.target not in MOVES:
        return []
    first = node.args[0]
    return [first] if isinstance(first, Node) else [n for n in first if isinstance(n, Node)]  # type: ignore[union-attr]


class PoseQuantizer(Quantizer):  # type: ignore[misc]  # untyped library
    """Annotates a graph by the rules above and names every INT8 tensor in `node.meta[KEY]`.

    activation, weight: classes (torchao FakeQuantizeBase) to observe with
    float_layers:       convolutions that stay float, by module path
    """

    def __init__(
        self,
        *,
        activation: Callable[..., Any],
        weight: Callable[..., Any],
        float_layers: Collection[str] = (),
    ) -> None:
        super().__init__()
        self._activation = QuantizationSpec(
            torch.int8, activation, qscheme=torch.per_tensor_symmetric
        )
        self._weight = QuantizationSpec(
            torch.int8, weight, qscheme=torch.per_channel_symmetric, ch_axis=0
        )
        self._float_layers = frozenset(float_layers)

    def annotate(self, model: GraphModule) -> GraphModule:
        nodes: list[Node] = list(model.graph.nodes)
        wanted = self._wanted(nodes)
        roots = _roots(nodes, wanted)
        names = _names([n for n in nodes if roots.get(n) is n])
        for node in nodes:
            inputs = {n: SharedQuantizationSpec(roots[n]) for n in self._inputs(node, wanted)}
            specs: dict[Any, Any] = dict(inputs)
            if self._is_int8_convolution(node):
                specs[node.args[1]] = self._weight
            output: Any = None
            if node in wanted:
                root = roots[node]
                output = self._activation if root is node else SharedQuantizationSpec(root)
                node.meta[KEY] = names[root]
            if specs or output is not None:
                node.meta[Q_ANNOTATION_KEY] = QuantizationAnnotation(
                    input_qspec_map=specs, output_qspec=output, _annotated=True
                )
        return model

    def validate(self, model: GraphModule) -> None:
        """Nothing that `annotate` writes can be inconsistent."""

    def _is_int8_convolution(self, node: Node) -> bool:
        return (
            node.op == "call_function"
            and node.target in CONVOLUTIONS
            and module_path(node) not in self._float_layers
        )

    def _inputs(self, node: Node, wanted: set[Node]) -> list[Node]:
        """The inputs of `node` that must be INT8 tensors."""
        if node.op != "call_function":
            return []
        first: Any = node.args[0]
        if self._is_int8_convolution(node):
            return [first]
        if node.target in ADDS:
            terms = [n for n in node.args[:2] if isinstance(n, Node)]
            read = node in wanted or (_fused_into_relu(node) and next(iter(node.users)) in wanted)
            return terms if read or any(map(self._from_int8, terms)) else []
        if node in wanted:
            if node.target in RELUS and not _fused_into_relu(first):
                return [first]
            return moved_inputs(node)
        return []

    def _from_int8(self, node: Node) -> bool:
        """Whether an INT8 convolution makes `node`: itself, or behind ReLU and movement."""
        if node.op == "call_function" and node.target in RELUS:
            first: Any = node.args[0]
            return self._from_int8(first)
        return self._is_int8_convolution(node) or any(map(self._from_int8, moved_inputs(node)))

    def _wanted(self, nodes: list[Node]) -> set[Node]:
        """The nodes whose output some reader needs in INT8, found from the back."""
        wanted: set[Node] = set()
        for node in reversed(nodes):
            wanted.update(self._inputs(node, wanted))
        return wanted


def _fused_into_relu(node: Node) -> bool:
    """Whether `node` and the ReLU that alone reads it are one kernel."""
    return (
        node.target in CONVOLUTIONS | ADDS
        and len(node.users) == 1
        and next(iter(node.users)).target in RELUS
    )


def _roots(nodes: list[Node], wanted: set[Node]) -> dict[Node, Node]:
    """INT8 node -> the first node of the group with which it shares its scale."""
    order = {node: i for i, node in enumerate(nodes)}
    parent = {node: node for node in nodes if node in wanted}

    def find(node: Node) -> Node:
        while parent[node] is not node:
            node = parent[node]
        return node

    for node in parent:
        for source in moved_inputs(node):
            first, second = sorted((find(node), find(source)), key=order.__getitem__)
            parent[second] = first
    return {node: find(node) for node in parent}


def _names(roots: list[Node]) -> dict[Node, str]:
    """A stable name for each tensor: the module that makes it; numbered where one makes several."""
    used: Counter[str] = Counter()
    names = {}
    for node in roots:
        base = "input" if node.op == "placeholder" else module_path(node) or str(node.name)
        names[node] = base if not used[base] else f"{base}:{used[base]}"
        used[base] += 1
    return names
