"""One quantized graph as ONNX, and what each dialect makes of it.

The references are the converted PT2E graph in torch, and ONNX Runtime without any optimisation,
which executes the operators as the standard words them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

from edgepose.backends.onnx_graph import ort_dialect
from edgepose.backends.onnx_graph.canonical import canonical, merge_slices
from edgepose.backends.onnx_graph.dynamic_dialect import half_weights, to_dynamic
from edgepose.backends.onnx_graph.export import (
    export_module,
    float_graph,
    free_batch,
    quantized_graph,
)
from edgepose.backends.onnx_graph.graph import (
    Graph,
    Node,
    Port,
    from_model,
    replace_inputs,
    to_bytes,
    to_model,
)
from edgepose.backends.onnx_graph.integer_share import integer_mac_share
from edgepose.backends.onnx_graph.ort_dialect import never_negative, to_onnxruntime
from edgepose.backends.onnx_graph.ort_format import optimized, required_operators, to_ort_format
from edgepose.backends.onnx_graph.ort_order import ordered
from edgepose.backends.onnx_graph.tensorrt_dialect import (
    check_dialect,
    fix_batch,
    interleave_by_transpose,
    to_tensorrt,
)
from edgepose.device.geometry import normalise
from edgepose.errors import EdgeposeError
from edgepose.models.pose_model import PoseModel
from edgepose.quant.graph import deploy_form

Images = NDArray[np.float32]


def run(graph: Graph | bytes, images: Images, *, optimise: bool = False) -> list[NDArray[Any]]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    if not optimise:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    data = graph if isinstance(graph, bytes) else to_bytes(graph)
    session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    found: list[NDArray[Any]] = session.run(None, {session.get_inputs()[0].name: images})
    return found


def relative(a: NDArray[Any], b: NDArray[Any]) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


@pytest.fixture(scope="module")
def images(tiny: PoseModel, noise: Callable[[int], NDArray[np.uint8]]) -> Images:
    """(3, 3, 64, 64): what the scales were calibrated on with half the contrast; no code saturates."""
    pre = tiny.spec.preprocessing
    return normalise(noise(8)[:3] // 2 + 64, pre.mean, pre.std)


@pytest.fixture(scope="module")
def base(tiny: PoseModel) -> Graph:
    return quantized_graph(tiny)


@pytest.fixture(scope="module")
def mobile(base: Graph) -> Graph:
    return to_onnxruntime(base, trained=False)


def test_the_base_graph_is_the_torch_graph_bit_for_bit(
    base: Graph, images: Images, torch_int8: Callable[[Images], Images]
) -> None:
    # 1e-6: a float convolution may sum in another order; a code that flips would show as 1e-2
    np.testing.assert_allclose(run(base, images)[0], torch_int8(images), rtol=1e-4, atol=1e-5)


def test_the_float_graph_is_the_float_network(tiny_float: PoseModel, images: Images) -> None:
    with torch.no_grad():
        expected = tiny_float.module()(torch.from_numpy(images)).numpy()
    assert relative(run(float_graph(tiny_float), images)[0], expected) < 1e-5


def test_any_batch_size_runs(base: Graph, mobile: Graph, images: Images) -> None:
    for graph in (base, mobile):
        together = run(graph, images, optimise=True)[0]
        single = run(graph, images[1:2], optimise=True)[0]
        np.testing.assert_allclose(together[1:2], single, rtol=1e-5, atol=1e-6)


def test_nothing_of_this_machine_is_in_the_file(base: Graph) -> None:
    data = to_bytes(base)
    for trace in (b".py", b"site-packages", str(Path.home()).encode(), b"torch", b"stack_trace"):
        assert trace not in data
    model = onnx.load_from_string(data)
    assert not model.metadata_props
    assert not any(node.doc_string or node.metadata_props for node in model.graph.node)
    assert model.ir_version == 8
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 17)]
    onnx.checker.check_model(model, full_check=True)


def test_names_say_which_layer(base: Graph) -> None:
    names = {node.name for node in base.nodes}
    assert {"conv1", "layer1.0.conv2", "layer2.0.downsample.0", "final_layer"} <= names
    assert "layer2.0.conv1.weight" in base.constants
    assert len(names) == len(base.nodes)


def test_one_pair_per_quantized_tensor(base: Graph) -> None:
    """Behind an operator that only moves values there is no second Q/DQ."""
    for node in base.nodes:
        if node.op == "QuantizeLinear":
            producer = base.producers.get(node.inputs[0])
            assert producer is None or producer.op in ("Conv", "Relu", "Add")


# TensorRT 8.5


@pytest.fixture(scope="module")
def tensorrt(base: Graph) -> onnx.ModelProto:
    return onnx.load_from_string(to_bytes(to_tensorrt(base)))


def test_tensorrt_dialect_computes_the_same(
    base: Graph, tensorrt: onnx.ModelProto, images: Images
) -> None:
    for image in images:
        found = run(tensorrt.SerializeToString(), image[None])[0]
        np.testing.assert_array_equal(found, run(base, image[None])[0])


def test_tensorrt_dialect_as_the_parser_reads_it(tensorrt: onnx.ModelProto) -> None:
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in tensorrt.graph.initializer}
    producers = {name: node for node in tensorrt.graph.node for name in node.output}
    consumers = [(node, name) for node in tensorrt.graph.node for name in node.input]
    assert {n.op_type for n in tensorrt.graph.node} <= {
        "QuantizeLinear", "DequantizeLinear", "Conv", "Relu", "Add", "MaxPool", "Transpose",
        "Reshape", "Slice",
    }  # fmt: skip
    zero_points = set()
    for node in tensorrt.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            scale, zero = constants[node.input[1]], constants[node.input[2]]
            assert zero.dtype == np.int8
            assert scale.shape == zero.shape
            assert not zero.any()
            assert (scale > 0).all()
            zero_points.add(node.input[2])
        if node.op_type in ("Conv", "Add"):
            for name in node.input[:2]:
                assert producers[name].op_type == "DequantizeLinear"
                assert producers[producers[name].input[0]].op_type == "QuantizeLinear"
        if node.op_type == "Conv":
            weight = producers[producers[node.input[1]].input[0]].input[0]
            assert constants[weight].dtype == np.float32
            assert all(constants[name].dtype == np.float32 for name in node.input[2:])
        if node.op_type == "Reshape":
            assert (constants[node.input[1]] > 0).all()
    assert {name for name, array in constants.items() if array.dtype == np.int8} == zero_points
    assert not any(
        node.op_type == "QuantizeLinear" and name == tensorrt.graph.output[0].name
        for node, name in consumers
    )
    assert producers[tensorrt.graph.output[0].name].op_type != "DequantizeLinear"
    assert [d.dim_value for d in tensorrt.graph.input[0].type.tensor_type.shape.dim] == [
        1,
        3,
        64,
        64,
    ]


@settings(max_examples=12, deadline=None)
@given(
    mode=st.sampled_from(["CRD", "DCR"]),
    block=st.integers(2, 3),
    depth=st.integers(1, 3),
    hw=st.tuples(st.integers(1, 4), st.integers(1, 4)),
)
def test_interleave_by_transpose_is_depth_to_space(
    mode: str, block: int, depth: int, hw: tuple[int, int]
) -> None:
    shape = (2, depth * block**2, *hw)
    merged = (2, depth, hw[0] * block, hw[1] * block)
    node = Node("DepthToSpace", ["x"], ["y"], {"blocksize": block, "mode": mode}, "d2s")
    graph = Graph(
        (node,), {}, (Port("x", np.dtype(np.float32), shape),),
        (Port("y", np.dtype(np.float32), merged),),
    )  # fmt: skip
    rewritten = interleave_by_transpose(graph)
    assert [n.op for n in rewritten.nodes] == ["Reshape", "Transpose", "Reshape"]
    x = np.arange(math.prod(shape), dtype=np.float32).reshape(shape)
    np.testing.assert_array_equal(run(rewritten, x)[0], run(graph, x)[0])


def _altered(graph: Graph, **change: NDArray[Any]) -> Graph:
    return graph.with_(constants={**graph.constants, **change})


def test_tensorrt_refuses_other_grids(base: Graph, mobile: Graph) -> None:
    with pytest.raises(EdgeposeError, match="zero-point uint8"):
        check_dialect(mobile)
    zero = _altered(base, **{"relu.q.zero_point": np.array(3, np.int8)})
    with pytest.raises(EdgeposeError, match=r"relu\.q: zero-point"):
        to_tensorrt(zero)
    scale = _altered(base, **{"relu.q.scale": np.array(0, np.float32)})
    with pytest.raises(EdgeposeError, match=r"relu\.q.*scale is not positive"):
        to_tensorrt(scale)


# ONNX Runtime


def test_unsigned_activations_are_the_same_grid(base: Graph, images: Images) -> None:
    unsigned = ort_dialect.unsigned_activations(base)
    without_relu = ort_dialect.drop_redundant_relus(unsigned)
    moved = ort_dialect.move_as_integers(without_relu)
    assert not any(node.op == "Relu" for node in moved.nodes)
    for graph in (unsigned, without_relu, moved):
        np.testing.assert_array_equal(run(graph, images)[0], run(base, images)[0])


def test_refined_tensors_keep_their_old_values_and_range(base: Graph, images: Images) -> None:
    unsigned = ort_dialect.unsigned_activations(base)
    refined = ort_dialect.refine_unsigned(unsigned)
    halved = 0
    for node in (n for n in refined.nodes if n.op == "QuantizeLinear"):
        old = float(unsigned.constants[node.inputs[1]])
        new = float(refined.constants[node.inputs[1]])
        zero = int(refined.constants[node.inputs[2]])
        assert new == (old / 2 if zero == 0 else old)
        assert zero == 128 or 255 * new == pytest.approx(127.5 * old)
        halved += zero == 0
    assert halved == 7  # every ReLU
    exact = run(float_graph_of(base), images)[0]
    assert relative(run(refined, images)[0], exact) < relative(run(base, images)[0], exact)


def test_a_trained_grid_is_kept(base: Graph, images: Images) -> None:
    """Nothing is finer than what the network was trained on: every scale is one of the graph's."""
    kept = to_onnxruntime(base, trained=True)
    scales = {float(base.constants[n.inputs[1]]) for n in base.nodes if n.op == "QuantizeLinear"}
    found = {float(kept.constants[n.inputs[1]]) for n in kept.nodes if n.op == "QuantizeLinear"}
    assert found <= scales
    exact = run(base, images)[0]
    trained = run(kept, images, optimise=True)[0]
    refined = run(to_onnxruntime(base, trained=False), images, optimise=True)[0]
    assert relative(trained, exact) < relative(refined, exact)
    assert integer_mac_share(to_bytes(kept)).share > 0.95


