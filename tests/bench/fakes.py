"""A small artifact on disk, a clock that ticks by itself, and an executor with known heatmaps."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgepose.artifact import Artifact, Content
from edgepose.data.base import PoseSample
from edgepose.skeleton import MPII16, Skeleton
from tests.headers import STRIDE, header


def make_artifact(folder: Path, *, runtime: str = "onnx_mobile", target: str = "host") -> Artifact:
    contents = [
        Content("model.onnx.xz", "model", b"x" * 1234, counted=True),
        Content("model.onnx", "expanded", b"y" * 5000),
    ]
    top = header(name=f"resnet18-{target}", target=target, runtime=runtime)
    return Artifact.write(folder, top, contents)


class Blocks:
    """Black images with one bright 4 x 4 block per person; every joint sits on it."""

    skeleton: Skeleton = MPII16
    domain = "blocks"
    fingerprint = "blocks-v1"

    def __init__(self, count: int = 6, head_px: float = 12.0) -> None:
        self.count, self.head_px = count, head_px

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> PoseSample:
        image = np.zeros((96, 96, 3), np.uint8)
        x, y = 28 + 8 * (index % 4), 32 + 8 * (index % 3)
        image[y - 2 : y + 3, x - 2 : x + 3] = 255
        joints = np.tile(np.array([x, y], np.float32), (16, 1))
        return PoseSample(
            image=image,
            joints_xy=joints,
            annotated=np.ones(16, bool),
            box_xywh=np.array([16, 16, 64, 64], np.float32),
            center_xy=np.array([48, 48], np.float32),
            size_px=80.0,
            head_px=self.head_px,
            area_px2=3000.0,
            sample_id=str(index),
        )


class BrightSpot:
    """Its heatmaps are the brightness of the crop, pooled: it finds the block by looking."""

    description = "fake executor 1.0"

    def __init__(self, joints: int = 16, shift: int = 0) -> None:
        self.joints, self.shift, self.calls = joints, shift, 0

    def prepare(self, crops: np.ndarray) -> np.ndarray:
        return crops.astype(np.float32).mean(axis=3) / 255

    def infer(self, prepared: np.ndarray) -> np.ndarray:
        self.calls += 1
        n, h, w = prepared.shape
        pooled = prepared.reshape(n, h // STRIDE, STRIDE, w // STRIDE, STRIDE).mean(axis=(2, 4))
        pooled = np.roll(pooled, self.shift, axis=2)
        return np.repeat(pooled[:, None], self.joints, axis=1).astype(np.float32)

    def run(self, crops: np.ndarray) -> np.ndarray:
        return self.infer(self.prepare(crops))


class Ticks:
    """A clock in nanoseconds: each reading is `step_ms` after the one before."""

    def __init__(self, step_ms: float = 2.0) -> None:
        self.now_ns, self.step_ns = 0, int(step_ms * 1e6)

    def __call__(self) -> int:
        self.now_ns += self.step_ns
        return self.now_ns
