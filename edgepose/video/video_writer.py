"""A video file written by OpenCV, whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edgepose.errors import EdgeposeError
from edgepose.video.quiet import quiet_opencv

_CODEC = "mp4v"  # MPEG-4 part 2: in every build of OpenCV, unlike H.264


class VideoWriter:
    """An .mp4 of a constant rate: frames are repeated or left out so that it runs in the time of
    their stamps. It gets its name when it is closed and can be read back."""

    def __init__(self, path: Path, *, fps: float, hw: tuple[int, int]) -> None:
        self.path, self.fps, self.written = path, fps, 0
        self._hw = (hw[0] + hw[0] % 2, hw[1] + hw[1] % 2)  # the codec wants even sides
        self._temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        with quiet_opencv():
            self._writer = cv2.VideoWriter(
                str(self._temporary), cv2.VideoWriter.fourcc(*_CODEC), fps, self._hw[::-1]
            )
            opened = self._writer.isOpened()
        if not opened:
            self._temporary.unlink(missing_ok=True)
            raise EdgeposeError(
                f"OpenCV {cv2.__version__} cannot write {path} ({hw[1]}x{hw[0]}, {fps:g} FPS)",
                fix="check the folder and the free space, or add --no-overlay",
            )

    def add(self, image: NDArray[np.uint8], time_s: float) -> None:
        """image: (H, W, 3) RGB; time_s: since the first frame."""
        repeats = max(0, round(time_s * self.fps) + 1 - self.written)
        if not repeats:
            return
        frame = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        down, right = self._hw[0] - frame.shape[0], self._hw[1] - frame.shape[1]
        if down or right:
            frame = cv2.copyMakeBorder(frame, 0, down, 0, right, cv2.BORDER_REPLICATE)
        for _ in range(repeats):
            self._writer.write(frame)
        self.written += repeats

    def close(self) -> Path:
        """The finished file. EdgeposeError where not all of it is there, as on a full disk."""
        with quiet_opencv():
            self._writer.release()
            check = cv2.VideoCapture(str(self._temporary))
            there = int(check.get(cv2.CAP_PROP_FRAME_COUNT)) if check.isOpened() else 0
            check.release()
        if there != self.written:
            self._temporary.unlink(missing_ok=True)
            raise EdgeposeError(
                f"{self.path} could not be written: {there} of {self.written} frames are there",
                fix="free some space or choose another folder; nothing was left half-written",
            )
        os.replace(self._temporary, self.path)
        return self.path

    def discard(self) -> None:
        """Leave no file."""
        with quiet_opencv():
            self._writer.release()
        self._temporary.unlink(missing_ok=True)
