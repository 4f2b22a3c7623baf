"""What edgepose writes: the same bytes in every process, clean for every built-in target; broken copies
are named."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest
from click.testing import CliRunner
from flatbuffers.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepose.artifact import Artifact
from edgepose.backends.lint.findings import Finding
from edgepose.backends.lint.subject import lint_artifact, lint_path
from edgepose.backends.mil.quiet import quiet
from edgepose.backends.onnx_graph.ort_order import _read_list
from edgepose.backends.tensorrt import pack, unpack
from edgepose.cli import main
from edgepose.errors import EdgeposeError
from edgepose.models.plan import QuantPlan
from edgepose.models.pose_model import PoseModel
from edgepose.quant.graph import deploy_form
from edgepose.stages.export import Config, check_lint
from edgepose.target import list_targets, load_target

with quiet():
    import coremltools as ct
    import numpy as np
    from coremltools.converters.mil import Builder as mb

MODEL = Path("Data/com.apple.CoreML/model.mlmodel")
IPHONE = load_target("coreml-ios17")


def export(model: PoseModel, name: str, folder: Path) -> Artifact:
    target = load_target(name)
    artifact: Artifact = import_module(f"edgepose.backends.{target.runtime}").emit(
        model, target, folder
    )
    return artifact


@pytest.fixture(scope="module")
def artifacts(tiny: PoseModel, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    """Every built-in target's artifact, Jetson's with its float files beside the counted one."""
    folder = tmp_path_factory.mktemp("artifacts")
    return {name: export(tiny, name, folder / name) for name in list_targets()}


@pytest.fixture
def package(artifacts: dict[str, Artifact], tmp_path: Path) -> Path:
    """A copy of the W8A8 mlpackage to break."""
    source = artifacts["coreml-ios17"].folder / "model.mlpackage"
    return Path(shutil.copytree(source, tmp_path / "model.mlpackage"))


def serious(findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.level != "note"]


def test_what_every_target_gets_is_clean(artifacts: dict[str, Artifact]) -> None:
    assert set(artifacts) >= {"jetson-xavier", "coreml-ios17", "onnx-android", "host"}
    for name, artifact in artifacts.items():
        assert serious(lint_artifact(artifact, load_target(name))) == []


EXPORT = """
import sys
from importlib import import_module
from pathlib import Path
from edgepose.models.pose_model import PoseModel
from edgepose.target import load_target
folder = Path(sys.argv[1])
model = PoseModel.load(folder / "model")
for name in sys.argv[2:]:
    target = load_target(name)
    import_module(f"edgepose.backends.{target.runtime}").emit(model, target, folder / name)
