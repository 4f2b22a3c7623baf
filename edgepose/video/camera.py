"""Frames of a camera, as fast as it gives them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import cv2

from edgepose.errors import EdgeposeError
from edgepose.video.frames import Frame
from edgepose.video.quiet import quiet_opencv


class Camera:
    """The camera of that number in OpenCV; frames are timed when they arrive, on a monotonic clock.

    EdgeposeError where it does not open, and where it stops giving frames.
    """

    moving, live, count = True, True, 0

    def __init__(self, number: int, *, open_capture: Callable[[int], Any] | None = None) -> None:
        self.number, self.name = number, f"camera {number}"
        with quiet_opencv():
            self._capture = (open_capture or cv2.VideoCapture)(number)
            opened = self._capture.isOpened()
        if not opened:
            raise EdgeposeError(
                f"camera {number} is not there, or another program holds it",
                fix="plug it in, close other programs, or try another number; on Linux "
                "`ls /dev/video*` lists them",
            )
        fps = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.fps = fps if 0 < fps <= 1000 else 30.0

    def frames(self) -> Iterator[Frame]:
        begin = None
        index = 0
        try:
            while True:
                with quiet_opencv():
                    read, image = self._capture.read()
                now = time.perf_counter()
                if not read:
                    raise EdgeposeError(
                        f"camera {self.number} stopped giving frames after {index}",
                        fix="check its cable; what was found up to there has been written",
                    )
                begin = now if begin is None else begin
                rgb = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
                yield Frame(self.name, index, now - begin, rgb)  # type: ignore[arg-type]
                index += 1
        finally:
            self._capture.release()
