"""Core ML's dialect of the interleave: pixel_shuffle instead of transposes.

The deploy form interleaves four phases channels-last, in seven steps, because ONNX Runtime runs
that in INT8. Core ML has pixel_shuffle, channels-first, which wants the four phases of a channel
side by side. Where a convolution makes the phases, its output channels are put into that order,
which costs nothing; elsewhere one transpose does it. Values do not change, nor does any scale.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx, nn

PHASES = 4
_aten = torch.ops.aten
_PASS_ON = {_aten.relu.default, _aten.relu_.default}
_RESHAPES = (_aten.reshape.default, _aten.view.default, _aten._unsafe_view.default)
Shape = tuple[int, int, int, int]


def use_pixel_shuffle(graph_module: fx.GraphModule, *, any_size: bool = False) -> fx.GraphModule:
    """Rewrites each interleave of `graph_module` (ATen, fixed batch, float or quantized) in place.

    any_size: without a word of the image's size, so that the graph runs on images of others
    What only looks similar is left as it is.
    """
    graph = graph_module.graph
    for node in list(graph.nodes):
        found = _interleave(node)
        if found is None:
            continue
        end, shape = found
        source: Any = node.args[0]
        conv = _convolution_behind(source)
        with graph.inserting_before(end):
            if conv is None or not _reorder_outputs(graph_module, conv, shape[1]):
                source = (
                    _picked(graph_module, source, shape[1])
                    if any_size
                    else _side_by_side(graph, source, shape)
                )
            shuffled = graph.call_function(_aten.pixel_shuffle.default, (source, 2))
            rows = graph.call_function(_aten.slice.Tensor, (shuffled, 2, 1, -1))
            image = graph.call_function(_aten.slice.Tensor, (rows, 3, 1, -1))
        end.replace_all_uses_with(image)
    graph.eliminate_dead_code()
    graph_module.recompile()
    return graph_module


def _is(node: fx.Node | None, target: Any, *arguments: Any) -> bool:
    """Whether `node` calls `target` with these arguments behind the first."""
    return (
        node is not None
        and node.op == "call_function"
        and node.target == target
        and tuple(node.args[1:]) == arguments
    )


def _interleave(start: fx.Node) -> tuple[fx.Node, Shape] | None:
    """The last node of the interleave that `start` begins, and the shape (N, 4C, h, w) it reads."""
    split = _reader(start)
    if not _is(start, _aten.permute.default, [0, 2, 3, 1]) or split is None:
        return None
    sides: Any = split.args[1] if split.target in _RESHAPES else ()
    if len(sides) != 5 or sides[3] != 2:
        return None
    n, h, w, _, half = sides
    swapped = _reader(split)
    merged = _reader(swapped)
    rows = _reader(merged)
    columns = _reader(rows)
    end = _reader(columns)
    matches = (
        _is(swapped, _aten.permute.default, [0, 1, 3, 2, 4])
        and any(_is(merged, reshape, [n, 2 * h, 2 * w, half // 2]) for reshape in _RESHAPES)
        and _is(rows, _aten.slice.Tensor, 1, 1, -1)
        and _is(columns, _aten.slice.Tensor, 2, 1, -1)
        and _is(end, _aten.permute.default, [0, 3, 1, 2])
    )
    return (end, (n, 2 * half, h, w)) if matches and end is not None else None


def _reader(node: fx.Node | None) -> fx.Node | None:
    """The only node that reads `node`; a quantize and dequantize in between is stepped over."""
    if node is None or len(node.users) != 1:
        return None
    user = next(iter(node.users))
    return _reader(user) if _is_quantization(user) else user


def _is_quantization(node: fx.Node) -> bool:
    return node.op == "call_function" and str(node.target).startswith(
        ("quantized_decomposed.quantize_per_tensor", "quantized_decomposed.dequantize_per_tensor")
    )


def _convolution_behind(node: fx.Node) -> fx.Node | None:
    """The ungrouped convolution that alone feeds `node`, through ReLU and (de)quantization."""
    while len(node.users) == 1:
        if node.target == _aten.conv2d.default:
            groups = node.args[6] if len(node.args) > 6 else 1
            return node if groups == 1 else None
        if not (_is_quantization(node) or node.target in _PASS_ON):
            return None
        node = node.args[0]  # type: ignore[assignment]
    return None


def _reorder_outputs(graph_module: fx.GraphModule, conv: fx.Node, channels: int) -> bool:
    """Phase-major output channels (phase C + c) become channel-major (4 c + phase), if possible."""
    weight: Any = conv.args[1]
    constants: list[Any] = [a for a in conv.args[2:3] if a is not None]  # the bias
    if (
        weight.op == "call_function"
    ):  # dequantize_per_channel(codes, scales, zero points, axis, ...)
        if not str(weight.target).startswith("quantized_decomposed.dequantize_per_channel"):
            return False
        if weight.args[3] != 0 or len(weight.users) != 1:
            return False
        constants += [a for a in weight.args[:3] if isinstance(a, fx.Node)]
    else:
        constants.append(weight)
    if any(c.op != "get_attr" or len(c.users) != 1 for c in constants):
        return False
    order = _channel_major(channels)
    for constant in constants:
        _replace_constant(graph_module, constant.target, order)
    return True


def _channel_major(channels: int) -> torch.Tensor:
    """Where each channel of channel-major order stands in phase-major order."""
    return torch.arange(channels).reshape(PHASES, -1).T.reshape(-1)


def _picked(graph_module: fx.GraphModule, source: fx.Node, channels: int) -> fx.Node:
    """(N, 4C, h, w) phase-major -> channel-major, channel by channel."""
    name = f"channel_major_{channels}"
    graph_module.register_buffer(name, _channel_major(channels), persistent=False)
    order = graph_module.graph.get_attr(name)
    return graph_module.graph.call_function(_aten.index_select.default, (source, 1, order))


def _replace_constant(graph_module: fx.GraphModule, path: str, order: torch.Tensor) -> None:
    parent, _, name = path.rpartition(".")
    owner = graph_module.get_submodule(parent)
    value = getattr(owner, name)
    reordered = value.detach()[order].clone()
    if isinstance(value, nn.Parameter):
        setattr(owner, name, nn.Parameter(reordered, requires_grad=False))
    else:
        setattr(owner, name, reordered)


def _side_by_side(graph: fx.Graph, source: fx.Node, shape: Shape) -> fx.Node:
    """(N, 4C, h, w) phase-major -> channel-major, by a transpose."""
    n, channels, h, w = shape
    split = graph.call_function(
        _aten.reshape.default, (source, [n, PHASES, channels // PHASES, h, w])
    )
    swapped = graph.call_function(_aten.permute.default, (split, [0, 2, 1, 3, 4]))
    return graph.call_function(_aten.reshape.default, (swapped, [n, channels, h, w]))
