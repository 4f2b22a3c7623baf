"""A photograph or camera frames to skeletons, by the code that scored the artifact.

    python3 pose.py photo.jpg --box 40,20,200,420
    python3 pose.py --camera 0

Python 3.8 or newer and numpy; ONNX Runtime, or TensorRT on a Jetson; OpenCV, or Pillow for photographs.
SPDX-License-Identifier: Apache-2.0
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import TYPE_CHECKING

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "edgepose-device.pyz"))

import numpy as np  # noqa: E402
from edgepose_device.contract import load_sizes  # noqa: E402
from edgepose_device.errors import DeviceError  # noqa: E402
from edgepose_device.geometry import box_to_crop, crop_matrix, region_wh, resampler  # noqa: E402
from edgepose_device.input_sizes import choose_size  # noqa: E402
from edgepose_device.runtimes import open_engine  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

SURE = 0.3


class PoseEstimator:
    """One person at a time. folder: the artifact's; limbs: pairs of joints that a line connects.

    Where artifact.json lists several crop sizes, each person gets the one that fits the box; whole-pose
    graphs (joints out) are taken where there are any, else heatmaps.
    """

    def __init__(self, folder: str) -> None:
        engines = os.path.join(folder, "engines")
        self.sizes = {c.input_hw: (c, open_engine(c, engines=engines)) for c in load_sizes(folder)}
        with open(os.path.join(folder, "artifact.json"), encoding="utf-8") as stream:
            skeleton = json.load(stream)["skeleton"]
        self.joints, self.limbs = skeleton["joints"], skeleton["limbs"]
        self._crop, _ = resampler()

    def find(
        self, image: NDArray[np.uint8], box_xywh: Sequence[float]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """image: (H, W, 3) uint8 RGB -> (J, 2) joints in its pixels, (J,) scores, about 0..1."""
        c, engine = self.sizes[choose_size((box_xywh[3], box_xywh[2]), list(self.sizes))]
        size_wh = c.input_hw[1], c.input_hw[0]
        center, size = box_to_crop(box_xywh, padding=c.padding)
        region = region_wh(box_xywh[2:], size, size_wh)
        matrix = crop_matrix(center, region, size_wh, alignment=c.codec.alignment)
        batch = c.prepare(self._crop(image, matrix, c.input_hw)[None])
        output = engine.infer(np.repeat(batch, c.fixed_batch or 1, axis=0))[:1]
        _, image_xy, score = c.find(output, matrix)
        return image_xy[0], score[0]


def read_rgb(path: str) -> NDArray[np.uint8]:
    """The photograph, upright as its EXIF says; by OpenCV where it is there, else by Pillow."""
    try:
        import cv2
    except ImportError:
        from PIL import Image, ImageOps

        return np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))
    picture = cv2.imread(path)
    if picture is None:
        raise DeviceError(f"cannot read {path}", fix="give a JPEG or PNG photograph")
    return np.ascontiguousarray(picture[..., ::-1])


def box_around(xy: NDArray[np.float32], score: NDArray[np.float32]) -> list[float] | None:
    """Of the joints that are sure, for the next frame; None: look in the whole picture again."""
    sure = xy[score >= SURE]
    if len(sure) < 4:
        return None
    (left, top), (right, bottom) = sure.min(0).tolist(), sure.max(0).tolist()
    return [left, top, max(right - left, 1.0), max(bottom - top, 1.0)]


def watch(estimator: PoseEstimator, camera: int) -> None:
    """Skeletons on the camera's picture until a key is pressed. The person is looked for in the whole
    picture, then around the last joints; with a detector, give its boxes to `find` instead."""
    import cv2

    try:
        cv2.namedWindow("edgepose")
    except cv2.error as error:
        raise DeviceError(
            "this OpenCV shows no windows", fix="install opencv-python, not opencv-python-headless"
        ) from error
    source, box = cv2.VideoCapture(camera), None
    while cv2.waitKey(1) < 0:
        there, frame = source.read()
        if not there:
            raise DeviceError(f"camera {camera} gives no picture", fix="check --camera")
        whole = [0.0, 0.0, float(frame.shape[1]), float(frame.shape[0])]
        xy, score = estimator.find(np.ascontiguousarray(frame[..., ::-1]), box or whole)
        for a, b in estimator.limbs:
            if min(score[a], score[b]) >= SURE:
                ends = [tuple(round(float(v)) for v in xy[i]) for i in (a, b)]
                cv2.line(frame, ends[0], ends[1], (0, 220, 0), 2, cv2.LINE_AA)
        cv2.imshow("edgepose", frame)
        box = box_around(xy, score)


def main() -> int:
    parser = argparse.ArgumentParser(description="joints of one person, as JSON")
    parser.add_argument("photo", nargs="?")
    parser.add_argument("--artifact", default=os.path.dirname(os.path.dirname(HERE)))
    parser.add_argument("--box", help="X,Y,WIDTH,HEIGHT in pixels [default: the whole picture]")
    parser.add_argument("--camera", type=int)
    words = parser.parse_args()
    if (words.photo is None) == (words.camera is None):
        parser.error("give a photograph or --camera")
    try:
        estimator = PoseEstimator(words.artifact)
        if words.camera is not None:
            watch(estimator, words.camera)
            return 0
        image = read_rgb(words.photo)
        box = [0.0, 0.0, float(image.shape[1]), float(image.shape[0])]
        if words.box is not None:
            box = [float(v) for v in words.box.split(",")]
            if len(box) != 4:
                raise ValueError("--box takes X,Y,WIDTH,HEIGHT")
        xy, score = estimator.find(image, box)
    except DeviceError as error:
        print(f"error: {error.problem}\n  fix: {error.fix}", file=sys.stderr)
        return 2
    except (OSError, ValueError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    joints = {
        name: [round(float(v), 3) for v in (*xy[i], score[i])]
        for i, name in enumerate(estimator.joints)
    }
    executor = next(iter(estimator.sizes.values()))[1].description
    print(json.dumps({"executor": executor, "joints": joints}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
