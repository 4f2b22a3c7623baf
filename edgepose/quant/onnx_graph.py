"""An exported ATen graph as an ONNX graph, operator by operator.

The graphs here use a dozen operators, so writing them out takes a second where a general exporter
takes ten (ResNet-18) to a hundred (HRNet), gives the same bytes each time, targets opset 17 without
a converter, and keeps names that people know: `layer1.0.conv1.weight`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import fx

from edgepose.errors import EdgeposeError
from edgepose.quant.quantizer import module_path

OPSET = 17
IR_VERSION = 8
_aten = torch.ops.aten
_qd = torch.ops.quantized_decomposed


def to_onnx(
    graph_module: fx.GraphModule,
    *,
    input_name: str = "images",
    output_name: str = "heatmaps",
) -> onnx.ModelProto:
    """ONNX, opset 17, of a graph from `export` (float) or `int8_graph` (Q/DQ, int8 weights).

    Input (N, 3, H, W) float32, output (N, J, h, w) float32; N is "batch" where the graph's batch is
    free. Initialisers: `<layer>.weight`, `<layer>.bias`, for INT8 also `<layer>.weight_scale` and
    `<layer>.weight_zero_point`. The quantized form of a tensor t is named `t_q`.
    Raises EdgeposeError naming an operator that has no translation.
    """
    writer = _Writer(graph_module, input_name)
    for node in graph_module.graph.nodes:
        writer.write(node)
    return writer.finish(output_name)


class _Writer:
    """Collects ONNX nodes and initialisers; `value` maps each FX node to its ONNX tensor name."""

    def __init__(self, graph_module: fx.GraphModule, input_name: str) -> None:
        self._module = graph_module
        self._input_name = input_name
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: dict[str, onnx.TensorProto] = {}
        self._inputs: list[onnx.ValueInfoProto] = []
        self._names: set[str] = set()
        self._output: fx.Node | None = None
        self.value: dict[fx.Node, str] = {}

    def write(self, node: fx.Node) -> None:
        if node.op == "placeholder":
            self.value[node] = self._input_name
            self._names.add(self._input_name)
            self._inputs.append(_tensor_info(self._input_name, node))
        elif node.op == "get_attr":
            self._constant(node)
        elif node.op == "output":
            self._output = node.args[0][0] if isinstance(node.args[0], tuple) else node.args[0]  # type: ignore[assignment]
        elif node.target is not _aten.sym_size.int:
            translate = TRANSLATIONS.get(node.target)
            if translate is None:
                raise EdgeposeError(
                    f"no ONNX translation for {node.target} ({module_path(node) or node.name})",
                    fix="build the network from convolutions, ReLU, sums, max pooling, "
                    "nearest upsampling and layout operators",
                )
            translate(self, node)

    def finish(self, output_name: str) -> onnx.ModelProto:
        assert self._output is not None
        last = self.value[self._output]
        for node in self._nodes:
            node.input[:] = [output_name if n == last else n for n in node.input]
            node.output[:] = [output_name if n == last else n for n in node.output]
        used = {name for node in self._nodes for name in node.input}
        graph = helper.make_graph(
            self._nodes,
            "edgepose",
            self._inputs,
            [_tensor_info(output_name, self._output)],
            [t for name, t in self._initializers.items() if name in used],
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="edgepose"
        )
        model.ir_version = IR_VERSION
        return model

    def initializer(self, name: str, array: Any) -> str:
        if name not in self._initializers:
            self._initializers[name] = numpy_helper.from_array(np.asarray(array), name)
        return name

    def emit(
        self, op: str, node: fx.Node, inputs: list[str], *, name: str = "", **attributes: Any
    ) -> None:
        """One ONNX node whose output stands for `node`."""
        name = self._unique(name or module_path(node) or node.name)
        self._nodes.append(helper.make_node(op, inputs, [name], name=f"{op}:{name}", **attributes))
        self.value[node] = name

    def inputs(self, node: fx.Node, count: int) -> list[str]:
        return [self.value[n] for n in node.args[:count] if isinstance(n, fx.Node)]

    def kernel(self, weight: str) -> list[int]:
        """Height and width of a convolution's weight, constant or dequantized."""
        return list(self._initializers[weight.removesuffix("_dq")].dims[2:])

    def rename_constant(self, node: Any, name: str, dtype: Any = None) -> str:
        """Give the constant behind `node` the name that it has in its layer, and a type."""
        old = numpy_helper.to_array(self._initializers.pop(self.value[node]))
        self.value[node] = name
        return self.initializer(name, old if dtype is None else old.astype(dtype))

    def _constant(self, node: fx.Node) -> None:
        value: Any = self._module
        for part in str(node.target).split("."):
            value = getattr(value, part)
        self.value[node] = self.initializer(str(node.target), value.detach().cpu().numpy())

    def _unique(self, name: str) -> str:
        candidate, count = name, 0
        while candidate in self._names or candidate in self._initializers:
            count += 1
            candidate = f"{name}:{count}"
        self._names.add(candidate)
        return candidate


def _tensor_info(name: str, node: fx.Node) -> onnx.ValueInfoProto:
    shape = [d if isinstance(d, int) else "batch" for d in node.meta["val"].shape]
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _pair(value: Any) -> list[int]:
    values = [int(v) for v in value] if isinstance(value, list | tuple) else [int(value)]
    return values * 2 if len(values) == 1 else values


def _arguments(node: fx.Node, defaults: list[Any]) -> list[Any]:
    """Positional arguments with the operator's defaults for those left out."""
    return [*node.args, *defaults[len(node.args) :]]


