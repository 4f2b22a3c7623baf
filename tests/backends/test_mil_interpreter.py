"""Packages made by coremltools, executed: against torch, batched, reproducible, and refused."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from edgepose.backends.mil.batching import open_batch
from edgepose.backends.mil.convert import Description, convert, write_package
from edgepose.backends.mil.interleave import use_pixel_shuffle
from edgepose.backends.mil.interpreter import Interpreter, Results, evaluate
from edgepose.backends.mil.load import Operation, Program, Ref, Tensor, load_program
from edgepose.errors import EdgeposeError
from edgepose.models.subpixel import Interleave, PhasedConv2d, phases_of
from edgepose.quant.graph import export

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HW = (32, 48)
ABOUT = Description(
    author="a", license="l", version="1", summary="s", input_text="i", output_text="o"
)


class Small(nn.Module):
    """One of everything that our networks are made of."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 7, 2, 3), nn.BatchNorm2d(8), nn.ReLU())
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.branch = nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=2)
        self.down = nn.Conv2d(8, 16, 1, 2)
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.deconv = nn.ConvTranspose2d(24, 6, 4, 2, 1, bias=False)
        self.phased = PhasedConv2d(6, 20, 2, padding=1, relu=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(self.stem(x))
        x = torch.relu(x + self.branch(x))
        x = torch.cat([x, self.up(self.down(x))], 1)
        result: torch.Tensor = self.phased(self.deconv(x)) - 0.25
        return result


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    network = Small().eval()
    with torch.no_grad():
        network.stem[1].running_mean.uniform_(-1, 1)
        network.stem[1].running_var.uniform_(0.5, 2)
    return network


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 3, *HW)).astype(np.float32)


def reference(network: nn.Module, images: np.ndarray) -> np.ndarray:
    mean, std = (np.array(v, np.float64).reshape(3, 1, 1) for v in (MEAN, STD))
    normalised = torch.from_numpy(((images / 255 - mean) / std).astype(np.float32))
    with torch.no_grad():
        return network(normalised).numpy()


def package(network: nn.Module, compute: Any, **changes: Any) -> dict[str, bytes]:
    options: dict[str, Any] = {"color": "RGB", "minimum_os": "iOS17", **changes}
    return convert(
        network, input_hw=HW, mean=MEAN, std=STD, compute=compute, description=ABOUT, **options
    )


