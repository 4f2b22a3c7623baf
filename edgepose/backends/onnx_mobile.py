"""ONNX Runtime on phones and computers: ONNX and ORT format with unsigned 8-bit activations."""

from __future__ import annotations

from pathlib import Path

from edgepose.artifact import Artifact, Content
from edgepose.backends.common.contract import header_of
from edgepose.backends.common.cpu import SATURATING, instruction_set
from edgepose.backends.common.session import OrtExecutor
from edgepose.backends.onnx_graph.dynamic_dialect import half_weights, to_dynamic
from edgepose.backends.onnx_graph.export import INPUT, OPSET, OUTPUT, float_graph, quantized_graph
from edgepose.backends.onnx_graph.graph import Graph, to_bytes
from edgepose.backends.onnx_graph.integer_share import integer_mac_share
from edgepose.backends.onnx_graph.ort_dialect import to_onnxruntime
from edgepose.backends.onnx_graph.ort_format import required_operators, to_ort_format
from edgepose.backends.onnx_graph.weights_dialect import int8_weights
from edgepose.errors import EdgeposeError
from edgepose.executor import Executor
from edgepose.models.pose_model import PoseModel
from edgepose.quant.weights import WEIGHTS
from edgepose.target import Precision, Target

TOOLS = ("onnx", "onnxruntime", "torch", "torchao")


def emit(model: PoseModel, target: Target, folder: Path) -> Artifact:
    """Write model.onnx, model.ort (counted), its required operators, and the manifest.

    fp16 is weights stored in half precision, computed in float32: there is no ORT format of it, which
    would store them expanded, so model.onnx counts. The same model gives the same bytes.
    Raises EdgeposeError where int8 is asked of a model without a plan, and on a full disk.
    """
    if target.opset is not None and target.opset < OPSET:
        raise EdgeposeError(
            f"target {target.name} reads ONNX opset {target.opset}, edgepose writes {OPSET}",
            fix=f"set opset: {OPSET} (ONNX Runtime 1.12 and newer)",
        )
    contents: list[Content] = []
    facts: dict[str, str | int] = {}
    for precision in target.precisions:
        main = precision == target.precision
        suffix = "" if main else f"_{precision}"
        onnx = to_bytes(_graph(model, precision))
        half = precision == "fp16"
        role = "model" if half else "onnx"
        contents.append(
            Content(f"model{suffix}.onnx", f"{role}{suffix}", onnx, counted=main and half)
        )
        if not half:
            ort = to_ort_format(onnx)
            config = required_operators(ort)
            contents += [
                Content(f"model{suffix}.ort", f"model{suffix}", ort, counted=main),
                Content(f"required_operators{suffix}.config", f"operators{suffix}", config),
            ]
        if main and precision == "int8":
            share = integer_mac_share(onnx)
            facts = {"integer_macs": share.integer_macs, "total_macs": share.total_macs}
    header = header_of(
        model,
        target,
        input_name=INPUT,
        output_name=OUTPUT,
        batch="batch",
        tools=TOOLS,
        facts=facts,
    )
    return Artifact.write(folder, header, contents)


def open_executor(artifact: Artifact, *, threads: int | None = None) -> Executor:
    """The counted file in ONNX Runtime on this CPU.

    x86 without VNNI adds pairs of 8-bit products in 16 bits, which can saturate. There model.onnx is
    run instead, in ONNX Runtime's exact mode, which ORT format cannot switch on: the results are
    those of the counted file on a phone.
    """
    manifest = artifact.manifest
    if manifest.precision == "int8" and instruction_set() in SATURATING:
        return OrtExecutor(
            artifact.path("onnx").read_bytes(),
            manifest,
            threads=threads,
            config={"session.x64quantprecision": "1"},
            note=" (no VNNI), model.onnx in exact mode",
        )
    return OrtExecutor(artifact.path("model").read_bytes(), manifest, threads=threads)


def _graph(model: PoseModel, precision: Precision) -> Graph:
    if precision == "fp32":
        return float_graph(model)
    if precision == "fp16":
        return half_weights(float_graph(model))
    plan = model.spec.quant
    if plan is not None and plan.mode in ("dynamic", WEIGHTS):
        dialect = to_dynamic if plan.mode == "dynamic" else int8_weights
        float_layers = {name for name, kind in plan.precision.items() if kind == "float"}
        return dialect(float_graph(model), float_layers=frozenset(float_layers))
    trained = plan is not None and plan.source == "qat"
    return to_onnxruntime(quantized_graph(model), trained=trained)
