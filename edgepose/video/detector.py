"""People found by an ONNX detector that the user names."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from edgepose.errors import EdgeposeError
from edgepose.video.boxes import Before
from edgepose.video.detector_outputs import Detections, is_mmdetection, read_outputs
from edgepose.video.frames import Frame

Pixels = Literal["auto", "rgb-unit", "rgb-byte", "bgr-byte", "rgb-imagenet", "bgr-imagenet"]
# ImageNet's mean and deviation, 0..255 RGB, as MMDetection's configurations give them.
_MEAN = np.array([123.675, 116.28, 103.53], np.float32)
_STD = np.array([58.395, 57.12, 57.375], np.float32)
_GREY = 114  # the border that YOLO's trainings use
_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}


class Config(BaseModel):
    """person: class index; min_score: least confidence; nms_iou: overlap from which two boxes are one;
    size: side of the square input where the file leaves it open, pixels; pixels: what it was trained
    on: 0..1, 0..255 or with ImageNet's mean and deviation, RGB or BGR (auto: bytes for a uint8 input
    and, in BGR, for YOLOX's output; bgr-imagenet for MMDetection's, as RTMDet; else 0..1 RGB);
    every: in a video, look in each so many frames and follow the joints between"""

    model_config = ConfigDict(frozen=True, extra="forbid")

    person: int = Field(0, ge=0)
    min_score: float = Field(0.3, ge=0, le=1)
    nms_iou: float = Field(0.6, gt=0, le=1)
    size: int = Field(640, ge=32, le=4096)
    pixels: Pixels = "auto"
    every: int = Field(1, ge=1)


class Detector:
    """Boxes by an ONNX file in ONNX Runtime; `inference_s` is the time inside it so far.

    Reads NCHW, CHW and NHWC inputs; the picture is scaled to fit, with a grey border.
    EdgeposeError where the file is missing, does not load, or has inputs of another kind.
    """

    def __init__(
        self, path: Path, config: Config | None = None, *, threads: int | None = None
    ) -> None:
        self.path, self.config, self.inference_s = path, config or Config(), 0.0
        options = ort.SessionOptions()
        options.log_severity_level = 3
        if threads is not None:
            options.intra_op_num_threads = threads
        if not path.is_file():
            raise EdgeposeError(f"there is no detector at {path}", fix="check the path")
        try:
            self._session = ort.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's exceptions share no other base
            raise EdgeposeError(
                f"ONNX Runtime {ort.__version__} cannot load the detector {path}: {error}",
                fix="give an ONNX file of a detector, e.g. as `yolo export format=onnx` writes it",
            ) from error
        inputs = self._session.get_inputs()
        shape = list(inputs[0].shape) if inputs else []
        self._last = len(shape) == 4 and shape[3] == 3 and shape[1] != 3
        channels = shape[-1] if self._last else shape[-3] if len(shape) in (3, 4) else None
        fits = len(inputs) == 1 and (channels == 3 or not isinstance(channels, int))
        if not fits or channels is None or inputs[0].type not in _TYPES:
            seen = ", ".join(f"{i.name} {i.type} {i.shape}" for i in inputs)
            raise EdgeposeError(
                f"the detector {path} does not take one picture: {seen or 'no input'}",
                fix="export it with one input (1, 3, height, width), float or uint8",
            )
        self._name, self._rank = inputs[0].name, len(shape)
        self._type = _TYPES[inputs[0].type]
        sides = shape[1:3] if self._last else shape[-2:]
        height, width = (s if isinstance(s, int) and s > 0 else self.config.size for s in sides)
        self.input_hw = (int(height), int(width))
        self._pixels = self._which_pixels()

    @property
    def description(self) -> str:
        height, width = self.input_hw
        return f"{self.path.name} at {height}x{width}, ONNX Runtime {ort.__version__} CPU"

    def knows(self, frame: Frame) -> bool:
        return frame.index % self.config.every == 0

    def find(self, frame: Frame, before: Before | None) -> NDArray[np.float64]:
        """(K, 4) x, y, w, h in pixels of the frame, the most confident first."""
        picture, factor, (left, top) = letterbox(frame.image, self.input_hw)
        found = self._read(self._run(picture, self._pixels))
        kept = select(found, min_score=self.config.min_score, nms_iou=self.config.nms_iou)
        corners = (found.boxes_xyxy[kept] - [left, top, left, top]) / factor
        height, width = frame.image.shape[:2]
        corners = np.clip(corners, 0, [width, height, width, height])
        boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
        return np.asarray(boxes[(boxes[:, 2:] >= 1).all(axis=1)], dtype=np.float64)

    def _which_pixels(self) -> Pixels:
        """What to feed; for `auto` from the input's type and, by one empty run, the output's shape."""
        if self.config.pixels != "auto":
            return self.config.pixels
        if self._type is np.uint8:
            return "rgb-byte"
        outputs = self._run(np.full((*self.input_hw, 3), _GREY, np.uint8), "rgb-unit")
        self._read(outputs)  # refuses what cannot be read, before any frame
        self.inference_s = 0.0
        if is_mmdetection(outputs):
            return "bgr-imagenet"
        height, width = self.input_hw
        cells = sum((height // s) * (width // s) for s in (8, 16, 32))
        yolox = len(outputs) == 1 and next(iter(outputs.values())).shape[1:2] == (cells,)
        return "bgr-byte" if yolox else "rgb-unit"

    def _run(self, picture: NDArray[np.uint8], pixels: Pixels) -> dict[str, NDArray[Any]]:
        values = picture.astype(self._type)
        if self._type is not np.uint8 and pixels.endswith("unit"):
            values = values / self._type(255)
        if self._type is not np.uint8 and pixels.endswith("imagenet"):
            values = ((picture - _MEAN) / _STD).astype(self._type)
        if pixels.startswith("bgr"):
            values = values[..., ::-1]
        if not self._last:
            values = values.transpose(2, 0, 1)
        batch = np.ascontiguousarray(values if self._rank == 3 else values[None])
        begin = time.perf_counter()
        try:
            found = self._session.run(None, {self._name: batch})
        except Exception as error:  # onnxruntime's exceptions share no other base
            raise EdgeposeError(
                f"the detector {self.path} does not run on {batch.shape}: {error}",
                fix="give the size that it was exported for by --detector-size",
            ) from error
        self.inference_s += time.perf_counter() - begin
        return dict(zip([o.name for o in self._session.get_outputs()], found, strict=True))

    def _read(self, outputs: dict[str, NDArray[Any]]) -> Detections:
        return read_outputs(outputs, input_hw=self.input_hw, person=self.config.person)


def letterbox(
    image: NDArray[np.uint8], out_hw: tuple[int, int]
) -> tuple[NDArray[np.uint8], float, tuple[int, int]]:
    """The picture scaled to fit, in the middle of a grey one: (picture, factor, (left, top) px)."""
    height, width = image.shape[:2]
    factor = min(out_hw[0] / height, out_hw[1] / width)
    size_wh = (max(1, round(width * factor)), max(1, round(height * factor)))
    left, top = (out_hw[1] - size_wh[0]) // 2, (out_hw[0] - size_wh[1]) // 2
    out = np.full((*out_hw, 3), _GREY, np.uint8)
    scaled = cv2.resize(image, size_wh, interpolation=cv2.INTER_LINEAR)
    out[top : top + size_wh[1], left : left + size_wh[0]] = scaled
    return out, factor, (left, top)


def select(found: Detections, *, min_score: float, nms_iou: float) -> NDArray[np.int64]:
    """Rows to keep, the most confident first; doubles go by OpenCV's NMS where not yet gone."""
    sure = np.nonzero(found.scores >= min_score)[0]
    sure = sure[np.argsort(-found.scores[sure], kind="stable")]
    if found.suppressed or not len(sure):
        return sure
    boxes = found.boxes_xyxy[sure]
    xywh = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    scores = found.scores[sure].astype(np.float32).tolist()
    kept = cv2.dnn.NMSBoxes(xywh.tolist(), scores, min_score, nms_iou)
    return sure[np.sort(np.asarray(kept, dtype=np.int64).ravel())]
