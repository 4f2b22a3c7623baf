"""The samples' numbers are edgepose's own: C++ compiled and compared, the others parsed and tied to it."""

from __future__ import annotations

import ctypes
import importlib.util
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import tree_sitter_kotlin
import tree_sitter_swift
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tree_sitter import Language, Node, Parser

from edgepose.device.codec import HeatmapCodec
from edgepose.device.coding import CODINGS, Coding, alignment_of
from edgepose.device.decode import heatmap_to_image_xy
from edgepose.device.geometry import (
    box_to_crop,
    crop_matrix,
    normalise,
    region_wh,
    warp_affine_numpy,
)
from edgepose.device.input_sizes import choose_size
from edgepose.samples import sample_files

HERE = Path(__file__).resolve().parent
SAMPLES = HERE.parents[1] / "edgepose" / "samples"
GRAMMARS = {
    "kotlin": (tree_sitter_kotlin, (".kt", ".kts")),
    "swift": (tree_sitter_swift, (".swift",)),
}
SOURCES = sorted(
    path.relative_to(SAMPLES).as_posix()
    for language, (_, suffixes) in GRAMMARS.items()
    for path in (SAMPLES / language).rglob("*")
    if path.suffix in suffixes
)


def beside(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


vectors = beside("vectors")


@pytest.fixture(scope="module")
def cpp(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler here: install g++")
    library = tmp_path_factory.mktemp("cpp") / "numerics.so"
    subprocess.run(
        [compiler, "-std=c++17", "-O1", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-shared", "-fPIC",
         "-I", SAMPLES / "cpp", HERE / "harness.cpp", "-o", library],
        check=True,
    )  # fmt: skip
    return ctypes.CDLL(str(library))


def pointer(array: NDArray[np.generic]) -> ctypes.c_void_p:
    assert array.flags.c_contiguous
    return ctypes.c_void_p(array.ctypes.data)


def matrix_of(
    box: NDArray[np.float64], out_wh: tuple[int, int], alignment: str
) -> NDArray[np.float64]:
    """As `edgepose predict` crops."""
    center, size = box_to_crop(box)
    region = (size, size) if out_wh[0] == out_wh[1] else region_wh(box[2:], size, out_wh)
    return crop_matrix(center, region, out_wh, alignment=alignment)  # type: ignore[arg-type]


@pytest.mark.parametrize("out_wh", [(64, 64), (48, 64), (40, 24)])
@pytest.mark.parametrize("alignment", ["edges", "centers"])
def test_cpp_crops_as_the_device_code_does(
    cpp: ctypes.CDLL, out_wh: tuple[int, int], alignment: str
) -> None:
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (50, 70, 3), dtype=np.uint8)
    padded = np.zeros((50, 300), np.uint8)  # BGRA in rows of 300 bytes, as a camera has it
    padded[:, :280].reshape(50, 70, 4)[..., :3] = image[..., ::-1]
    for _ in range(8):
        box = np.concatenate([rng.uniform(-30, 60, 2), rng.uniform(1, 80, 2)])
        wanted, found = matrix_of(box, out_wh, alignment), np.empty(6)
        centers = int(alignment == "centers")
        assert (
            cpp.crop_matrix(pointer(box), ctypes.c_double(1.25), *out_wh, centers, pointer(found))
            == 0
        )
        np.testing.assert_allclose(found.reshape(2, 3), wanted, rtol=1e-12, atol=1e-9)
        crop = np.empty((out_wh[1], out_wh[0], 3), np.uint8)
        cpp.crop_image(
            pointer(padded), 70, 50, 300, 4, 2, 0, pointer(found), *out_wh, pointer(crop)
        )
        reference = warp_affine_numpy(image, wanted, out_wh[::-1])
        difference = np.abs(crop.astype(int) - reference)
        assert difference.max() <= 1
        assert (difference > 0).mean() < 0.001


@pytest.mark.parametrize("box", [(1, 2, 1e300, 5), (1, 2, 1e-310, 1e-310), (1, 2, 0, 5)])
def test_cpp_refuses_boxes_that_give_no_crop(
    cpp: ctypes.CDLL, box: tuple[float, float, float, float]
) -> None:
    found = np.empty(6)
    refused = cpp.crop_matrix(
        pointer(np.array(box)), ctypes.c_double(1.25), 64, 64, 0, pointer(found)
    )
    assert refused == 1


@pytest.mark.parametrize("bgr", [False, True])
def test_cpp_normalises_as_the_device_code_does(cpp: ctypes.CDLL, bgr: bool) -> None:
    crop = np.random.default_rng(2).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    found = np.empty((1, 3, 5, 7), np.float32)
    cpp.normalise_crop(
        pointer(crop), crop.size, pointer(mean), pointer(std), int(bgr), pointer(found)
    )
    wanted = normalise((crop[..., ::-1] if bgr else crop)[None], tuple(mean), tuple(std))
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def maps_of_everything(shape: tuple[int, int]) -> NDArray[np.float32]:
    """(1, 60, h, w): peaks everywhere, the borders too, with noise; one empty, one negative, one flat."""
    rng, (h, w) = np.random.default_rng(3), shape
    y, x = np.indices(shape)
    maps = []
    for _ in range(57):
        px, py, size = rng.uniform(-0.5, w - 0.5), rng.uniform(-0.5, h - 0.5), rng.uniform(0.8, 2.5)
        maps.append(
            np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * size**2)) + rng.normal(0, 0.02, shape)
        )
    maps += [np.zeros(shape), -np.ones(shape), np.ones(shape)]
    return np.stack(maps).astype(np.float32)[None]


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("shape", [(16, 16), (96, 72)])
def test_cpp_decodes_as_the_device_code_does(
    cpp: ctypes.CDLL, coding: Coding, shape: tuple[int, int]
) -> None:
    maps = maps_of_everything(shape)
    codec, size_wh = HeatmapCodec(4, 2.0, coding), (shape[1] * 4, shape[0] * 4)
    matrix = matrix_of(np.array([3.0, 5.0, 90.0, 110.0]), size_wh, alignment_of(coding))
    flat, found = matrix.ravel().copy(), np.empty((60, 3), np.float32)
    rule, centers = CODINGS.index(coding), int(codec.alignment == "centers")
    sigma = ctypes.c_double(2.0)
    decode = cpp.decode_maps
    assert (
        decode(pointer(maps), 60, *shape, rule, sigma, 4, centers, pointer(flat), pointer(found))
        == 0
    )
    xy, score = codec.decode(maps)
    np.testing.assert_allclose(
        found[:, :2], codec.image_xy(xy, matrix, shape)[0], rtol=1e-6, atol=1e-4
    )
    np.testing.assert_array_equal(found[:, 2], score[0])
    broken = maps.copy()
    broken[0, 7, 3, 3] = np.nan
    assert (
        decode(pointer(broken), 60, *shape, rule, sigma, 4, centers, pointer(flat), pointer(found))
        == 1
    )


