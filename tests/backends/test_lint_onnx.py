"""Lint of ONNX files: a clean network in TensorRT's dialect, and what each way to break it is called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgepose.backends.lint import onnx_mobile, tensorrt
from edgepose.backends.lint.findings import RULES, Finding, errors, lines
from edgepose.errors import EdgeposeError
from edgepose.target import Target, load_target

XAVIER = load_target("jetson-xavier")
ANDROID = load_target("onnx-android")
DLA = load_target("jetson-xavier", overrides=["limits.dla=true"])
WIDTH, SIDE, JOINTS = 32, 16, 16


class Net:
    """Image -> Conv, ReLU -> Conv -> sum with the first, ReLU -> head, every edge but the output INT8.

    Methods add nodes and give back the output's name, so that a test can build its own break in.
    """

    def __init__(self, *, batch: int | str = 1, width: int = WIDTH) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}
        self.shape: list[Any] = [batch, 3, SIDE, SIDE]
        self.out_shape: list[Any] = [batch, JOINTS, SIDE, SIDE]
        self.width, self.opset, self.ir = width, 17, 8

    def add(self, op: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        name = name or f"n{len(self.nodes)}"
        node = helper.make_node(op, inputs, [name], name=name, **attributes)
        self.nodes.append(node)
        return name

    def constant(self, name: str, value: Any, dtype: Any = np.float32) -> str:
        self.constants[name] = np.array(value, dtype)
        return name

    def pair(
        self, x: str, *, scale: Any = 0.1, zero: Any = 0, dtype: Any = np.int8, **axis: int
    ) -> str:
        grid = [self.constant(f"{x}.scale", scale), self.constant(f"{x}.zero", zero, dtype)]
        quantized = self.add("QuantizeLinear", x, *grid, name=f"{x}.q", **axis)
        return self.add("DequantizeLinear", quantized, *grid, name=f"{x}.dq", **axis)

    def conv(
        self, x: str, channels: int, inputs: int, *, name: str, int8: bool = True, op: str = "Conv",
        **attributes: Any,
    ) -> str:  # fmt: skip
        shape = (channels, inputs, 3, 3) if op == "Conv" else (inputs, channels, 4, 4)
        weight = self.constant(f"{name}.weight", np.ones(shape))
        if int8:
            axis = 0 if op == "Conv" else 1
            weight = self.pair(weight, scale=[0.1] * channels, zero=[0] * channels, axis=axis)
        bias = self.constant(f"{name}.bias", np.zeros(channels))
        attributes.setdefault("pads", [1, 1, 1, 1])
        return self.add(op, x, weight, bias, name=name, **attributes)

    def trunk(self) -> str:
        """Up to the sum's ReLU, quantized."""
        width = self.width
        first = self.add(
            "Relu", self.conv(self.pair("image"), width, 3, name="first"), name="relu1"
        )
        a = self.pair(first)
        b = self.pair(self.conv(a, width, width, name="second"))
        return self.pair(self.add("Relu", self.add("Add", a, b, name="sum"), name="relu2"))

    def head(self, x: str) -> bytes:
        self.conv(x, JOINTS, self.width, name="heatmaps")
        return self.bytes()

    def model(self) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes, "net",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, self.shape)],
            [helper.make_tensor_value_info("heatmaps", TensorProto.FLOAT, self.out_shape)],
            [numpy_helper.from_array(value, name) for name, value in self.constants.items()],
        )  # fmt: skip
        opsets = [helper.make_opsetid("", self.opset), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=self.ir)

    def bytes(self) -> bytes:
        data: bytes = self.model().SerializeToString()
        return data


def clean(**options: Any) -> Net:
    net = Net(**options)
    net.head(net.trunk())
    return net


def node(net: Net, name: str) -> onnx.NodeProto:
    return next(n for n in net.nodes if n.name == name)


def opset_18(net: Net) -> None:
    net.opset = 18


def ir_version(net: Net) -> None:
    net.ir = 11


def zero_point_3(net: Net) -> None:
    net.constant("relu1.zero", 3, np.int8)


def uint8_zero_point(net: Net) -> None:
    net.constant("relu1.zero", 0, np.uint8)


