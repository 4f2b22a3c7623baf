"""Joints of the people in a frame, by one model or by several for different sizes of people."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepose.device.codec import HeatmapCodec
from edgepose.device.geometry import resampler
from edgepose.device.input_sizes import choose_size
from edgepose.errors import EdgeposeError
from edgepose.evaluation import Runs
from edgepose.predict import Contract, box_matrix, check_joints
from edgepose.video.boxes import Rough

BATCH = 16


@dataclass(frozen=True)
class Model:
    """Something that runs, and how its crops and heatmaps are meant."""

    executor: Runs
    contract: Contract


@dataclass(frozen=True)
class _Cut:
    """People of one model, cut out. inputs: what its network takes; mirrored: the same, for a flip."""

    model: Model
    rows: list[int]
    inputs: Any
    mirrored: Any | None
    matrices: NDArray[np.float64]


@dataclass(frozen=True)
class Crops:
    """A frame's boxes (K, 4), ready for the networks."""

    boxes_xywh: NDArray[np.float64]
    parts: list[_Cut]


@dataclass(frozen=True)
class _Part:
    """People that one run of one model saw. rows: their places among the frame's boxes;
    heatmaps (n, J, h, w); matrices (n, 2, 3): image pixels -> crop pixels."""

    model: Model
    rows: list[int]
    heatmaps: NDArray[np.float32]
    matrices: NDArray[np.float64]