SIDES = st.integers(1, 40).map(lambda side: 8 * side)


@given(
    sizes=st.lists(st.tuples(SIDES, SIDES), min_size=1, max_size=5),
    box_wh=st.tuples(st.integers(1, 400), st.integers(1, 400)),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_cpp_chooses_the_size_that_predict_chooses(
    cpp: ctypes.CDLL, sizes: list[tuple[int, int]], box_wh: tuple[int, int]
) -> None:
    sides = np.array(sizes, np.int32)
    width, height = (ctypes.c_double(side) for side in box_wh)
    found = cpp.choose_size(width, height, pointer(sides), len(sizes))
    wanted = choose_size(box_wh[::-1], [(h, w) for w, h in sizes])
    assert sizes[found][::-1] == wanted
    assert found == sizes.index(wanted[::-1]), "the first of equals"


def test_cpp_reads_joints_as_the_device_code_does(cpp: ctypes.CDLL) -> None:
    matrix = matrix_of(np.array([3.0, 5.0, 90.0, 110.0]), (48, 64), "edges")
    values = np.random.default_rng(4).uniform(0, 60, (16, 3)).astype(np.float32)
    flat, found = matrix.ravel().copy(), np.empty((16, 3), np.float32)
    assert cpp.joints_of(pointer(values), 48, 16, pointer(flat), pointer(found)) == 0
    wanted = heatmap_to_image_xy(values[None, :, :2], matrix, 1.0)[0]
    np.testing.assert_allclose(found[:, :2], wanted, rtol=1e-6, atol=1e-4)
    np.testing.assert_array_equal(found[:, 2], values[:, 2])
    assert cpp.joints_of(pointer(values), 48, 17, pointer(flat), pointer(found)) == 1
    values[3, 1] = np.inf
    assert cpp.joints_of(pointer(values), 48, 16, pointer(flat), pointer(found)) == 1


def test_cpp_refuses_a_box_without_area(cpp: ctypes.CDLL) -> None:
    out = np.empty(6)
    for box in ([1, 1, 0, 5], [1, 1, 5, -1], [np.nan, 1, 5, 5], [1, 1, np.inf, 5]):
        values = np.array(box, dtype=np.float64)
        assert cpp.crop_matrix(pointer(values), ctypes.c_double(1.25), 64, 64, 0, pointer(out)) == 1


def errors(node: Node) -> Iterator[Node]:
    """Every node that the grammar did not understand or had to invent."""
    if node.is_error or node.is_missing:
        yield node
    for child in node.children:
        yield from errors(child)


def parse(source: str) -> Node:
    grammar, _ = GRAMMARS[source.partition("/")[0]]
    return Parser(Language(grammar.language())).parse((SAMPLES / source).read_bytes()).root_node


def test_there_is_what_is_to_be_parsed() -> None:
    names = [Path(source).name for source in SOURCES]
    assert names.count("Numerics.kt") == names.count("Numerics.swift") == 1
    assert {"build.gradle.kts", "Package.swift", "PoseEstimator.kt", "PoseEstimator.swift"} <= {
        *names
    }


@pytest.mark.parametrize("source", SOURCES)
def test_kotlin_and_swift_parse_without_an_error_node(source: str) -> None:
    root = parse(source)
    assert root.descendant_count > 20
    assert [(node.type, node.start_point) for node in errors(root)] == []


def test_the_kotlin_module_builds_alone_and_within_an_app() -> None:
    """An app refuses a module that names plugin versions; the Android plugin before 9 wants the switch."""
    files = {
        path: data.decode()
        for path, data in sample_files("onnx_mobile").items()
        if "kotlin" in path
    }
    plugin = re.compile(r'id\("[\w.]+"\)( version "[\d.]+")?')
    assert set(plugin.findall(files["kotlin/build.gradle.kts"])) == {""}
    assert all(plugin.findall(files["kotlin/settings.gradle.kts"]))
    assert "android.useAndroidX=true" in files["kotlin/gradle.properties"]


def test_swift_callbacks_are_sendable_and_no_name_is_swiftui_s() -> None:
    """A callback that is not @Sendable belongs to the main actor where an app in Swift 6 writes it, and
    traps on the camera's queue; an `Image` of ours would make SwiftUI's ambiguous."""
    text = "".join(path.read_text() for path in (SAMPLES / "swift" / "Sources").rglob("*.swift"))
    assert text.count("@escaping") == text.count("@escaping @Sendable") == 1
    names = set(re.findall(r"public (?:final )?(?:struct|class|enum) (\w+)", text))
    assert {"Box", "Joint", "PoseEstimator"} <= names
    assert not names & {
        "Image",
        "Text",
        "View",
        "Color",
        "Path",
        "Shape",
        "State",
        "Label",
        "Group",
    }


def test_a_broken_source_has_an_error_node() -> None:
    for language, (grammar, _) in GRAMMARS.items():
        tree = Parser(Language(grammar.language())).parse(b"func fun f( { )")
        assert list(errors(tree.root_node)), language


@pytest.mark.parametrize("language", ["kotlin", "swift"])
def test_literal_vectors_are_those_of_the_device_code(language: str) -> None:
    assert vectors.FILES[language].read_text() == vectors.texts()[language], (
        "write them anew: python tests/samples/vectors.py"
    )