def two_inputs(net: Net) -> None:
    del node(net, "relu1.dq").input[2]


def zero_scale(net: Net) -> None:
    net.constant("relu1.scale", 0.0)


def nan_scale(net: Net) -> None:
    net.constant("relu1.scale", np.nan)


def shared_through_identity(net: Net) -> None:
    net.nodes.insert(0, helper.make_node("Identity", ["relu1.zero"], ["alias"], name="alias"))
    node(net, "relu2.dq").input[2] = "alias"


def per_axis_activation(net: Net) -> None:
    net.constant("relu1.scale", [0.1] * WIDTH)
    net.constant("relu1.zero", [0] * WIDTH, np.int8)


def too_few_scales(net: Net) -> None:
    net.constant("second.weight.scale", [0.1] * 8)
    net.constant("second.weight.zero", [0] * 8, np.int8)


def int8_weights(net: Net) -> None:
    net.constant("stored", np.ones((WIDTH, WIDTH, 3, 3)), np.int8)
    node(net, "second.weight.dq").input[0] = "stored"


def int32_bias(net: Net) -> None:
    net.constant("stored", np.ones(WIDTH), np.int32)
    net.constant("stored.zero", np.zeros(WIDTH), np.int32)
    pair = ["stored", "second.weight.scale", "stored.zero"]
    net.nodes.insert(0, helper.make_node("DequantizeLinear", pair, ["b"], name="b", axis=0))
    node(net, "second").input[2] = "b"


def conv_integer(net: Net) -> None:
    net.constant("w", np.ones((8, 3, 3, 3)), np.int8)
    net.nodes[:0] = [
        helper.make_node("DynamicQuantizeLinear", ["image"], ["q", "s", "z"], name="ranges"),
        helper.make_node("ConvInteger", ["q", "w", "z"], ["sums"], name="integer"),
    ]


def qlinear_conv(net: Net) -> None:
    inputs = ["relu1.q", "relu1.scale", "relu1.zero", "w", "relu1.scale", "relu1.zero"]
    net.constant("w", np.ones((8, WIDTH, 3, 3)), np.int8)
    net.nodes.append(
        helper.make_node("QLinearConv", [*inputs, "relu1.scale", "relu1.zero"], ["o"], name="qlc")
    )


def qlinear_add(net: Net) -> None:
    grid = ["relu1.q", "relu1.scale", "relu1.zero"]
    net.nodes.append(
        helper.make_node(
            "QLinearAdd", [*grid, *grid, *grid[1:]], ["o"], name="qla", domain="com.microsoft"
        )
    )


def unknown_operator(net: Net) -> None:
    net.nodes.append(helper.make_node("Det", ["image"], ["o"], name="det"))


def indices(net: Net) -> None:
    net.nodes.append(
        helper.make_node("MaxPool", ["image"], ["o", "i"], name="pool", kernel_shape=[2, 2])
    )


def quantized_output(net: Net) -> None:
    node(net, "heatmaps").output[0] = "raw"
    net.pair("raw")
    node(net, "raw.dq").output[0] = "heatmaps"


def missing_residual_scale(net: Net) -> None:
    node(net, "sum").input[1] = "second"


def float_conv(net: Net) -> None:
    node(net, "second").input[1] = "second.weight"


def channels_last(net: Net) -> None:
    net.shape = [1, SIDE, SIDE, 3]


def dynamic_batch(net: Net) -> None:
    net.shape[0] = net.out_shape[0] = "batch"


BREAKS: list[tuple[Callable[[Net], None], str, str]] = [
    (opset_18, "opset", ""),
    (ir_version, "ir-version", ""),
    (zero_point_3, "qdq-zero-point", "relu1.q"),
    (uint8_zero_point, "qdq-zero-point-type", "relu1.q"),
    (two_inputs, "qdq-two-inputs", "relu1.dq"),
    (zero_scale, "qdq-scale", "relu1.q"),
    (nan_scale, "qdq-scale", "relu1.dq"),
    (shared_through_identity, "qdq-scale-source", "relu2.dq"),
    (per_axis_activation, "qdq-per-axis-activation", "relu1.q"),
    (too_few_scales, "qdq-per-axis-count", "second.weight.q"),
    (int8_weights, "int8-weights", "second.weight.dq"),
    (int32_bias, "int32-bias", "b"),
    (conv_integer, "operator", "integer"),
    (conv_integer, "operator", "ranges"),
    (qlinear_conv, "operator", "qlc"),
    (qlinear_conv, "int8-direct", "qlc"),
    (qlinear_add, "operator", "qla"),
    (unknown_operator, "operator", "det"),
    (indices, "operator-attribute", "pool"),
    (quantized_output, "qdq-output", "raw.dq"),
    (missing_residual_scale, "residual-scale", "sum"),
    (float_conv, "float-island", "second"),
    (channels_last, "input-layout", "image"),
    (dynamic_batch, "dynamic-shape", "image"),
]


