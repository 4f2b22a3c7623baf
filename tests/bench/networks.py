"""Networks whose joints are known, small enough to travel: the brightness of a crop, pooled."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgepose.artifact import Artifact, Content
from edgepose.backends.common.contract import pose_header
from edgepose.backends.onnx_graph.graph import from_model, to_bytes
from edgepose.backends.onnx_graph.whole_pose import whole_pose
from edgepose.backends.tensorrt import pack
from edgepose.variants import all_variants, contract_of, suffix_of
from tests.headers import INPUT_HW, STRIDE, header


def bright_spot(batch: int | str = "batch", hw: tuple[int, int] = INPUT_HW) -> bytes:
    """(batch, 3, H, W) normalised -> (batch, 16, H/4, W/4): a 1x1 convolution over pooled brightness."""
    heatmap_hw = [side // STRIDE for side in hw]
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
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, 3, *hw])],
        [helper.make_tensor_value_info("heatmaps", TensorProto.FLOAT, [batch, 16, *heatmap_hw])],
        [weight, bias],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data


def bright_joints(batch: int | str = "batch", hw: tuple[int, int] = INPUT_HW) -> bytes:
    """Its whole-pose graph: (batch, H, W, 3) uint8 -> (batch, 16, 3)."""
    top = header(hw)
    pre, codec = top.preprocessing, top.codec.to_codec()
    graph = from_model(onnx.load_from_string(bright_spot(batch, hw)))
    return to_bytes(whole_pose(graph, codec=codec, mean=pre.mean, std=pre.std))


def bright_variants(folder: Path, sizes: Sequence[tuple[int, int]], *, joints: bool) -> Artifact:
    """A file for each crop size, the first of them the main one; joints: whole-pose graphs as well."""
    contents, contracts = [], []
    tops = {hw: header(hw, name="bright", precision="fp32") for hw in sizes}
    for variant in all_variants(sizes[0], sizes=sizes, joints=joints):
        suffix = suffix_of(variant, sizes[0], any_batch=True)
        whole = variant.gives == "joints"
        data = (bright_joints if whole else bright_spot)(hw=variant.input_hw)
        top = tops[variant.input_hw]
        top = pose_header(top, output_name="joints") if whole else top
        contracts.append(contract_of(variant, suffix, top))
        contents.append(Content(f"model{suffix}.onnx", f"model{suffix}", data, counted=not suffix))
    top = tops[sizes[0]].model_copy(update={"variants": tuple(contracts)})
    return Artifact.write(folder, top, contents)


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
