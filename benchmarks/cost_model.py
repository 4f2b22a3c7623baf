"""Does the cost model rank networks? Estimates against measurements on this host.

    python benchmarks/cost_model.py [--precision fp32] [--threads 1] [--repeats 6] [--set 2]

The host's costs come from networks of random widths (edgepose/cost/mixes.py); the twelve below took no
part in that. They lie within a threefold range of latency, so that ranking them is no matter of size alone.
All are timed in turn, `--repeats` times over, and the fastest median of each counts. Prints each
estimate beside its measurement, Kendall's tau and the median error; then the published points of every
target that has some. On a machine that does other work the figures say little: it prints the load.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import kendalltau

from edgepose.backends import onnx_mobile
from edgepose.bench.conditions import read_conditions
from edgepose.bench.latency import Plan, time_model
from edgepose.cost import kernel_costs
from edgepose.cost.host import calibration
from edgepose.cost.latency import Estimator, check_published
from edgepose.models.pose_model import ModelSpec, PoseModel
from edgepose.quant.calibrate import calibrate
from edgepose.stages.prune import prune_channels
from edgepose.target import Target, list_targets, load_target

# Architecture, share of the channels removed, input size: twelve networks within a threefold range each.
# The first twelve were looked at while the cost model was made, the second only when it was finished.
SETS: tuple[tuple[tuple[str, float, tuple[int, int]], ...], ...] = (
    (
        ("resnet18", 0.0, (96, 96)), ("resnet18", 0.2, (192, 160)), ("resnet18", 0.3, (160, 160)),
        ("resnet18", 0.4, (160, 128)), ("resnet18", 0.5, (256, 192)), ("resnet18", 0.6, (224, 192)),
        ("resnet34", 0.3, (160, 128)), ("resnet34", 0.5, (160, 160)), ("resnet50", 0.4, (160, 160)),
        ("resnet50", 0.5, (160, 160)), ("resnet50", 0.6, (160, 128)), ("hrnet_w18", 0.4, (128, 128)),
    ),
    (
        ("resnet18", 0.1, (128, 96)), ("resnet18", 0.25, (128, 128)), ("resnet18", 0.35, (192, 192)),
        ("resnet18", 0.55, (288, 224)), ("resnet34", 0.2, (96, 96)), ("resnet34", 0.4, (192, 160)),
        ("resnet34", 0.6, (256, 192)), ("resnet50", 0.3, (128, 96)), ("resnet50", 0.55, (224, 160)),
        ("resnet101", 0.5, (128, 96)), ("hrnet_w18", 0.3, (96, 96)), ("hrnet_w18", 0.6, (160, 128)),
    ),
)  # fmt: skip
PLAN = Plan(warmup=3, max_warmup=12, calls=12, seconds=0.3)


def network(arch: str, ratio: float, input_hw: tuple[int, int]) -> PoseModel:
    spec = ModelSpec(arch, 16, input_hw, "mpii16")
    model = PoseModel.fresh(spec, seed=0)
    if not ratio:
        return model
    pruned = prune_channels(model.module(), ratio=ratio, round_to=8, input_hw=input_hw)
    return model.with_module(pruned)


def exported(model: PoseModel, precision: str, folder: Path, threads: int | None) -> Any:
    """The artifact as ONNX Runtime runs it."""
    target = Target(name="here", runtime="onnx_mobile", precision=precision, opset=17)  # type: ignore[arg-type]
    if precision == "int8":
        crops = np.random.default_rng(0).integers(0, 256, (32, *model.spec.input_hw, 3), np.uint8)
        model = calibrate(model, [crops], observer="minmax")
    artifact = onnx_mobile.emit(model, target, folder)
    return onnx_mobile.open_executor(artifact, threads=threads)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--precision", choices=("int8", "fp32"), default="int8")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--repeats", type=int, default=6)
    parser.add_argument("--set", type=int, choices=(1, 2), default=1, help="which twelve networks")
    options = parser.parse_args()
    torch.set_num_threads(options.threads or torch.get_num_threads())
    found = calibration(options.precision, threads=options.threads)
    estimator = Estimator("host", found.costs, "calibrated on this host", found.largest_error)
    print(read_conditions().name)
    print(f"load {os.getloadavg()[0]:.1f}, {options.precision}, threads {options.threads or 'all'}")
    print(f"calibration: {found.costs.seconds}")
    print(
        f"  calibration networks: median error {found.median_error:.0%}, largest {found.largest_error:.0%}"
    )
    rows = []
    with tempfile.TemporaryDirectory() as work:
        for number, (arch, ratio, hw) in enumerate(SETS[options.set - 1]):
            model = network(arch, ratio, hw)
            estimate = estimator.latency_ms(kernel_costs(model.module(), input_hw=hw))
            executor = exported(model, options.precision, Path(work) / str(number), options.threads)
            rows.append((f"{arch} -{ratio:.0%} {hw[0]}x{hw[1]}", estimate, executor, hw))
        times = [
            [time_model(executor, hw, plan=PLAN).latency.p50 for _, _, executor, hw in rows]
            for _ in range(options.repeats)
        ]
    measured = np.min(times, axis=0)
    estimated = np.array([row[1] for row in rows])
    errors = estimated / measured - 1
    for (name, *_), ours, real, error in zip(rows, estimated, measured, errors, strict=True):
        print(f"{name:<28} estimated {ours:7.2f} ms   measured {real:7.2f} ms   {error:+.0%}")
    tau = kendalltau(estimated, measured).statistic
    print(f"range of the measurements {measured.max() / measured.min():.1f}x")
    print(f"Kendall tau {tau:.2f} (goal 0.8), median error {np.median(abs(errors)):.0%} (goal 25%)")
    for name in list_targets():
        for check in check_published(load_target(name)):
            print(f"{name}: {check}")


if __name__ == "__main__":
    main()
