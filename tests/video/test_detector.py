"""Every kind of detector output gives the boxes that were put into it; others are refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgepose.errors import EdgeposeError
from edgepose.video.boxes import Following
from edgepose.video.detector import Config, Detector, letterbox
from edgepose.video.detector_outputs import READ, read_outputs
from edgepose.video.frames import Frame

SIDE = 64
CELLS = 8 * 8 + 4 * 4 + 2 * 2
BOX = np.array([12.0, 20.0, 44.0, 60.0])  # x, y, x, y in the network's input
TWIN = BOX + 1.0
OTHER = np.array([2.0, 2.0, 20.0, 30.0])  # of another class


def center(box: np.ndarray) -> np.ndarray:
    return np.concatenate([(box[:2] + box[2:]) / 2, box[2:] - box[:2]])


def yolov8() -> np.ndarray:
    """(1, 4 + 3 classes, N): a person twice, and a dog."""
    out = np.zeros((7, CELLS), np.float32)
    out[:4, 5], out[4, 5] = center(BOX), 0.9
    out[:4, 6], out[4, 6] = center(TWIN), 0.6
    out[:4, 7], out[5, 7] = center(OTHER), 0.95
    return out[None]


def yolov5(count: int = 3 * CELLS) -> np.ndarray:
    """(1, N, 5 + 3 classes), boxes in pixels, objectness beside the classes."""
    out = np.zeros((count, 8), np.float32)
    out[5, :6] = [*center(BOX), 0.95, 0.95]
    out[6, :6] = [*center(TWIN), 0.8, 0.8]
    out[7, :7] = [*center(OTHER), 0.95, 0.0, 1.0]
    return out[None]


def yolox() -> np.ndarray:
    """(1, N, 5 + 3 classes) on the grid, as YOLOX's own export leaves it."""
    out = np.zeros((CELLS, 8), np.float32)
    stride, x, y = 16, 1, 2  # the cell that holds the person, on the second level
    at = 8 * 8 + y * 4 + x
    cx, cy, w, h = center(BOX)
    out[at, :6] = [
        cx / stride - x,
        cy / stride - y,
        np.log(w / stride),
        np.log(h / stride),
        0.95,
        0.95,
    ]
    return out[None]


def after_nms() -> np.ndarray:
    """(1, N, 6): x, y, x, y, score, class."""
    rows = [[*BOX, 0.9, 0], [*OTHER, 0.95, 1], [*TWIN, 0.1, 0]]
    return np.array([rows], np.float32)


def end_to_end() -> np.ndarray:
    """(N, 7): image, x, y, x, y, class, score."""
    return np.array([[0, *BOX, 0, 0.9], [0, *OTHER, 1, 0.95]], np.float32)


TORCHVISION = {
    "boxes": np.array([BOX, OTHER], np.float32),
    "labels": np.array([0, 1], np.int64),
    "scores": np.array([0.9, 0.95], np.float32),
}
SSD = {
    "bboxes": (np.array([[BOX, OTHER]]) / SIDE).astype(np.float32),
    "labels": np.array([[0, 1]], np.int64),
    "scores": np.array([[0.9, 0.95]], np.float32),
}
TENSORFLOW = {
    "detection_boxes": (np.array([[BOX, OTHER]])[..., [1, 0, 3, 2]] / SIDE).astype(np.float32),
    "detection_classes": np.array([[0, 1]], np.float32),
    "detection_scores": np.array([[0.9, 0.95]], np.float32),
    "num_detections": np.array([2], np.float32),
}
MMDETECTION = {
    "dets": np.array([[[*BOX, 0.9], [*OTHER, 0.95], [0, 0, 0, 0, 0]]], np.float32),
    "labels": np.array([[0, 1, 0]], np.int64),
}
KINDS = {
    "YOLOv8": {"output0": yolov8()},
    "YOLOv5": {"output": yolov5()},
    "YOLOX": {"output": yolox()},
    "YOLOX, boxes in pixels": {"output": yolov5(CELLS)},
    "after NMS": {"output0": after_nms()},
    "end to end": {"output": end_to_end()},
    "torchvision": TORCHVISION,
    "SSD": SSD,
    "TensorFlow": TENSORFLOW,
    "MMDetection": MMDETECTION,
}


def save(
    path: Path,
    outputs: dict[str, np.ndarray],
    *,
    shape: tuple[int | str, ...] = (1, 3, SIDE, SIDE),
    kind: int = TensorProto.FLOAT,
) -> Path:
    """A network that gives `outputs`, whatever it sees."""
    graph = helper.make_graph(
        [helper.make_node("Constant", [], [n], value=numpy_helper.from_array(v)) for n, v in outputs.items()],
        "constant",
        [helper.make_tensor_value_info("images", kind, shape)],
        [
            helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
            for n, v in outputs.items()
        ],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, str(path))
    return path


def frame(hw: tuple[int, int] = (128, 64)) -> Frame:
    return Frame("a.png", 0, 0.0, np.zeros((*hw, 3), np.uint8))


@pytest.mark.parametrize("kind", KINDS)
def test_the_person_is_found_once_in_pixels_of_the_picture(kind: str, tmp_path: Path) -> None:
    detector = Detector(save(tmp_path / "d.onnx", KINDS[kind]))
    (found,) = detector.find(frame(), None)
    # 64 x 128 shrinks by half into 32 x 64, with a border of 16 left and right.
    wanted = (BOX - [16, 0, 16, 0]) * 2
    wanted = np.clip(wanted, 0, [64, 128, 64, 128])
    np.testing.assert_allclose(found, [*wanted[:2], *(wanted[2:] - wanted[:2])], atol=0.01)
    assert detector.inference_s > 0
    dogs = Detector(tmp_path / "d.onnx", Config(person=1)).find(frame(), None)
    assert len(dogs) == (0 if kind == "YOLOX" else 1)