def _conv(writer: _Writer, node: fx.Node) -> None:
    _, _, _, stride, padding, dilation, groups = _arguments(node, [None, None, None, 1, 0, 1, 1])
    inputs = writer.inputs(node, 3)
    pads = _pair(padding)
    writer.emit(
        "Conv",
        node,
        inputs,
        kernel_shape=writer.kernel(inputs[1]),
        strides=_pair(stride),
        pads=pads + pads,
        dilations=_pair(dilation),
        group=int(groups),
    )


def _max_pool(writer: _Writer, node: fx.Node) -> None:
    _, kernel, stride, padding, dilation, ceil = _arguments(node, [None, None, None, 0, 1, False])
    pads = _pair(padding)
    writer.emit(
        "MaxPool",
        node,
        writer.inputs(node, 1),
        kernel_shape=_pair(kernel),
        strides=_pair(stride or kernel),
        pads=pads + pads,
        dilations=_pair(dilation),
        ceil_mode=int(ceil),
    )


def _elementwise(op: str) -> Callable[[_Writer, fx.Node], None]:
    def translate(writer: _Writer, node: fx.Node) -> None:
        writer.emit(op, node, writer.inputs(node, 2))

    return translate


def _permute(writer: _Writer, node: fx.Node) -> None:
    writer.emit("Transpose", node, writer.inputs(node, 1), perm=list(node.args[1]))  # type: ignore[arg-type]


def _reshape(writer: _Writer, node: fx.Node) -> None:
    """A free size stays what it is in the input (0), which is only the batch, in front."""
    sizes: Any = node.args[1]
    if any(isinstance(s, fx.Node) for s in sizes[1:]):
        raise EdgeposeError(
            f"{module_path(node) or node.name}: a reshape with a free size behind the batch",
            fix="keep the batch in front and the other sizes fixed",
        )
    shape = np.array([0 if isinstance(s, fx.Node) else int(s) for s in sizes], np.int64)
    name = "shape_" + "_".join(str(s) for s in shape.tolist())
    writer.emit("Reshape", node, [*writer.inputs(node, 1), writer.initializer(name, shape)])


def _slice(writer: _Writer, node: fx.Node) -> None:
    _, axis, start, end, step = _arguments(node, [None, 0, None, None, 1])
    last = 2**63 - 1
    values = [start or 0, last if end is None else end, axis, step]
    names = [writer.initializer(f"int_{v}", np.array([v], np.int64)) for v in values]
    writer.emit("Slice", node, [*writer.inputs(node, 1), *names])


def _concat(writer: _Writer, node: fx.Node) -> None:
    tensors: Any = node.args[0]
    axis = node.args[1] if len(node.args) > 1 else 0
    writer.emit("Concat", node, [writer.value[t] for t in tensors], axis=int(axis))  # type: ignore[arg-type]


def _upsample(writer: _Writer, node: fx.Node) -> None:
    _, _, given = _arguments(node, [None, None, None])
    factors = [int(f) for f in given or []]
    if not factors or factors != list(given):
        raise EdgeposeError(
            f"{module_path(node)}: nearest upsampling by {given}", fix="use a whole scale_factor"
        )
    scales = np.array([1, 1, *factors], np.float32)
    name = writer.initializer(f"upsample_{factors[0]}_{factors[1]}", scales)
    writer.emit(
        "Resize",
        node,
        [*writer.inputs(node, 1), "", name],
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )


def _same(writer: _Writer, node: fx.Node) -> None:
    writer.value[node] = writer.inputs(node, 1)[0]


def _grid(writer: _Writer, node: fx.Node) -> tuple[str, str]:
    """Names of a per-tensor scale and its zero-point; equal scales are one initialiser."""
    scale, zero = float(node.args[1]), int(node.args[2])  # type: ignore[arg-type]
    name = writer.initializer(f"scale_{scale!r}", np.array(scale, np.float32))
    return name, writer.initializer(f"zero_point_{zero}", np.array(zero, np.int8))


def _quantize(writer: _Writer, node: fx.Node) -> None:
    source = writer.inputs(node, 1)[0]
    writer.emit("QuantizeLinear", node, [source, *_grid(writer, node)], name=f"{source}_q")


def _dequantize(writer: _Writer, node: fx.Node) -> None:
    source = writer.inputs(node, 1)[0]
    name = source.removesuffix("_q") + "_dq"
    writer.emit("DequantizeLinear", node, [source, *_grid(writer, node)], name=name)


def _dequantize_weight(writer: _Writer, node: fx.Node) -> None:
    layer = module_path(next(iter(node.users)))
    names = [
        writer.rename_constant(node.args[0], f"{layer}.weight"),
        writer.rename_constant(node.args[1], f"{layer}.weight_scale"),
        writer.rename_constant(node.args[2], f"{layer}.weight_zero_point", np.int8),
    ]
    writer.emit("DequantizeLinear", node, names, name=f"{layer}.weight_dq", axis=int(node.args[3]))  # type: ignore[arg-type]


TRANSLATIONS: dict[Any, Callable[[_Writer, fx.Node], None]] = {
    _aten.conv2d.default: _conv,
    _aten.relu.default: _elementwise("Relu"),
    _aten.relu_.default: _elementwise("Relu"),
    _aten.add.Tensor: _elementwise("Add"),
    _aten.add_.Tensor: _elementwise("Add"),
    _aten.max_pool2d.default: _max_pool,
    _aten.permute.default: _permute,
    _aten.reshape.default: _reshape,
    _aten.view.default: _reshape,
    _aten.slice.Tensor: _slice,
    _aten.cat.default: _concat,
    _aten.upsample_nearest2d.vec: _upsample,
    _aten.clone.default: _same,
    _aten.contiguous.default: _same,
    _qd.quantize_per_tensor.default: _quantize,
    _qd.dequantize_per_tensor.default: _dequantize,
    _qd.dequantize_per_channel.default: _dequantize_weight,
}
