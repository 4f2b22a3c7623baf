from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import numpy_helper
from torch import fx, nn

from edgepose.errors import EdgeposeError
from edgepose.models.pose_model import PoseModel
from edgepose.quant.dynamic import dynamic_onnx, quantize_dynamic
from edgepose.quant.graph import export, int8_graph
from edgepose.quant.grid import weight_codes
from edgepose.quant.onnx_graph import to_onnx


def _run(proto: onnx.ModelProto, x: torch.Tensor, *, optimise: bool = True) -> np.ndarray:
    onnx.checker.check_model(proto, full_check=True)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    if not optimise:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(["heatmaps"], {"images": x.numpy()})[0]  # type: ignore[no-any-return]


def _noise(got: np.ndarray, expected: np.ndarray) -> float:
    return float(np.square(got - expected).mean() / np.square(expected).mean())


def test_float_graph_in_onnx_runtime(float_deploy: PoseModel, images: torch.Tensor) -> None:
    network = float_deploy.module()
    proto = to_onnx(export(network, input_hw=(64, 96)))
    assert [(o.domain, o.version) for o in proto.opset_import] == [("", 17)]
    with torch.no_grad():
        expected = network(images).numpy()
    for n in (1, 3):
        got = _run(proto, images[:n])
        assert np.abs(got - expected[:n]).max() <= 1e-4 * np.abs(expected).max()


def test_int8_graph_in_onnx_runtime(
    static: PoseModel, int8: fx.GraphModule, float_deploy: PoseModel, images: torch.Tensor
) -> None:
    proto = to_onnx(int8)
    with torch.no_grad():
        expected, exact = int8(images).numpy(), float_deploy.module()(images).numpy()
    for n in (1, 3):
        assert _noise(_run(proto, images[:n]), expected[:n]) <= _noise(expected, exact)
    first = _first_tensor(proto, "relu_q")
    difference = _run_first(first, images) - _run_first_in_torch(static, images)
    assert np.abs(difference).max() <= 1
    assert (difference != 0).mean() < 1e-3


def _first_tensor(proto: onnx.ModelProto, name: str) -> onnx.ModelProto:
    cut = onnx.ModelProto()
    cut.CopyFrom(proto)
    info = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.INT8, None)
    cut.graph.output.append(info)
    return cut


def _run_first(proto: onnx.ModelProto, x: torch.Tensor) -> np.ndarray:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(proto.SerializeToString(), options)
    return session.run(["relu_q"], {"images": x.numpy()})[0].astype(int)  # type: ignore[no-any-return]


def _run_first_in_torch(model: PoseModel, x: torch.Tensor) -> np.ndarray:
    """The first convolution in integers, exactly, by its definition."""
    assert model.spec.quant is not None
    scales = model.spec.quant.activation_scales
    codes, weight_scale = weight_codes(model.tensors["conv1.weight"])
    image = torch.round(x / scales["input"]).clamp(-128, 127)
    total = nn.functional.conv2d(image.double(), codes.double(), stride=2, padding=3)
    real = total * (weight_scale.double() * scales["input"]).reshape(1, -1, 1, 1)
    real = real + model.tensors["conv1.bias"].double().reshape(1, -1, 1, 1)
    return torch.round(real.relu() / scales["relu"]).clamp(-128, 127).numpy().astype(int)


def test_names_types_and_weights(static: PoseModel, int8: fx.GraphModule) -> None:
    proto = to_onnx(int8)
    constants = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
    for key, value in static.tensors.items():
        if key.endswith(".weight"):
            codes, scales = weight_codes(value)
            assert np.array_equal(constants[key], codes.numpy())
            assert np.array_equal(constants[f"{key}_scale"], scales.numpy())
            assert constants[f"{key}_zero_point"].dtype == np.int8
        else:
            assert np.array_equal(constants[key], value.numpy())
    kinds = Counter(node.op_type for node in proto.graph.node)
    assert "DepthToSpace" not in kinds
    assert all(len(n.input) == 3 for n in proto.graph.node if "Linear" in n.op_type)
    assert proto.SerializeToString() == to_onnx(int8_graph(static)).SerializeToString()


def test_dynamic_int8_covers_every_convolution(slim: PoseModel, images: torch.Tensor) -> None:
    model = quantize_dynamic(slim)
    assert model.spec.quant is not None
    assert model.spec.quant.mode == "dynamic"
    proto = dynamic_onnx(model)
    kinds = Counter(node.op_type for node in proto.graph.node)
    assert kinds["ConvInteger"] == 24
    assert kinds["Conv"] == kinds["ConvTranspose"] == 0
    types = {t.name: t.data_type for t in proto.graph.initializer if t.name.endswith("weight_int8")}
    assert len(types) == 24
    assert set(types.values()) == {onnx.TensorProto.INT8}
    with torch.no_grad():
        expected = slim.module()(images[:1]).numpy()
    assert _noise(_run(proto, images[:1]), expected) < 0.02


def test_an_unknown_operator_is_refused_by_name() -> None:
    class Strange(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bend = nn.Tanhshrink()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.bend(x)  # type: ignore[no-any-return]

    with pytest.raises(EdgeposeError, match=r"no ONNX translation for aten\.tanh.* \(bend\)"):
        to_onnx(export(Strange(), input_hw=(8, 8)))
