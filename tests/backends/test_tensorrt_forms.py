"""The forms of a Jetson artifact: the same network, each executed, and a cache with the Q/DQ scales."""

from __future__ import annotations

import json
import struct
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper

from edgepose.artifact import Artifact
from edgepose.backends import tensorrt
from edgepose.backends.lint.subject import lint_artifact
from edgepose.backends.onnx_graph import tensorrt_forms
from edgepose.backends.onnx_graph.graph import Graph, Node, Port
from edgepose.backends.onnx_graph.half import in_half
from edgepose.backends.onnx_graph.implicit import cache_bytes, read_cache
from edgepose.context import Context
from edgepose.errors import EdgeposeError
from edgepose.evaluation import EvaluationSet, find_joints
from edgepose.models.pose_model import ModelSpec, PoseModel
from edgepose.quant.graph import finish, prepare_calibration
from edgepose.recipe import Budget
from edgepose.stages import export
from edgepose.target import Target, load_target
from tests.bench.fakes import Blocks

Crops = Callable[[int], NDArray[np.uint8]]
FORMS = ("interleave", "fused_sums", "deconv_fp16", "implicit", "implicit_deconv")
TARGET = load_target("jetson-xavier")


def trained(model: PoseModel, *, biases: float) -> PoseModel:
    """As QAT leaves it: the phases of a deconvolution have biases of their own."""
    generator = torch.Generator().manual_seed(1)
    tensors = {
        key: value + biases * torch.randn(value.shape, generator=generator)
        if "deconv" in key and key.endswith(".bias")
        else value
        for key, value in model.tensors.items()
    }
    return PoseModel(model.spec, tensors)


@pytest.fixture(scope="module")
def model(tiny: PoseModel) -> PoseModel:
    return trained(tiny, biases=0.1)


