"""Frames come in order with their times; what is missing or broken is said once, by name."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edgepose.errors import EdgeposeError
from edgepose.video.camera import Camera
from edgepose.video.frames import Frame
from edgepose.video.sources import open_sources
from edgepose.video.video_file import VideoFile
from edgepose.video.video_writer import VideoWriter

from .conftest import FPS, frame_of, write_video


def test_a_video_gives_every_frame_upright_rgb_and_timed(film: Path) -> None:
    video = VideoFile(film)
    frames = list(video.frames())
    assert (video.count, video.fps) == (24, FPS)
    assert [f.index for f in frames] == list(range(24))
    np.testing.assert_allclose([f.time_s for f in frames], np.arange(24) / FPS, atol=2e-3)
    for frame in frames[::6]:
        error = np.abs(frame.image.astype(int) - frame_of(frame.index).astype(int))
        assert error.mean() < 3  # red is red: the codec changes little


@pytest.mark.parametrize(("name", "codec"), [("a.mkv", "mp4v"), ("a.avi", "MJPG")])
def test_a_cut_video_gives_what_is_there_and_then_says_so(
    tmp_path: Path, name: str, codec: str, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = write_video(tmp_path / name, 40, codec=codec)
    cut = tmp_path / f"cut-{name}"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    frames: list[Frame] = []
    capfd.readouterr()
    with pytest.raises(EdgeposeError, match=r"cut off: it ends after frame \d+ of 40"):  # noqa: PT012
        for frame in VideoFile(cut).frames():
            frames.append(frame)
    assert 5 < len(frames) < 38
    assert capfd.readouterr().err == ""  # FFmpeg's own complaints are off


def test_a_video_without_its_index_or_of_text_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = write_video(tmp_path / "a.mp4", 10)
    for content in (whole.read_bytes()[: whole.stat().st_size // 2], b"hello", b""):
        broken = tmp_path / "broken.mp4"
        broken.write_bytes(content)
        capfd.readouterr()
        with pytest.raises(EdgeposeError, match=r"broken\.mp4 cannot be opened as a video"):
            open_sources([broken])
        assert capfd.readouterr().err == ""


def test_pictures_of_folders_and_files_come_together(tmp_path: Path, film: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("b.png", "a.jpg"):
        cv2.imwrite(str(folder / name), frame_of(0))
    (folder / "notes.txt").write_text("no picture")
    cv2.imwrite(str(tmp_path / "c.png"), frame_of(0))
    pictures, video = open_sources([folder, film, tmp_path / "c.png"])
    assert [Path(f.name).name for f in pictures.frames()] == ["a.jpg", "b.png", "c.png"]
    assert (pictures.moving, video.moving, video.name) == (False, True, str(film))


def test_what_cannot_be_a_source_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    for path, text in (
        (tmp_path, "holds no images"),
        (tmp_path / "none.mp4", "there is nothing at"),
        (tmp_path / "notes.txt", "neither a picture nor a video"),
    ):
        with pytest.raises(EdgeposeError, match=text):
            open_sources([path])
    with pytest.raises(EdgeposeError, match="nothing to look at"):
        open_sources([])


class Capture:
    """As cv2.VideoCapture: gives `count` frames, then none."""

    def __init__(self, count: int) -> None:
        self.count, self.released = count, False

    def isOpened(self) -> bool:
        return True

    def get(self, key: int) -> float:
        return 0.0

    def read(self) -> tuple[bool, np.ndarray | None]:
        self.count -= 1
        return (
            (True, np.full((8, 8, 3), (255, 0, 0), np.uint8)) if self.count >= 0 else (False, None)
        )

    def release(self) -> None:
        self.released = True


def test_a_camera_that_is_not_there_is_named(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(EdgeposeError, match="camera 63 is not there"):
        Camera(63)
    assert capfd.readouterr().err == ""


def test_a_camera_that_stops_says_after_how_many_frames() -> None:
    capture = Capture(3)
    frames: list[Frame] = []
    with pytest.raises(EdgeposeError, match="stopped giving frames after 3"):  # noqa: PT012
        for frame in Camera(0, open_capture=lambda number: capture).frames():
            frames.append(frame)
    assert [f.index for f in frames] == [0, 1, 2]
    assert frames[0].time_s == 0
    assert frames[1].time_s < frames[2].time_s
    assert (frames[0].image[0, 0] == (0, 0, 255)).all()  # OpenCV's BGR became RGB
    assert capture.released


def test_a_written_video_runs_in_the_time_of_its_frames(tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path / "new" / "out.mp4", fps=10, hw=(41, 63))
    for index, time_s in enumerate([0.0, 0.1, 0.5, 0.52, 0.9]):  # a camera that hesitates
        writer.add(frame_of(index, hw=(41, 63)), time_s)
        assert not (tmp_path / "new" / "out.mp4").exists()
    path = writer.close()
    video = VideoFile(path)
    frames = list(video.frames())
    assert len(frames) == 10
    assert frames[-1].time_s == pytest.approx(0.9, abs=0.01)
    assert frames[0].image.shape == (42, 64, 3)  # even sides
    assert [p.name for p in path.parent.iterdir()] == ["out.mp4"]


def test_a_video_that_lost_frames_on_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path / "out.mp4", fps=10, hw=(40, 64))
    writer.add(frame_of(0, hw=(40, 64)), 0.0)
    writer.written += 5  # OpenCV says nothing when the disk refuses
    with pytest.raises(EdgeposeError, match="1 of 6 frames"):
        writer.close()
    assert not list(tmp_path.iterdir())
