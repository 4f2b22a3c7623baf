"""TensorRT on a Jetson: the ONNX in its dialect, packed, and how to build the engine from it.

The engine itself is built on the device, by the device's own TensorRT: engines are portable neither
across GPUs nor across versions. Here the file is executed by ONNX Runtime, every Q/DQ literally and
the convolutions in float32, which is what its integers stand for.
"""

from __future__ import annotations

import json
import lzma
from collections.abc import Sequence
from pathlib import Path

from edgepose.artifact import Artifact, Content, Gives, VariantContract
from edgepose.backends.common.contract import header_of, pose_header
from edgepose.backends.common.session import OrtExecutor
from edgepose.backends.onnx_graph.export import INPUT, OPSET, OUTPUT, float_graph, quantized_graph
from edgepose.backends.onnx_graph.graph import to_bytes
from edgepose.backends.onnx_graph.tensorrt_dialect import to_tensorrt
from edgepose.backends.onnx_graph.whole_pose import JOINTS, whole_pose
from edgepose.errors import EdgeposeError
from edgepose.executor import Executor
from edgepose.forms import Form, select, suffix_of, variant_of
from edgepose.models.pose_model import PoseModel, at_size
from edgepose.target import Target

BATCH = 1
WORKSPACE_MIB = 1024
TOOLS = ("onnx", "torch", "torchao")
MAX_EXPANDED_BYTES = 2 << 30
# On-grid float32 weights repeat within an output channel, not beyond: a larger dictionary takes three
# times as long and saves nothing; position in a word of four bytes matters more than the byte before.
_LZMA = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 1 << 17, "lc": 1, "lp": 2, "pb": 2}]


def emit(model: PoseModel, target: Target, folder: Path, *, forms: Sequence[Form] = ()) -> Artifact:
    """Write model.onnx.xz (counted), build.json and the manifest; further precisions beside it.

    forms: further crop sizes, batches and whole-pose graphs, each a file in the main precision
    The same model gives the same bytes. Raises EdgeposeError where int8 is asked of a model without
    a static plan, where the target reads no opset as high as ours, and on a full disk.
    """
    if target.opset is not None and target.opset < OPSET:
        raise EdgeposeError(
            f"target {target.name} reads ONNX opset {target.opset}, edgepose writes {OPSET}",
            fix=f"set opset: {OPSET} if the device's TensorRT reads it (8.5 and newer do)",
        )
    contents = []
    for precision in target.precisions:
        main = precision == target.precision
        base = quantized_graph(model) if precision == "int8" else float_graph(model)
        onnx = to_bytes(to_tensorrt(base, batch=BATCH))
        name = "model.onnx" if main else f"model_{precision}.onnx"
        suffix = "" if main else f"_{precision}"
        contents += [
            Content(f"{name}.xz", f"model{suffix}", pack(onnx), counted=main),
            Content(f"build{suffix}.json", f"build{suffix}", _build(name, precision, len(onnx))),
        ]
    header = header_of(
        model, target, input_name=INPUT, output_name=OUTPUT, batch=BATCH, tools=TOOLS
    )
    variants = []
    for form in forms:
        variant, files = _form(model, target, form)
        variants.append(variant)
        contents += files
    return Artifact.write(folder, header.model_copy(update={"variants": tuple(variants)}), contents)


def _form(model: PoseModel, target: Target, form: Form) -> tuple[VariantContract, list[Content]]:
    """A form's entry in the manifest, and its files: none for the main one, which is there."""
    suffix = suffix_of(form, model.spec.input_hw, any_batch=False)
    sized = at_size(model, form.input_hw)
    header = header_of(
        sized, target, input_name=INPUT, output_name=OUTPUT, batch=form.batch, tools=TOOLS
    )
    base = quantized_graph(sized) if target.precision == "int8" else float_graph(sized)
    graph = to_tensorrt(base, batch=form.batch)
    if form.gives == "joints":
        header = pose_header(header, output_name=JOINTS)
        pre, codec = model.spec.preprocessing, model.spec.codec
        graph = whole_pose(graph, codec=codec, mean=pre.mean, std=pre.std, double=False)
    variant = variant_of(form, suffix, header)
    if not suffix:
        return variant, []
    onnx, name = to_bytes(graph), f"model{suffix}.onnx"
    build = _build(name, target.precision, len(onnx), batch=form.batch)
    return variant, [
        Content(f"{name}.xz", f"model{suffix}", pack(onnx)),
        Content(f"build{suffix}.json", f"build{suffix}", build),
    ]


def open_executor(
    artifact: Artifact,
    *,
    threads: int | None = None,
    input_hw: tuple[int, int] | None = None,
    batch: int | None = None,
    gives: Gives | None = None,
) -> Executor:
    """The expanded ONNX in ONNX Runtime on this CPU; its speed says nothing about the device's.

    input_hw, batch, gives: another form than the main file, see forms.py
    """
    artifact = select(artifact, input_hw=input_hw, batch=batch, gives=gives)
    onnx = unpack(artifact.path("model").read_bytes())
    return OrtExecutor(
        onnx,
        artifact.manifest,
        threads=threads,
        # Without this, ONNX Runtime turns Q/DQ into its own integer kernels, or half of them.
        config={"session.disable_quant_qdq": "1"},
        note=", Q/DQ literally; TensorRT not run",
    )


def pack(onnx: bytes) -> bytes:
    """.xz, as small as it gets within seconds; the same bytes each time."""
    return lzma.compress(onnx, format=lzma.FORMAT_XZ, check=lzma.CHECK_CRC64, filters=_LZMA)


def unpack(packed: bytes) -> bytes:
    """What `pack` took; EdgeposeError where it is damaged or expands beyond 2 GiB."""
    decompressor = lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=1 << 30)
    try:
        onnx = decompressor.decompress(packed, max_length=MAX_EXPANDED_BYTES)
    except (lzma.LZMAError, EOFError) as error:
        raise EdgeposeError(f"model.onnx.xz is damaged: {error}", fix="export again") from error
    if not decompressor.eof or decompressor.unused_data:
        raise EdgeposeError(
            "model.onnx.xz is cut off, too large, or has something after its end",
            fix="export again, or copy the whole artifact folder again",
        )
    return onnx


def _build(name: str, precision: str, expanded_bytes: int, *, batch: int = BATCH) -> bytes:
    """What the builder on the device is to be told (TensorRT 8.5's Python API and trtexec)."""
    flags = {"int8": ["INT8", "FP16"], "fp16": ["FP16"], "fp32": []}[precision]
    settings = {
        "schema_version": 1,
        "onnx": name,
        "onnx_xz": f"{name}.xz",
        "onnx_bytes": expanded_bytes,
        "opset": OPSET,
        "quantization": "explicit Q/DQ" if precision == "int8" else None,
        "builder_flags": flags,
        "network_flags": ["EXPLICIT_BATCH"],
        "batch": batch,
        "workspace_mib": WORKSPACE_MIB,
        "trtexec": [
            "trtexec",
            f"--onnx={name}",
            *(f"--{flag.lower()}" for flag in flags),
            f"--memPoolSize=workspace:{WORKSPACE_MIB}",
            "--timingCacheFile=timing.cache",
            "--saveEngine=model.engine",
        ],
        "written_for": "TensorRT 8.5; not run on NVIDIA hardware",
    }
    return json.dumps(settings, indent=1, sort_keys=True).encode() + b"\n"
