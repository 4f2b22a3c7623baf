"""OpenCV's and FFmpeg's own words on the terminal, off: what went wrong is said once, by us."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from cv2.utils import logging

# FFmpeg's level "quiet"; read when OpenCV first opens a video, so set before that.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")


@contextmanager
def quiet_opencv() -> Iterator[None]:
    """Inside, OpenCV logs nothing; its level is put back afterwards."""
    before = logging.getLogLevel()
    logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        logging.setLogLevel(before)
