"""Which part of video prediction is the network, and which is everything around it.

    python benchmarks/video_overhead.py [--artifact FOLDER] [--frames 300] [--side 480] [--rounds 3]

Predicts a video of a rendered person (see moving_people.py) on this CPU with the embedded network in
fp32, and with --artifact (e.g. a run's INT8 artifacts/host), without and with the overlay video. Per
case, the best of the rounds: milliseconds a frame inside the network and in all, and their ratio in
wall time, from asking for the first frame to the closed video. On a machine with other work that ratio
also counts waiting for a core; so the last column gives the same ratio of the processor time of the
thread that runs the network (with one thread, which is then the time of the loop on an idle machine
whose other cores read, draw and write).
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from moving_people import draw_walk, write_video

from edgepose import api
from edgepose.artifact import Artifact
from edgepose.backends import onnx_mobile
from edgepose.executor import Executor
from edgepose.measure import FLOAT_HOST
from edgepose.models.pose_model import PoseModel
from edgepose.predict import Contract
from edgepose.video.boxes import Following, WholeFrame
from edgepose.video.clock import Timing
from edgepose.video.finder import Finder, Model
from edgepose.video.run import predict_source
from edgepose.video.sinks import VideoSink
from edgepose.video.video_file import VideoFile

EMBEDDED = Path(__file__).resolve().parents[1] / "recipes" / "weights" / "resnet18_synthetic"


class Watched:
    """An executor, and the processor time that its network took on the calling thread."""

    def __init__(self, executor: Executor) -> None:
        self.description, self.prepare, self.run = (
            executor.description,
            executor.prepare,
            executor.run,
        )
        self._infer, self.cpu_s = executor.infer, 0.0

    def infer(self, prepared: object) -> np.ndarray:
        begin = time.thread_time()
        heatmaps = self._infer(prepared)
        self.cpu_s += time.thread_time() - begin
        return heatmaps


class Timed(VideoSink):
    """Leaves out the tables and plots, and notes the loop's processor time where they would begin."""

    loop_s = 0.0

    def summarise(self) -> None:
        self.loop_s = time.thread_time()


def predict(
    artifact: Artifact, video: Path, folder: Path, *, overlay: bool, threads: int | None
) -> tuple[Timing, float]:
    """Timing of a prediction, and the network's share of its thread's processor time."""
    watched = Watched(api.open_executor(artifact, work=folder, threads=threads))
    finder = Finder([Model(watched, Contract.of_artifact(artifact))])
    finder.warm_up()
    source = VideoFile(video)
    sink = Timed(folder, finder.skeleton, fps=source.fps, overlay=overlay)
    before, watched.cpu_s = time.thread_time(), 0.0
    outcome = predict_source(source, finder, Following(WholeFrame()), sink)
    # The loop runs each model once more before it starts its clock.
    return outcome.timing, watched.cpu_s / (sink.loop_s - before)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--artifact", type=Path, help="also this one, e.g. in INT8")
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--side", type=int, default=480)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        video = folder / "walk.mp4"
        write_video(video, draw_walk(options.frames, side=options.side)[0], 25.0)
        artifacts = [onnx_mobile.emit(PoseModel.load(EMBEDDED), FLOAT_HOST, folder / "fp32")]
        if options.artifact is not None:
            artifacts.append(Artifact.load(options.artifact))
        print(f"{options.frames} frames of {options.side} x {options.side}, one person, "
              f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")  # fmt: skip
        print(f"{'network':<10} {'threads':>7} {'video':<8} {'network':>9} {'whole':>9} {'FPS':>6} "
              f"{'share':>6} {'of its thread':>14}")  # fmt: skip
        for artifact in artifacts:
            for threads in (None, 1):
                for overlay in (False, True):
                    rounds = [
                        predict(artifact, video, folder / "out", overlay=overlay, threads=threads)
                        for _ in range(options.rounds)
                    ]
                    best, share = max(rounds, key=lambda r: r[0].inference_share)
                    each = 1e3 / best.frames
                    print(
                        f"{artifact.manifest.precision:<10} {threads or 'all':>7} "
                        f"{'overlay' if overlay else 'none':<8} "
                        f"{best.inference_s * each:>6.2f} ms {best.wall_s * each:>6.2f} ms "
                        f"{best.frames_per_s:>6.1f} {best.inference_share:>6.1%} "
                        + (f"{share:>14.1%}" if threads == 1 else f"{'':>14}")
                    )  # fmt: skip


if __name__ == "__main__":
    main()
