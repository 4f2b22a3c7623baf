"""Networks whose joints are known, small enough to travel: the brightness of a crop, pooled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgepose.artifact import Artifact, Content
from edgepose.backends.tensorrt import pack
from tests.headers import INPUT_HW, STRIDE, header


def bright_spot(batch: int | str = "batch") -> bytes:
    """(batch, 3, 64, 64) normalised -> (batch, 16, 16, 16): a 1x1 convolution over pooled brightness."""
    weight = numpy_helper.from_array(np.full((16, 3, 1, 1), 1 / 12, np.float32), "weight")
    bias = numpy_helper.from_array(np.full(16, 0.45, np.float32), "bias")
    nodes = [
        helper.make_node(
            "AveragePool", ["image"], ["pooled"], kernel_shape=[STRIDE] * 2, strides=[STRIDE] * 2
        ),
        helper.make_node("Conv", ["pooled", "weight", "bias"], ["heatmaps"]),
    ]
    graph = helper.make_graph(
        nodes, "bright_spot",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, 3, *INPUT_HW])],
        [helper.make_tensor_value_info("heatmaps", TensorProto.FLOAT, [batch, 16, 16, 16])],
        [weight, bias],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data


def bright_artifact(
    folder: Path, *, model: bytes | None = None, runtime: str = "onnx_mobile"
) -> Artifact:
    """An artifact that ONNX Runtime really runs; for TensorRT packed, and one image at a time."""
    batch: int | str = 1 if runtime == "tensorrt" else "batch"
    top = header(batch=batch, name="bright-spot", runtime=runtime, precision="fp32")
    data = bright_spot(batch) if model is None else model
    if runtime == "tensorrt":
        packed = Content("model.onnx.xz", "model", pack(data), counted=True)
        return Artifact.write(folder, top, [packed, Content("build.json", "build", b"{}")])
    return Artifact.write(folder, top, [Content("model.onnx", "model", data, counted=True)])
