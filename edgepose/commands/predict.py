"""`edgepose predict`: joints in pictures, videos and what a camera sees."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgepose.commands.shared import (
    Command,
    bgr_option,
    coding_option,
    input_option,
    json_option,
    load_subject,
    print_json,
    progress_bars,
    sha256_option,
    skeleton_option,
    threads_option,
)

if TYPE_CHECKING:
    from edgepose.video.boxes import Boxes
    from edgepose.video.finder import Finder
    from edgepose.video.frames import Source
    from edgepose.video.run import Options, Outcome
    from edgepose.video.sinks import PictureSink, VideoSink

_SHOWN_EACH_S = 0.5


@click.command(
    short_help="Find joints in pictures, videos and a camera's view.",
    cls=Command,
    example="edgepose predict photo.jpg --model reports/smoke/latest/artifacts/host --box 40,20,200,420\n"
    "edgepose predict run.mp4 --model A --model B --detector yolo11n.onnx\n"
    "edgepose predict --camera 0 --model A --frames 300",
)
@click.argument("inputs", nargs=-1, type=click.Path(path_type=Path))
@click.option("--camera", type=click.IntRange(0), help="Number of a camera.")
@click.option(
    "--model", "--artifact", "models", required=True, multiple=True,
    help="Artifact folder, the model folder of a run, or a checkpoint file. With several input sizes, in "
    "one artifact or by repeating this, every person goes to the size that fits the box.",
)  # fmt: skip
@skeleton_option
@input_option
@bgr_option
@coding_option
@sha256_option
@click.option(
    "--boxes", type=click.Path(path_type=Path),
    help="COCO json with people's boxes: annotations or results (of a video: image_id is the frame).",
)  # fmt: skip
@click.option(
    "--box",
    metavar="X,Y,W,H",
    help="One box in pixels; of a video, in its first frame [default: the whole frame].",
)
@click.option(
    "--detector", type=click.Path(path_type=Path),
    help="ONNX detector: YOLOv5, v8, v11, YOLOX, SSD, torchvision, MMDetection, or with NMS inside.",
)  # fmt: skip
@click.option("--detector-class", type=click.IntRange(0), default=0, show_default=True,
              help="Its number for people (torchvision: 1).")  # fmt: skip
@click.option("--detector-score", type=click.FloatRange(0, 1), default=0.3, show_default=True,
              help="Least confidence; also for results in --boxes.")  # fmt: skip
@click.option("--detector-size", type=click.IntRange(32, 4096), default=640, show_default=True,
              help="Side of its input, where the file leaves it open.")  # fmt: skip
@click.option("--detector-pixels", default="auto", show_default=True,
              type=click.Choice(["auto", "rgb-unit", "rgb-byte", "bgr-byte", "rgb-imagenet",
                                 "bgr-imagenet"]),
              help="What it was trained on: 0..1, 0..255 or ImageNet's mean, RGB or BGR.")  # fmt: skip
@click.option("--detect-every", type=click.IntRange(1), default=1, show_default=True,
              help="In a video, look in each so many frames; between, boxes follow joints.")  # fmt: skip
@click.option("--flip", is_flag=True, help="Average with the mirrored crop.")
@click.option("--smooth/--no-smooth", default=True, help="One-Euro filter on a video's joints.")
@click.option("--min-cutoff", type=click.FloatRange(0, min_open=True), default=2.0, show_default=True,
              help="Hz; lower: less shaking at rest.")  # fmt: skip
@click.option("--beta", type=click.FloatRange(0), default=20.0, show_default=True,
              help="Hz per box side per second; higher: less lag.")  # fmt: skip
@click.option(
    "--d-cutoff",
    type=click.FloatRange(0, min_open=True),
    default=1.0,
    show_default=True,
    help="Hz, of the speed.",
)
@click.option("--track-iou", type=click.FloatRange(0, 1, min_open=True), default=0.3, show_default=True,
              help="Least overlap of one person's boxes.")  # fmt: skip
@click.option("--track-age", type=click.IntRange(0), default=30, show_default=True,
              help="Frames after which a lost person gets a new number.")  # fmt: skip
@click.option("--overlay/--no-overlay", default=True, help="Draw skeletons.")
@click.option("--frames", type=click.IntRange(1), help="Stop after so many, of each input.")
@click.option("--seconds", type=click.FloatRange(0, min_open=True), help="Stop a video there.")
@threads_option
@click.option(
    "--to", "output", default="predictions", show_default=True, type=click.Path(path_type=Path),
    help="Folder: of pictures, a PNG each; of a video or camera, a folder in it.",
)  # fmt: skip
@json_option
def predict(
    inputs: tuple[Path, ...], camera: int | None, models: tuple[str, ...], **given: Any
) -> None:
    """Find joints in pictures, folders of pictures, videos and cameras.

    Writes skeletons over them, predictions.json (COCO results), images.json (the data set that these
    refer to), predictions.csv; for videos also angles.png and range_of_motion.csv.
    """
    from edgepose.device.errors import DeviceError
    from edgepose.video.angle_plot import motion_table
    from edgepose.video.boxes import Following
    from edgepose.video.run import predict_source
    from edgepose.video.sinks import VideoSink
    from edgepose.video.sources import open_sources

    sources = open_sources(inputs, camera=camera)
    finder = _finder(models, given)
    boxes = {moving: _boxes(given, moving=moving) for moving in {s.moving for s in sources}}
    reports: list[dict[str, Any]] = []
    taken: set[Path] = set()
    for source in sources:
        sink = _sink(source, finder, given, taken)
        here = Following(boxes[True]) if source.moving else boxes[False]
        try:
            with _shown(source) as show:
                outcome = predict_source(
                    source, finder, here, sink, options=_options(given), show=show
                )
        except DeviceError:
            if sink.files:
                click.echo("written before it stopped:", err=True)
                click.echo("\n".join(f"  {path}" for path in sink.files), err=True)
            raise
        reports.append(_report(source.name, outcome, sink))
        if given["as_json"]:
            continue
        _tell(source, outcome, sink)
        if isinstance(sink, VideoSink) and sink.motions:
            click.echo(motion_table(sink.motions))
    if given["as_json"]:
        print_json({"executor": finder.description, "inputs": reports})
    else:
        click.echo(f"run by {finder.description}")


def _finder(models: tuple[str, ...], given: dict[str, Any]) -> Finder:
    from edgepose import api
    from edgepose.artifact import Artifact
    from edgepose.predict import Contract
    from edgepose.variants import select, sizes_in
    from edgepose.video.finder import Finder, Model

    opened = []
    with progress_bars():
        for name in models:
            subject = load_subject(
                name, given["skeleton"], given["input_size"], given["bgr"], given["coding"],
                given["sha256"],
            )  # fmt: skip
            sizes = (
                [select(subject, input_hw=hw, gives="heatmaps") for hw in sizes_in(subject)]
                if isinstance(subject, Artifact)
                else [subject]
            )
            for one in sizes:
                contract = (
                    Contract.of_artifact(one)
                    if isinstance(one, Artifact)
                    else Contract.of_spec(one.spec)
                )
                executor = api.open_executor(
                    one, work=given["output"] / ".work", threads=given["threads"]
                )
                opened.append(Model(executor, contract))
    return Finder(opened, flip=given["flip"])


def _boxes(given: dict[str, Any], *, moving: bool) -> Boxes:
    from edgepose.errors import EdgeposeError
    from edgepose.predict import parse_box
    from edgepose.video.box_file import BoxFile
    from edgepose.video.boxes import OneBox, WholeFrame
    from edgepose.video.detector import Config, Detector

    named = [f"--{name}" for name in ("boxes", "box", "detector") if given[name] is not None]
    if len(named) > 1:
        raise EdgeposeError(
            f"{' and '.join(named)} were both given", fix="say in one way where people are"
        )
    if given["boxes"] is not None:
        return BoxFile(given["boxes"], min_score=given["detector_score"], moving=moving)
    if given["box"] is not None:
        return OneBox(parse_box(given["box"]))
    if given["detector"] is not None:
        config = Config(
            person=given["detector_class"], min_score=given["detector_score"],
            size=given["detector_size"], pixels=given["detector_pixels"],
            every=given["detect_every"],
        )  # fmt: skip
        return Detector(given["detector"], config, threads=given["threads"])
    return WholeFrame()


def _options(given: dict[str, Any]) -> Options:
    from edgepose.video import smoothing, tracking
    from edgepose.video.run import Options

    smooth = smoothing.Config(
        min_cutoff=given["min_cutoff"], beta=given["beta"], d_cutoff=given["d_cutoff"]
    )
    return Options(
        smooth=smooth if given["smooth"] else None,
        track=tracking.Config(min_iou=given["track_iou"], max_age=given["track_age"]),
        max_frames=given["frames"],
        max_seconds=given["seconds"],
    )


def _sink(
    source: Source, finder: Finder, given: dict[str, Any], taken: set[Path]
) -> PictureSink | VideoSink:
    """Where a source's people go: a video gets a folder of its own, `taken` are those of others."""
    from edgepose.video.sinks import PictureSink, VideoSink

    output, overlay = given["output"], given["overlay"]
    if not source.moving:
        return PictureSink(output, finder.skeleton, overlay=overlay)
    stem = Path(source.name.replace(" ", "-")).stem
    folder, again = output / stem, 2
    while folder in taken:
        folder, again = output / f"{stem}-{again}", again + 1
    taken.add(folder)
    return VideoSink(folder, finder.skeleton, fps=source.fps, overlay=overlay)