def float_graph_of(graph: Graph) -> Graph:
    """`graph` with its activations' Q/DQ pairs taken out, weights as they are."""
    gone = {
        node.output: graph.producers[node.inputs[0]].inputs[0]
        for node in graph.nodes
        if node.op == "DequantizeLinear" and node.inputs[0] not in graph.constants
    }
    return graph.with_(nodes=replace_inputs(graph.nodes, gone))


def test_what_never_is_negative_never_is(base: Graph, images: Images) -> None:
    claimed = sorted(never_negative(base))
    floats = [n.output for n in base.nodes if n.output in claimed and n.op != "QuantizeLinear"]
    outputs = tuple(Port(name, np.dtype(np.float32), ("?",) * 4) for name in floats)
    probe = base.with_(outputs=outputs)
    assert len(floats) >= 7
    assert not {"image.dq", "conv1", "layer1.0.conv2.dq"} & set(claimed)
    assert all(values.min() >= 0 for values in run(probe, -images))


def test_every_convolution_but_the_head_is_an_integer_kernel(mobile: Graph) -> None:
    share = integer_mac_share(to_bytes(mobile))
    assert share.share > 0.95
    assert [name.split()[0] for name in share.float_nodes] == ["final_layer"]
    assert set(share.other_float) <= {"Transpose", "Reshape", "Slice"}
    executed = onnx.load_from_string(optimized(to_bytes(mobile), "onnx"))
    kinds = Counter(node.op_type for node in executed.graph.node)
    assert (kinds["QLinearConv"], kinds["QLinearAdd"], kinds["Conv"]) == (8, 2, 1)
    assert not kinds["Add"] + kinds["Relu"] + kinds["FusedConv"]


