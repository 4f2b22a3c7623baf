"""What the kernels of an ONNX file compute and move, read off its shapes without running it."""

from __future__ import annotations

import math

import onnx
from onnx import NodeProto, helper, shape_inference

from edgepose.cost.layers import LayerCost
from edgepose.errors import EdgeposeError

_WEIGHTED = {"Conv": "Conv2d", "ConvTranspose": "ConvTranspose2d"}
_MOVING = ("Add", "Concat", "MaxPool", "AveragePool", "GlobalAveragePool", "Resize", "Mul")
_IMAGE = 4  # dimensions: (N, C, H, W)


def onnx_layer_costs(data: bytes) -> list[LayerCost]:
    """Convolutions and what moves images, one image each, in the file's order.

    Q/DQ and ReLU ride on the kernel before them. A transpose of more than four dimensions is the
    interleave of a sub-pixel convolution and counts as one kernel; reshapes move nothing.
    Raises EdgeposeError where a shape that is needed is not fixed.
    """
    model = shape_inference.infer_shapes(onnx.load_from_string(data), data_prop=True)
    shapes = _shapes(model)
    costs = []
    for node in model.graph.node:
        image = len(shapes.get(node.output[0], ())) == _IMAGE
        if node.op_type in _WEIGHTED:
            costs.append(_weighted(node, shapes))
        elif node.op_type in _MOVING and image:
            costs.append(_moving(node, shapes))
        elif node.op_type == "Transpose" and len(shapes.get(node.output[0], ())) > _IMAGE:
            size = math.prod(shapes[node.output[0]])
            costs.append(LayerCost(node.name, "Interleave", 0, 0, size, (1, 1), size, (1, 1)))
    if not any(cost.weights for cost in costs):
        raise EdgeposeError(
            "the ONNX model has no convolution", fix="give a pose network that edgepose exported"
        )
    return costs


def _shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Tensor -> its shape, where all of it is fixed."""
    graph = model.graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        sides = value.type.tensor_type.shape.dim
        if all(side.HasField("dim_value") for side in sides):
            shapes[value.name] = tuple(side.dim_value for side in sides)
    return shapes


def _shape(shapes: dict[str, tuple[int, ...]], tensor: str) -> tuple[int, ...]:
    if tensor not in shapes:
        raise EdgeposeError(
            f"the shape of {tensor} is not fixed in the ONNX file",
            fix="give a network with a fixed input size, as edgepose exports it",
        )
    return shapes[tensor]


def _weighted(node: NodeProto, shapes: dict[str, tuple[int, ...]]) -> LayerCost:
    source, weight, output = (
        _shape(shapes, name) for name in (node.input[0], node.input[1], node.output[0])
    )
    words = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    positions = source[2:] if node.op_type == "ConvTranspose" else output[2:]
    return LayerCost(
        name=node.name,
        kind=_WEIGHTED[node.op_type],
        macs=math.prod(weight) * math.prod(positions),
        weights=math.prod(weight),
        channels=output[1],
        output_hw=(output[2], output[3]),
        in_channels=source[1],
        input_hw=(source[2], source[3]),
        groups=words.get("group", 1),
    )


def _moving(node: NodeProto, shapes: dict[str, tuple[int, ...]]) -> LayerCost:
    images = [name for name in node.input if len(shapes.get(name, ())) == _IMAGE]
    source, output = _shape(shapes, images[0]), _shape(shapes, node.output[0])
    return LayerCost(
        node.name, node.op_type, 0, 0, output[1], (output[2], output[3]), source[1],
        (source[2], source[3]), inputs=len(images),
    )  # fmt: skip