@pytest.mark.parametrize(
    "outputs",
    [
        {"pred_logits": np.zeros((1, 9, 3), np.float32), "pred_boxes": np.zeros((1, 9, 4), np.float32)},
        {"heatmap": np.zeros((1, 80, 16, 16), np.float32)},
        {"a": np.zeros((1, 5), np.float32)},
        {"boxes": np.zeros((5, 4), np.float32), "x": np.zeros(5, np.float32), "y": np.zeros(5, np.float32)},
    ],
)  # fmt: skip
def test_other_outputs_are_named_with_what_is_read(
    outputs: dict[str, np.ndarray], tmp_path: Path
) -> None:
    with pytest.raises(EdgeposeError) as refused:
        Detector(save(tmp_path / "d.onnx", outputs))
    assert all(name in refused.value.problem for name in outputs)
    assert str(next(iter(outputs.values())).shape) in refused.value.problem
    assert READ in refused.value.fix


def test_files_that_are_no_detector_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EdgeposeError, match="there is no detector at"):
        Detector(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(EdgeposeError, match="cannot load the detector"):
        Detector(tmp_path / "text.onnx")
    grey = save(tmp_path / "grey.onnx", KINDS["YOLOv8"], shape=(1, 1, SIDE, SIDE))
    with pytest.raises(EdgeposeError, match="does not take one picture: images"):
        Detector(grey)
    with pytest.raises(EdgeposeError, match="has 3 classes, there is no number 3"):
        read_outputs({"o": yolov8()}, input_hw=(SIDE, SIDE), person=3)


def seen_pixels(path: Path, kind: int, shape: tuple[int | str, ...], width: int) -> Path:
    """A network whose boxes' first score is the picture's greatest value in its first channel."""
    channel = 3 if shape[-1] == 3 else 1
    nodes = [
        helper.make_node("Cast", ["images"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Gather", ["f", "zero"], ["first"], axis=channel),
        helper.make_node("ReduceMax", ["first"], ["top"], keepdims=0),
        helper.make_node("Mul", ["top", "mark"], ["out"]),
    ]
    mark = np.zeros((1, CELLS, width), np.float32)
    mark[0, 0, :6] = [32, 32, 20, 20, 1, 1]
    constants = [
        numpy_helper.from_array(mark, "mark"),
        numpy_helper.from_array(np.array(0), "zero"),
    ]
    graph = helper.make_graph(
        nodes, "max",
        [helper.make_tensor_value_info("images", kind, shape)],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, mark.shape)], constants,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, str(path))
    return path


@pytest.mark.parametrize(
    ("kind", "shape", "pixels", "wanted"),
    [
        (TensorProto.FLOAT, (1, 3, SIDE, SIDE), "auto", 40),  # YOLOX: blue first, bytes
        (TensorProto.FLOAT, (1, 3, "h", "w"), "rgb-byte", 200),
        (TensorProto.FLOAT, (1, 3, SIDE, SIDE), "rgb-unit", 200 / 255),
        (TensorProto.UINT8, (1, SIDE, SIDE, 3), "auto", 200),
        (TensorProto.FLOAT16, (1, 3, SIDE, SIDE), "bgr-byte", 40),
        (TensorProto.FLOAT, (1, 3, SIDE, SIDE), "rgb-imagenet", (200 - 123.675) / 58.395),
        (TensorProto.FLOAT, (1, 3, SIDE, SIDE), "bgr-imagenet", (40 - 103.53) / 57.375),
    ],
)
def test_pixels_reach_the_network_as_it_was_trained(
    kind: int, shape: tuple[int | str, ...], pixels: str, wanted: float, tmp_path: Path
) -> None:
    path = seen_pixels(tmp_path / "d.onnx", kind, shape, 8)
    detector = Detector(path, Config(size=SIDE, pixels=pixels))  # type: ignore[arg-type]
    picture = np.full((SIDE, SIDE, 3), (200, 100, 40), np.uint8)
    found = detector._run(picture, detector._pixels)["out"][0, 0, 5]
    assert found == pytest.approx(wanted, rel=2e-3)


def test_an_mmdetection_file_gets_what_rtmdet_was_trained_on(tmp_path: Path) -> None:
    assert Detector(save(tmp_path / "d.onnx", MMDETECTION))._pixels == "bgr-imagenet"
    assert Detector(save(tmp_path / "s.onnx", SSD))._pixels == "rgb-unit"


def test_letterbox_keeps_the_shape_of_things() -> None:
    image = np.zeros((300, 900, 3), np.uint8)
    image[100:200, 300:600] = 255
    out, factor, (left, top) = letterbox(image, (240, 240))
    assert (factor, left, top) == (pytest.approx(240 / 900), 0, 80)
    assert (out[0, 0] == 114).all()
    ys, xs = np.nonzero(out[80:160].min(axis=2) > 128)
    assert (np.ptp(xs) + 1) / (np.ptp(ys) + 1) == pytest.approx(3, rel=0.06)


def test_between_looks_boxes_follow(tmp_path: Path) -> None:
    detector = Detector(save(tmp_path / "d.onnx", KINDS["YOLOv8"]), Config(every=3))
    assert [detector.knows(Frame("v", i, i / 25, frame().image)) for i in range(5)] == [
        True, False, False, True, False,
    ]  # fmt: skip
    assert len(Following(detector).find(frame(), None)) == 1
