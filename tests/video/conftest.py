"""A red and a blue spot that move: short videos, and a network that finds them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

FPS = 20.0


class BrightSpots:
    """Heatmap 0 is the red channel, heatmap 1 the blue one, pooled by four."""

    description = "bright spots"

    def __init__(self) -> None:
        self.crops: list[np.ndarray] = []

    def run(self, crops: np.ndarray) -> np.ndarray:
        self.crops.append(crops)
        n, h, w, _ = crops.shape
        pooled = crops.reshape(n, h // 4, 4, w // 4, 4, 3).mean(axis=(2, 4)) / 255
        return np.ascontiguousarray(pooled.transpose(0, 3, 1, 2)[:, [0, 2]], dtype=np.float32)


def spots_at(index: int) -> np.ndarray:
    """(2, 2): where the red and the blue spot are in frame `index`."""
    return np.array([[60 + 3.0 * index, 50], [80 + 3.0 * index, 110]])


def frame_of(index: int, *, hw: tuple[int, int] = (160, 240)) -> np.ndarray:
    image = np.zeros((*hw, 3), np.uint8)
    for (x, y), color in zip(spots_at(index), ((255, 0, 0), (0, 0, 255)), strict=True):
        cv2.circle(image, (round(x), round(y)), 7, color, -1)
    return image


def write_video(path: Path, count: int, *, codec: str = "mp4v") -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), FPS, (240, 160))
    for index in range(count):
        writer.write(cv2.cvtColor(frame_of(index), cv2.COLOR_RGB2BGR))
    writer.release()
    return path


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("film") / "spots.mkv", 24)