def by_rule(findings: list[Finding], rule: str) -> list[Finding]:
    return [finding for finding in findings if finding.rule == rule]


def test_the_unbroken_network_is_clean() -> None:
    data = clean().bytes()
    onnx.checker.check_model(onnx.load_from_string(data), full_check=True)
    assert tensorrt.lint(data, XAVIER) == []


@pytest.mark.parametrize(
    ("break_", "rule", "at"), BREAKS, ids=[f"{b.__name__}-{r}" for b, r, _ in BREAKS]
)
def test_each_break_is_named(break_: Callable[[Net], None], rule: str, at: str) -> None:
    net = clean()
    break_(net)
    findings = tensorrt.lint(net.bytes(), XAVIER)
    assert at in [finding.node for finding in by_rule(findings, rule)]
    assert all(finding.reason and finding.fix for finding in findings)
    if RULES[rule].level == "error":
        assert errors(findings)


def test_a_missing_scale_says_which_input_and_hides_nothing_else() -> None:
    net = clean()
    missing_residual_scale(net)
    (finding,) = tensorrt.lint(net.bytes(), XAVIER)
    assert finding.reason == "the input from second is not quantized, the other one is"


@pytest.mark.parametrize(
    ("op", "attributes"),
    [("DepthToSpace", {"blocksize": 2}), ("Softmax", {"axis": 1}), ("Resize", {}), ("ArgMax", {})],
)
def test_operators_that_run_in_float_only_are_found_inside_int8(op: str, attributes: Any) -> None:
    net = Net()
    more = [net.constant("roi", []), net.constant("sizes", [1, 1, 2, 2])] if op == "Resize" else []
    moved = net.pair(net.add(op, net.trunk(), *more, name="inside", **attributes))
    findings = tensorrt.lint(net.head(moved), XAVIER)
    assert [f.node for f in by_rule(findings, "int8-operator")] == ["inside"]
    outside = Net()
    outside.head(outside.trunk())
    node(outside, "heatmaps").output[0] = "raw"
    outside.nodes.append(
        helper.make_node(op, ["raw", *more], ["heatmaps"], name="outside", **attributes)
    )
    outside.constants |= {key: net.constants[key] for key in more}
    assert not by_rule(tensorrt.lint(outside.bytes(), XAVIER), "int8-operator")


def test_a_cubic_resize_is_refused() -> None:
    net = clean()
    net.nodes.append(helper.make_node("Resize", ["image"], ["o"], name="cubic", mode="cubic"))
    assert by_rule(tensorrt.lint(net.bytes(), XAVIER), "operator-attribute")[0].node == "cubic"


def test_norm_and_activation_that_were_not_folded_are_float_islands() -> None:
    net = Net()
    conv = net.conv(net.trunk(), WIDTH, WIDTH, name="conv")
    statistics = [net.constant(f"bn.{k}", np.ones(WIDTH)) for k in ("w", "b", "m", "v")]
    norm = net.add("BatchNormalization", conv, *statistics, name="norm")
    silu = net.add("Mul", norm, net.add("Sigmoid", norm, name="gate"), name="silu")
    findings = tensorrt.lint(net.head(net.pair(silu)), XAVIER)
    assert [f.node for f in by_rule(findings, "unfolded-norm")] == ["norm"]
    assert {f.node for f in by_rule(findings, "float-island")} == {"conv", "gate", "silu"}


