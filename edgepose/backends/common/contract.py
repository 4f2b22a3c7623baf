"""The manifest's header, read off a PoseModel and a Target."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Literal

import edgepose
from edgepose.device.artifact_words import JOINTS_LAYOUT
from edgepose.manifest import (
    FLOAT_NAMES,
    CodecContract,
    CropContract,
    Header,
    InputContract,
    OutputContract,
    PreprocessingContract,
    Provenance,
    SkeletonContract,
)
from edgepose.models.pose_model import PoseModel
from edgepose.skeleton import skeleton
from edgepose.target import Target

HEATMAPS = "heatmap per joint, peak about 1"
POSE = "x, y in pixels of the input, score (maximum of the heatmap) per joint"


def header_of(
    model: PoseModel,
    target: Target,
    *,
    input_name: str,
    output_name: str,
    batch: int | Literal["batch"],
    tools: tuple[str, ...],
    facts: Mapping[str, str | int] | None = None,
) -> Header:
    """Header of an artifact that takes normalised float32 NCHW and gives float32 heatmaps.

    batch: what the file accepts; tools: packages whose versions are recorded
    facts: what else is to be said about the quantization
    """
    spec = model.spec
    height, width = spec.input_hw
    pre = spec.preprocessing
    return Header(
        name=f"{spec.arch}-{height}x{width}-{target.precision}",
        target=target.name,
        runtime=target.runtime,
        precision=target.precision,
        input=InputContract(
            name=input_name,
            shape=(batch, 3, height, width),
            dtype="float32",
            layout="NCHW",
            color=_color(pre.color),
            range="(value / 255 - mean) / std per channel",
        ),
        output=OutputContract(
            name=output_name,
            shape=(batch, spec.num_joints, *spec.heatmap_hw),
            dtype="float32",
            layout="NCHW",
            meaning=HEATMAPS,
        ),
        skeleton=SkeletonContract.of(skeleton(spec.skeleton)),
        preprocessing=PreprocessingContract(
            mean=pre.mean, std=pre.std, color=_color(pre.color), where="host"
        ),
        crop=CropContract(alignment=spec.codec.alignment),
        codec=CodecContract.of(spec.codec),
        provenance=Provenance(
            model_sha256=model.sha256,
            arch=spec.arch,
            domain=spec.domain,
            parameters=sum(tensor.numel() for tensor in model.tensors.values()),
            quantization=_quantization(model, target, facts or {}),
            versions={"edgepose": edgepose.__version__, **{name: version(name) for name in tools}},
        ),
    )


def pose_header(header: Header, *, output_name: str) -> Header:
    """The header of the same model's whole-pose graph: uint8 NHWC in, joints out."""
    sides = dict(zip(header.input.layout, header.input.shape, strict=True))
    image = {
        "shape": (sides["N"], sides["H"], sides["W"], sides["C"]),
        "dtype": "uint8",
        "layout": "NHWC",
        "range": "0..255",
    }
    joints = {
        "name": output_name,
        "shape": (*header.output.shape[:2], 3),
        "layout": JOINTS_LAYOUT,
        "meaning": POSE,
    }
    return header.model_copy(
        update={
            "input": header.input.model_copy(update=image),
            "output": header.output.model_copy(update=joints),
            "preprocessing": header.preprocessing.model_copy(update={"where": "graph"}),
        }
    )


def _color(text: str) -> Literal["RGB", "BGR"]:
    return "BGR" if text == "BGR" else "RGB"


def _quantization(
    model: PoseModel, target: Target, facts: Mapping[str, str | int]
) -> dict[str, str | int] | None:
    plan = model.spec.quant
    if plan is None or target.precision != "int8":
        return None
    return {
        "mode": plan.mode,
        "source": plan.source,
        "activation_scales": len(plan.activation_scales),
        "float_layers": len(plan.float_layers),
        **({FLOAT_NAMES: ",".join(plan.float_layers)} if plan.float_layers else {}),
        **facts,
    }
