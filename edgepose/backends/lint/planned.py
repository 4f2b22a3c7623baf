"""The same rules before any training: over the network as it will be written for a target."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from torch import fx, nn

from edgepose.backends.lint.findings import Finding, found, in_file
from edgepose.backends.lint.structure import Net, Step, structure
from edgepose.backends.mil.convert import system_version
from edgepose.backends.onnx_graph.canonical import DEQUANTIZE, QUANTIZE
from edgepose.backends.onnx_graph.export import OPSET
from edgepose.models.deploy import to_deploy
from edgepose.quant.graph import export
from edgepose.quant.observers import MaxGrid, WeightGridPerChannel
from edgepose.quant.pt2e import Q_ANNOTATION_KEY
from edgepose.quant.quantizer import PoseQuantizer, module_path, moved_inputs
from edgepose.target import Target

_INT8_WEIGHTS, _INT8_ACTIVATIONS, _MLPROGRAM = 16, 17, 15  # iOS
# ATen's name (without variant) -> ONNX's, where they differ by more than capitals.
_ONNX = {
    "conv2d": "Conv", "convolution": "Conv", "conv_transpose2d": "ConvTranspose", "relu": "Relu",
    "relu_": "Relu", "add": "Add", "add_": "Add", "mul": "Mul", "mul_": "Mul", "max_pool2d": "MaxPool",
    "avg_pool2d": "AveragePool", "adaptive_avg_pool2d": "GlobalAveragePool", "cat": "Concat",
    "stack": "Concat", "view": "Reshape", "_unsafe_view": "Reshape", "permute": "Transpose",
    "upsample_nearest2d": "Resize", "upsample_bilinear2d": "Resize", "upsample_bicubic2d": "Resize",
    "hardtanh": "Clip", "hardtanh_": "Clip", "clamp": "Clip", "linear": "Gemm", "sigmoid": "Sigmoid",
    "sigmoid_": "Sigmoid", "hardswish": "HardSwish", "hardswish_": "HardSwish",
    "hardsigmoid": "HardSigmoid", "hardsigmoid_": "HardSigmoid", "leaky_relu": "LeakyRelu",
    "leaky_relu_": "LeakyRelu", "softmax": "Softmax", "mean": "ReduceMean",
    "batch_norm": "BatchNormalization",
    "split": "Split", "split_with_sizes": "Split", "chunk": "Split", "topk": "TopK", "argmax": "ArgMax",
    "where": "Where", "elu": "Elu", "erf": "Erf", "tanh": "Tanh", "pad": "Pad", "slice": "Slice",
}  # fmt: skip
_REWRITTEN = ("pixel_shuffle",)  # every dialect has a form of its own for these
_PRELU = "prelu"


def lint_planned(
    network: nn.Module,
    targets: tuple[Target, ...],
    *,
    input_hw: tuple[int, int],
    static: bool,
    float_layers: Collection[str] = (),
) -> list[Finding]:
    """Findings for each target, under its name.

    network: (N, 3, H, W) -> heatmaps, of the widths that are planned, weights of any value
    static:  whether INT8 activations get fixed scales; dynamic INT8 has no islands to look for
    float_layers: convolutions that the recipe keeps in float
    """
    findings: list[Finding] = []
    graph: fx.GraphModule | None = None
    for target in targets:
        here = list(_limits(target))
        if target.runtime != "coreml" or "int8" in target.precisions:
            if graph is None:
                deploy = network if _deployed(network) else to_deploy(network)
                graph = export(deploy, input_hw=input_hw, batch=1)
                PoseQuantizer(
                    activation=MaxGrid, weight=WeightGridPerChannel, float_layers=float_layers
                ).annotate(graph)
            here += _operators(graph, target)
            if "int8" in target.precisions and static and not _weights_only(target):
                here += structure(_net(graph), target, planned=float_layers)
        findings += in_file(here, target.name)
    return findings


def _deployed(network: nn.Module) -> bool:
    return not any(isinstance(m, nn.BatchNorm2d | nn.ConvTranspose2d) for m in network.modules())


def _limits(target: Target) -> Iterator[Finding]:
    int8 = "int8" in target.precisions
    if target.runtime == "coreml":
        system = system_version(target.minimum_os)
        if system < _MLPROGRAM or (int8 and system < _INT8_WEIGHTS):
            what = "INT8 weights need" if int8 else "an mlprogram needs"
            need = _INT8_WEIGHTS if int8 else _MLPROGRAM
            yield found(
                "minimum-os", "", f"{what} iOS{need}; the target is {target.minimum_os}",
                fix=f"set minimum_os: iOS{need}, or precision: fp16",
            )  # fmt: skip
        elif int8 and system < _INT8_ACTIVATIONS:
            yield found(
                "weights-only", "",
                f"{target.minimum_os} has INT8 weights only: a quarter of the bytes, fp16's speed",
            )  # fmt: skip
    elif target.opset is not None and target.opset < OPSET:
        yield found("opset", "", f"files have opset {OPSET}; {target.name} reads {target.opset}")
    if target.limits.dla and int8:
        yield found("dla-qdq", "", "an INT8 file has explicit Q/DQ, which DLA refuses")


def _weights_only(target: Target) -> bool:
    """Whether the target's INT8 is in its weights alone, so that float layers are no islands."""
    return target.runtime == "coreml" and system_version(target.minimum_os) < _INT8_ACTIVATIONS


