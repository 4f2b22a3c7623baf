"""Each MIL operator against ONNX Runtime or numpy, on random shapes and attributes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

import edgepose.backends.mil.interpreter  # noqa: F401  (fills the table of operators)
from edgepose.backends.mil.registry import OPERATORS
from edgepose.errors import EdgeposeError

FEW = settings(max_examples=25, deadline=None)
SEED = st.integers(0, 2**32 - 1)


def run(kind: str, **arguments: Any) -> np.ndarray:
    tensors = {
        k: torch.from_numpy(np.ascontiguousarray(v)) if isinstance(v, np.ndarray) else v
        for k, v in arguments.items()
    }
    with torch.inference_mode():
        return OPERATORS[kind].function(**tensors).numpy()


def onnx_node(
    op_type: str,
    inputs: dict[str, np.ndarray],
    *,
    opset: int = 17,
    **attributes: Any,
) -> np.ndarray:
    """What ONNX Runtime computes for one node; "" names an absent optional input."""
    feeds = {k: v for k, v in inputs.items() if not k.startswith("skip")}
    names = ["" if k.startswith("skip") else k for k in inputs]
    node = helper.make_node(op_type, names, ["out"], **attributes)
    initializers = [numpy_helper.from_array(v, k) for k, v in list(feeds.items())[1:]]
    first, value = next(iter(feeds.items()))
    graph = helper.make_graph(
        [node],
        "one",
        [
            helper.make_tensor_value_info(
                first, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape
            )
        ],
        [helper.make_tensor_value_info("out", TensorProto.UNDEFINED, None)],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    model.graph.output[0].ClearField("type")
    session = ort.InferenceSession(model.SerializeToString(), options)
    return session.run(None, {first: value})[0]


def floats(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


@FEW
@given(
    seed=SEED,
    groups=st.sampled_from([1, 1, 2, 4]),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    dilations=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    pad=st.lists(st.integers(0, 3), min_size=4, max_size=4),
    pad_type=st.sampled_from(["custom", "custom", "valid", "same", "same_lower"]),
    size=st.tuples(st.integers(8, 13), st.integers(8, 13)),
    biased=st.booleans(),
)
def test_conv_equals_onnx(
    seed: int,
    groups: int,
    kernel: tuple[int, int],
    strides: tuple[int, int],
    dilations: tuple[int, int],
    pad: list[int],
    pad_type: str,
    size: tuple[int, int],
    biased: bool,
) -> None:
    rng = np.random.default_rng(seed)
    x, weight = floats(rng, 2, 2 * groups, *size), floats(rng, 3 * groups, 2, *kernel)
    bias = floats(rng, 3 * groups)
    top, bottom, left, right = pad
    auto = {"valid": "VALID", "same": "SAME_UPPER", "same_lower": "SAME_LOWER"}
    if pad_type in ("same", "same_lower"):  # ONNX Runtime has no dilated SAME padding
        dilations = (1, 1)
    padding = (
        {"pads": [top, left, bottom, right]}
        if pad_type == "custom"
        else {"auto_pad": auto[pad_type]}
    )
    wanted = onnx_node(
        "Conv",
        {"x": x, "w": weight, **({"b": bias} if biased else {})},
        strides=strides,
        dilations=dilations,
        group=groups,
        **padding,
    )
    got = run(
        "conv",
        x=x,
        weight=weight,
        strides=strides,
        pad_type=pad_type,
        pad=np.array(pad, np.int32),
        dilations=dilations,
        groups=groups,
        **({"bias": bias} if biased else {}),
    )
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)


@FEW
@given(
    seed=SEED,
    groups=st.sampled_from([1, 2]),
    kernel=st.tuples(st.integers(2, 4), st.integers(2, 4)),
    strides=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    pad=st.lists(st.integers(0, 1), min_size=4, max_size=4),
    extra=st.integers(0, 1),
)
def test_conv_transpose_equals_onnx(
    seed: int,
    groups: int,
    kernel: tuple[int, int],
    strides: tuple[int, int],
    pad: list[int],
    extra: int,
) -> None:
    rng = np.random.default_rng(seed)
    x, weight = floats(rng, 1, 2 * groups, 5, 6), floats(rng, 2 * groups, 3, *kernel)
    bias = floats(rng, 3 * groups)
    top, bottom, left, right = pad
    extra = min(extra, min(strides) - 1)
    wanted = onnx_node(
        "ConvTranspose",
        {"x": x, "w": weight, "b": bias},
        strides=strides,
        group=groups,
        pads=[top, left, bottom, right],
        output_padding=[extra, extra],
    )
    got = run(
        "conv_transpose",
        x=x,
        weight=weight,
        bias=bias,
        strides=strides,
        pad_type="custom",
        pad=np.array(pad, np.int32),
        dilations=(1, 1),
        groups=groups,
        output_shape=np.array(wanted.shape, np.int32),
    )
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)


@FEW
@given(
    seed=SEED,
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    pad=st.lists(st.integers(0, 3), min_size=4, max_size=4),
    pad_type=st.sampled_from(["custom", "valid", "same", "same_lower"]),
    size=st.tuples(st.integers(6, 11), st.integers(6, 11)),
)
def test_max_pool_equals_onnx(
    seed: int,
    kernel: tuple[int, int],
    strides: tuple[int, int],
    pad: list[int],
    pad_type: str,
    size: tuple[int, int],
) -> None:
    pad = [min(pad[i], kernel[i // 2] - 1) for i in range(4)]  # ONNX wants pads below the kernel
    strides = (min(strides[0], kernel[0]), min(strides[1], kernel[1]))  # and no gaps with SAME
    x = floats(np.random.default_rng(seed), 2, 3, *size)
    top, bottom, left, right = pad
    auto = {"valid": "VALID", "same": "SAME_UPPER", "same_lower": "SAME_LOWER"}
    padding = (
        {"pads": [top, left, bottom, right]}
        if pad_type == "custom"
        else {"auto_pad": auto[pad_type]}
    )
    wanted = onnx_node("MaxPool", {"x": x}, kernel_shape=kernel, strides=strides, **padding)
    got = run(
        "max_pool", x=x, kernel_sizes=kernel, strides=strides, pad_type=pad_type, pad=tuple(pad)
    )
    np.testing.assert_array_equal(got, wanted)


@FEW
@given(seed=SEED, size=st.integers(6, 12))
def test_max_pool_ceil_mode_equals_onnx(seed: int, size: int) -> None:
    x = floats(np.random.default_rng(seed), 1, 2, size, size)
    wanted = onnx_node(
        "MaxPool", {"x": x}, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4, ceil_mode=1
    )
    got = run(
        "max_pool",
        x=x,
        kernel_sizes=(3, 3),
        strides=(2, 2),
        pad_type="custom",
        pad=(1, 1, 1, 1),
        ceil_mode=True,
    )
    np.testing.assert_array_equal(got, wanted)


@FEW
@given(seed=SEED, epsilon=st.sampled_from([1e-5, 1e-3]))
def test_batch_norm_equals_onnx(seed: int, epsilon: float) -> None:
    rng = np.random.default_rng(seed)
    x, gamma, beta, mean = floats(rng, 2, 5, 4, 3), *(floats(rng, 5) for _ in range(3))
    variance = rng.uniform(0.1, 2, 5).astype(np.float32)
    wanted = onnx_node(
        "BatchNormalization",
        {"x": x, "g": gamma, "b": beta, "m": mean, "v": variance},
        epsilon=epsilon,
    )
    got = run(
        "batch_norm", x=x, mean=mean, variance=variance, gamma=gamma, beta=beta, epsilon=epsilon
    )
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)


@FEW
@given(
    seed=SEED,
    pads=st.lists(st.integers(0, 2), min_size=8, max_size=8),
    axes=st.integers(1, 4),
    mode=st.sampled_from(["constant", "reflect", "replicate"]),
)
def test_pad_equals_onnx(seed: int, pads: list[int], axes: int, mode: str) -> None:
    x = floats(np.random.default_rng(seed), 2, 3, 5, 4)
    if mode != "constant":
        axes, pads = 2, [0, 0, 0, 0, *pads[4:]]
    pads = [0] * (8 - 2 * axes) + pads[8 - 2 * axes :]
    value = np.float32(0.75 if mode == "constant" else 0.0)
    wanted = onnx_node(
        "Pad",
        {"x": x, "p": np.array(pads[0::2] + pads[1::2], np.int64), "c": np.array(value)},
        mode={"replicate": "edge"}.get(mode, mode),
    )
    got = run("pad", x=x, pad=np.array(pads[-2 * axes :], np.int32), mode=mode, constant_val=value)
    np.testing.assert_array_equal(got, wanted)


@FEW
@given(seed=SEED, factor=st.integers(1, 4), channels=st.integers(1, 3))
def test_pixel_shuffle_equals_onnx(seed: int, factor: int, channels: int) -> None:
    x = floats(np.random.default_rng(seed), 2, channels * factor**2, 3, 4)
    wanted = onnx_node("DepthToSpace", {"x": x}, blocksize=factor, mode="CRD")
    np.testing.assert_array_equal(run("pixel_shuffle", x=x, upscale_factor=factor), wanted)


@FEW
@given(data=st.data(), seed=SEED)
def test_slice_by_index_equals_onnx(data: st.DataObject, seed: int) -> None:
    x = floats(np.random.default_rng(seed), 2, 6, 5, 7)
    begin = [data.draw(st.integers(-n, n - 1)) for n in x.shape]
    end = [data.draw(st.integers(b % n + 1, n)) for b, n in zip(begin, x.shape, strict=True)]
    stride = [data.draw(st.integers(1, 3)) for _ in x.shape]
    begin_mask = [data.draw(st.booleans()) for _ in x.shape]
    end_mask = [data.draw(st.booleans()) for _ in x.shape]
    starts = [0 if m else b for b, m in zip(begin, begin_mask, strict=True)]
    ends = [n if m else e for e, n, m in zip(end, x.shape, end_mask, strict=True)]
    wanted = onnx_node(
        "Slice",
        {
            "x": x,
            "starts": np.array(starts, np.int64),
            "ends": np.array(ends, np.int64),
            "axes": np.arange(4, dtype=np.int64),
            "steps": np.array(stride, np.int64),
        },
    )
    got = run(
        "slice_by_index",
        x=x,
        begin=np.array(begin, np.int32),
        end=np.array(end, np.int32),
        stride=np.array(stride, np.int32),
        begin_mask=np.array(begin_mask),
        end_mask=np.array(end_mask),
    )
    np.testing.assert_array_equal(got, wanted)


def test_slice_by_index_squeezes_like_an_index() -> None:
    x = floats(np.random.default_rng(0), 2, 6, 5)
    got = run(
        "slice_by_index",
        x=x,
        begin=np.array([0, 3, 1]),
        end=np.array([2, 4, 5]),
        squeeze_mask=np.array([False, True, False]),
    )
    np.testing.assert_array_equal(got, x[:, 3, 1:])


@FEW
@given(seed=SEED, begin=st.integers(0, 3), size=st.integers(-1, 3).filter(bool))
def test_slice_by_size_equals_numpy(seed: int, begin: int, size: int) -> None:
    x = floats(np.random.default_rng(seed), 2, 6, 5)
    got = run("slice_by_size", x=x, begin=np.array([0, begin, 0]), size=np.array([2, size, -1]))
    np.testing.assert_array_equal(got, x[:, begin : None if size == -1 else begin + size])


@FEW
@given(seed=SEED, axis=st.integers(-3, 2), count=st.integers(1, 3))
def test_concat_stack_and_split_equal_numpy(seed: int, axis: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    values = [floats(rng, 2, 3, 4) for _ in range(count)]
    tensors = tuple(torch.from_numpy(v) for v in values)
    np.testing.assert_array_equal(
        run("concat", values=tensors, axis=axis), np.concatenate(values, axis)
    )
    np.testing.assert_array_equal(run("stack", values=tensors, axis=axis), np.stack(values, axis))
    joined = torch.from_numpy(np.concatenate(values, axis))
    for parts in (
        OPERATORS["split"].function(x=joined, axis=axis, num_splits=count),
        OPERATORS["split"].function(
            x=joined, axis=axis, split_sizes=[values[0].shape[axis]] * count
        ),
    ):
        for part, value in zip(parts, values, strict=True):
            np.testing.assert_array_equal(part.numpy(), value)


@FEW
@given(seed=SEED, perm=st.permutations(range(4)))
def test_transpose_and_reshape_equal_numpy(seed: int, perm: list[int]) -> None:
    x = floats(np.random.default_rng(seed), 2, 3, 4, 5)
    np.testing.assert_array_equal(run("transpose", x=x, perm=np.array(perm)), x.transpose(perm))
    np.testing.assert_array_equal(
        run("reshape", x=x, shape=np.array([0, -1, 0, 5])), x.reshape(2, -1, 4, 5)
    )


@FEW
@given(seed=SEED, axes=st.lists(st.integers(0, 4), min_size=1, max_size=2, unique=True))
def test_expand_dims_and_squeeze_equal_numpy(seed: int, axes: list[int]) -> None:
    x = floats(np.random.default_rng(seed), 2, 3, 4)
    expanded = np.expand_dims(x, tuple(axes)) if max(axes) < 3 + len(axes) else None
    if expanded is None:
        return
    np.testing.assert_array_equal(run("expand_dims", x=x, axes=np.array(axes)), expanded)
    np.testing.assert_array_equal(run("squeeze", x=expanded, axes=np.array(axes)), x)
    np.testing.assert_array_equal(run("squeeze", x=expanded), x)


@FEW
@given(
    seed=SEED, kind=st.sampled_from(["add", "sub", "mul"]), shape=st.sampled_from([(), (3, 1, 1)])
)
def test_elementwise_equals_numpy(seed: int, kind: str, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(seed)
    x, y = floats(rng, 2, 3, 4, 4), floats(rng, *shape)
    function = {"add": np.add, "sub": np.subtract, "mul": np.multiply}[kind]
    np.testing.assert_array_equal(run(kind, x=x, y=np.asarray(y)), function(x, y))


@FEW
@given(
    seed=SEED,
    kind=st.sampled_from(["reduce_mean", "reduce_max"]),
    axes=st.lists(st.integers(-4, 3), min_size=1, max_size=4, unique_by=lambda a: a % 4),
    keep=st.booleans(),
)
def test_reductions_equal_onnx(seed: int, kind: str, axes: list[int], keep: bool) -> None:
    x = floats(np.random.default_rng(seed), 2, 3, 4, 5)
    name = {"reduce_mean": "ReduceMean", "reduce_max": "ReduceMax"}[kind]
    wanted = onnx_node(name, {"x": x}, axes=axes, keepdims=int(keep))
    found = run(kind, x=x, axes=np.array(axes, np.int32), keep_dims=keep)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    whole = onnx_node(name, {"x": x}, keepdims=0)
    np.testing.assert_allclose(run(kind, x=x), whole, rtol=1e-5, atol=1e-6)


@FEW
@given(seed=SEED)
def test_sigmoid_equals_onnx(seed: int) -> None:
    x = 8 * floats(np.random.default_rng(seed), 2, 3, 4)
    np.testing.assert_allclose(run("sigmoid", x=x), onnx_node("Sigmoid", {"x": x}), atol=1e-6)


@FEW
@given(seed=SEED, factors=st.tuples(st.integers(1, 3), st.integers(1, 3)))
def test_nearest_upsampling_equals_onnx(seed: int, factors: tuple[int, int]) -> None:
    x = floats(np.random.default_rng(seed), 2, 3, 4, 5)
    wanted = onnx_node(
        "Resize",
        {"x": x, "skip_roi": x, "scales": np.array([1, 1, *factors], np.float32)},
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )
    got = run(
        "upsample_nearest_neighbor",
        x=x,
        scale_factor_height=float(factors[0]),
        scale_factor_width=factors[1],
    )
    np.testing.assert_array_equal(got, wanted)


@settings(max_examples=50, deadline=None)
@given(
    seed=SEED,
    dtype=st.sampled_from(["int8", "uint8"]),
    zero_point=st.integers(0, 127),
    spread=st.sampled_from([0.5, 3.0, 100.0]),
)
def test_quantize_equals_onnx_with_ties_and_saturation(
    seed: int, dtype: str, zero_point: int, spread: float
) -> None:
    rng = np.random.default_rng(seed)
    scale = np.float32(2.0 ** rng.integers(-8, 2))  # a power of two, so that ties are exact
    steps = rng.integers(-600, 600, (2, 3, 4)) / 2 * spread
    x = (steps * scale).astype(np.float32)
    zero = np.array(zero_point, dtype)
    wanted = onnx_node("QuantizeLinear", {"x": x, "s": np.array(scale), "z": zero})
    got = run("quantize", input=x, scale=float(scale), zero_point=zero_point, output_dtype=dtype)
    assert got.dtype == wanted.dtype
    np.testing.assert_array_equal(got, wanted)
    back = onnx_node("DequantizeLinear", {"x": wanted, "s": np.array(scale), "z": zero})
    np.testing.assert_array_equal(
        run("dequantize", input=wanted, scale=float(scale), zero_point=zero_point), back
    )


@FEW
@given(seed=SEED, axis=st.integers(0, 3))
def test_constexpr_affine_dequantize_equals_onnx_per_channel(seed: int, axis: int) -> None:
    rng = np.random.default_rng(seed)
    data = rng.integers(-128, 128, (3, 4, 2, 5)).astype(np.int8)
    scale = rng.uniform(1e-4, 1, data.shape[axis]).astype(np.float32)
    zero = rng.integers(-5, 5, data.shape[axis]).astype(np.int8)
    wanted = onnx_node("DequantizeLinear", {"x": data, "s": scale, "z": zero}, axis=axis)
    for kind, key in (("constexpr_affine_dequantize", "quantized_data"), ("dequantize", "input")):
        got = run(kind, scale=scale, zero_point=zero, axis=axis, **{key: data})
        np.testing.assert_allclose(got, wanted, rtol=1e-6)


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        ("conv", {"x": np.zeros((1, 1, 4), np.float32), "weight": np.zeros((1, 1, 1), np.float32)}),
        ("slice_by_index", {"x": np.zeros(3), "begin": [2], "end": [0], "stride": [-1]}),
        ("concat", {"values": (torch.zeros(1),), "axis": 0, "interleave": True}),
        ("pad", {"x": np.zeros((1, 1, 2, 2)), "pad": [1, 1], "mode": "symmetric"}),
        ("quantize", {"input": np.zeros(1), "scale": 1.0, "output_dtype": "int4"}),
        ("cast", {"x": np.zeros(1), "dtype": "string"}),
        ("upsample_nearest_neighbor", {"x": np.zeros((1, 1, 2, 2)), "scale_factor_height": 1.5}),
        (
            "conv_transpose",
            {
                "x": np.zeros((1, 1, 2, 2)),
                "weight": np.zeros((1, 1, 2, 2)),
                "pad_type": "same",
            },
        ),
    ],
)
def test_what_is_not_known_is_refused_by_name(kind: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(EdgeposeError, match=kind):
        run(kind, **arguments)


@FEW
@given(seed=SEED, axis=st.integers(0, 2), keep=st.booleans())
def test_argmax_equals_onnx_and_takes_the_first_of_equals(seed: int, axis: int, keep: bool) -> None:
    x = np.random.default_rng(seed).integers(-2, 3, (3, 4, 5)).astype(np.float32)
    expected = onnx_node("ArgMax", {"x": x}, axis=axis, keepdims=int(keep), select_last_index=0)
    found = run("reduce_argmax", x=x, axis=axis, keep_dims=keep, output_dtype="int32")
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.int32


@FEW
@given(seed=SEED, axis=st.integers(0, 2))
def test_gathering_equals_onnx(seed: int, axis: int) -> None:
    rng = np.random.default_rng(seed)
    x = floats(rng, 3, 4, 5)
    each = rng.integers(-x.shape[axis], x.shape[axis], x.shape)
    expected = onnx_node("GatherElements", {"x": x, "i": each}, axis=axis)
    found = run("gather_along_axis", x=x, indices=each.astype(np.int32), axis=axis)
    np.testing.assert_array_equal(found, expected)
    some = rng.integers(0, x.shape[axis], 6)
    expected = onnx_node("Gather", {"x": x, "i": some}, axis=axis)
    np.testing.assert_array_equal(run("gather", x=x, indices=some, axis=axis), expected)


@FEW
@given(seed=SEED, kind=st.sampled_from(["floor", "sign", "abs", "log", "clip"]))
def test_functions_of_one_value_equal_onnx(seed: int, kind: str) -> None:
    x = 3 * floats(np.random.default_rng(seed), 2, 3, 4)
    x[0, 0, 0] = 0
    x = np.abs(x) + 1e-3 if kind == "log" else x
    more = {"alpha": -1.0, "beta": 0.5} if kind == "clip" else {}
    bounds = {"low": np.float32(-1), "high": np.float32(0.5)} if kind == "clip" else {}
    inputs = {"x": x, **{k: np.array(v) for k, v in bounds.items()}}
    expected = onnx_node(kind.capitalize(), inputs)
    np.testing.assert_allclose(run(kind, x=x, **more), expected, rtol=1e-6)


@FEW
@given(seed=SEED, kind=st.sampled_from(["greater", "less", "real_div"]))
def test_comparisons_and_quotients_equal_onnx(seed: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    x, y = (rng.integers(1, 4, shape).astype(np.float32) for shape in ((2, 3, 4), (3, 1)))
    op = {"greater": "Greater", "less": "Less", "real_div": "Div"}[kind]
    np.testing.assert_allclose(run(kind, x=x, y=y), onnx_node(op, {"x": x, "y": y}), rtol=1e-6)


@FEW
@given(seed=SEED, transpose_x=st.booleans(), transpose_y=st.booleans())
def test_products_of_matrices_equal_onnx(seed: int, transpose_x: bool, transpose_y: bool) -> None:
    rng = np.random.default_rng(seed)
    x, y = floats(rng, 2, 3, 4, 5), floats(rng, 5, 6)
    given_x = np.swapaxes(x, -1, -2) if transpose_x else x
    given_y = y.T if transpose_y else y
    found = run("matmul", x=given_x, y=given_y, transpose_x=transpose_x, transpose_y=transpose_y)
    np.testing.assert_allclose(found, onnx_node("MatMul", {"x": x, "y": y}), rtol=1e-4, atol=1e-5)
    bias = floats(rng, 6)
    found = run("linear", x=x, weight=np.ascontiguousarray(y.T), bias=bias)
    expected = onnx_node("MatMul", {"x": x, "y": y}) + bias
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_a_cast_that_would_wrap_around_is_refused() -> None:
    index = np.array([3, 70_000], np.int32)
    with pytest.raises(EdgeposeError, match="uint16"):
        run("cast", x=index, dtype="uint16")
    np.testing.assert_array_equal(run("cast", x=index, dtype="int32"), index)