def test_symmetric_int8_would_stay_in_float(base: Graph) -> None:
    """Why there is a dialect: the same grid in int8 leaves half of the work in float."""
    assert integer_mac_share(to_bytes(base)).share < 0.6


def test_integer_kernels_stay_within_a_step(tiny: PoseModel, base: Graph, images: Images) -> None:
    """conv1 and pooling alone: integer kernels differ from exact arithmetic by rounding only."""
    first = next(n for n in base.nodes if n.op == "MaxPool")
    outputs = (Port(first.output, np.dtype(np.float32), ("batch", 16, 16, 16)),)
    stem = base.with_(outputs=outputs)
    scale = float(base.constants["relu.q.scale"])
    refined = ort_dialect.refine_unsigned(ort_dialect.unsigned_activations(stem))
    exact = run(refined, images)[0]
    integer = run(to_onnxruntime(stem, trained=False), images, optimise=True)[0]
    steps = np.abs(exact - integer) / (scale / 2)
    assert steps.max() < 1.01
    assert (steps > 0.5).mean() < 0.01


def test_ort_dialect_agrees_with_torch(
    tiny: PoseModel,
    mobile: Graph,
    images: Images,
    torch_int8: Callable[[Images], Images],
) -> None:
    """A rounding that falls the other way early changes those that follow: two INT8 networks differ by
    about as much as each differs from the float network."""
    exact = run(float_graph(tiny), images)[0]
    expected, found = torch_int8(images), run(mobile, images, optimise=True)[0]
    noise = relative(expected, exact)
    assert relative(found, exact) < noise  # a finer grid
    assert relative(found, expected) < 1.5 * noise


