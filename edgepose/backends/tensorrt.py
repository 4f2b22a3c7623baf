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
from typing import Any

from onnx import load_from_string as onnx_load

from edgepose.artifact import Artifact, Content
from edgepose.backends.common.contract import header_of, pose_header
from edgepose.backends.common.session import OrtExecutor
from edgepose.backends.onnx_graph.export import INPUT, OPSET, OUTPUT
from edgepose.backends.onnx_graph.graph import from_model, to_bytes
from edgepose.backends.onnx_graph.half import in_half
from edgepose.backends.onnx_graph.implicit import as_documented, cache_bytes, read_cache
from edgepose.backends.onnx_graph.tensorrt_forms import LEFT_OUT, Written, written
from edgepose.backends.onnx_graph.whole_pose import JOINTS, exact_nodes, whole_pose
from edgepose.errors import EdgeposeError
from edgepose.executor import Executor
from edgepose.manifest import Gives, VariantContract
from edgepose.models.pose_model import PoseModel, at_size
from edgepose.target import Target
from edgepose.variants import Variant, contract_of, select, suffix_of

BATCH = 1
WORKSPACE_MIB = 1024
TOOLS = ("onnx", "torch", "torchao")
MAX_EXPANDED_BYTES = 2 << 30
# On-grid float32 weights repeat within an output channel, not beyond: a larger dictionary takes three
# times as long and saves nothing; position in a word of four bytes matters more than the byte before.
_LZMA = {"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 1 << 17, "lc": 1, "lp": 2, "pb": 2}
_UNCOUNTED_PRESET = 1  # a quarter of the time, a tenth more bytes


def emit(
    model: PoseModel, target: Target, folder: Path, *, variants: Sequence[Variant] = ()
) -> Artifact:
    """Write model.onnx.xz (counted), build.json and the manifest; further precisions and forms
    beside it.

    variants: further crop sizes, batches and whole-pose graphs, each a file in the main precision
    The same model gives the same bytes. Raises EdgeposeError where int8 is asked of a model without
    a static plan, where the target reads no opset as high as ours, and on a full disk.
    """
    if target.opset is not None and target.opset < OPSET:
        raise EdgeposeError(
            f"target {target.name} reads ONNX opset {target.opset}, edgepose writes {OPSET}",
            fix=f"set opset: {OPSET} if the device's TensorRT reads it (8.5 to 10 do)",
        )
    header = header_of(
        model, target, input_name=INPUT, output_name=OUTPUT, batch=BATCH, tools=TOOLS
    )
    contents = _contents(model, target)
    contracts = []
    for variant in variants:
        contract, files = _variant(model, target, variant)
        contracts.append(contract)
        contents += files
    header = header.model_copy(update={"variants": tuple(contracts)})
    return Artifact.write(folder, header, contents)


def _variant(
    model: PoseModel, target: Target, variant: Variant
) -> tuple[VariantContract, list[Content]]:
    """A variant's entry in the manifest, and its files: none for the main one, which is there."""
    suffix = suffix_of(variant, model.spec.input_hw, any_batch=False)
    sized = at_size(model, variant.input_hw)
    header = header_of(
        sized, target, input_name=INPUT, output_name=OUTPUT, batch=variant.batch, tools=TOOLS
    )
    base = written(sized, target.precision, batch=variant.batch)
    assert base is not None, "a precision is always a form"
    graph = base.graph
    exact: tuple[str, ...] = ()
    if variant.gives == "joints":
        header = pose_header(header, output_name=JOINTS)
        pre, codec = model.spec.preprocessing, model.spec.codec
        graph = whole_pose(graph, codec=codec, mean=pre.mean, std=pre.std, double=False)
        exact = exact_nodes(graph)
    contract = contract_of(variant, suffix, header)
    if not suffix:
        return contract, []
    onnx, role = to_bytes(graph), f"model{suffix}"
    settings = _build(base, model_role=role, cache_role=None, size=len(onnx), exact=exact)
    return contract, [
        Content(f"{role}.onnx.xz", role, pack(onnx, counted=False)),
        Content(f"build{suffix}.json", f"build{suffix}", _json(settings)),
    ]


def _json(settings: dict[str, Any]) -> bytes:
    return json.dumps(settings, indent=1, sort_keys=True).encode() + b"\n"


def _contents(model: PoseModel, target: Target) -> list[Content]:
    """The files of every form, the main one's first. Forms with the same ONNX share its file."""
    contents: list[Content] = []
    roles: dict[bytes, str] = {}
    builds: dict[str, dict[str, Any]] = {}
    left_out: dict[str, str] = {}
    for name in (*target.precisions, *target.forms):
        form = written(model, name, batch=BATCH)
        if form is None:
            left_out[name] = LEFT_OUT[name]
            continue
        suffix = f"_{name}" if builds else ""
        onnx = to_bytes(form.graph)
        role = roles.setdefault(onnx, f"model{suffix}")
        if role == f"model{suffix}":
            main = not builds
            packed = pack(onnx, counted=main)
            contents.append(Content(f"{role}.onnx.xz", role, packed, counted=main))
        cache = None
        if form.scales is not None:
            cache = f"calibration{suffix}"
            contents.append(Content(f"{cache}.cache", cache, cache_bytes(form.scales)))
        builds[f"build{suffix}"] = _build(form, model_role=role, cache_role=cache, size=len(onnx))
    builds["build"]["left_out"] = left_out
    for role, settings in builds.items():
        contents.append(Content(f"{role}.json", role, _json(settings)))
    return contents


def forms(artifact: Artifact) -> tuple[str, ...]:
    """Names of the forms in an artifact, the counted one first: those of its size and batch."""
    named = []
    for entry in artifact.manifest.files:
        name = entry.role.removeprefix("build_")
        if entry.role.startswith("build_") and _read(artifact, entry.role).get("form") == name:
            named.append(name)
    return (artifact.manifest.precision, *sorted(named))


def _read(artifact: Artifact, role: str) -> dict[str, Any]:
    settings: dict[str, Any] = json.loads(artifact.path(role).read_text("utf-8"))
    return settings


def settings_of(artifact: Artifact, form: str | None = None) -> dict[str, Any]:
    """The build settings of a form, of the counted one by default; EdgeposeError for an unknown one."""
    main = form in (None, artifact.manifest.precision)
    if not main and form not in forms(artifact):
        raise EdgeposeError(
            f"{artifact.manifest.name} has no form {form!r}, it has {', '.join(forms(artifact))}",
            fix="name one of these, or export with it in the target's forms or extra_precisions",
        )
    return _read(artifact, "build" if main else f"build_{form}")


def open_executor(
    artifact: Artifact,
    *,
    threads: int | None = None,
    form: str | None = None,
    input_hw: tuple[int, int] | None = None,
    batch: int | None = None,
    gives: Gives | None = None,
) -> Executor:
    """The expanded ONNX in ONNX Runtime on this CPU. Its speed says nothing about the device's.

    input_hw, batch, gives: another size or output than the main file's, see variants.py
    form: one of `forms`, the counted one by default. Of FP16 every tensor is rounded to half precision;
    of implicit INT8 the cache's scales are applied as TensorRT documents it: what is executed is made
    of the artifact's files, not of the model.
    """
    artifact = select(artifact, input_hw=input_hw, batch=batch, gives=gives)
    settings = settings_of(artifact, form)
    role = "model" if form is None else settings["model"]
    onnx = unpack(artifact.path(role).read_bytes())
    note = ", Q/DQ literally; TensorRT not run"
    if settings.get("calibration") is not None:
        plain = from_model(onnx_load(onnx))
        scales = read_cache(artifact.path(settings["calibration"]).read_bytes())
        kept = tuple(settings["layer_precisions"])
        onnx = to_bytes(as_documented(plain, scales, kept_float=kept))
        note = ", the calibration cache as Q/DQ; TensorRT not run"
    elif "FP16" in settings.get("builder_flags", ()) and settings["quantization"] is None:
        onnx = to_bytes(in_half(from_model(onnx_load(onnx))))
        note = ", every tensor rounded to FP16; TensorRT not run"
    elif settings.get("quantization", "") is None:
        note = "; TensorRT not run"
    return OrtExecutor(
        onnx,
        artifact.manifest,
        threads=threads,
        # Without this, ONNX Runtime turns Q/DQ into its own integer kernels, or half of them.
        config={"session.disable_quant_qdq": "1"},
        note=note,
    )


def pack(onnx: bytes, *, counted: bool = True) -> bytes:
    """.xz, the counted file as small as it gets within seconds; the same bytes each time."""
    filters = [_LZMA if counted else {**_LZMA, "preset": _UNCOUNTED_PRESET}]
    return lzma.compress(onnx, format=lzma.FORMAT_XZ, check=lzma.CHECK_CRC64, filters=filters)


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


def _build(
    form: Written,
    *,
    model_role: str,
    cache_role: str | None,
    size: int,
    exact: tuple[str, ...] = (),
) -> dict[str, Any]:
    """What the builder on the device is to be told (TensorRT 8.5's Python API and trtexec).

    model, calibration: roles of the files; layer_precisions: what must not become INT8, nor, of
    `exact`, FP16
    dla: whether it may be built for a DLA
    """
    name = f"{model_role}.onnx"
    flags = {"int8": ["INT8", "FP16"], "fp16": ["FP16"], "fp32": []}[form.precision]
    cleared = ["TF32"] if form.precision == "fp32" else []  # on by default where a GPU has it
    implicit = form.scales is not None
    kept = dict.fromkeys(form.float_layers, "fp16") if implicit else {}
    kept.update(dict.fromkeys(exact if form.precision != "fp32" else (), "fp32"))
    by_hand = [f"--calib={cache_role}.cache"] if implicit else []
    if kept:
        flags = [*flags, "OBEY_PRECISION_CONSTRAINTS"]
        listed = ",".join(f"{layer}:{precision}" for layer, precision in kept.items())
        by_hand += ["--precisionConstraints=obey", f"--layerPrecisions={listed}"]
    explicit = "explicit Q/DQ" if form.precision == "int8" else None
    return {
        "schema_version": 1,
        "form": form.name,
        "says": form.says,
        "model": model_role,
        "onnx": name,
        "onnx_xz": f"{name}.xz",
        "onnx_bytes": size,
        "opset": OPSET,
        "quantization": "implicit, by the calibration cache" if implicit else explicit,
        "calibration": cache_role,
        "layer_precisions": kept,
        "float_layers": list(form.float_layers),
        "fused_sums": list(form.fused_sums),
        "dla": form.dla,
        "builder_flags": flags,
        "cleared_flags": cleared,
        "network_flags": ["EXPLICIT_BATCH"],
        "batch": form.batch,
        "workspace_mib": WORKSPACE_MIB,
        "trtexec": [
            "trtexec",
            f"--onnx={name}",
            *(f"--{flag.lower()}" for flag in flags if flag in ("INT8", "FP16")),
            *(["--noTF32"] if cleared else []),
            *by_hand,
            f"--memPoolSize=workspace:{WORKSPACE_MIB}",
            "--timingCacheFile=timing.cache",
            "--saveEngine=model.engine",
        ],
        "written_for": "TensorRT 8.5; not run on NVIDIA hardware",
    }