@pytest.fixture(scope="module")
def folder(network: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mil") / "fp16.mlpackage"
    return write_package(package(network, "fp16"), path)


def relative_error(got: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.linalg.norm(got - wanted) / np.linalg.norm(wanted))


def test_fp32_package_equals_torch(network: nn.Module, images: np.ndarray, tmp_path: Path) -> None:
    path = write_package(package(network, "fp32"), tmp_path / "fp32.mlpackage")
    got = Interpreter.load(path).run({"image": images})["heatmaps"]
    assert relative_error(got, reference(network, images)) < 1e-6


def test_fp16_package_is_off_by_fp16_rounding_only(
    network: nn.Module, images: np.ndarray, folder: Path
) -> None:
    got = Interpreter.load(folder).run({"image": images})["heatmaps"]
    assert got.dtype == np.float32
    assert 1e-6 < relative_error(got, reference(network, images)) < 1e-3
    np.testing.assert_array_equal(got, got.astype(np.float16))


def test_every_byte_of_an_image_is_normalised_as_well_as_fp16_can(tmp_path: Path) -> None:
    """Results go up to 2.6, where FP16's own rounding is 1e-3; scaled before the mean is off, 3e-3."""
    every_byte = np.resize(np.arange(256, dtype=np.float32), (1, 3, *HW))
    files = package(nn.MaxPool2d(1), "fp16")
    got = Interpreter.load(write_package(files, tmp_path / "n.mlpackage")).run(
        {"image": every_byte}
    )
    np.testing.assert_allclose(
        got["heatmaps"], reference(nn.Identity(), every_byte), rtol=0, atol=2e-3
    )


def test_a_batch_gives_what_single_images_give(images: np.ndarray, folder: Path) -> None:
    program = load_program(folder)
    assert open_batch(program) is not None
    together = Interpreter(program).run({"image": images})["heatmaps"]
    singly = [Interpreter(program).run({"image": images[i : i + 1]}) for i in range(len(images))]
    np.testing.assert_allclose(
        together, np.concatenate([r["heatmaps"] for r in singly]), rtol=2e-3, atol=2e-3
    )


def test_a_program_that_mixes_images_is_not_batched() -> None:
    program = Program(
        inputs=(Tensor("image", (1, 3, 2, 2), "fp32"),),
        images={},
        operations=(
            Operation(
                "reshape", "r", {"x": Ref("image"), "shape": np.array([3, 1, 2, 2])},
                (Tensor("a", (3, 1, 2, 2), "fp32"),),
            ),
            Operation(
                "reshape", "s", {"x": Ref("a"), "shape": np.array([1, 12])},
                (Tensor("heatmaps", (1, 12), "fp32"),),
            ),
        ),
        outputs=("heatmaps",),
    )  # fmt: skip
    assert open_batch(program) is None
    x = np.random.default_rng(0).normal(size=(4, 3, 2, 2)).astype(np.float32)
    got = Interpreter(program).run({"image": x})["heatmaps"]
    np.testing.assert_array_equal(got, x.reshape(4, 12))


def interleave_of(**deconv: int) -> Interleave:
    return Interleave(*phases_of(nn.ConvTranspose2d(1, 1, **deconv)))


def test_interleaves_become_pixel_shuffles_and_keep_every_value(network: nn.Module) -> None:
    torch.manual_seed(1)
    inter = interleave_of(kernel_size=4, stride=2, padding=1)
    wide = {"kernel_size": (2, 2), "padding": (1, 1)}
    grouped = PhasedConv2d(20, 12, (1, 1), groups=4, interleave=inter)
    chain = nn.Sequential(PhasedConv2d(6, 20, relu=True, **wide), grouped)  # type: ignore[arg-type]
    x = torch.randn(1, 6, 8, 12)
    for module in (PhasedConv2d(6, 20, relu=True, interleave=inter, **wide), chain):  # type: ignore[arg-type]
        before = torch.export.export(module.eval(), (x,)).module(check_guards=False)
        after = use_pixel_shuffle(copy.deepcopy(before))
        kinds = [str(node.target) for node in after.graph.nodes]
        assert "aten.pixel_shuffle.default" in kinds
        with torch.no_grad():
            torch.testing.assert_close(after(x), before(x), rtol=1e-5, atol=1e-6)


def test_a_crop_of_two_pixels_is_not_taken_for_an_interleave() -> None:
    class Lookalike(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            n, channels, h, w = x.shape
            x = x.permute(0, 2, 3, 1).reshape(n, h, w, 2, channels // 2)
            x = x.permute(0, 1, 3, 2, 4).reshape(n, 2 * h, 2 * w, channels // 4)
            return x[:, 2:-1, 1:-1, :].permute(0, 3, 1, 2)

    x = torch.randn(1, 8, 4, 4)
    before = torch.export.export(Lookalike(), (x,)).module(check_guards=False)
    after = use_pixel_shuffle(copy.deepcopy(before))
    assert [n.target for n in after.graph.nodes] == [n.target for n in before.graph.nodes]


@settings(max_examples=20, deadline=None)
@given(
    values=st.lists(st.floats(-1e5, 1e5, width=32), min_size=1, max_size=20),
    dtype=st.sampled_from(["fp16", "fp32"]),
)
def test_results_are_rounded_to_the_declared_type(values: list[float], dtype: str) -> None:
    x = np.array(values, np.float32)
    op = Operation("add", "a", {}, (Tensor("y", x.shape, dtype),))
    got = evaluate(op, {"x": torch.from_numpy(x), "y": 0.125})["y"].numpy()
    with np.errstate(over="ignore"):
        wanted = (x + np.float32(0.125)).astype({"fp16": np.float16, "fp32": np.float32}[dtype])
    np.testing.assert_array_equal(got, wanted.astype(np.float32))


def _broken(program: Program, **changes: Any) -> Program:
    first = next(op for op in program.operations if op.kind == "conv")
    operation = Operation(
        changes.get("kind", first.kind),
        first.name,
        {**first.arguments, **changes.get("arguments", {})},
        changes.get("outputs", first.outputs),
    )
    return Program(program.inputs, program.images, (operation,), program.outputs)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"kind": "erf"}, "erf"),
        ({"arguments": {"activation": "gelu"}}, "conv.activation"),
        ({"kind": "softmax", "arguments": {}}, "softmax"),
    ],
)
def test_unknown_operators_and_attributes_are_refused_by_name(
    folder: Path, changes: Mapping[str, Any], named: str
) -> None:
    with pytest.raises(EdgeposeError, match=named):
        Interpreter(_broken(load_program(folder), **changes))