def test_macs_are_those_that_torch_counts(tiny_float: PoseModel) -> None:
    network = deploy_form(tiny_float).module()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 3, 64, 64))
    share = integer_mac_share(to_bytes(float_graph(tiny_float)))
    assert share.share == 0
    assert 2 * share.total_macs == counter.get_total_flops()


def test_a_bias_beyond_the_accumulator_is_refused(base: Graph) -> None:
    huge = _altered(base, **{"conv1.bias": np.full(16, 1e9, np.float32)})
    with pytest.raises(EdgeposeError, match="bias of conv1"):
        to_onnxruntime(huge, trained=False)


# Concat of a tensor that can be negative with one that cannot


def _two_branches(*, relu: bool) -> Graph:
    """Concat(q(x), q(relu(x))) on one grid, into a convolution."""
    f32, pair = np.dtype(np.float32), ["scale", "zero"]
    nodes = [
        Node("Relu", ["x"], ["r"], {}, "r"),
        Node("QuantizeLinear", ["r", *pair], ["rq"], {}, "rq"),
        Node("DequantizeLinear", ["rq", *pair], ["rd"], {}, "rd"),
        Node("QuantizeLinear", ["r" if relu else "x", *pair], ["xq"], {}, "xq"),
        Node("DequantizeLinear", ["xq", *pair], ["xd"], {}, "xd"),
        Node("Concat", ["rd", "xd"], ["c"], {"axis": 1}, "c"),
        Node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], {"axis": 0}, "wd"),
        Node("Conv", ["c", "wd"], ["y"], {}, "y"),
    ]
    constants = {
        "scale": np.array(0.125, np.float32),
        "zero": np.array(0, np.int8),
        "w": np.arange(-8, 8, dtype=np.int8).reshape(2, 8, 1, 1),
        "ws": np.array([0.5, 0.25], np.float32),
        "wz": np.zeros(2, np.int8),
    }
    return canonical(
        Graph(
            tuple(nodes),
            constants,
            (Port("x", f32, (1, 4, 3, 3)),),
            (Port("y", f32, (1, 2, 3, 3)),),
        )
    )


@pytest.mark.parametrize(("relu", "zero"), [(True, 0), (False, 128)])
def test_what_meets_in_a_concat_has_one_zero_point(relu: bool, zero: int) -> None:
    graph = _two_branches(relu=relu)
    converted = to_onnxruntime(graph, trained=False)
    zeros = {n.inputs[2] for n in converted.nodes if n.op == "QuantizeLinear"}
    assert {int(converted.constants[name]) for name in zeros} == {zero}
    x = (
        np.random.default_rng(0).integers(-70, 70, (1, 4, 3, 3)).astype(np.float32) / 8
    )  # on the grid
    np.testing.assert_array_equal(run(converted, x)[0], run(graph, x)[0])
    concat = next(n for n in converted.nodes if n.op == "Concat")
    assert all(converted.producers[name].op == "QuantizeLinear" for name in concat.inputs)


# Passes and formats


def test_merged_slices_cut_the_same() -> None:
    f32 = np.dtype(np.float32)
    constants = {
        "s0": np.array([1]), "e0": np.array([-1]), "a0": np.array([2]), "one": np.array([1]),
        "s1": np.array([0]), "e1": np.array([np.iinfo(np.int64).max]), "a1": np.array([3]),
        "s2": np.array([2]), "e2": np.array([4]), "a2": np.array([1]),
    }  # fmt: skip
    nodes = [
        Node("Slice", ["x", "s0", "e0", "a0", "one"], ["u"], {}, "u"),
        Node("Slice", ["u", "s1", "e1", "a1", "one"], ["v"], {}, "v"),
        Node("Slice", ["v", "s2", "e2", "a2", "one"], ["y"], {}, "y"),
    ]
    graph = Graph(
        tuple(nodes), constants, (Port("x", f32, (1, 5, 6, 7)),), (Port("y", f32, (1, 2, 4, 7)),)
    )
    merged = merge_slices(graph)
    assert [n.op for n in merged.nodes] == ["Slice"]
    x = np.arange(210, dtype=np.float32).reshape(1, 5, 6, 7)
    np.testing.assert_array_equal(run(merged, x)[0], x[:, 2:4, 1:-1])
    np.testing.assert_array_equal(run(graph, x)[0], x[:, 2:4, 1:-1])


