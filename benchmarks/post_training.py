"""What static post-training INT8 costs, by calibration method: PCKh and how far joints move.

    python benchmarks/post_training.py [--people 500]

The embedded ResNet-18 on synthetic validation, calibrated on the 128 pictures of the calibration split;
the converted graph runs in torch. Prints one line per method, its change with a 95 % interval (the same
people drawn with replacement for both); nothing is timed.
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path

import numpy as np

from edgepose.data.crop import crop_batches
from edgepose.data.synthetic import Config, open_split
from edgepose.evaluation import EvaluationSet, TorchExecutor, find_joints, joint_shift, score
from edgepose.metrics.bootstrap import interval
from edgepose.metrics.metric import METRICS, Score
from edgepose.models.pose_model import PoseModel
from edgepose.quant.calibrate import calibrate
from edgepose.quant.graph import OBSERVERS, int8_graph

WEIGHTS = Path(__file__).parent.parent / "recipes" / "weights" / "resnet18_synthetic"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--people", type=int, default=500)
    people = parser.parse_args().people
    model = PoseModel.load(WEIGHTS)
    codec, hw = model.spec.codec, model.spec.input_hw
    data = EvaluationSet.from_dataset(
        open_split(Config(val=people), "val"), hw, alignment=codec.alignment
    )
    pictures = open_split(Config(), "calibration")
    batches = list(crop_batches(pictures, hw, alignment=codec.alignment))
    reference = find_joints(TorchExecutor(model.module(), model.spec), data, codec=codec)
    before = score(reference, data, METRICS["pckh"])
    print("float", {name: f"{found.value:.2f}" for name, found in before.items()})
    for method, equalized, corrected in product(OBSERVERS, (False, True), (False, True)):
        quantized = calibrate(
            model, batches, observer=method, equalized=equalized, bias_corrected=corrected
        )
        executor = TorchExecutor(int8_graph(quantized), quantized.spec)
        joints = find_joints(executor, data, codec=codec)
        change = {
            name: _change(before[name], found)
            for name, found in score(joints, data, METRICS["pckh"]).items()
        }
        shift = joint_shift(joints, reference)
        mean = float(np.linalg.norm(joints.crop_xy - reference.crop_xy, axis=2).mean())
        words = [method, *["equalize"] * equalized, *["bias_correction"] * corrected]
        print(f"{' '.join(words)}: {change} mean shift {mean:.3f} px, {shift}", flush=True)


def _change(before: Score, after: Score) -> str:
    low, high = interval(after.draws - before.draws)
    return f"{after.value - before.value:+.2f} [{low:+.2f}, {high:+.2f}]"


if __name__ == "__main__":
    main()
