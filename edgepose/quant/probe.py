"""A float network of which one part at a time is changed: what do the heatmaps become?

    probe = Probe(model)
    heatmaps = probe.remember(images)                         # float, every tensor kept
    probe.changed({"layer1.0.conv1": on_the_grid(0.02)})      # only what depends on it, again

The form is the one that ships, so a changed layer is the layer of the files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from edgepose.models.pose_model import PoseModel
from edgepose.quant.graph import deploy_form, export, float_by_nature
from edgepose.quant.grid import ACTIVATION_RANGE, snap
from edgepose.quant.observers import MaxGrid, WeightGridPerChannel
from edgepose.quant.quantizer import CONVOLUTIONS, KEY, PoseQuantizer, module_path

Weights = Callable[[Tensor, Tensor | None], tuple[Tensor, Tensor | None]]


@dataclass(frozen=True)
class Change:
    """What a convolution does instead: `input` to what it reads, `weights` to (weight, bias)."""

    input: Callable[[Tensor], Tensor] | None = None
    weights: Weights | None = None


def on_the_grid(scale: float) -> Change:
    """INT8 input at `scale` and INT8 weights, as the quantized graph has them."""

    def rounded(x: Tensor) -> Tensor:
        return torch.mul(x, 1 / scale).round_().clamp_(*ACTIVATION_RANGE).mul_(scale)

    return Change(rounded, lambda weight, bias: (snap(weight), bias))


def without_channels(rows: list[int]) -> Change:
    """Output channels that give zero: to whoever reads them they are gone."""

    def masked(weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        weight = weight.clone()
        weight[rows] = 0
        if bias is not None:
            bias = bias.clone()
            bias[rows] = 0
        return weight, bias

    return Change(weights=masked)


class _Steps(fx.Interpreter):
    """Runs single nodes; an operator that works in place gets a copy, for its input is kept."""

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        schema = getattr(target, "_schema", None)
        if schema is not None and schema.is_mutable:
            args = (args[0].clone(), *args[1:])
        return super().call_function(target, args, kwargs)


class Probe:
    """layers: the convolutions by name, in order of execution; input_keys: layer -> the name under
    which a static plan has its input's scale, for the layers that INT8 takes."""

    def __init__(self, model: PoseModel) -> None:
        network = deploy_form(model).module()
        graph_module = export(network, input_hw=model.spec.input_hw)
        quantizer = PoseQuantizer(
            activation=MaxGrid,
            weight=WeightGridPerChannel,
            float_layers=float_by_nature(network),
        )
        quantizer.annotate(graph_module)
        self._nodes = list(graph_module.graph.nodes)
        self._steps = _Steps(graph_module, garbage_collect_values=False)
        self._kept: dict[fx.Node, Any] = {}
        convolutions = [
            node
            for node in self._nodes
            if node.op == "call_function" and node.target in CONVOLUTIONS
        ]
        self.layers = {module_path(node): node for node in convolutions}
        self.input_keys = {
            name: str(node.args[0].meta[KEY])
            for name, node in self.layers.items()
            if KEY in node.args[0].meta and name not in float_by_nature(network)
        }
        self._behind = {name: self._dependents(node) for name, node in self.layers.items()}

    def _dependents(self, first: fx.Node) -> frozenset[fx.Node]:
        found = {first}
        for node in self._nodes:
            if not found.isdisjoint(node.all_input_nodes):
                found.add(node)
        return frozenset(found)

    @torch.no_grad()
    def remember(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) float32 normalised -> heatmaps (N, J, h, w) of the float network."""
        self._steps.env = {}
        for node in self._nodes:
            self._steps.env[node] = images if node.op == "placeholder" else self._run(node)
        self._kept = dict(self._steps.env)
        return self._result()

    @torch.no_grad()
    def changed(self, changes: Mapping[str, Change]) -> Tensor:
        """The same images' heatmaps with the named convolutions changed."""
        changed = {self.layers[name]: change for name, change in changes.items()}
        again = frozenset[fx.Node]().union(*(self._behind[name] for name in changes))
        self._steps.env = dict(self._kept)
        for node in self._nodes:
            if node in changed:
                self._steps.env[node] = self._convolve(node, changed[node])
            elif node in again:
                self._steps.env[node] = self._run(node)
        return self._result()

    def _run(self, node: fx.Node) -> Any:
        return self._steps.run_node(node)

    def _convolve(self, node: fx.Node, change: Change) -> Tensor:
        args, kwargs = self._steps.fetch_args_kwargs_from_env(node)
        x, weight, *rest = args
        bias, rest = (rest[0], rest[1:]) if rest else (kwargs.pop("bias", None), [])
        if change.input is not None:
            x = change.input(x)
        if change.weights is not None:
            weight, bias = change.weights(weight, bias)
        output: Tensor = node.target(x, weight, bias, *rest, **kwargs)  # type: ignore[operator]
        return output

    def _result(self) -> Tensor:
        value = self._steps.env[self._nodes[-1]]
        heatmaps: Tensor = value[0] if isinstance(value, tuple | list) else value
        return heatmaps

    def kept_bytes(self) -> int:
        """Memory of the tensors that `remember` keeps for its last images, parameters left out."""
        return sum(
            value.numel() * value.element_size()
            for node, value in self._kept.items()
            if isinstance(value, Tensor) and node.op == "call_function"
        )
