"""How much of a network ONNX Runtime computes in integers, read off the graph that it executes."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from edgepose.backends.onnx_graph.ort_format import optimized
from edgepose.errors import EdgeposeError

INTEGER = ("QLinearConv", "ConvInteger", "QLinearMatMul", "MatMulInteger", "QGemm")
FLOAT = (
    "Conv", "ConvTranspose", "FusedConv", "NhwcConv", "NhwcFusedConv", "MatMul", "FusedMatMul",
    "Gemm", "FusedGemm",
)  # fmt: skip
_WEIGHT_INPUT = {"QLinearConv": 3, "QLinearMatMul": 3, "QGemm": 3}
_MATRICES = ("MatMul", "FusedMatMul", "QLinearMatMul", "MatMulInteger")
_CONVERSIONS = ("DequantizeLinear", "QuantizeLinear", "DynamicQuantizeLinear")


@dataclass(frozen=True)
class IntegerShare:
    """share: of the multiply-accumulates, 0..1; float_nodes: "name (operator)" of each one that
    multiplies in float; other_float: operator -> how many more compute on float tensors."""

    share: float
    integer_macs: int
    total_macs: int
    float_nodes: tuple[str, ...]
    other_float: dict[str, int]


def integer_mac_share(model: Path | bytes) -> IntegerShare:
    """Share of the MACs of one image that integer kernels compute in ONNX Runtime on a CPU.

    model: an ONNX file or its bytes. The optimised graph is run once, on zeros, for its shapes.
    Raises EdgeposeError for a model without convolutions.
    """
    data = model if isinstance(model, bytes) else Path(model).read_bytes()
    executed = onnx.load_from_string(optimized(data, "onnx"))
    tensors = _run(executed)
    macs: Counter[str] = Counter()
    others: Counter[str] = Counter()
    float_nodes = []
    for node in executed.graph.node:
        if node.op_type in INTEGER + FLOAT:
            kind = "integer" if node.op_type in INTEGER else "float"
            count = _macs(node, tensors)
            macs[kind] += count
            if kind == "float":
                float_nodes.append(f"{node.name} ({node.op_type}, {count} MACs)")
        elif node.op_type not in _CONVERSIONS and tensors[node.output[0]].dtype == np.float32:
            others[node.op_type] += 1
    total = macs.total()
    if total == 0:
        raise EdgeposeError(
            "the ONNX model has no convolution", fix="give a pose network that edgepose exported"
        )
    return IntegerShare(
        share=macs["integer"] / total,
        integer_macs=macs["integer"],
        total_macs=total,
        float_nodes=tuple(float_nodes),
        other_float=dict(sorted(others.items())),
    )


def _macs(node: onnx.NodeProto, tensors: dict[str, NDArray[Any]]) -> int:
    """Products that the operator sums up: outputs x products per output."""
    weight = tensors[node.input[_WEIGHT_INPUT.get(node.op_type, 1)]].shape
    output = tensors[node.output[0]].size
    if node.op_type in _MATRICES:
        return int(output * weight[-2])
    if node.op_type in ("Gemm", "FusedGemm", "QGemm"):
        transposed = any(a.name == "transB" and a.i for a in node.attribute)
        return int(output * weight[1 if transposed else 0])
    if node.op_type == "ConvTranspose":
        return tensors[node.input[0]].size * math.prod(weight[1:])
    return output * math.prod(weight[1:])


def _run(model: onnx.ModelProto) -> dict[str, NDArray[Any]]:
    """Every tensor of one execution on zeros, batch 1, by name; constants too."""
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    names = [name for node in model.graph.node for name in node.output if name]
    del probe.graph.output[:]
    probe.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(
        probe.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    feeds = {
        tensor.name: np.zeros([d if isinstance(d, int) else 1 for d in tensor.shape], np.float32)
        for tensor in session.get_inputs()
    }
    found = dict(zip(names, session.run(names, feeds), strict=True))
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    return {**feeds, **constants, **found}
