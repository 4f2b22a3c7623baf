"""Where people go, picture by picture: a folder of pictures, or a folder for a video."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgepose.device.files import write_atomic
from edgepose.predict import Prediction
from edgepose.report.overlay import png_bytes
from edgepose.skeleton import Skeleton
from edgepose.video.angle_plot import angles_png, motion_csv
from edgepose.video.angles import Motion, angles_of, measure_angles, ranges
from edgepose.video.frames import Frame
from edgepose.video.overlay import draw
from edgepose.video.results import Results
from edgepose.video.video_writer import VideoWriter


class Sink(Protocol):
    """`add` in the order of frames; `close_frames` when there are no more, `summarise` after it."""

    files: list[Path]

    def add(
        self, frame: Frame, people: list[Prediction], *, image_id: int | str, figures: str
    ) -> None: ...

    def close_frames(self) -> None: ...

    def summarise(self) -> None: ...


class PictureSink:
    """A PNG for each picture (with `overlay`), and the tables of all of them."""

    def __init__(self, folder: Path, skeleton: Skeleton, *, overlay: bool = True) -> None:
        self.folder, self.overlay = folder, overlay
        self.results = Results(skeleton)
        self.files: list[Path] = []

    def add(
        self, frame: Frame, people: list[Prediction], *, image_id: int | str, figures: str
    ) -> None:
        if self.overlay:
            path, again = self.folder / f"{Path(frame.name).stem}.png", 2
            while path in self.files:  # pictures of one name from several folders
                path = self.folder / f"{Path(frame.name).stem}-{again}.png"
                again += 1
            write_atomic(path, png_bytes(draw(frame.image, people, self.results.skeleton)))
            self.files.append(path)
        height, width = frame.image.shape[:2]
        self.results.add(people, image_id=image_id, name=frame.name, hw=(height, width))

    def close_frames(self) -> None:
        """Every picture is written already."""

    def summarise(self) -> None:
        self.files += self.results.write(self.folder)


class VideoSink:
    """overlay.mp4 (with `overlay`), the tables, the ranges of motion and a plot of the angles."""

    def __init__(
        self, folder: Path, skeleton: Skeleton, *, fps: float, overlay: bool = True
    ) -> None:
        self.folder, self.overlay, self.fps = folder, overlay, fps
        self.results = Results(skeleton)
        self.motions: list[Motion] = []
        self.files: list[Path] = []
        self._name = folder.name
        self._video: VideoWriter | None = None

    def add(
        self, frame: Frame, people: list[Prediction], *, image_id: int | str, figures: str
    ) -> None:
        height, width = frame.image.shape[:2]
        if self.overlay:
            if self._video is None:
                path = self.folder / "overlay.mp4"
                self._video = VideoWriter(path, fps=self.fps, hw=(height, width))
            drawn = draw(frame.image, people, self.results.skeleton, figures=figures)
            self._video.add(drawn, frame.time_s)
        self.results.add(people, image_id=image_id, name=frame.name, hw=(height, width))

    def close_frames(self) -> None:
        if self._video is not None:
            video, self._video = self._video, None
            self.files.append(video.close())

    def summarise(self) -> None:
        self.files += self.results.write(self.folder)
        angles = angles_of(self.results.skeleton)
        times: dict[int, list[float]] = {}
        degrees: dict[int, list[NDArray[np.float64]]] = {}
        for p in self.results.people:
            if p.track is not None and p.time_s is not None:
                times.setdefault(p.track, []).append(p.time_s)
                found = measure_angles(p.joints_xy, p.scores, angles)
                degrees.setdefault(p.track, []).append(found)
        per_person = {track: np.stack(rows) for track, rows in degrees.items()}
        self.motions = ranges(per_person, angles)
        if not self.motions:  # no such joints, or never seen
            return
        seconds = {track: np.array(values) for track, values in times.items()}
        plot = angles_png(seconds, per_person, angles, name=self._name)
        contents = {"angles.png": plot, "range_of_motion.csv": motion_csv(self.motions).encode()}
        for name, content in contents.items():
            write_atomic(self.folder / name, content)
            self.files.append(self.folder / name)