def _word(node: fx.Node) -> str:
    """ONNX's operator for an ATen call, or ATen's own name."""
    name = str(node.target).removeprefix("aten.").partition(".")[0]
    return _ONNX.get(name, name)


def _label(node: fx.Node) -> str:
    return module_path(node) or str(node.name)


def _operators(graph: fx.GraphModule, target: Target) -> Iterator[Finding]:
    known = set(target.limits.operators)
    for node in graph.graph.nodes:
        word = _word(node)
        if known and node.op == "call_function" and word in _ONNX.values() and word not in known:
            yield found("operator", _label(node), f"{target.name} has no {word}")


def _net(graph: fx.GraphModule) -> Net:
    """The annotated graph with the Q and DQ that converting will put behind each INT8 tensor."""
    steps: list[Step] = []
    read_as: dict[fx.Node, str] = {}
    for node in graph.graph.nodes:
        if node.op == "output":
            continue
        annotation = node.meta.get(Q_ANNOTATION_KEY)
        data = tuple(read_as[n] for n in node.all_input_nodes if n in read_as)
        if node.op == "call_function" and data:
            steps.append(_step(graph, node, annotation, data))
            read_as[node] = str(node.name)
        elif node.op == "placeholder":
            read_as[node] = str(node.name)
        if node in read_as and annotation is not None and annotation.output_qspec is not None:
            name, quantized, real = node.name, f"{node.name}.q", f"{node.name}.dq"
            steps.append(Step(QUANTIZE, quantized, (name,), (quantized,)))
            steps.append(Step(DEQUANTIZE, real, (quantized,), (real,)))
            read_as[node] = real
    result = next(node for node in graph.graph.nodes if node.op == "output")
    outputs = {read_as[n] for n in result.all_input_nodes if n in read_as}
    return Net(tuple(steps), frozenset(outputs))


def _step(graph: fx.GraphModule, node: fx.Node, annotation: Any, data: tuple[str, ...]) -> Step:
    weight: Any = node.args[1] if len(node.args) > 1 else None
    shape, int8 = None, False
    if isinstance(weight, fx.Node) and weight.op == "get_attr" and _word(node) != _PRELU:
        shape = tuple(graph.get_parameter(str(weight.target)).shape)
        int8 = annotation is not None and weight in annotation.input_qspec_map
    moves = bool(moved_inputs(node))
    word = (
        str(node.target)
        if moves and any(w in str(node.target) for w in _REWRITTEN)
        else _word(node)
    )
    return Step(word, _label(node), data, (str(node.name),), shape, int8, moves)