@contextmanager
def _shown(source: Source) -> Iterator[Callable[[int, int, str], None] | None]:
    """On a terminal: a bar for pictures; for videos and cameras a line with the measured figures."""
    if not sys.stderr.isatty():
        yield None
        return
    if not source.moving:
        with progress_bars() as bars:
            yield lambda done, total, figures: bars("predict", done, total)
        return
    last = -_SHOWN_EACH_S

    def show(done: int, total: int, figures: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _SHOWN_EACH_S:
            last = now
            count = f"{done} of {total}" if total else str(done)
            click.echo(f"\r{source.name}  frame {count}   {figures}   ", nl=False, err=True)

    yield show
    click.echo(err=True)


def _tell(source: Source, outcome: Outcome, sink: PictureSink | VideoSink) -> None:
    timing = outcome.timing
    if source.moving:
        tracks = {p.track for p in sink.results.people}
        click.echo(f"{source.name}: {_count(len(tracks), 'person', 'people')}")
    else:
        people = _count(timing.people, "person", "people")
        click.echo(f"{source.name}: {people} in {_count(timing.frames, 'image', 'images')}")
    click.echo(f"  {timing.text}")
    if outcome.dropped:
        click.echo(
            f"  {outcome.dropped} frames came while earlier ones were looked at, and were lost"
        )
    for path in sink.files:
        click.echo(f"  {path}")


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _report(name: str, outcome: Outcome, sink: PictureSink | VideoSink) -> dict[str, Any]:
    from edgepose.video.sinks import VideoSink

    timing = outcome.timing
    found: dict[str, Any] = {
        "input": name,
        "frames": timing.frames,
        "people": timing.people,
        "dropped_frames": outcome.dropped,
        "wall_s": timing.wall_s,
        "inference_s": timing.inference_s,
        "detector_s": timing.detector_s,
        "inference_share": timing.inference_share,
        "files": [str(path) for path in sink.files],
    }
    if isinstance(sink, VideoSink):
        found["range_of_motion_deg"] = [
            {
                "person": m.person, "angle": m.angle, "frames": m.frames, "min": m.min_deg,
                "median": m.median_deg, "max": m.max_deg, "range": m.range_deg,
            }
            for m in sink.motions
        ]  # fmt: skip
    return found