def test_a_float_deconvolution_inside_int8() -> None:
    net = Net()
    up = net.conv(
        net.trunk(), WIDTH, WIDTH, name="up", op="ConvTranspose", int8=False, strides=[2, 2]
    )
    data = net.head(net.pair(net.add("Relu", up)))
    for rules, target in ((tensorrt, XAVIER), (onnx_mobile, ANDROID)):
        assert "up" in [f.node for f in by_rule(rules.lint(data, target), "deconvolution-float")]


@pytest.mark.parametrize(("width", "level"), [(20, "warning"), (40, "note"), (64, None)])
def test_channels_that_are_padded(width: int, level: str | None) -> None:
    found = by_rule(tensorrt.lint(clean(width=width).bytes(), XAVIER), "channels")
    assert {f.level for f in found} == ({level} if level else set())
    if level == "warning":
        assert {f.node for f in found} == {
            "first",
            "second",
        }  # not the head: its channels are joints
        assert "20 INT8 channels" in found[0].reason
    if level == "note":
        assert found[0].reason.startswith("2 INT8 convolutions are padded to multiples of 32 ")


def test_a_single_padded_channel_count_reads_as_one() -> None:
    net = Net(width=WIDTH)
    wide = net.pair(net.add("Relu", net.conv(net.trunk(), 40, WIDTH, name="third"), name="relu3"))
    net.conv(wide, JOINTS, 40, name="heatmaps")
    (found,) = by_rule(tensorrt.lint(net.bytes(), XAVIER), "channels")
    assert found.reason == (
        "one INT8 convolution is padded to a multiple of 32 channels: third from 40"
    )


def deconvolution(**attributes: Any) -> bytes:
    net = Net(batch=1)
    x = net.conv("image", WIDTH, 3, name="first", int8=False)
    net.conv(
        x,
        JOINTS,
        WIDTH,
        name="heatmaps",
        op="ConvTranspose",
        int8=False,
        strides=[2, 2],
        **attributes,
    )
    return net.bytes()


def test_dla_takes_neither_pairs_nor_open_batch_nor_padded_deconvolutions() -> None:
    pairs = by_rule(tensorrt.lint(clean().bytes(), DLA), "dla-qdq")
    assert len(pairs) == 1
    assert "14 Q/DQ nodes" in pairs[0].reason
    assert by_rule(tensorrt.lint(clean(batch="batch").bytes(), DLA), "dla-dynamic")
    for broken in (
        {"pads": [1, 1, 1, 1]},
        {"pads": [0] * 4, "group": 2},
        {"auto_pad": "SAME_UPPER"},
        {"pads": [0] * 4, "dilations": [2, 2]},
    ):
        (found,) = errors(tensorrt.lint(deconvolution(**broken), DLA))
        assert (found.rule, found.node) == ("dla-deconvolution", "heatmaps")
        assert not errors(tensorrt.lint(deconvolution(**broken), XAVIER))
    assert not errors(tensorrt.lint(deconvolution(pads=[0, 0, 0, 0]), DLA))


def test_a_target_that_names_no_limits_says_what_was_not_checked() -> None:
    bare = Target(name="bare", runtime="tensorrt", precision="int8")
    findings = tensorrt.lint(clean().bytes(), bare)
    assert [f.rule for f in findings] == ["not-checked", "not-checked"]
    assert not errors(findings)


# ---- ONNX Runtime -----------------------------------------------------------------------------


def test_a_relu_in_front_of_int8_keeps_its_convolution_in_float() -> None:
    findings = onnx_mobile.lint(clean().bytes(), ANDROID)
    assert {f.node for f in by_rule(findings, "float-relu")} == {"first", "sum"}
    net = clean()
    for name in ("relu1", "relu2"):
        net.constant(f"{name}.zero", -128, np.int8)
    assert not by_rule(onnx_mobile.lint(net.bytes(), ANDROID), "float-relu")


