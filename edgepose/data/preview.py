"""A contact sheet: what a data set shows, with its labels drawn over it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edgepose.data.base import PoseDataset, PoseSample
from edgepose.device.files import write_atomic
from edgepose.errors import EdgeposeError
from edgepose.skeleton import Skeleton

Image = NDArray[np.uint8]
_RIGHT, _LEFT, _MIDDLE = (255, 72, 64), (70, 130, 255), (80, 230, 90)
_BOX, _CROP, _TEXT = (250, 220, 70), (235, 235, 235), (255, 255, 120)
_BITS = 4  # of a pixel, in OpenCV's fixed point


def limb_colour(skeleton: Skeleton, a: int, b: int) -> tuple[int, int, int]:
    """Red for the person's right, blue for the left, green between and for what joins the two."""
    ends = {skeleton.joints[a], skeleton.joints[b]}
    paired = {joint: k for pair in skeleton.flip_pairs for k, joint in enumerate(pair)}
    sides = {paired.get(skeleton.joints.index(name)) for name in ends} - {None}
    return _MIDDLE if len(sides) != 1 else (_RIGHT, _LEFT)[sides.pop() or 0]


def _fixed(xy: NDArray[np.float64]) -> tuple[int, int]:
    x, y = np.rint(xy * (1 << _BITS)).astype(int).tolist()
    return x, y


def drawn(sample: PoseSample, skeleton: Skeleton, *, side_px: int, labels: bool = True,
          tags: bool = True) -> Image:  # fmt: skip
    """(side_px, side_px, 3): the sample's picture, scaled to fit; with `labels`, joints, limbs, box
    (yellow) and crop region (white) over it, and its tags as text unless `tags` is off. Joints that
    are not annotated are left out."""
    height, width = sample.image.shape[:2]
    factor = side_px / max(height, width)
    size = (max(round(width * factor), 1), max(round(height * factor), 1))
    how = cv2.INTER_CUBIC if factor > 1 else cv2.INTER_AREA
    tile = np.zeros((side_px, side_px, 3), np.uint8)
    tile[: size[1], : size[0]] = cv2.resize(sample.image, size, interpolation=how)

    if not labels:
        return tile

    def place(xy: NDArray[np.floating]) -> NDArray[np.float64]:
        scaled: NDArray[np.float64] = (np.asarray(xy, np.float64) + 0.5) * factor - 0.5
        return scaled

    x, y, w, h = (float(c) for c in sample.box_xywh)
    half = np.array([sample.size_px / 2] * 2)
    for low, high, colour in (
        (sample.center_xy - half, sample.center_xy + half, _CROP),
        (np.array([x, y]), np.array([x + w, y + h]), _BOX),
    ):
        cv2.rectangle(tile, _fixed(place(low)), _fixed(place(high)), colour, 1, cv2.LINE_AA, _BITS)
    joints = place(sample.joints_xy)
    thick = max(side_px // 120, 1)
    dot = max(thick, 2)
    for a, b in skeleton.limbs:
        if sample.annotated[a] and sample.annotated[b]:
            cv2.line(tile, _fixed(joints[a]), _fixed(joints[b]), limb_colour(skeleton, a, b), thick,
                     cv2.LINE_AA, _BITS)  # fmt: skip
    for xy in joints[sample.annotated]:
        cv2.circle(tile, _fixed(xy), (dot + 1) << _BITS, (20, 20, 20), -1, cv2.LINE_AA, _BITS)
    for xy in joints[sample.annotated]:
        cv2.circle(tile, _fixed(xy), dot << _BITS, (255, 255, 255), -1, cv2.LINE_AA, _BITS)
    words = " ".join(sorted(sample.tags))
    if words and tags:
        cv2.putText(tile, words, (3, side_px - 5), cv2.FONT_HERSHEY_SIMPLEX, side_px / 480, _TEXT, 1,
                    cv2.LINE_AA)  # fmt: skip
    return tile


def contact_sheet(dataset: PoseDataset, count: int, path: str | Path, *, columns: int = 6,
                  scale: float = 1.5, labels: bool = True) -> Path:  # fmt: skip
    """Write a PNG of the first `count` samples (fewer where there are fewer) and return its path.

    scale:  size of a tile relative to the first sample's larger side
    labels: draw joints, limbs and boxes
    Raises EdgeposeError for an empty data set or a request for nothing.
    """
    count = min(count, len(dataset))
    if count < 1 or columns < 1 or scale <= 0:
        raise EdgeposeError(
            f"nothing to preview: {count} samples in {columns} columns at scale {scale}",
            fix="ask for at least one sample, one column and a positive scale",
        )
    first = dataset[0]
    side = max(round(max(first.image.shape[:2]) * scale), 16)
    columns = min(columns, count)
    sheet = np.zeros((-(-count // columns) * side, columns * side, 3), np.uint8)
    for i in range(count):
        sample = first if i == 0 else dataset[i]
        tile = drawn(sample, dataset.skeleton, side_px=side, labels=labels)
        row, column = divmod(i, columns)
        sheet[row * side : (row + 1) * side, column * side : (column + 1) * side] = tile
    packed = cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))[1]
    write_atomic(path, packed.tobytes())
    return Path(path)
