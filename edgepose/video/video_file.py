"""Frames of a video file, decoded by OpenCV."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2

from edgepose.errors import EdgeposeError
from edgepose.video.frames import Frame
from edgepose.video.quiet import quiet_opencv

VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".wmv")
_SLACK_FRAMES = 2  # containers round their duration


class VideoFile:
    """A video file. Opening reads its header only.

    EdgeposeError where it cannot be opened, has no frame, or ends before its header says: the frames
    up to there have been given.
    """

    moving, live = True, False

    def __init__(self, path: Path) -> None:
        self.path, self.name = path, str(path)
        video = self._open()
        fps, count = video.get(cv2.CAP_PROP_FPS), video.get(cv2.CAP_PROP_FRAME_COUNT)
        video.release()
        # Raw streams have neither; 25 is then a name for "unknown" and times count frames.
        self.fps = float(fps) if 0 < fps <= 1000 else 25.0
        self.count = int(count) if 0 < count < 1e9 else 0

    def frames(self) -> Iterator[Frame]:
        video = self._open()
        first_ms = last_s = 0.0
        index = 0
        try:
            while True:
                with quiet_opencv():
                    read, image = video.read()
                if not read:
                    break
                stamp_ms = float(video.get(cv2.CAP_PROP_POS_MSEC))
                first_ms = stamp_ms if index == 0 else first_ms
                time_s = (stamp_ms - first_ms) / 1e3
                if index and time_s <= last_s:  # a stream without time stamps
                    time_s = last_s + 1.0 / self.fps
                yield Frame(self.name, index, time_s, cv2.cvtColor(image, cv2.COLOR_BGR2RGB))  # type: ignore[arg-type]
                last_s, index = time_s, index + 1
        finally:
            video.release()
        if index == 0:
            raise EdgeposeError(
                f"{self.path} holds no frame that can be decoded", fix="copy or export it again"
            )
        # By frames and by time: a header counts frames of a variable rate by their average.
        end_s = last_s + 1.0 / self.fps
        short = index + _SLACK_FRAMES < self.count
        if short and end_s + _SLACK_FRAMES / self.fps < self.count / self.fps:
            raise EdgeposeError(
                f"{self.path} is cut off: it ends after frame {index} of {self.count}",
                fix="copy it again; what was found up to there has been written",
            )

    def _open(self) -> cv2.VideoCapture:
        with quiet_opencv():
            video = cv2.VideoCapture(str(self.path))
            opened = video.isOpened()
        if not opened:
            raise EdgeposeError(
                f"{self.path} cannot be opened as a video: it is cut off, damaged or of a kind that "
                f"OpenCV {cv2.__version__} does not decode",
                fix="play it to check it; `ffmpeg -i IN -c:v libx264 out.mp4` converts it",
            )
        return video
