"""The loop: frames in, boxes, networks, joints, files out."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import PurePath

from edgepose.predict import Prediction
from edgepose.video import smoothing, tracking
from edgepose.video.box_file import BoxFile
from edgepose.video.boxes import SEEN, Before, Boxes, Following
from edgepose.video.clock import Clock, Timing
from edgepose.video.detector import Detector
from edgepose.video.finder import Finder, Found
from edgepose.video.frames import Frame, Source
from edgepose.video.sinks import Sink
from edgepose.video.threads import Behind, ReadAhead

Show = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Options:
    """smooth: None leaves joints as they are; max_frames, max_seconds: stop there, of each source."""

    smooth: smoothing.Config | None = field(default_factory=smoothing.Config)
    track: tracking.Config = field(default_factory=tracking.Config)
    max_frames: int | None = None
    max_seconds: float | None = None


@dataclass(frozen=True)
class Outcome:
    """timing: measured; dropped: frames of a camera that came while the networks were busy."""

    timing: Timing
    dropped: int


@dataclass(frozen=True)
class _Job:
    frame: Frame
    found: Found
    figures: str


class _Finish:
    """What follows the networks, off their thread: exact joints, numbers, smoothing, files."""

    def __init__(self, source: Source, boxes: Boxes, sink: Sink, options: Options) -> None:
        self._moving, self._sink, self._options = source.moving, sink, options
        self._file = boxes if isinstance(boxes, BoxFile) else None
        self._tracker = tracking.Tracker(options.track)
        self._filters: dict[int, smoothing.OneEuro] = {}
        self._ids: set[int | str] = set()
        self.people = 0

    def __call__(self, job: _Job) -> None:
        frame, boxes = job.frame, job.found.boxes_xywh
        joints, scores = job.found.joints()
        people: list[Prediction] = []
        image_id = frame.index if self._moving else self._image_id(frame)
        if self._moving:
            numbers = self._tracker.update(boxes)
            for number, box, xy, score in zip(numbers, boxes, joints, scores, strict=True):
                if self._options.smooth is not None:
                    smooth = self._filters.setdefault(
                        number, smoothing.OneEuro(self._options.smooth)
                    )
                    side = float(max(box[2:]))
                    xy = smooth(xy, frame.time_s, seen=score >= SEEN, side_px=side)
                people.append(
                    Prediction(frame.name, image_id, box, xy, score, number, frame.time_s)
                )
            self._filters = {n: f for n, f in self._filters.items() if self._tracker.knows(n)}
        else:
            people = [
                Prediction(frame.name, image_id, box, xy, score)
                for box, xy, score in zip(boxes, joints, scores, strict=True)
            ]
        self.people += len(people)
        self._sink.add(frame, people, image_id=image_id, figures=job.figures)

    def _image_id(self, frame: Frame) -> int | str:
        """The box file's, else the stem; another for a second picture of that stem."""
        stem = PurePath(frame.name).stem
        image_id: int | str = stem if self._file is None else self._file.image_id(frame)
        again = 2
        while image_id in self._ids:
            image_id, again = f"{stem}-{again}", again + 1
        self._ids.add(image_id)
        return image_id


class _Others:
    """The threads beside the network's. They are given work when the network starts: that needs no
    Python, so that they have the interpreter to themselves, instead of in the way of boxes and crops."""

    def __init__(self, ahead: ReadAhead[Frame], behind: Behind[_Job]) -> None:
        self.ahead, self._behind = ahead, behind
        self._job: _Job | None = None

    def hold(self, job: _Job) -> None:
        """For the thread behind, when the next network starts."""
        self._job = job

    def go_on(self) -> None:
        """A network starts now."""
        self.ahead.read_on()
        job, self._job = self._job, None
        if job is not None:
            self._behind.put(job)

    def close(self) -> None:
        """Everything done; raises what went wrong behind."""
        self.ahead.close()
        try:
            self.go_on()
        finally:
            self._behind.close()


def predict_source(
    source: Source,
    finder: Finder,
    boxes: Boxes,
    sink: Sink,
    *,
    options: Options | None = None,
    show: Show | None = None,
) -> Outcome:
    """People of every frame of a source, into the sink.

    boxes: asked for every picture; of a video, wrap it in `Following` to follow joints
    show:  called with (frames done, frames in all or 0, the measured figures as text)
    An error comes after what was found before it has been written. An interrupt ends a camera, as
    that is how one ends; elsewhere it is raised, with the same care.
    """
    options = options or Options()
    start = boxes.start if isinstance(boxes, Following) else boxes
    detector = start if isinstance(start, Detector) else None
    finder.warm_up()
    before_s = detector.inference_s if detector is not None else 0.0

    def in_detector() -> float:
        return detector.inference_s - before_s if detector is not None else 0.0

    begin = time.perf_counter()
    clock = Clock()
    finish = _Finish(source, start, sink, options)
    others = _Others(ReadAhead(source.frames(), latest=source.live), Behind(finish))
    before: Before | None = None
    frames = 0
    try:
        try:
            for frame in others.ahead:
                if options.max_seconds is not None and frame.time_s >= options.max_seconds:
                    break
                if detector is not None:
                    others.go_on()
                crops = finder.crop(frame.image, boxes.find(frame, before))
                others.go_on()
                found = finder.infer(crops)
                if source.moving:
                    before = found.roughly()
                figures = clock.frame(finder.inference_s + in_detector())
                others.hold(_Job(frame, found, figures))
                frames += 1
                if show is not None:
                    show(frames, source.count, figures)
                if frames == options.max_frames:
                    break
        except KeyboardInterrupt:
            if not source.live:
                raise
        finally:
            others.close()
            sink.close_frames()
        wall_s = time.perf_counter() - begin
    finally:
        if frames:
            sink.summarise()
    timing = Timing(frames, finish.people, wall_s, finder.inference_s, in_detector())
    return Outcome(timing, others.ahead.dropped)