@pytest.fixture(scope="module")
def artifact(model: PoseModel, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return tensorrt.emit(model, TARGET, tmp_path_factory.mktemp("forms") / "artifact")


def onnx_of(artifact: Artifact, form: str | None = None) -> onnx.ModelProto:
    role = json.loads(artifact.path("build" if form is None else f"build_{form}").read_text())[
        "model"
    ]
    return onnx.load_from_string(tensorrt.unpack(artifact.path(role).read_bytes()))


def cache_of(artifact: Artifact, form: str) -> dict[str, float]:
    """The cache's lines, read here and not by edgepose."""
    header, *lines = artifact.path(f"calibration_{form}").read_text().splitlines()
    assert header == "TRT-8502-EntropyCalibration2"
    pairs = [line.split(": ") for line in lines]
    return {name: struct.unpack("!f", bytes.fromhex(bits))[0] for name, bits in pairs}


def qdq_scales(model: onnx.ModelProto) -> dict[str, float]:
    """Tensor -> scale of the QuantizeLinear that reads it, weights left out; read off the file."""
    values = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    return {
        node.input[0]: float(values[node.input[1]])
        for node in model.graph.node
        if node.op_type == "QuantizeLinear" and node.input[0] not in values
    }


def test_the_target_has_every_form(artifact: Artifact) -> None:
    assert set(tensorrt.forms(artifact)) == {"int8", "fp16", "fp32", *FORMS}
    assert tensorrt.forms(artifact)[0] == "int8"
    assert artifact.counted_files == ("model.onnx.xz",)
    models = [f.path for f in artifact.manifest.files if f.path.endswith(".xz")]
    assert len(models) == 6  # fp16, fp32 and implicit are one ONNX
    for form in ("fp32", "implicit"):
        assert tensorrt.settings_of(artifact, form)["model"] == "model_fp16"
    assert load_target("jetson-orin").forms == TARGET.forms


def test_lint_passes_every_form(artifact: Artifact) -> None:
    findings = lint_artifact(artifact, TARGET)
    assert [f for f in findings if f.level != "note"] == []
    said = [f for f in findings if f.node == "deconv_layers.0" and f.rule == "float-island"]
    assert said
    assert "the plan" in said[0].fix


@pytest.mark.parametrize(
    ("form", "largest", "says"),
    [
        ("interleave", 0.0, "Q/DQ literally"),
        ("fused_sums", 0.1, "Q/DQ literally"),
        ("deconv_fp16", 1e-5, "Q/DQ literally"),
        ("implicit", 0.15, "calibration cache"),
        ("implicit_deconv", 0.15, "calibration cache"),
        ("fp16", 0.15, "rounded to FP16"),
        ("fp32", 0.15, "TensorRT not run"),
    ],
)
def test_each_is_executed(
    artifact: Artifact, noise: Crops, form: str, largest: float, says: str
) -> None:
    """The explicit forms are the same function; the others differ by what INT8 or FP16 cost."""
    crops = noise(2) // 2 + 64
    expected = tensorrt.open_executor(artifact, threads=1).run(crops)
    executor = tensorrt.open_executor(artifact, threads=1, form=form)
    found = executor.run(crops)
    assert np.linalg.norm(found - expected) <= largest * np.linalg.norm(expected)
    assert says in executor.description


def test_each_residual_sum_can_be_fused(artifact: Artifact) -> None:
    """It reads one convolution as it is, the other side on the grid, and nothing else is changed."""
    counted, fused = onnx_of(artifact), onnx_of(artifact, "fused_sums")
    made = {name: node for node in fused.graph.node for name in node.output}
    sums = [node for node in fused.graph.node if node.op_type == "Add"]
    assert {node.name for node in sums} == set(
        tensorrt.settings_of(artifact, "fused_sums")["fused_sums"]
    )
    assert len(sums) == 2, "one with a convolution on both sides, one with a shortcut"
    for node in sums:
        kinds = {made[name].op_type: name for name in node.input}
        assert set(kinds) == {"Conv", "DequantizeLinear"}
        assert [n for n in fused.graph.node if kinds["Conv"] in n.input] == [node]
        shortcut = made[made[kinds["DequantizeLinear"]].input[0]].input[0]
        before = [n.name for n in fused.graph.node]
        if made[shortcut].op_type == "Conv":  # the later one has the sum in its kernel
            assert before.index(made[shortcut].name) < before.index(made[kinds["Conv"]].name)
    count = Counter(node.op_type for node in counted.graph.node)
    count.subtract(node.op_type for node in fused.graph.node)
    assert {op: n for op, n in count.items() if n} == {"QuantizeLinear": 2, "DequantizeLinear": 2}
    findings = lint_artifact(artifact, TARGET)
    notes = [f.node for f in findings if f.rule == "residual-scale"]
    assert sorted(notes) == sorted(node.name for node in sums)


def test_fp16_is_rounded_and_close(artifact: Artifact, noise: Crops) -> None:
    crops = noise(1) // 2 + 64
    half, full = (tensorrt.open_executor(artifact, form=f).run(crops) for f in ("fp16", "fp32"))
    assert 1e-5 < np.linalg.norm(half - full) / np.linalg.norm(full) < 1e-2
    np.testing.assert_array_equal(half.astype(np.float16).astype(np.float32), half)


@pytest.mark.parametrize("form", ["implicit", "implicit_deconv"])
def test_the_cache_has_the_qdq_scales_tensor_by_tensor(
    artifact: Artifact, model: PoseModel, form: str
) -> None:
    cache, plain = cache_of(artifact, form), onnx_of(artifact, form)
    explicit = qdq_scales(onnx_of(artifact))
    assert plain.opset_import[0].version == 17
    assert not any("Quantize" in node.op_type for node in plain.graph.node)
    tensors = {"image", *(name for node in plain.graph.node for name in node.output)}
    both = tensors & set(explicit)
    assert set(cache) <= tensors
    assert len(both) >= 13
    assert {name: cache[name] for name in both} == {name: explicit[name] for name in both}
    # the network's own INT8 tensors are all there, and they are the plan's
    own = {name for name in explicit if not name.startswith("deconv_layers.transpose")}
    assert form != "implicit" or set(explicit) <= set(cache)
    assert own - {"max_pool"} <= tensors
    assert model.spec.quant is not None
    assert set(cache.values()) == set(model.spec.quant.activation_scales.values())


@pytest.mark.parametrize("form", ["implicit", "implicit_deconv"])
def test_a_tensor_without_a_scale_keeps_its_layers_in_float(artifact: Artifact, form: str) -> None:
    cache, plain = cache_of(artifact, form), onnx_of(artifact, form)
    settings = tensorrt.settings_of(artifact, form)
    values = {t.name for t in plain.graph.initializer}
    moves = ("Reshape", "Transpose", "Slice", "MaxPool")
    needed = {
        node.name
        for node in plain.graph.node
        if node.op_type not in moves
        and any(n not in cache for n in (*node.input, *node.output) if n not in values)
    }
    assert settings["layer_precisions"] == dict.fromkeys(needed, "fp16")
    assert needed == {"final_layer"}
    assert "OBEY_PRECISION_CONSTRAINTS" in settings["builder_flags"]
    assert settings["dla"]
    assert f"--calib=calibration_{form}.cache" in settings["trtexec"]
    assert "--layerPrecisions=final_layer:fp16" in settings["trtexec"]


def test_a_dla_gets_no_padded_deconvolution(artifact: Artifact) -> None:
    for form, padded in (("implicit_deconv", 0), ("deconv_fp16", 1)):
        nodes = [n for n in onnx_of(artifact, form).graph.node if n.op_type == "ConvTranspose"]
        assert len(nodes) == 2
        for node in nodes[:1]:
            pads = next(a.ints for a in node.attribute if a.name == "pads")
            assert list(pads) == [padded] * 4


@pytest.mark.parametrize("name", ["attentive", "HighResolution"])
def test_other_networks(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noise: Crops
) -> None:
    """Another deconvolution (3x3, output padding) with attention in float, and none of either."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "quant" / "nets")
    spec = ModelSpec(f"quant_nets:{name}", 16, (32, 32), "mpii16", domain="noise")
    plain = PoseModel.fresh(spec, seed=1)
    prepared = prepare_calibration(plain, observer="minmax")
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        prepared(images)
    model = trained(finish(plain, prepared, source="calibration"), biases=0.1)
    artifact = tensorrt.emit(model, TARGET, tmp_path / "a")
    rewritten = {"interleave", "deconv_fp16", "implicit_deconv"}
    left_out = tensorrt.settings_of(artifact)["left_out"]
    assert set(left_out) == (rewritten if name == "HighResolution" else set())
    assert set(tensorrt.forms(artifact)) == {"int8", "fp16", "fp32", *FORMS} - set(left_out)
    assert not [f for f in lint_artifact(artifact, TARGET) if f.level == "error"]
    crops = noise(2)[:, :32, :32]
    expected = tensorrt.open_executor(artifact).run(crops)
    for form in tensorrt.forms(artifact):
        found = tensorrt.open_executor(artifact, form=form).run(crops)
        exact = form in ("interleave", "deconv_fp16")
        error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
        assert error <= (1e-5 if exact else 0.2), form
    layers = set(tensorrt.settings_of(artifact, "implicit")["layer_precisions"])
    assert any("attention" in layer for layer in layers) == (name == "attentive")
    assert not any("attention.conv" in tensor for tensor in cache_of(artifact, "implicit"))
    if left_out:
        with pytest.raises(EdgeposeError, match="has no form 'interleave', it has int8, fp16"):
            tensorrt.open_executor(artifact, form="interleave")


def test_bad_caches_and_targets_are_refused() -> None:
    good = cache_bytes({"image": 0.5, "a: b".replace(": ", ":"): 0.25})
    assert read_cache(good) == {"image": 0.5, "a:b": 0.25}
    for wrong in (
        b"", b"TRT-8502-EntropyCalibration2\n", b"TRT-8502-MinMaxCalibration\nimage: 3f000000\n",
        good + b"image: 3f000000\n", good + b"x: 3f00\n", good + b"x: 7f800000\n",
        good + b"x: 00000000\n", good + b"x 3f000000\n", b"\xff\xfe",
    ):  # fmt: skip
        with pytest.raises(EdgeposeError, match="calibration cache cannot be read"):
            read_cache(wrong)
    for name, scale in (("a: b", 1.0), ("a\nb", 1.0), ("a", 0.0), ("a", 1e60), ("", 1.0)):
        with pytest.raises(EdgeposeError, match="cannot hold tensor"):
            cache_bytes({name: scale})
    with pytest.raises(ValueError, match="TensorRT's INT8 network"):
        Target(name="x", runtime="onnx_mobile", precision="int8", forms=("implicit",))
    with pytest.raises(ValueError, match="names one twice"):
        Target(name="x", runtime="tensorrt", precision="int8", forms=("implicit", "implicit"))


def test_a_weight_that_fp16_cannot_hold_is_named() -> None:
    ports = [Port(name, np.dtype(np.float32), (1, 1, 2, 2)) for name in ("image", "heatmaps")]
    conv = Node("Conv", ["image", "head.weight"], ["heatmaps"], {"kernel_shape": [1, 1]}, "head")
    weights = {"head.weight": np.full((1, 1, 1, 1), 1e6, np.float32)}
    graph = Graph((conv,), weights, (ports[0],), (ports[1],))
    with pytest.raises(EdgeposeError, match=r"head\.weight reaches 1e\+06: FP16 cannot hold"):
        in_half(graph)


def test_the_export_executes_and_scores_each(
    model: PoseModel, artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forms that compute the same numbers must agree with the model; the others are scored and told."""
    blocks = Blocks(count=3)
    context = Context(
        train=blocks, val=blocks, calibration=blocks, teacher=None, targets=(TARGET,),
        budget=Budget(), seed=0, folder=tmp_path / "work", cache=tmp_path / "cache",
        report=lambda what, done, total: None, warn=lambda text: None,
    )  # fmt: skip
    data = EvaluationSet.from_dataset(blocks, model.spec.input_hw)
    executor = tensorrt.open_executor(artifact)
    reference = find_joints(executor, data, codec=model.spec.codec)
    config = export.Config(targets=("jetson-xavier",))
    (done,) = export.run(model, config, context, reference=reference)
    assert {one.form for one in done.alike} == set(tensorrt.forms(artifact)[1:])
    for one in done.alike:
        assert one.metric == "pckh@0.5"
        assert one.exact == (one.form in ("interleave", "deconv_fp16"))
        assert not one.exact or one.shift.p50 == 0
        assert f"form {one.form}: pckh@0.5 {one.score:.1f}, joints moved by" in one.text
    spoiled, layers = tensorrt_forms.deconvolved, []

    def wrong(graph: Graph, **options: Any) -> Any:
        result, names = spoiled(graph, **options)
        layers.extend(names)
        constants = {k: np.roll(v, 1) if ".kernel" in k else v for k, v in result.constants.items()}
        return result.with_(constants=constants), names

    monkeypatch.setattr(tensorrt_forms, "deconvolved", wrong)
    with pytest.raises(
        EdgeposeError, match="the form deconv_fp16 for jetson-xavier does not agree"
    ):
        export.run(model, config, context, reference=reference)
    assert layers
