"""The native runner computes what the Python runner computes; needs a C++ compiler and nothing else."""

from __future__ import annotations

import io
import shutil
import subprocess
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edgepose.bench.native import SOURCES
from edgepose.device.codec import HeatmapCodec
from edgepose.device.coding import CODINGS, RULES, Coding
from edgepose.device.geometry import (
    box_to_crop,
    crop_matrix,
    invert_affine,
    normalise,
    region_wh,
    warp_affine_numpy,
)

Run = Callable[..., subprocess.CompletedProcess[bytes]]
Arrays = Callable[..., list[NDArray[np.generic]]]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Run:
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("there is no C++ compiler")
    path = tmp_path_factory.mktemp("numerics") / "numerics"
    source = Path(__file__).with_name("numerics.cpp")
    flags = ["-std=c++17", "-O0", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror"]
    subprocess.run(
        [compiler, *flags, f"-I{SOURCES / 'src'}", str(source), "-o", str(path)], check=True
    )

    def run(*words: str, data: bytes) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run([str(path), *words], input=data, capture_output=True, check=False)

    return run


def _file(*arrays: NDArray[np.generic]) -> bytes:
    stream = io.BytesIO()
    for array in arrays:
        np.save(stream, np.ascontiguousarray(array), allow_pickle=False)
    return stream.getvalue()


@pytest.fixture(scope="module")
def compute(program: Run) -> Arrays:
    def arrays(*words: str, given: list[NDArray[np.generic]]) -> list[NDArray[np.generic]]:
        done = program(*words, data=_file(*given))
        assert done.returncode == 0, done.stderr
        stream, found = io.BytesIO(done.stdout), []
        while stream.tell() < len(done.stdout):
            found.append(np.load(stream, allow_pickle=False))
        return found

    return arrays


def _heatmaps(h: int, w: int) -> NDArray[np.float32]:
    """Peaks on and between pixels, at every border, plateaus, ties, noise, nothing, and negatives."""
    rng = np.random.default_rng(3)
    ys, xs = np.mgrid[0:h, 0:w]
    centers = rng.uniform(-1, 1, (200, 2)) * [w, h] / 1.9 + [w / 2, h / 2]
    spots = [np.exp(-((xs - x) ** 2 + (ys - y) ** 2) / rng.uniform(1, 12)) for x, y in centers]
    corners = [np.zeros((h, w)) for _ in range(9)]
    for i, corner in enumerate(corners):
        corner[(0, h // 2, h - 1)[i // 3], (0, w // 2, w - 1)[i % 3]] = 1
    plateau = np.zeros((h, w))
    plateau[2:6, 3:5] = 0.5
    noise = rng.normal(size=(40, h, w))
    maps = [*spots, *corners, plateau, *noise, np.zeros((h, w)), -np.ones((h, w))]
    return np.stack(maps).astype(np.float32)


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize(("h", "w"), [(64, 48), (16, 16), (96, 72)])
def test_decodes_as_the_python_runner(compute: Arrays, coding: Coding, h: int, w: int) -> None:
    codec = HeatmapCodec(stride=4, sigma=2.0, coding=coding)
    maps = _heatmaps(h, w)
    found, pitch = compute("decode", RULES[coding], "4", "2.0", given=[maps])
    xy, score = codec.decode(maps[None])
    np.testing.assert_array_equal(found[:, 2], score[0])
    np.testing.assert_array_equal(pitch, codec.pitch_xy((h, w)))
    if coding == "standard":
        np.testing.assert_array_equal(found[:, :2], xy[0])
    else:  # the same sums in another order
        near = np.abs(found[:, :2] - xy[0]) <= 1e-4 + 1e-4 * np.abs(xy[0])
        assert near.all(), (found[~near.all(axis=1)], xy[0][~near.all(axis=1)])


def test_refuses_heatmaps_that_are_not_finite(program: Run) -> None:
    for bad in (np.nan, np.inf):
        maps = _heatmaps(16, 16)[:3]
        maps[1, 3, 3] = bad
        done = program("decode", "argmax-dark", "4", "2", data=_file(maps))
        assert done.returncode == 2
        assert b"NaN or infinity" in done.stderr
    done = program("decode", "argmax-magic", "4", "2", data=_file(_heatmaps(16, 16)[:1]))
    assert b"cannot decode by 'argmax-magic'" in done.stderr


@pytest.mark.parametrize("out_hw", [(64, 64), (64, 48)])
@pytest.mark.parametrize("centers", [False, True])
def test_crops_as_the_python_runner(
    compute: Arrays, out_hw: tuple[int, int], centers: bool
) -> None:
    rng = np.random.default_rng(5)
    image = rng.integers(0, 256, (90, 120, 3), dtype=np.uint8)
    out_wh = (out_hw[1], out_hw[0])
    stats = np.array([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])
    for box in ([30.0, 20, 40, 60], [-40, -30, 70, 50], [100, 70, 90, 33], [1, 2, 300, 200.5]):
        center, size = box_to_crop(box, padding=1.25)
        square = out_hw[0] == out_hw[1]
        region = (size, size) if square else region_wh(box[2:], size, out_wh)
        alignment = "centers" if centers else "edges"
        matrix = crop_matrix(center, region, out_wh, alignment=alignment)  # type: ignore[arg-type]
        asked = [np.array(box, np.float64), np.array([1.25, *out_hw])]
        found, back = compute("crop", str(int(centers)), given=asked)
        np.testing.assert_allclose(found, matrix, rtol=1e-13, atol=1e-10)
        np.testing.assert_allclose(back, invert_affine(matrix), rtol=1e-13, atol=1e-10)
        crop, images = compute("warp", given=[image, matrix, np.array(out_hw), stats])
        np.testing.assert_array_equal(crop, warp_affine_numpy(image, matrix, out_hw))
        expected = normalise(crop[None], stats[0].tolist(), stats[1].tolist())  # type: ignore[arg-type]
        np.testing.assert_array_equal(images, expected)


def test_warms_up_until_it_settles(compute: Arrays) -> None:
    """Microseconds per call: slow calls first, then steady ones; and one that never settles."""
    plan = [4, 60, 20]
    said, kept = compute("time", given=[np.array([*plan, *[4000] * 6, *[1000] * 2])])
    count, warmup, settled = said.tolist()
    assert (count, settled) == (20, 1)
    assert 8 <= warmup < 60
    assert len(kept) == 20
    assert 1000 <= np.median(kept) < 2000
    falling = np.array([*plan, *(1.3 ** np.arange(30, 0, -1)).astype(int)])
    assert compute("time", given=[np.r_[[4, 12, 20], falling[3:]]])[0].tolist() == [20, 12, 0]
    assert compute("time", given=[np.array([0, 60, 3, 10])])[0].tolist() == [3, 0, 1]


def test_arrays_there_and_back(program: Run, compute: Arrays) -> None:
    rng = np.random.default_rng(1)
    given = [
        rng.integers(0, 256, (3, 4, 5, 3), dtype=np.uint8), rng.normal(size=(3, 2, 3)),
        np.array(1), np.zeros((0, 2), np.float32), rng.random((3, 16)) < 0.5,
    ]  # fmt: skip
    for before, after in zip(given, compute("echo", given=given), strict=True):
        np.testing.assert_array_equal(before, after)
        assert before.dtype == after.dtype
    with np.load(io.BytesIO(program("npz", data=_file(*given[:2])).stdout)) as arrays:
        np.testing.assert_array_equal(arrays["first"], given[0])
        np.testing.assert_array_equal(arrays["second"], given[1])
    whole = _file(*given)
    huge = whole.replace(b"(3, 4, 5, 3)", b"(3, 99999999999999999999, 5)"[:12])
    for broken in (whole[:-1], b"hello" * 9, whole[:40], huge, whole[:9]):
        done = program("echo", data=broken)
        assert done.returncode == 2, broken[:100]
        assert b"pack is cut off" in done.stderr


def test_names_files_as_everybody_does(program: Run) -> None:
    for size in (0, 1, 55, 56, 63, 64, 65, 1000, 70000):
        data = bytes(i * 7 % 251 for i in range(size))
        name = sha256(data).hexdigest()
        assert program("sha256", data=data).stdout.decode() == f"{name} {name}"