def test_reading_and_writing_is_the_identity(base: Graph, mobile: Graph) -> None:
    for graph in (base, mobile, fix_batch(base, 2)):
        data = to_bytes(graph)
        assert to_bytes(from_model(onnx.load_from_string(data))) == data


def test_foreign_onnx_is_refused_by_name(mobile: Graph) -> None:
    executed = onnx.load_from_string(optimized(to_bytes(mobile), "onnx"))
    with pytest.raises(EdgeposeError, match=r"com\.microsoft\.\w+, not a standard operator"):
        from_model(executed)
    model = to_model(mobile)
    model.graph.initializer[0].data_location = onnx.TensorProto.EXTERNAL
    with pytest.raises(EdgeposeError, match="in another file"):
        from_model(model)


def test_ort_format_is_ordered_and_the_same_model(mobile: Graph, images: Images) -> None:
    onnx_model = to_bytes(mobile)
    raw = [optimized(onnx_model, "ort") for _ in range(3)]
    first = to_ort_format(onnx_model)
    assert {ordered(data) for data in raw} == {first}
    assert ordered(first) == first
    np.testing.assert_array_equal(
        run(first, images, optimise=True)[0], run(raw[0], images, optimise=True)[0]
    )
    np.testing.assert_array_equal(
        run(first, images, optimise=True)[0], run(onnx_model, images, optimise=True)[0]
    )


def test_required_operators_are_those_that_onnxruntimes_tool_finds(
    mobile: Graph, tmp_path: Path
) -> None:
    from onnxruntime.tools.ort_format_model import create_config_from_models

    data = to_ort_format(to_bytes(mobile))
    (tmp_path / "model.ort").write_bytes(data)
    create_config_from_models([tmp_path / "model.ort"], tmp_path / "reference.config", False)
    reference = (tmp_path / "reference.config").read_text().splitlines()
    ours = required_operators(data).decode().splitlines()
    assert sorted(ours[1:]) == sorted(line for line in reference if not line.startswith("#"))
    assert "nchwc" not in "".join(ours)  # that layout exists on x86 only


@pytest.mark.parametrize("data", [b"", b"\x00" * 64, b"\x08\x00\x00\x00ONNX" + b"\x00" * 64])
def test_what_is_no_ort_format_is_refused(data: bytes) -> None:
    with pytest.raises(EdgeposeError, match="no ORT-format model"):
        ordered(data)


def test_dynamic_int8_covers_every_convolution(tiny_float: PoseModel, images: Images) -> None:
    graph = float_graph(tiny_float)
    dynamic = to_dynamic(graph)
    share = integer_mac_share(to_bytes(dynamic))
    assert share.share == 1
    assert relative(run(dynamic, images)[0], run(graph, images)[0]) < 0.05
    kept = to_dynamic(graph, float_layers=frozenset(["conv1"]))
    assert [n.split()[0] for n in integer_mac_share(to_bytes(kept)).float_nodes] == ["conv1"]


def test_half_weights_are_rounded_once(tiny_float: PoseModel, images: Images) -> None:
    graph = float_graph(tiny_float)
    half = half_weights(graph)
    assert len(to_bytes(half)) < 0.6 * len(to_bytes(graph))
    assert relative(run(half, images)[0], run(graph, images)[0]) < 2e-3


def test_a_network_beyond_the_dialects_is_named() -> None:
    class Strided(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x[:, :, ::2, 1:][:, :, :, 1:]

    class Mixing(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.reshape(1, -1, 32, 32)

    graph = export_module(Strided(), input_hw=(32, 32))
    with pytest.raises(EdgeposeError, match="every n-th value"):
        canonical(graph)
    with pytest.raises(EdgeposeError, match="mixes the images"):
        free_batch(canonical(export_module(Mixing(), input_hw=(32, 32))))


def test_upsampling_runs_for_any_batch() -> None:
    """HRNet's nearest upsampling: by a factor, not to a size that holds the example's batch."""
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, stride=2, padding=1),
        torch.nn.Upsample(scale_factor=4.0, mode="nearest"),
        torch.nn.ReLU(),
    ).eval()
    graph = free_batch(canonical(export_module(network, input_hw=(32, 64))))
    x = torch.randn(5, 3, 32, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = network(x).numpy()
    np.testing.assert_allclose(run(graph, x.numpy())[0], expected, atol=1e-5)
