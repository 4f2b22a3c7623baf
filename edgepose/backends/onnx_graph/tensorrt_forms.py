"""The forms of one network that a TensorRT artifact carries; the board builds, times and scores them.

int8             explicit Q/DQ, deconvolutions as sub-pixel convolutions in INT8
interleave       the same, each interleave as one Transpose of rank 6 instead of two of rank 5
fused_sums       the same, residual sums without the Q/DQ pair between them and their convolution
deconv_fp16      the same, the deconvolutions as such and in FP16
implicit         the float network and a calibration cache: INT8 where TensorRT wants it, on a DLA too
implicit_deconv  the same with deconvolutions that a DLA takes
fp16, fp32       the float network
"""

from __future__ import annotations

from dataclasses import dataclass, field

from edgepose.backends.onnx_graph.export import float_graph, quantized_graph
from edgepose.backends.onnx_graph.graph import Graph
from edgepose.backends.onnx_graph.implicit import float_nodes, tensor_scales
from edgepose.backends.onnx_graph.interleaves import deconvolved, find_chains, interleave_in_one
from edgepose.backends.onnx_graph.sums import fused_sums
from edgepose.backends.onnx_graph.tensorrt_dialect import (
    fix_batch,
    interleave_by_transpose,
    to_tensorrt,
)
from edgepose.models.pose_model import PoseModel
from edgepose.target import Form, Precision

_NO_DECONVOLUTION = "the network has no deconvolution"
LEFT_OUT: dict[str, str] = {
    "interleave": _NO_DECONVOLUTION,
    "deconv_fp16": _NO_DECONVOLUTION,
    "implicit_deconv": _NO_DECONVOLUTION,
    "fused_sums": "the network has no residual sum",
}
"""Why a form is not written where `written` gives none."""


@dataclass(frozen=True)
class Written:
    """One form, ready to be saved. graph: in TensorRT's dialect; precision: the widest that it needs
    says: what it is, in words; scales: of the calibration cache, None for explicit Q/DQ and float;
    float_layers: convolutions that stay float though the network is INT8; dla: whether it may run there
    fused_sums: residual sums that read a convolution before it is rounded; batch: images at once
    """

    name: str
    precision: Precision
    says: str
    graph: Graph
    scales: dict[str, float] | None = None
    float_layers: tuple[str, ...] = field(default=())
    fused_sums: tuple[str, ...] = field(default=())
    dla: bool = False
    batch: int = 1


def written(model: PoseModel, name: Precision | Form, *, batch: int) -> Written | None:
    """The form `name` of the model; None where the network has nothing that it would change.

    Raises EdgeposeError where it needs a static INT8 plan and the model has none.
    """
    if name == "fp32":
        return Written(
            name, "fp32", "the whole network in full precision", _float(model, batch), batch=batch
        )
    if name == "fp16":
        says = "the whole network in half precision"
        return Written(name, "fp16", says, _float(model, batch), dla=True, batch=batch)
    quantized = fix_batch(quantized_graph(model), batch)
    if name == "int8":
        graph = to_tensorrt(quantized, batch=batch)
        return Written(name, "int8", "explicit Q/DQ, sub-pixel in INT8", graph, batch=batch)
    if name == "fused_sums":
        graph, sums = fused_sums(quantized)
        if not sums:
            return None
        graph = to_tensorrt(graph, batch=batch)
        says = "explicit Q/DQ, each residual sum part of a convolution"
        return Written(name, "int8", says, graph, fused_sums=sums, batch=batch)
    if name != "implicit" and not find_chains(quantized):
        return None
    if name == "interleave":
        graph = to_tensorrt(interleave_in_one(quantized), batch=batch)
        return Written(
            name, "int8", "explicit Q/DQ, each interleave one Transpose", graph, batch=batch
        )
    if name == "deconv_fp16":
        graph, layers = deconvolved(quantized)
        says = "explicit Q/DQ, deconvolutions in FP16"
        if not layers:
            return None
        graph = to_tensorrt(graph, batch=batch)
        return Written(name, "int8", says, graph, float_layers=layers, batch=batch)
    plain, says = _float(model, batch), "implicit INT8 by a calibration cache, sub-pixel"
    if name == "implicit_deconv":
        plain, layers = deconvolved(plain, for_dla=True)
        says = "implicit INT8 by a calibration cache, deconvolutions without padding"
        if not layers:
            return None
    scales = tensor_scales(quantized, plain)
    kept = float_nodes(quantized, plain, scales)
    return Written(
        name, "int8", says, plain, scales=scales, float_layers=kept, dla=True, batch=batch
    )


def _float(model: PoseModel, batch: int) -> Graph:
    return interleave_by_transpose(fix_batch(float_graph(model), batch))