@dataclass(frozen=True)
class Found:
    """What the models said of a frame's boxes (K, 4), not yet read."""

    boxes_xywh: NDArray[np.float64]
    num_joints: int
    parts: list[_Part] = field(default_factory=list)

    @property
    def input_hw(self) -> list[tuple[int, int]]:
        """The crop size that each person was given."""
        sizes = {row: part.model.contract.input_hw for part in self.parts for row in part.rows}
        return [sizes[row] for row in range(len(self.boxes_xywh))]

    def joints(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(K, J, 2) image pixels and (K, J) heatmap maxima, by each model's coding."""
        count = len(self.boxes_xywh)
        xy = np.zeros((count, self.num_joints, 2), np.float32)
        scores = np.zeros((count, self.num_joints), np.float32)
        for part in self.parts:
            codec = part.model.contract.codec
            peaks, scores[part.rows] = codec.decode(part.heatmaps)
            size = (part.heatmaps.shape[2], part.heatmaps.shape[3])
            xy[part.rows] = codec.image_xy(peaks, part.matrices, size)
        return xy, scores

    def roughly(self) -> list[Rough]:
        """Everyone, to the nearest heatmap pixel, for the next frame's boxes. Not checked for NaN."""
        boxes = self.boxes_xywh.tolist()
        people: dict[int, Rough] = {}
        for part in self.parts:
            codec = part.model.contract.codec
            for row, heatmaps, matrix in zip(
                part.rows, part.heatmaps, part.matrices.tolist(), strict=True
            ):
                people[row] = _rough(boxes[row], heatmaps, matrix, codec)
        return [people[row] for row in range(len(boxes))]


def _rough(
    box_xywh: list[float],
    heatmaps: NDArray[np.float32],
    matrix: list[list[float]],
    codec: HeatmapCodec,
) -> Rough:
    """Peaks of a person's heatmaps (J, h, w), whose crop is not turned: each axis has a factor and an
    offset. Plain numbers: see `geometry.crop_matrix`."""
    joints, h, w = heatmaps.shape
    flat = heatmaps.reshape(joints, h * w)
    pitch_x, pitch_y = codec.pitch_xy((h, w))
    (factor_x, _, to_x), (_, factor_y, to_y) = matrix
    peaks = flat.argmax(axis=1).tolist()
    xy = [
        ((at % w * pitch_x - to_x) / factor_x, (at // w * pitch_y - to_y) / factor_y)
        for at in peaks
    ]
    return Rough(box_xywh, xy, [flat.item(joint, at) for joint, at in enumerate(peaks)])


class Finder:
    """models: of one skeleton and different input sizes; each person goes to the one that fits the box.

    flip: also run each crop's mirror image and average the heatmaps (twice the work)
    `inference_s` is the time spent inside the networks so far; executors that cannot be asked for the
    network alone (torch) are timed with their normalisation.
    """

    def __init__(self, models: Sequence[Model], *, flip: bool = False) -> None:
        sizes = [model.contract.input_hw for model in models]
        names = {model.contract.skeleton.joints for model in models}
        if len(names) != 1:
            raise EdgeposeError(
                "the models have different joints: "
                + ", ".join(model.contract.skeleton.name for model in models),
                fix="give models of one skeleton, exported from one network",
            )
        if len(set(sizes)) < len(sizes):
            raise EdgeposeError(
                "two models take crops of one size: " + ", ".join(f"{h}x{w}" for h, w in sizes),
                fix="give one model for each input size; people are dealt out by their boxes",
            )
        self.flip, self.inference_s = flip, 0.0
        self.skeleton = models[0].contract.skeleton
        self._models = dict(zip(sizes, models, strict=True))
        self._resample, _ = resampler()

    @property
    def description(self) -> str:
        parts = [
            f"{model.executor.description}" + (f" at {h}x{w}" if len(self._models) > 1 else "")
            for (h, w), model in self._models.items()
        ]
        return "; ".join(parts)

    def crop(self, image: NDArray[np.uint8], boxes_xywh: NDArray[np.float64]) -> Crops:
        """image: (H, W, 3) RGB; boxes: (K, 4) image pixels, K may be 0."""
        boxes = np.asarray(boxes_xywh, dtype=np.float64).reshape(-1, 4)
        sizes = list(self._models)
        groups: dict[tuple[int, int], list[int]] = {}
        for row, (_, _, width, height) in enumerate(boxes.tolist()):
            groups.setdefault(choose_size((height, width), sizes), []).append(row)
        parts = [
            self._cut(self._models[size], image, boxes, rows[i : i + BATCH])
            for size, rows in groups.items()
            for i in range(0, len(rows), BATCH)
        ]
        return Crops(boxes, parts)

    def infer(self, crops: Crops) -> Found:
        """The networks alone, timed."""
        parts = []
        for part in crops.parts:
            contract = part.model.contract
            heatmaps = self._infer(part.model, part.inputs)
            if part.mirrored is not None:
                mirrored = self._infer(part.model, part.mirrored)
                index = contract.skeleton.flip_index
                heatmaps = contract.codec.flip_average(heatmaps, mirrored, index)
            parts.append(_Part(part.model, part.rows, heatmaps, part.matrices))
        return Found(crops.boxes_xywh, self.skeleton.num_joints, parts)

    def find(self, image: NDArray[np.uint8], boxes_xywh: NDArray[np.float64]) -> Found:
        """Both of them."""
        return self.infer(self.crop(image, boxes_xywh))

    def warm_up(self) -> None:
        """Run every model once, so that the first frame is not timed with their beginning."""
        for (height, width), model in self._models.items():
            self._infer(model, _inputs(model, np.zeros((1, height, width, 3), np.uint8)))
        self.inference_s = 0.0

    def _cut(
        self, model: Model, image: NDArray[np.uint8], boxes: NDArray[np.float64], rows: list[int]
    ) -> _Cut:
        contract = model.contract
        matrices = np.stack([box_matrix(boxes[row], contract) for row in rows])
        crops = np.stack([self._resample(image, m, contract.input_hw) for m in matrices])
        mirrored = None
        if self.flip:
            mirrored = _inputs(model, np.ascontiguousarray(crops[:, :, ::-1]))
        return _Cut(model, rows, _inputs(model, crops), mirrored, matrices)

    def _infer(self, model: Model, inputs: Any) -> NDArray[np.float32]:
        network = getattr(model.executor, "infer", model.executor.run)
        begin = time.perf_counter()
        heatmaps = network(inputs)
        self.inference_s += time.perf_counter() - begin
        check_joints(heatmaps, model.contract)
        return np.asarray(heatmaps, dtype=np.float32)


def _inputs(model: Model, crops: NDArray[np.uint8]) -> Any:
    """What the executor's network takes; the crops themselves where it does everything in one."""
    prepare = getattr(model.executor, "prepare", None)
    return crops if prepare is None else prepare(crops)