"""


def test_another_process_writes_the_same_bytes_and_nothing_to_the_terminal(
    artifacts: dict[str, Artifact], tiny: PoseModel, tmp_path: Path
) -> None:
    names = ("jetson-xavier", "coreml-ios17", "onnx-android")
    tiny.save(tmp_path / "model")
    done = subprocess.run(
        [sys.executable, "-c", EXPORT, str(tmp_path), *names],
        capture_output=True, text=True, cwd=Path(__file__).parents[2],
        env={"PYTHONHASHSEED": "12345", "OMP_NUM_THREADS": "1", "PATH": os.defpath},
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    for name in names:
        assert Artifact.load(tmp_path / name).manifest == artifacts[name].manifest


def test_float_and_dynamic_files_are_clean_too(tiny_float: PoseModel, tmp_path: Path) -> None:
    deploy = deploy_form(tiny_float)
    dynamic = PoseModel(
        dataclasses.replace(deploy.spec, quant=QuantPlan("dynamic", "none")), deploy.tensors
    )
    for model, name, precision in (
        (tiny_float, "jetson-xavier-fp16", "fp16"),
        (tiny_float, "host", "fp32"),
        (tiny_float, "onnx-android", "fp16"),
        (dynamic, "host", "int8"),
    ):
        target = load_target(name, overrides=[f"precision={precision}"])
        backend = import_module(f"edgepose.backends.{target.runtime}")
        artifact = backend.emit(model, target, tmp_path / f"{name}-{precision}")
        assert serious(lint_artifact(artifact, target)) == []


def test_the_file_of_one_runtime_breaks_the_rules_of_another(
    artifacts: dict[str, Artifact],
) -> None:
    onnx_file = artifacts["onnx-android"].folder / "model.onnx"
    rules = {finding.rule for finding in lint_path(onnx_file, load_target("jetson-xavier"))}
    assert {"qdq-zero-point", "qdq-zero-point-type", "int8-weights", "int32-bias"} <= rules
    assert {"int8-direct", "dynamic-shape"} <= rules
    packed = unpack((artifacts["jetson-xavier"].folder / "model.onnx.xz").read_bytes())
    other = onnx_file.parent.parent / "jetson.onnx"
    other.write_bytes(packed)
    assert "float-relu" in {f.rule for f in lint_path(other, load_target("onnx-android"))}


def test_an_artifact_whose_file_is_another_ones(
    artifacts: dict[str, Artifact], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(artifacts["jetson-xavier"].folder, tmp_path / "mixed"))
    model = onnx.load_from_string(unpack((folder / "model.onnx.xz").read_bytes()))
    model.graph.input[0].name = "picture"
    for node in model.graph.node:
        node.input[:] = ["picture" if name == "image" else name for name in node.input]
    (folder / "model.onnx.xz").write_bytes(pack(model.SerializeToString()))
    with pytest.raises(EdgeposeError, match="was changed"):
        lint_artifact(Artifact.load(folder), load_target("jetson-xavier"))
    artifact = Artifact.load(folder, verify=False)
    (finding,) = serious(lint_artifact(artifact, load_target("jetson-xavier")))
    assert (finding.rule, finding.file) == ("contract", "model.onnx.xz")


def test_the_export_stage_refuses_errors_unless_they_are_allowed(
    artifacts: dict[str, Artifact],
) -> None:
    target = load_target("jetson-xavier", overrides=["limits.ir_version=7"])
    told: list[str] = []
    context: Any = SimpleNamespace(warn=told.append)
    config = Config(targets=("jetson-xavier",))
    with pytest.raises(EdgeposeError, match="IR version 8; jetson-xavier reads 7"):
        check_lint(artifacts["jetson-xavier"], target, config, context)
    assert told == []
    allowed = config.model_copy(update={"allow_lint": ("ir-version",)})
    check_lint(artifacts["jetson-xavier"], target, allowed, context)
    assert any("IR version 8" in line for line in told)


# ---- mlpackages -------------------------------------------------------------------------------


def edit(package: Path, change: Callable[[Any], None]) -> None:
    spec = ct.proto.Model_pb2.Model()
    spec.ParseFromString((package / MODEL).read_bytes())
    change(spec)
    (package / MODEL).write_bytes(spec.SerializeToString())


def operations(spec: Any) -> list[Any]:
    (block,) = spec.mlProgram.functions["main"].block_specializations.values()
    return list(block.operations)


def newer(spec: Any) -> None:
    spec.specificationVersion = 9


def newer_operators(spec: Any) -> None:
    function = spec.mlProgram.functions["main"]
    block = function.block_specializations.pop(function.opset)
    function.opset = "CoreML8"
    function.block_specializations["CoreML8"].CopyFrom(block)


def operator_of_ios18(spec: Any) -> None:
    next(op for op in operations(spec) if op.type == "relu").type = "scaled_dot_product_attention"


def operator_of_nobody(spec: Any) -> None:
    next(op for op in operations(spec) if op.type == "relu").type = "warp"


def gray(spec: Any) -> None:
    spec.description.input[0].type.imageType.colorSpace = 10


def array_input(spec: Any) -> None:
    array = spec.description.input[0].type.multiArrayType
    array.shape.extend([1, 3, 64, 64])
    array.dataType = 65568


def any_size(spec: Any) -> None:
    sizes = spec.description.input[0].type.imageType.imageSizeRange
    sizes.widthRange.lowerBound = sizes.heightRange.lowerBound = 64
    sizes.widthRange.upperBound = sizes.heightRange.upperBound = -1


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (newer, "minimum-os"), (newer_operators, "minimum-os"), (operator_of_ios18, "operator-os"),
        (operator_of_nobody, "operator"), (gray, "image-input"), (array_input, "image-input"),
        (any_size, "dynamic-shape"),
    ],
)  # fmt: skip
def test_a_broken_package_is_named(change: Callable[[Any], None], rule: str, package: Path) -> None:
    assert serious(lint_path(package, IPHONE)) == []
    edit(package, change)
    assert rule in {finding.rule for finding in lint_path(package, IPHONE)}


def test_types_that_core_ml_has_not_are_told(package: Path) -> None:
    """A damaged byte makes a number of an enumeration that has no name."""

    def no_array(spec: Any) -> None:
        spec.description.output[0].type.multiArrayType.dataType = 65536

    def no_color(spec: Any) -> None:
        spec.description.input[0].type.imageType.colorSpace = 7

    edit(package, no_array)
    (finding,) = serious(lint_path(package, IPHONE))
    assert (finding.rule, finding.reason) == ("contract", "an array of type 65536, which is none")
    edit(package, no_color)
    assert "a 7 image; RGB or BGR is wanted" in [f.reason for f in lint_path(package, IPHONE)]


def test_an_older_system_lacks_int8(artifacts: dict[str, Artifact]) -> None:
    old = load_target("coreml-ios17", overrides=["minimum_os=iOS15"])
    findings = lint_artifact(artifacts["coreml-ios17"], old)
    missing = {f.reason.split()[0] for f in findings if f.rule == "operator-os"}
    assert missing >= {"quantize", "dequantize", "constexpr_affine_dequantize"}
    assert "minimum-os" in {f.rule for f in findings}


def test_the_colour_order_is_the_manifests(artifacts: dict[str, Artifact], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(artifacts["coreml-ios17"].folder, tmp_path / "bgr"))

    def bgr(spec: Any) -> None:
        spec.description.input[0].type.imageType.colorSpace = 30

    edit(folder / "model_fp16.mlpackage", bgr)
    (finding,) = serious(lint_artifact(Artifact.load(folder, verify=False), IPHONE))
    assert (finding.rule, finding.file) == ("input-color", "model_fp16.mlpackage")


def program(folder: Path, *, scale: Any = 0.1, residual: bool = True, island: bool = False,
            axis: int | None = None, zero: Any = None) -> Path:  # fmt: skip
    """Image -> conv -> conv, with a sum over the second; INT8 around it as the arguments say."""

    @mb.program(input_specs=[mb.TensorSpec((1, 3, 8, 8))], opset_version=ct.target.iOS17)
    def net(image: Any) -> Any:
        def grid(x: Any, name: str, **over: Any) -> Any:
            values = {"scale": np.float32(0.1), "zero_point": np.int8(0), **over}
            q = mb.quantize(input=x, output_dtype="int8", name=f"{name}_q", **values)
            return mb.dequantize(input=q, name=f"{name}_dq", **values)

        def conv(x: Any, inputs: int, name: str, int8: bool = True) -> Any:
            weight: Any = np.ones((8, inputs, 3, 3), np.float32)
            if int8:
                weight = mb.constexpr_affine_dequantize(
                    quantized_data=np.ones((8, inputs, 3, 3), np.int8), zero_point=np.int8(0),
                    scale=np.full(8, 0.1, np.float32), axis=0, name=f"{name}_weight",
                )  # fmt: skip
            return mb.conv(x=x, weight=weight, pad_type="same", name=name)

        over: dict[str, Any] = {"scale": scale if axis is None else np.full(8, 0.1, np.float32)}
        if axis is not None:
            over |= {"axis": axis, "zero_point": np.zeros(8, np.int8)}
        if zero is not None:
            over["zero_point"] = np.int8(zero)
        a = grid(mb.relu(x=conv(grid(image, "in"), 3, "first"), name="relu"), "a", **over)
        second = conv(a, 8, "second", int8=not island)
        total = mb.add(x=a, y=grid(second, "b") if residual else second, name="sum")
        return conv(grid(total, "c"), 8, "heatmaps")

    with quiet():
        model = ct.convert(
            net,
            inputs=[ct.ImageType(name="image", shape=(1, 3, 8, 8))],
            minimum_deployment_target=ct.target.iOS17,
            compute_precision=ct.precision.FLOAT32,
            pass_pipeline=ct.PassPipeline.EMPTY,
            skip_model_load=True,
        )
        model.save(str(folder / "made.mlpackage"))
    return folder / "made.mlpackage"


@pytest.mark.parametrize(
    ("broken", "rule", "at"),
    [
        ({"scale": np.float32(np.inf)}, "qdq-scale", "a_q"),
        ({"axis": 1}, "qdq-per-axis-activation", "a_q"),
        ({"zero": 3}, "qdq-zero-point", "a_q"),
        ({"residual": False}, "residual-scale", "sum"),
        ({"island": True}, "float-island", "second"),
    ],
)
def test_broken_programs_are_named(
    broken: dict[str, Any], rule: str, at: str, tmp_path: Path
) -> None:
    scale = {"scale": np.float32(0.1)}
    assert lint_path(program(tmp_path, **scale), IPHONE) == []
    shutil.rmtree(tmp_path / "made.mlpackage")
    findings = lint_path(program(tmp_path, **{**scale, **broken}), IPHONE)
    assert at in [finding.node for finding in findings if finding.rule == rule]


# ---- what cannot be read, and the command line ------------------------------------------------


def test_a_list_longer_than_its_file_is_refused_before_memory_is_taken() -> None:
    """One damaged byte in a length would have taken all memory there is."""
    entry, length = (4).to_bytes(4, "little"), (2**30).to_bytes(4, "little")
    with pytest.raises(ValueError, match="beyond the end of the file"):
        _read_list(Table(bytearray(entry + length + bytes(16)), 0), 0, ["string"])


@given(at=st.integers(0, 10**6), value=st.integers(0, 255), cut=st.booleans())
@settings(max_examples=25, deadline=None)
def test_damaged_packages_and_archives_get_findings_or_one_message(
    at: int, value: int, cut: bool, artifacts: dict[str, Artifact], tmp_path_factory: Any
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    for name, source, inside in (
        ("coreml-ios17", "model.mlpackage", MODEL),
        ("jetson-xavier", "model.onnx.xz", Path()),
        ("onnx-android", "model.ort", Path()),
    ):
        original = artifacts[name].folder / source
        copy = folder / source
        if original.is_dir():
            shutil.copytree(original, copy)
        else:
            shutil.copy(original, copy)
        file = copy / inside
        data = bytearray(file.read_bytes())
        data[at % len(data)] = value
        file.write_bytes(data[: at % len(data)] if cut else data)
        refused, findings = None, []
        try:
            findings = lint_path(copy, load_target(name))
        except EdgeposeError as error:
            refused = error
        assert refused is None or (source in refused.problem and refused.fix)
        assert all(finding.file == source for finding in findings)


def run(*words: object) -> Any:
    return CliRunner().invoke(main, ["lint", *map(str, words)])


def test_exit_codes_and_json(artifacts: dict[str, Artifact], tmp_path: Path) -> None:
    folder = artifacts["jetson-xavier"].folder
    clean = run(folder)
    assert (clean.exit_code, "clean:" in clean.output) == (0, True)
    onnx_file = artifacts["onnx-android"].folder / "model.onnx"
    result = run(onnx_file, "--target", "jetson-xavier")
    assert result.exit_code == 1
    assert "error qdq-zero-point" in result.output
    assert "fix:" in result.output
    found = json.loads(run(onnx_file, "--target", "jetson-xavier", "--json").output)
    assert found["errors"] > 10
    assert set(found["findings"][0]) == {"rule", "level", "node", "reason", "fix", "file"}
    dla = run(folder, "--set", "limits.dla=true", "--json")
    assert {f["rule"] for f in json.loads(dla.output)["findings"]} >= {"dla-qdq"}
    assert dla.exit_code == 1
    assert "dla-deconvolution" in run("--rules").output


def test_bad_input_is_one_message(artifacts: dict[str, Artifact], tmp_path: Path) -> None:
    (tmp_path / "cut.onnx").write_bytes(b"\x08\x08\x3a")
    (tmp_path / "notes.txt").write_text("no model")
    (tmp_path / "empty").mkdir()
    for words, part in (
        ([tmp_path / "missing", "--target", "host"], "missing"),
        ([tmp_path / "cut.onnx", "--target", "host"], "no ONNX model"),
        ([tmp_path / "cut.onnx"], "--target"),
        ([tmp_path / "cut.onnx", "--target", "coreml-ios17"], "not what coreml-ios17"),
        ([tmp_path / "notes.txt", "--target", "host"], "artifact folder"),
        ([tmp_path / "empty", "--target", "coreml-ios17"], "artifact folder"),
        ([artifacts["host"].folder, "--target", "jetson-xavier"], "leave --target out"),
        ([artifacts["host"].folder, "--set", "limits.dlaa=true"], "did you mean"),
    ):
        result = run(*words)
        assert result.exit_code == 2, result.output
        assert part in result.output
        assert "fix:" in result.output
