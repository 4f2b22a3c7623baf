"""Which part of video prediction is the network, and which is everything around it.

    python benchmarks/video_overhead.py [--artifact FOLDER] [--only] [--frames 300] [--side 480]
                                        [--rounds 3]

Predicts a video of a rendered person (see moving_people.py) on this CPU with the embedded network in
fp32 (not with --only), and with --artifact (e.g. a run's INT8 artifacts/host), without and with the
overlay video. Per case, the best of the rounds: milliseconds a frame inside the network and in all, and
their ratio in wall time, from asking for the first frame to the closed video.

On a machine with other work that ratio also counts waiting for a core. With one thread for the network
the last columns therefore count processor time, milliseconds a frame: `loop`, the thread that runs the
network, crops and follows; `beside`, all the others, which read, decode, smooth, draw and write; and
`two cores`, the network's part of the longer of the two: of the wall time where two cores are free.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

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

    loop_s = process_s = 0.0

    def summarise(self) -> None:
        self.loop_s, self.process_s = time.thread_time(), time.process_time()


class Cpu(NamedTuple):
    """Processor time of a prediction in seconds: inside the network, its thread, all other threads."""

    network: float
    loop: float
    beside: float

    @property
    def share(self) -> float:
        """Of the network, where the others have a core of their own."""
        return self.network / max(self.loop, self.beside)


def predict(
    artifact: Artifact, video: Path, folder: Path, *, overlay: bool, threads: int | None
) -> tuple[Timing, Cpu]:
    """Timing of a prediction, and where its processor time went."""
    watched = Watched(api.open_executor(artifact, work=folder, threads=threads))
    finder = Finder([Model(watched, Contract.of_artifact(artifact))])
    finder.warm_up()
    source = VideoFile(video)
    sink = Timed(folder, finder.skeleton, fps=source.fps, overlay=overlay)
    before, process, watched.cpu_s = time.thread_time(), time.process_time(), 0.0
    outcome = predict_source(source, finder, Following(WholeFrame()), sink)
    # The loop runs each model once more before it starts its clock.
    loop = sink.loop_s - before
    return outcome.timing, Cpu(watched.cpu_s, loop, sink.process_s - process - loop)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--artifact", type=Path, help="also this one, e.g. in INT8")
    parser.add_argument("--only", action="store_true", help="the artifact without the fp32 network")
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--side", type=int, default=480)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        video = folder / "walk.mp4"
        write_video(video, draw_walk(options.frames, side=options.side)[0], 25.0)
        artifacts = []
        if not options.only:
            artifacts = [onnx_mobile.emit(PoseModel.load(EMBEDDED), FLOAT_HOST, folder / "fp32")]
        if options.artifact is not None:
            artifacts.append(Artifact.load(options.artifact))
        print(f"{options.frames} frames of {options.side} x {options.side}, one person, "
              f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")  # fmt: skip
        print(f"{'network':<10} {'threads':>7} {'video':<8} {'network':>9} {'whole':>9} {'FPS':>6} "
              f"{'share':>6} {'loop':>7} {'beside':>7} {'two cores':>9}")  # fmt: skip
        for artifact in artifacts:
            for threads in (None, 1):
                for overlay in (False, True):
                    rounds = [
                        predict(artifact, video, folder / "out", overlay=overlay, threads=threads)
                        for _ in range(options.rounds)
                    ]
                    best, _ = max(rounds, key=lambda r: r[0].inference_share)
                    cpu = min((cpu for _, cpu in rounds), key=lambda cpu: cpu.loop + cpu.beside)
                    each = 1e3 / best.frames
                    print(
                        f"{artifact.manifest.precision:<10} {threads or 'all':>7} "
                        f"{'overlay' if overlay else 'none':<8} "
                        f"{best.inference_s * each:>6.2f} ms {best.wall_s * each:>6.2f} ms "
                        f"{best.frames_per_s:>6.1f} {best.inference_share:>6.1%} "
                        + (f"{cpu.loop * each:>7.2f} {cpu.beside * each:>7.2f} {cpu.share:>9.1%}"
                           if threads == 1 else "")
                    )  # fmt: skip


if __name__ == "__main__":
    main()
