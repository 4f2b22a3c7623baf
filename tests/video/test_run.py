"""A video in, files out: what they say is true, and what was found before an error is kept."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result
from pycocotools.coco import COCO

from edgepose.cli import main
from edgepose.device.codec import HeatmapCodec
from edgepose.device.files import disk_error, write_atomic
from edgepose.errors import EdgeposeError
from edgepose.predict import Contract
from edgepose.skeleton import Skeleton
from edgepose.video import sinks
from edgepose.video.boxes import Following, OneBox
from edgepose.video.clock import Clock, Timing
from edgepose.video.finder import Finder, Model
from edgepose.video.frames import Frame
from edgepose.video.run import Options, predict_source
from edgepose.video.sinks import VideoSink
from edgepose.video.video_file import VideoFile
from tests.networks import short

from .conftest import FPS, BrightSpots, frame_of, spots_at, write_video

PAIR = Skeleton("pair", ("right_hand", "left_hand"), flip_pairs=((0, 1),), limbs=((0, 1),))
START = (40.0, 30.0, 60.0, 100.0)
MADE = ["overlay.mp4", "predictions.json", "images.json", "predictions.csv"]


def finder() -> Finder:
    return Finder([Model(BrightSpots(), Contract((64, 64), HeatmapCodec(coding="dark"), PAIR))])


def predict(source: VideoFile, folder: Path, **options: object) -> tuple[VideoSink, Timing]:
    sink = VideoSink(folder, PAIR, fps=source.fps)
    outcome = predict_source(
        source,
        finder(),
        Following(OneBox(START)),
        sink,
        options=Options(**options),  # type: ignore[arg-type]
    )
    return sink, outcome.timing


@pytest.fixture(scope="module")
def done(film: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[VideoSink, Timing, Path]:
    folder = tmp_path_factory.mktemp("out") / "spots"
    return (*predict(VideoFile(film), folder), folder)


def test_joints_follow_the_spots_through_the_video(done: tuple[VideoSink, Timing, Path]) -> None:
    people = done[0].results.people
    assert [p.image_id for p in people] == list(range(24))
    assert {p.track for p in people} == {1}
    for person in people:
        assert np.abs(person.joints_xy - spots_at(int(person.image_id))).max() < 8
        assert person.time_s == pytest.approx(int(person.image_id) / FPS, abs=2e-3)


def test_files_load_where_they_should(done: tuple[VideoSink, Timing, Path]) -> None:
    sink, _, folder = done
    assert [path.name for path in sink.files] == MADE  # no angles: two hands have none
    truth = COCO(str(folder / "images.json"))
    loaded = truth.loadRes(str(folder / "predictions.json"))
    assert len(loaded.getAnnIds(imgIds=[7])) == 1
    assert truth.loadCats([1])[0]["keypoints"] == ["right_hand", "left_hand"]
    rows = list(csv.DictReader((folder / "predictions.csv").open()))
    assert len(rows) == 24
    result = json.loads((folder / "predictions.json").read_text())[7]
    assert float(rows[7]["left_hand_y"]) == pytest.approx(result["keypoints"][4], abs=0.01)
    assert (rows[7]["person"], rows[7]["image_id"]) == ("1", "7")
    drawn = [frame.image for frame in VideoFile(folder / "overlay.mp4").frames()]
    assert len(drawn) == 24
    middle = spots_at(12).mean(axis=0).round().astype(int)
    across = slice(middle[0] - 6, middle[0] + 7)
    assert drawn[12][middle[1], across].max() > 60  # between the hands was black
    assert frame_of(12)[middle[1], across].max() == 0


def test_timing_is_of_the_whole_and_of_the_network(done: tuple[VideoSink, Timing, Path]) -> None:
    timing = done[1]
    assert (timing.frames, timing.people) == (24, 24)
    assert 0 < timing.inference_s < timing.wall_s
    assert timing.inference_share == pytest.approx(timing.inference_s / timing.wall_s)
    now = iter(np.arange(100) * 0.02)
    clock = Clock(lambda: float(next(now)))
    text = ""
    for i in range(40):
        text = clock.frame(0.015 * (i + 1))
    assert text.split() == ["network", "15.0", "ms", "whole", "20.0", "ms", "50.0", "FPS"]


def test_smoothing_and_limits_are_options(film: Path, tmp_path: Path) -> None:
    raw, timing = predict(VideoFile(film), tmp_path / "raw", smooth=None, max_frames=5)
    assert timing.frames == 5
    smooth, timing = predict(VideoFile(film), tmp_path / "smooth", max_seconds=0.24)
    assert timing.frames == 5
    a, b = (np.stack([p.joints_xy for p in s.results.people]) for s in (raw, smooth))
    assert np.array_equal(a[0], b[0])
    assert not np.array_equal(a[1:], b[1:])


class Breaking:
    """Ten frames, then an error."""

    name, moving, live, fps, count = "breaking", True, False, FPS, 0

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def frames(self) -> Iterator[Frame]:
        for index in range(10):
            yield Frame(self.name, index, index / FPS, frame_of(index))
        raise self.error


@pytest.mark.parametrize("error", [EdgeposeError("cut off", fix="copy"), KeyboardInterrupt()])
def test_what_was_found_before_an_error_is_kept(tmp_path: Path, error: BaseException) -> None:
    sink = VideoSink(tmp_path / "out", PAIR, fps=FPS)
    with pytest.raises(type(error)):
        predict_source(Breaking(error), finder(), Following(OneBox(START)), sink)
    assert [path.name for path in sink.files] == MADE
    assert len(json.loads((tmp_path / "out" / "predictions.json").read_text())) == 10
    assert len(list(VideoFile(tmp_path / "out" / "overlay.mp4").frames())) == 10


def test_a_camera_ends_by_an_interrupt(tmp_path: Path) -> None:
    source = Breaking(KeyboardInterrupt())
    source.live = True  # type: ignore[misc]
    sink = VideoSink(tmp_path / "out", PAIR, fps=FPS, overlay=False)
    outcome = predict_source(source, finder(), Following(OneBox(START)), sink)
    assert outcome.timing.frames + outcome.dropped == 10
    assert [path.name for path in sink.files] == MADE[1:]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    short((32, 32)).save(folder)
    return folder


def run(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def test_the_command_takes_folders_and_videos_at_once(
    model: Path, film: Path, tmp_path: Path
) -> None:
    pictures, out = tmp_path / "pictures", tmp_path / "out"
    pictures.mkdir()
    for name in ("a.png", "b.jpg"):
        cv2.imwrite(str(pictures / name), frame_of(0))
    result = run("predict", pictures, film, "--model", model, "--to", out, "--frames", 6, "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert [entry["frames"] for entry in report["inputs"]] == [2, 6]
    assert all(Path(path).is_file() for entry in report["inputs"] for path in entry["files"])
    assert {path.name for path in out.iterdir()} == {
        "a.png", "b.png", "predictions.json", "images.json", "predictions.csv", "spots",
    }  # fmt: skip
    assert {p.name for p in (out / "spots").iterdir()} >= set(MADE)
    text = run("predict", film, "--model", model, "--to", tmp_path / "t", "--frames", 3).output
    assert "3 frames in" in text
    assert "run by torch" in text


def test_the_command_refuses_in_one_message(model: Path, film: Path, tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.mkv", 40)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    (tmp_path / "empty").mkdir()
    out = tmp_path / "out"
    for words, text in (
        ((cut,), "is cut off"),
        ((tmp_path / "empty",), "holds no images"),
        (("--camera", 63), "camera 63 is not there"),
        (
            (film, "--box", "1,1,5,5", "--detector", "d.onnx"),
            "--box and --detector were both given",
        ),
        ((film, "--detector", tmp_path / "d.onnx"), "there is no detector at"),
        ((film, "--model", model), "two models take crops of one size"),
        ((), "nothing to look at"),
    ):
        result = run("predict", *words, "--model", model, "--to", out)
        assert result.exit_code == 2, result.output
        assert text in result.output
        assert result.output.count("fix:") == 1
        assert "Traceback" not in result.output
        kept = {"cut"} if words == (cut,) else set()
        assert {path.name for path in out.iterdir()} == kept if kept else True
    assert {path.name for path in out.iterdir()} == {"cut"}  # nothing but what was found


def test_a_broken_picture_ends_a_folder_but_keeps_those_before(model: Path, tmp_path: Path) -> None:
    for name in ("a.png", "c.png"):
        cv2.imwrite(str(tmp_path / name), frame_of(0))
    (tmp_path / "b.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    out = tmp_path / "out"
    result = run("predict", tmp_path, "--model", model, "--to", out)
    assert result.exit_code == 2
    assert "b.png" in result.output
    assert "written before it stopped" in result.output
    assert (out / "a.png").exists()
    assert not (out / "c.png").exists()
    assert len(json.loads((out / "predictions.json").read_text())) == 1


def test_a_disk_that_fills_up_says_what_is_there(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(tmp_path / name), frame_of(0))

    def full(path: Path, data: bytes) -> None:
        if Path(path).name == "b.png":
            raise disk_error(path, OSError(28, "No space left on device"))
        write_atomic(path, data)

    monkeypatch.setattr(sinks, "write_atomic", full)
    result = run("predict", tmp_path, "--model", model, "--to", tmp_path / "out")
    assert result.exit_code == 2
    assert f"written before it stopped:\n  {tmp_path / 'out' / 'a.png'}\n" in result.output
    assert "b.png: No space left on device" in result.output