def test_a_result_of_another_shape_than_declared_is_an_error(folder: Path) -> None:
    program = load_program(folder)
    operations = list(program.operations)
    number = next(i for i, op in enumerate(operations) if op.kind == "relu")
    wrong = (Tensor(operations[number].outputs[0].name, (1, 8, 3, 3), "fp16"),)
    op = operations[number]
    operations[number] = Operation(op.kind, op.name, op.arguments, wrong)
    changed = Program(program.inputs, program.images, tuple(operations), program.outputs)
    with pytest.raises(EdgeposeError, match="relu"):
        Interpreter(changed).run({"image": np.zeros((1, 3, *HW), np.float32)})


def test_a_step_can_be_watched(folder: Path) -> None:
    kinds: list[str] = []

    class Watching(Interpreter):
        def step(self, op: Operation, arguments: Mapping[str, Any]) -> Results:
            kinds.append(op.kind)
            return super().step(op, arguments)

    Watching.load(folder).run({"image": np.zeros((1, 3, *HW), np.float32)})
    assert {"conv", "conv_transpose", "max_pool", "concat", "pixel_shuffle"} & set(kinds)
    assert kinds[-1] == "cast"


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda p: (p / "Manifest.json").unlink(),
        lambda p: (p / "Manifest.json").write_text("{"),
        lambda p: _cut(p / "Data/com.apple.CoreML/model.mlmodel"),
        lambda p: (p / "Data/com.apple.CoreML/model.mlmodel").write_bytes(b""),
        lambda p: (p / "Data/com.apple.CoreML/weights/weight.bin").unlink(),
    ],
)
def test_a_damaged_package_is_one_clear_error(
    network: nn.Module, folder: Path, tmp_path: Path, spoil: Any
) -> None:
    copied = tmp_path / "copy.mlpackage"
    for source in folder.rglob("*"):
        if source.is_file():
            write_package({str(source.relative_to(folder)): source.read_bytes()}, copied)
    spoil(copied)
    with pytest.raises(EdgeposeError, match="cannot read"):
        load_program(copied)


def test_a_manifest_cannot_point_outside_the_package(folder: Path, tmp_path: Path) -> None:
    manifest = json.loads((folder / "Manifest.json").read_text())
    root = manifest["rootModelIdentifier"]
    manifest["itemInfoEntries"][root]["path"] = "../../secret"
    write_package({"Manifest.json": json.dumps(manifest).encode()}, tmp_path / "x.mlpackage")
    with pytest.raises(EdgeposeError, match="outside"):
        load_program(tmp_path / "x.mlpackage")


def test_an_old_system_is_refused(network: nn.Module) -> None:
    with pytest.raises(EdgeposeError, match="iOS13"):
        package(network, "fp16", minimum_os="iOS13")


def test_exported_deploy_form_converts_with_interleaves_rewritten(images: np.ndarray) -> None:
    torch.manual_seed(2)
    module = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), PhasedConv2d(6, 20, 2, padding=1, relu=True))
    graph = use_pixel_shuffle(export(module, input_hw=HW, batch=1))
    with torch.no_grad():
        torch.testing.assert_close(
            graph(torch.from_numpy(images[:1])), module(torch.from_numpy(images[:1]))
        )
