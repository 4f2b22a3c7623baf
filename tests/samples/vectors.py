"""The numbers in the samples' own tests, from edgepose.device; run as a program it writes them anew."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgepose.device.codec import HeatmapCodec
from edgepose.device.decode import heatmap_to_image_xy
from edgepose.device.geometry import box_to_crop, crop_matrix, region_wh, warp_affine_numpy
from edgepose.device.input_sizes import choose_size

SAMPLES = Path(__file__).resolve().parents[2] / "edgepose" / "samples"
FILES = {
    "kotlin": SAMPLES / "kotlin/src/test/kotlin/edgepose/Vectors.kt",
    "swift": SAMPLES / "swift/Tests/EdgePoseTests/Vectors.swift",
}
IMAGE_WH, BOX, CROP_WH, MAP_HW = (9, 7), (1.5, -1.0, 5.0, 6.5), (6, 8), (10, 8)
PEAKS = ((3.3, 4.2, 250.0), (5.75, 6.4, 180.0), (0.4, 9.0, 220.0), None)
SIZES_WH = ((192, 256), (144, 192), (96, 128), (128, 96))
BOXES_WH = ((60.0, 100.0), (96.0, 128.0), (120.0, 150.0), (150.0, 200.0), (300.0, 400.0))
NOTE = "Made by tests/samples/vectors.py of edgepose from its Python. SPDX-License-Identifier: Apache-2.0"


def image() -> NDArray[np.uint8]:
    """(7, 9, 3): a formula, so that every language makes its own."""
    y, x, c = np.indices((IMAGE_WH[1], IMAGE_WH[0], 3))
    return ((x * 31 + y * 17 + c * 53) % 256).astype(np.uint8)


def heatmaps() -> NDArray[np.int64]:
    """(4, 10, 8) in 1/256: three Gaussians, one at the border, and nothing."""
    y, x = np.indices(MAP_HW)
    maps = [
        np.zeros(MAP_HW) if p is None
        else p[2] * np.exp(-((x - p[0]) ** 2 + (y - p[1]) ** 2) / 2)
        for p in PEAKS
    ]  # fmt: skip
    return np.rint(np.stack(maps)).astype(np.int64)


def matrix(alignment: str) -> NDArray[np.float64]:
    center, size = box_to_crop(BOX)
    region = region_wh(BOX[2:], size, CROP_WH)
    return crop_matrix(center, region, CROP_WH, alignment=alignment)  # type: ignore[arg-type]


def joints(coding: str) -> NDArray[np.float32]:
    """(4, 3): x, y in image pixels and score."""
    codec = HeatmapCodec(stride=4, sigma=1.0, coding=coding)  # type: ignore[arg-type]
    maps = (heatmaps() / 256).astype(np.float32)[None]
    xy, score = codec.decode(maps)
    found = codec.image_xy(xy, matrix(codec.alignment), MAP_HW)
    return np.concatenate([found[0], score[0][:, None]], axis=1)


def chosen() -> list[int]:
    """For each box the place of its crop size."""
    sizes = [(h, w) for w, h in SIZES_WH]
    return [sizes.index(choose_size((h, w), sizes)) for w, h in BOXES_WH]


def from_graph() -> NDArray[np.float32]:
    """What a whole-pose graph might give, (3, 3): crop pixels and scores."""
    return np.array([[1.5, 2.25, 0.9], [0.0, 7.0, 0.5], [5.5, 3.0, 0.0]], np.float32)


def placed() -> NDArray[np.float32]:
    """The same in image pixels."""
    given = from_graph()
    xy = heatmap_to_image_xy(given[None, :, :2], matrix("edges"), 1.0)[0]
    return np.concatenate([xy, given[:, 2:]], axis=1).astype(np.float32)


def values() -> dict[str, object]:
    """Every constant, by its name in Swift."""
    crops = {a: warp_affine_numpy(image(), matrix(a), CROP_WH[::-1]) for a in ("edges", "centers")}
    return {
        "imageWidth": IMAGE_WH[0], "imageHeight": IMAGE_WH[1],
        "cropWidth": CROP_WH[0], "cropHeight": CROP_WH[1],
        "joints": len(PEAKS), "heatmapWidth": MAP_HW[1], "heatmapHeight": MAP_HW[0],
        "matrixEdges": matrix("edges").ravel(), "matrixCenters": matrix("centers").ravel(),
        "cropEdges": crops["edges"].ravel(), "cropCenters": crops["centers"].ravel(),
        "heatmaps": heatmaps().ravel(),
        "quarterPixel": joints("standard").ravel(),
        "dark": joints("dark").ravel(), "darkUdp": joints("udp").ravel(),
        "sizes": np.ravel(SIZES_WH), "boxes": np.ravel(BOXES_WH), "chosen": np.array(chosen()),
        "fromGraph": from_graph().ravel(), "placed": placed().ravel(),
    }  # fmt: skip


def _rows(words: Sequence[str], indent: str) -> str:
    """Comma-separated, in lines of at most 100 characters."""
    lines, line = [], indent
    for i, word in enumerate(words):
        word += "," if i < len(words) - 1 else ""
        if len(line) + len(word) + 1 > 100:
            lines, line = [*lines, line], indent
        line += word if line == indent else " " + word
    return "\n".join([*lines, line])


def _number(value: float, suffix: str) -> str:
    text = f"{value:.12g}" if suffix == "" else f"{value:.9g}"
    return text + ("" if "." in text or "e" in text else ".0") + suffix


def _body(write: Callable[[str, object], str]) -> str:
    return "\n".join(write(name, value) for name, value in values().items())


def kotlin() -> str:
    def write(name: str, value: object) -> str:
        name = "".join("_" + c if c.isupper() else c.upper() for c in name)
        if isinstance(value, int):
            return f"    const val {name} = {value}"
        array = np.asarray(value)
        kind, suffix = {"f": ("float", "f"), "d": ("double", "")}.get(array.dtype.char, ("int", ""))
        words = [str(v) if kind == "int" else _number(v, suffix) for v in array.tolist()]
        return f"    val {name} = {kind}ArrayOf(\n{_rows(words, ' ' * 8)}\n    )"

    box = ", ".join(_number(v, "") for v in BOX)
    return (
        f"// {NOTE}\npackage edgepose\n\nobject Vectors {{\n    val BOX = Box({box})\n"
        f"{_body(write)}\n}}\n"
    )


def swift() -> str:
    def write(name: str, value: object) -> str:
        if isinstance(value, int):
            return f"    static let {name} = {value}"
        array = np.asarray(value)
        kind = {"f": "Float", "d": "Double"}.get(array.dtype.char, "Int")
        words = [str(v) if kind == "Int" else _number(v, "") for v in array.tolist()]
        return f"    static let {name}: [{kind}] = [\n{_rows(words, ' ' * 8)}\n    ]"

    names = ("x", "y", "width", "height")
    box = ", ".join(f"{n}: {_number(v, '')}" for n, v in zip(names, BOX, strict=True))
    return (
        f"// {NOTE}\nimport EdgePose\n\nenum Vectors {{\n    static let box = Box({box})\n"
        f"{_body(write)}\n}}\n"
    )


def texts() -> Mapping[str, str]:
    return {"kotlin": kotlin(), "swift": swift()}


if __name__ == "__main__":
    for language, text in texts().items():
        FILES[language].write_text(text)
