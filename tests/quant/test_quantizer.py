from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import fx, nn

from edgepose.models import build
from edgepose.models.blocks import Add
from edgepose.models.deploy import to_deploy
from edgepose.models.pose_model import PoseModel
from edgepose.quant.graph import export
from edgepose.quant.observers import MaxGrid, WeightGridPerChannel
from edgepose.quant.pt2e import Q_ANNOTATION_KEY
from edgepose.quant.quantizer import CONVOLUTIONS, KEY, PoseQuantizer

_qd = torch.ops.quantized_decomposed
QUANTIZE, DEQUANTIZE = _qd.quantize_per_tensor.default, _qd.dequantize_per_tensor.default


def _annotated(
    module: nn.Module, channels: int = 4, float_layers: tuple[str, ...] = ()
) -> fx.Graph:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, channels, 3, padding=1)
            self.body = module
            self.head = nn.Conv2d(channels, 2, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.body(self.stem(x)))  # type: ignore[no-any-return]

    graph_module = export(Network(), input_hw=(8, 8))
    quantizer = PoseQuantizer(
        activation=MaxGrid, weight=WeightGridPerChannel, float_layers=float_layers
    )
    return quantizer.annotate(graph_module).graph


def _keys(graph: fx.Graph) -> dict[str, str]:
    """FX node name -> tensor key, for the nodes whose output is INT8."""
    return {n.name: n.meta[KEY] for n in graph.nodes if KEY in n.meta}


def test_resnet18_tensors_have_stable_names(static: PoseModel) -> None:
    assert static.spec.quant is not None
    keys = list(static.spec.quant.activation_scales)
    block = ["relu1", "conv2", "relu2"]
    expected = ["input", "relu"]
    for layer in range(1, 5):
        for index in range(2):
            prefix = f"layer{layer}.{index}"
            names = block if layer == 1 or index else ["relu1", "conv2", "downsample.0", "relu2"]
            expected += [f"{prefix}.{name}" for name in names]
    expected += [f"deconv_layers.{i}.relu" for i in (0, 3, 6)]
    assert keys == expected


def test_every_convolution_and_both_sides_of_every_sum_are_int8(int8: fx.GraphModule) -> None:
    graph = int8.graph
    kinds = Counter(n.target for n in graph.nodes if n.op == "call_function")
    assert kinds[torch.ops.aten.conv2d.default] == 24
    assert kinds[torch.ops.aten.add.Tensor] == 8
    for node in graph.nodes:
        if node.target in CONVOLUTIONS:
            assert node.args[0].target is DEQUANTIZE
            assert node.args[1].target is _qd.dequantize_per_channel.default
            codes = node.args[1].args[0]
            assert codes.op == "get_attr"
        if node.target is torch.ops.aten.add.Tensor:
            assert [a.target for a in node.args[:2]] == [DEQUANTIZE, DEQUANTIZE]
    output = next(n for n in graph.nodes if n.op == "output").args[0][0]
    while output.target not in CONVOLUTIONS:
        assert output.target not in (QUANTIZE, DEQUANTIZE)
        output = output.args[0]


def test_weights_are_int8_and_grids_symmetric(int8: fx.GraphModule) -> None:
    for node in int8.graph.nodes:
        if node.target in (QUANTIZE, DEQUANTIZE):
            assert node.args[2:6] == (0, -128, 127, torch.int8)
        if node.target is _qd.dequantize_per_channel.default:
            codes, _, zero, axis, low, high, dtype = (
                getattr(int8, str(a.target)) if isinstance(a, fx.Node) else a for a in node.args
            )
            assert codes.dtype == torch.int8 == dtype
            assert (axis, low, high) == (0, -127, 127)
            assert (
                101 <= codes.abs().max() <= 127
            )  # 3-bit scales use at least four fifths of the range
            assert not zero.any()


class _Moves(nn.Module):
    """One of each operator that moves values."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = x[:, :2], x[:, 2:]
        y = torch.cat([b, a], 1).permute(0, 2, 3, 1).reshape(x.shape[0], 4, 16, 4)
        y = y.permute(0, 3, 1, 2).reshape(x.shape[0], 4, 8, 8)
        y = nn.functional.interpolate(nn.functional.pad(y, (1, 1, 0, 0)), scale_factor=2.0)
        return nn.functional.max_pool2d(y, 2)


def test_moving_values_keeps_their_scale() -> None:
    graph = _annotated(_Moves())
    keys = _keys(graph)
    assert set(keys.values()) == {"input", "stem"}
    assert sum(key == "stem" for key in keys.values()) >= 9


class _Joins(nn.Module):
    """Two tensors of their own, concatenated."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(4, 2, 1), nn.Conv2d(4, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.left(x), self.right(x)], 1)


def test_what_is_concatenated_shares_one_scale() -> None:
    assert set(_keys(_annotated(_Joins())).values()) == {"input", "stem", "body.left"}


class _Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.add, self.relu = nn.Conv2d(4, 4, 1), Add(), nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.relu(self.add(self.conv(x), x))  # type: ignore[no-any-return]


def test_sum_and_relu_are_one_kernel() -> None:
    graph = _annotated(_Residual())
    assert list(_keys(graph).values()) == ["input", "stem", "body.conv", "body.relu"]
    add = next(n for n in graph.nodes if n.target is torch.ops.aten.add.Tensor)
    annotation = add.meta[Q_ANNOTATION_KEY]
    assert len(annotation.input_qspec_map) == 2
    assert annotation.output_qspec is None


def test_a_relu_beside_another_reader_has_a_scale_of_its_own() -> None:
    class Fork(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.add, self.relu = nn.Conv2d(4, 4, 1), Add(), nn.ReLU()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.conv(x)
            return self.add(self.relu(y), y)  # type: ignore[no-any-return]

    keys = list(_keys(_annotated(Fork())).values())
    assert keys == ["input", "stem", "body.conv", "body.relu", "body.add"]


def test_a_float_layer_takes_and_gives_what_its_neighbours_need() -> None:
    graph = _annotated(nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU()), float_layers=("body.0",))
    assert list(_keys(graph).values()) == ["input", "body.1"]
    conv = [n for n in graph.nodes if n.target in CONVOLUTIONS][1]
    assert Q_ANNOTATION_KEY not in conv.meta


def test_module_that_sums_in_its_forward_gets_numbered_names() -> None:
    class Sums(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x + x) + x

    assert list(_keys(_annotated(Sums())).values()) == ["input", "stem", "body", "body:1"]


@pytest.mark.slow
def test_hrnet_sums_and_upsampling_are_covered() -> None:
    network = to_deploy(build("hrnet_w18", num_joints=3))
    graph_module = export(network, input_hw=(32, 32))
    quantizer = PoseQuantizer(activation=MaxGrid, weight=WeightGridPerChannel)
    graph = quantizer.annotate(graph_module).graph
    for node in graph.nodes:
        if node.target in CONVOLUTIONS or node.target is torch.ops.aten.add.Tensor:
            assert len(node.meta[Q_ANNOTATION_KEY].input_qspec_map) == 2, node
        if node.target is torch.ops.aten.upsample_nearest2d.vec:
            assert node.meta[KEY] == node.args[0].meta[KEY]
    names = [n.meta[KEY] for n in graph.nodes if KEY in n.meta]
    assert not any(":" in name for name in names), "every tensor has a module of its own"
