"""ONNX Runtime on phones and computers: ONNX and ORT format with unsigned 8-bit activations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgepose.artifact import Artifact, Content
from edgepose.backends.common.contract import header_of, pose_header
from edgepose.backends.common.cpu import SATURATING, instruction_set
from edgepose.backends.common.session import OrtExecutor
from edgepose.backends.onnx_graph.dynamic_dialect import half_weights, to_dynamic
from edgepose.backends.onnx_graph.export import INPUT, OPSET, OUTPUT, float_graph, quantized_graph
from edgepose.backends.onnx_graph.graph import Graph, to_bytes
from edgepose.backends.onnx_graph.integer_share import integer_mac_share
from edgepose.backends.onnx_graph.ort_dialect import to_onnxruntime
from edgepose.backends.onnx_graph.ort_format import required_operators, to_ort_format
from edgepose.backends.onnx_graph.weights_dialect import int8_weights
from edgepose.backends.onnx_graph.whole_pose import JOINTS, whole_pose
from edgepose.errors import EdgeposeError
from edgepose.executor import Executor
from edgepose.manifest import Gives, Header
from edgepose.models.pose_model import PoseModel, at_size
from edgepose.quant.weights import WEIGHTS
from edgepose.target import Precision, Target
from edgepose.variants import Variant, contract_of, select, suffix_of

TOOLS = ("onnx", "onnxruntime", "torch", "torchao")


def emit(
    model: PoseModel, target: Target, folder: Path, *, variants: Sequence[Variant] = ()
) -> Artifact:
    """Write model.onnx, model.ort (counted), its required operators, and the manifest.

    fp16 is weights stored in half precision, computed in float32: there is no ORT format of it, which
    would store them expanded, so model.onnx counts. The same model gives the same bytes.
    variants: further crop sizes and whole-pose graphs, a file each in the main precision; a file takes
    any number of images, so that batches share it
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
        onnx = to_bytes(_graph(model, precision))
        contents += _files(onnx, precision, "" if main else f"_{precision}", counted=main)
        if main and precision == "int8":
            share = integer_mac_share(onnx)
            facts = {"integer_macs": share.integer_macs, "total_macs": share.total_macs}
    header = _header(model, target, facts)
    contracts, written = [], {""}
    for variant in variants:
        sized = at_size(model, variant.input_hw)
        suffix = suffix_of(variant, model.spec.input_hw, any_batch=True)
        if suffix not in written:
            written.add(suffix)
            onnx = to_bytes(_graph(sized, target.precision, variant.gives))
            contents += _files(onnx, target.precision, suffix, counted=False)
        contracts.append(contract_of(variant, suffix, _header(sized, target, facts, variant.gives)))
    return Artifact.write(
        folder, header.model_copy(update={"variants": tuple(contracts)}), contents
    )


def _files(onnx: bytes, precision: Precision, suffix: str, *, counted: bool) -> list[Content]:
    """An ONNX model and what is made of it."""
    half = precision == "fp16"
    role = "model" if half else "onnx"
    contents = [Content(f"model{suffix}.onnx", f"{role}{suffix}", onnx, counted=counted and half)]
    if not half:
        ort = to_ort_format(onnx)
        config = required_operators(ort)
        contents += [
            Content(f"model{suffix}.ort", f"model{suffix}", ort, counted=counted),
            Content(f"required_operators{suffix}.config", f"operators{suffix}", config),
        ]
    return contents


def _header(
    model: PoseModel,
    target: Target,
    facts: dict[str, str | int],
    gives: Gives = "heatmaps",
) -> Header:
    header = header_of(
        model,
        target,
        input_name=INPUT,
        output_name=OUTPUT,
        batch="batch",
        tools=TOOLS,
        facts=facts,
    )
    return header if gives == "heatmaps" else pose_header(header, output_name=JOINTS)


def open_executor(
    artifact: Artifact,
    *,
    threads: int | None = None,
    input_hw: tuple[int, int] | None = None,
    batch: int | None = None,
    gives: Gives | None = None,
) -> Executor:
    """The counted file in ONNX Runtime on this CPU, or the variant that is named (see variants.py).

    x86 without VNNI adds pairs of 8-bit products in 16 bits, which can saturate. There model.onnx is
    run instead, in ONNX Runtime's exact mode, which ORT format cannot switch on: the results are
    those of the counted file on a phone.
    """
    artifact = select(artifact, input_hw=input_hw, batch=batch, gives=gives)
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


def _graph(model: PoseModel, precision: Precision, gives: Gives = "heatmaps") -> Graph:
    if gives == "joints":
        pre, codec = model.spec.preprocessing, model.spec.codec
        return whole_pose(_graph(model, precision), codec=codec, mean=pre.mean, std=pre.std)
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
