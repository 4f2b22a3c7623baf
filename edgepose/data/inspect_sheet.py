"""The contact sheet of an inspection: people of every split, close up, labels over them."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from edgepose.data.base import PoseDataset, PoseSample
from edgepose.data.preview import drawn
from edgepose.device.files import write_atomic
from edgepose.errors import EdgeposeError

_TILE, _GAP, _CAPTION, _HEAD, _COLUMNS = 256, 8, 20, 44, 6
_PAPER, _INK, _FAINT = (24, 26, 30), (238, 238, 238), (160, 165, 172)
_OUTSIDE = 64  # grey level where there is no picture
_AROUND = 1.15  # what a tile shows, relative to the crop region
_LEGEND = (
    ((255, 72, 64), "right"), ((70, 130, 255), "left"), ((80, 230, 90), "middle"),
    ((250, 220, 70), "box"), ((235, 235, 235), "crop region"),
)  # fmt: skip


def save_sheet(splits: Mapping[str, PoseDataset], path: Path, *, count: int) -> None:
    """Write a PNG with up to `count` people of each split, evenly spread over it.

    A tile shows the person's crop region and a little more; plain grey is outside of the picture.
    """
    shown = {name: data for name, data in splits.items() if len(data)}
    if not shown or count < 1:
        raise EdgeposeError("there is nobody to draw", fix="check the data set's labels")
    columns = min(_COLUMNS, max(min(count, len(data)) for data in shown.values()))
    columns = max(columns, 3)  # room for the head line
    rows = {name: -(-min(count, len(data)) // columns) for name, data in shown.items()}
    width = columns * (_TILE + _GAP) + _GAP
    height = sum(_HEAD + n * (_TILE + _CAPTION + _GAP) for n in rows.values()) + _GAP
    sheet = Image.new("RGB", (width, height), _PAPER)
    pen = ImageDraw.Draw(sheet)
    large, small = ImageFont.load_default(20), ImageFont.load_default(12)
    top = 0
    for name, dataset in shown.items():
        title = f"{name}: {len(dataset)} people, {dataset.skeleton.name}"
        pen.text((_GAP + 2, top + _HEAD / 2), title, fill=_INK, font=large, anchor="lm")
        if top == 0:
            _legend(pen, width, small, start=_GAP + 2 + pen.textlength(title, font=large))
        top += _HEAD
        total = len(dataset)
        picks = np.linspace(0, total - 1, min(count, total)).round().astype(int).tolist()
        for place, index in enumerate(picks):
            row, column = divmod(place, columns)
            left = _GAP + column * (_TILE + _GAP)
            upper = top + row * (_TILE + _CAPTION + _GAP)
            sample = dataset[index]
            tile = drawn(close_up(sample), dataset.skeleton, side_px=_TILE, tags=False)
            sheet.paste(Image.fromarray(tile), (left, upper))
            caption = _fitting(pen, _caption(sample), small, _TILE)
            pen.text((left, upper + _TILE + 3), caption, fill=_FAINT, font=small)
        top += rows[name] * (_TILE + _CAPTION + _GAP)
    stream = io.BytesIO()
    sheet.save(stream, "PNG", optimize=True)
    write_atomic(path, stream.getvalue())


def close_up(sample: PoseSample) -> PoseSample:
    """The sample with its picture cut to (and, where it ends, filled up with grey to) the square
    around its crop region; coordinates follow."""
    side = max(round(float(sample.size_px) * _AROUND), 8)
    left, top = (int(v) for v in np.rint(np.asarray(sample.center_xy) - side / 2))
    height, width = sample.image.shape[:2]
    step = -(-side // (4 * _TILE))  # a person of thousands of pixels need not be copied whole
    out = -(-side // step)
    image: NDArray[np.uint8] = np.full((out, out, 3), _OUTSIDE, np.uint8)
    ys, xs = top + step * np.arange(out), left + step * np.arange(out)
    inside_y, inside_x = (ys >= 0) & (ys < height), (xs >= 0) & (xs < width)
    if inside_y.any() and inside_x.any():
        y0, x0 = int(np.argmax(inside_y)), int(np.argmax(inside_x))
        part = sample.image[ys[inside_y][0] : ys[inside_y][-1] + 1 : step]
        part = part[:, xs[inside_x][0] : xs[inside_x][-1] + 1 : step]
        image[y0 : y0 + part.shape[0], x0 : x0 + part.shape[1]] = part
    corner = np.array([left, top], np.float32)
    box = np.concatenate([sample.box_xywh[:2] - corner, sample.box_xywh[2:]])
    return replace(
        sample,
        image=image,
        joints_xy=((sample.joints_xy - corner) / step).astype(np.float32),
        box_xywh=(box / step).astype(np.float32),
        center_xy=((sample.center_xy - corner) / step).astype(np.float32),
        size_px=sample.size_px / step,
    )


def _caption(sample: PoseSample) -> str:
    w, h = (round(float(v)) for v in sample.box_xywh[2:])
    words = [sample.sample_id, f"{w}x{h} px", *sorted(sample.tags)]
    return "  ".join(words)


def _fitting(
    pen: ImageDraw.ImageDraw, text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, px: int
) -> str:
    """The text, cut in front where it is too wide: the end of a name tells more."""
    if pen.textlength(text, font=font) <= px:
        return text
    while text and pen.textlength(f"...{text}", font=font) > px:
        text = text[1:]
    return f"...{text}"


def _legend(
    pen: ImageDraw.ImageDraw,
    width: int,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    *,
    start: float,
) -> None:
    """Colours and their words, from the right edge; left out where the title leaves no room."""
    needed = sum(26 + pen.textlength(word, font=font) for _, word in _LEGEND)
    x = width - _GAP - needed
    if x < start + 20:
        return
    for colour, word in _LEGEND:
        pen.line((x, _HEAD / 2, x + 14, _HEAD / 2), fill=colour, width=3)
        pen.text((x + 18, _HEAD / 2), word, fill=_FAINT, font=font, anchor="lm")
        x += 26 + pen.textlength(word, font=font)