@pytest.mark.parametrize(
    ("break_", "rule", "at"),
    [
        (opset_18, "opset", ""),
        (ir_version, "ir-version", ""),
        (zero_scale, "qdq-scale", "relu1.q"),
        (too_few_scales, "qdq-per-axis-count", "second.weight.q"),
        (missing_residual_scale, "residual-scale", "sum"),
        (float_conv, "float-island", "second"),
        (channels_last, "input-layout", "image"),
        (per_axis_activation, "qdq-per-axis-activation", "relu1.q"),
    ],
)
def test_what_onnx_runtime_refuses_too(break_: Callable[[Net], None], rule: str, at: str) -> None:
    net = clean()
    break_(net)
    assert at in [f.node for f in by_rule(onnx_mobile.lint(net.bytes(), ANDROID), rule)]


def test_onnx_runtime_has_what_tensorrt_has_not() -> None:
    for break_ in (
        conv_integer,
        qlinear_conv,
        qlinear_add,
        dynamic_batch,
        two_inputs,
        unknown_operator,
    ):
        net = clean()
        break_(net)
        assert not errors(onnx_mobile.lint(net.bytes(), ANDROID)), break_.__name__


def test_operators_that_onnx_runtime_has_not() -> None:
    net = clean()
    for op, domain in (("Conv", "com.microsoft.nchwc"), ("Fancy", "my.own"), ("Made", "")):
        net.nodes.append(helper.make_node(op, ["image"], [op], name=f"x{op}", domain=domain))
    findings = errors(onnx_mobile.lint(net.bytes(), ANDROID))
    assert [(f.rule, f.node) for f in findings] == [
        ("x86-only", "xConv"), ("operator", "xFancy"), ("operator", "xMade"),
    ]  # fmt: skip


def test_weights_off_centre_and_of_another_type_than_their_zero_point() -> None:
    net = clean()
    int8_weights(net)
    net.constant("second.weight.zero", [3] * WIDTH, np.int8)
    assert by_rule(onnx_mobile.lint(net.bytes(), ANDROID), "qdq-zero-point")
    net.constant("second.weight.zero", [0] * WIDTH, np.uint8)
    assert by_rule(onnx_mobile.lint(net.bytes(), ANDROID), "qdq-zero-point-type")


# ---- what cannot be read ----------------------------------------------------------------------


def test_models_that_hide_something_are_refused_by_name() -> None:
    external = clean().model()
    external.graph.initializer[0].data_location = TensorProto.EXTERNAL
    control = clean()
    inner = helper.make_graph([], "inner", [], [])
    control.nodes.append(
        helper.make_node(
            "If", ["image"], ["o"], name="choice", then_branch=inner, else_branch=inner
        )
    )
    dangling = clean()
    node(dangling, "second").input[0] = "nowhere"
    twice = clean()
    node(twice, "second").output[0] = "first"
    function = clean().model()
    function.functions.add(name="inner_function")
    for model, what in (
        (external, "in another file"), (control.model(), "choice"), (dangling.model(), "nowhere"),
        (twice.model(), "a second time"),
        (function, "inner_function"), (onnx.ModelProto(), "lacks nodes"),
    ):  # fmt: skip
        with pytest.raises(EdgeposeError, match=what):
            tensorrt.lint(model.SerializeToString(), XAVIER)


WHOLE = clean(width=8).bytes()


@given(
    st.one_of(
        st.binary(max_size=300),
        st.integers(0, len(WHOLE) - 1).map(lambda n: WHOLE[:n]),
        st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)).map(
            lambda at: WHOLE[: at[0]] + bytes([at[1]]) + WHOLE[at[0] + 1 :]
        ),
        st.binary(max_size=60).map(lambda tail: b"\x1c\x00\x00\x00ORTM" + tail),
    )
)
@settings(max_examples=150, deadline=None)
def test_damaged_files_get_findings_or_one_clear_message(data: bytes) -> None:
    for rules, target in ((tensorrt, XAVIER), (onnx_mobile, ANDROID)):
        refused, findings = None, []
        try:
            findings = rules.lint(data, target)
        except EdgeposeError as error:
            refused = error
        assert refused is None or (refused.problem and refused.fix)
        assert all(finding.rule in RULES for finding in findings)


def test_the_text_gathers_what_is_alike() -> None:
    same = [Finding("opset", "error", f"n{i}", "too new", "older") for i in range(6)]
    text = lines(same)
    assert text[0] == f"error opset: {RULES['opset'].what}"
    assert text[-2:] == ["  and 2 more (--json lists all)", "  fix: older"]
