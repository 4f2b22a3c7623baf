"""What artifact.json says of a network that is none: one header, changed where a test needs it."""

from __future__ import annotations

from typing import Any

from edgepose.manifest import (
    CodecContract,
    Header,
    InputContract,
    OutputContract,
    PreprocessingContract,
    Provenance,
    SkeletonContract,
)
from edgepose.skeleton import MPII16

INPUT_HW, STRIDE = (64, 64), 4


def header(
    input_hw: tuple[int, int] = INPUT_HW, *, batch: int | str = "batch", **changes: Any
) -> Header:
    """(batch, 3, H, W) normalised on the host -> 16 heatmaps of a quarter; changes: other fields."""
    h, w = input_hw
    values = {
        "name": "tiny", "target": "host", "runtime": "onnx_mobile", "precision": "int8",
        "input": InputContract(
            name="image", shape=(batch, 3, h, w), dtype="float32", layout="NCHW", color="RGB",
            range="(value / 255 - mean) / std per channel",
        ),
        "output": OutputContract(
            name="heatmaps", shape=(batch, 16, h // STRIDE, w // STRIDE), dtype="float32",
            layout="NCHW", meaning="heatmap per joint",
        ),
        "skeleton": SkeletonContract.of(MPII16),
        "preprocessing": PreprocessingContract(
            mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), color="RGB", where="host"
        ),
        "codec": CodecContract(stride=STRIDE, sigma=1.0),
        "provenance": Provenance(
            model_sha256="0" * 64, arch="none", domain="blocks", parameters=64, quantization=None,
            versions={"edgepose": "1"},
        ),
    }  # fmt: skip
    return Header(**{**values, **changes})
