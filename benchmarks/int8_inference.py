"""What edgepose's INT8 is worth next to ONNX Runtime's own quantization of the same weights.

    python benchmarks/int8_inference.py [--model recipes/weights/resnet18_synthetic] [--small RUN]

One process, one set of weights, the same threads, calibration pictures and people; the candidates take
turns, and each ratio is of two medians in the same round. Candidates:

    fp32         the network as torch exports it, in ONNX Runtime
    ort-static   fp32 through quant_pre_process and quantize_static with its defaults
    ort-dynamic  fp32 through quantize_dynamic with its defaults (left out with --no-dynamic)
    edgepose     our post-training static INT8
    small        --small RUN: the .ort of that run's target host, e.g. reports/resnet18_5mb/latest

Prints the latency of each, ratios with 95 % intervals (rounds drawn with replacement), PCKh with what it
lost against fp32, the integer rate next to the best that a large integer matrix product reaches here in
the same runtime, and where the time of our file goes, by operator.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import defaultdict
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, quantize_dynamic, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from edgepose import api
from edgepose.backends import onnx_mobile
from edgepose.backends.common.session import OrtExecutor
from edgepose.backends.onnx_graph.export import INPUT, OPSET, OUTPUT
from edgepose.backends.onnx_graph.integer_share import integer_mac_share
from edgepose.cost import count_macs
from edgepose.data import synthetic
from edgepose.data.crop import crop_batches
from edgepose.device.geometry import normalise
from edgepose.evaluation import EvaluationSet, find_joints, score
from edgepose.measure import FLOAT_HOST
from edgepose.metrics.bootstrap import interval
from edgepose.metrics.metric import METRICS
from edgepose.models.pose_model import PoseModel
from edgepose.quant.calibrate import calibrate

PEAK_SIDE = 1536  # of the matrices whose product gives the integer rate to compare with


class Crops(CalibrationDataReader):
    """Normalised calibration crops for ONNX Runtime, one image at a time."""

    def __init__(self, images: np.ndarray) -> None:
        self._left = iter(images)

    def get_next(self) -> dict[str, np.ndarray] | None:
        image = next(self._left, None)
        return None if image is None else {INPUT: image[None]}


def session(model: bytes, threads: int, *, profile: Path | None = None) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    if profile is not None:
        options.enable_profiling, options.profile_file_prefix = True, str(profile)
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def integer_peak(threads: int) -> float:
    """Multiply-accumulates per second of one large uint8 x int8 matrix product."""
    side = PEAK_SIDE
    rng = np.random.default_rng(0)
    weight = numpy_helper.from_array(rng.integers(-127, 128, (side, side), dtype=np.int8), "w")
    node = helper.make_node("MatMulInteger", ["a", "w"], ["y"])
    ports = [
        helper.make_tensor_value_info(name, kind, [side, side])
        for name, kind in (("a", TensorProto.UINT8), ("y", TensorProto.INT32))
    ]
    graph = helper.make_graph([node], "peak", ports[:1], ports[1:], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    run = session(model.SerializeToString(), threads)
    feed = {"a": rng.integers(0, 256, (side, side), dtype=np.uint8)}
    return side**3 / min(once(run, feed) for _ in range(10)) * 1e9


def once(run: ort.InferenceSession, feed: dict[str, np.ndarray]) -> int:
    started = perf_counter_ns()
    run.run(None, feed)
    return perf_counter_ns() - started


def by_operator(model: bytes, threads: int, feed: dict[str, np.ndarray], folder: Path) -> str:
    """Share of the time in each operator, largest first."""
    run = session(model, threads, profile=folder / "profile")
    for _ in range(60):
        run.run(None, feed)
    events = json.loads(Path(run.end_profiling()).read_text())
    spent: dict[str, int] = defaultdict(int)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            spent[event["args"]["op_name"]] += event["dur"]
    total = sum(spent.values())
    ranked = sorted(spent.items(), key=lambda pair: -pair[1])
    return ", ".join(f"{name} {time / total:.1%}" for name, time in ranked if time > total / 200)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, default=Path("recipes/weights/resnet18_synthetic"))
    parser.add_argument("--small", type=Path, help="a finished run with the target host")
    parser.add_argument("--people", type=int, default=500)
    parser.add_argument("--calibration", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--calls", type=int, default=20, help="of each candidate in each round")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-dynamic", action="store_true")
    options = parser.parse_args()
    model = PoseModel.load(options.model)
    hw, pre = model.spec.input_hw, model.spec.preprocessing
    config = synthetic.Config(val=options.people, calibration=options.calibration)
    val = EvaluationSet.from_dataset(
        synthetic.open_split(config, "val"), hw, alignment=model.spec.codec.alignment
    )
    pictures = synthetic.open_split(config, "calibration")
    crops = [batch for batch in crop_batches(pictures, hw, alignment=model.spec.codec.alignment)]
    images = np.concatenate([normalise(batch, pre.mean, pre.std) for batch in crops])

    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        plain = work / "fp32.onnx"
        torch.onnx.export(
            model.module().eval(), (torch.zeros(2, 3, *hw),), plain, dynamo=False,
            opset_version=OPSET, input_names=[INPUT], output_names=[OUTPUT],
            dynamic_axes={INPUT: {0: "batch"}, OUTPUT: {0: "batch"}},
        )  # fmt: skip
        quant_pre_process(str(plain), str(work / "prepared.onnx"))
        quantize_static(str(work / "prepared.onnx"), str(work / "static.onnx"), Crops(images))
        files = {"fp32": plain.read_bytes(), "ort-static": (work / "static.onnx").read_bytes()}
        if not options.no_dynamic:
            quantize_dynamic(str(work / "prepared.onnx"), str(work / "dynamic.onnx"))
            files["ort-dynamic"] = (work / "dynamic.onnx").read_bytes()
        host = replace_target(precision="int8")
        ours = onnx_mobile.emit(calibrate(model, iter(crops)), host, work / "ours")
        files["edgepose"] = ours.path("onnx").read_bytes()
        manifests = dict.fromkeys(files, ours.manifest)
        if options.small is not None:
            small = api.load(options.small / "artifacts" / "host")
            files["small"], manifests["small"] = small.path("onnx").read_bytes(), small.manifest
        for name, data in files.items():
            share = "" if name == "fp32" else f"{integer_mac_share(data).share:.1%} integer MACs"
            print(f"{name:<12} {len(data):>11,} bytes  {share}", flush=True)
        feed = {INPUT: images[:1]}
        print(
            f"edgepose by operator: {by_operator(files['edgepose'], options.threads, feed, work)}"
        )

    report_speed(files, feed, options, macs=count_macs(model.module(), input_hw=hw))
    report_accuracy(files, manifests, val, model)


def replace_target(**changes: Any) -> Any:
    return FLOAT_HOST.model_copy(update={"name": "host", **changes})


def report_speed(files: dict[str, bytes], feed: Any, options: Any, *, macs: int) -> None:
    runs = {name: session(data, options.threads) for name, data in files.items()}
    for run in runs.values():
        for _ in range(options.calls):
            run.run(None, feed)
    medians: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(options.rounds):
        for name, run in runs.items():
            times = [once(run, feed) for _ in range(options.calls)]
            medians[name].append(float(np.median(times)) / 1e6)
    for name, values in medians.items():
        print(f"{name:<12} p50 {np.median(values):7.3f} ms  ({options.threads} threads)")
    rng = np.random.default_rng(0)
    draws = rng.integers(0, options.rounds, (2000, options.rounds))
    for fast in ("edgepose", "small"):
        for slow in ("fp32", "ort-static", "ort-dynamic"):
            if fast in medians and slow in medians:
                ratio = np.array(medians[slow]) / np.array(medians[fast])
                low, high = interval(np.median(ratio[draws], axis=1))
                print(f"{fast} against {slow}: {np.median(ratio):.2f}x [{low:.2f}, {high:.2f}]")
    peak = integer_peak(options.threads)
    rate = macs / (np.median(medians["edgepose"]) / 1e3)
    print(
        f"edgepose computes {rate / 1e9:.0f} GMAC/s, {rate / peak:.0%} of the {peak / 1e9:.0f} that a "
        f"{PEAK_SIDE} x {PEAK_SIDE} uint8 x int8 product reaches here"
    )


def report_accuracy(
    files: dict[str, bytes], manifests: dict[str, Any], val: EvaluationSet, model: PoseModel
) -> None:
    metric = METRICS["pckh"]
    scores = {}
    for name, data in files.items():
        executor = OrtExecutor(data, manifests[name])
        joints = find_joints(executor, val, codec=manifests[name].codec.to_codec())
        scores[name] = score(joints, val, metric)
        words = []
        for key, one in scores[name].items():
            lost = scores["fp32"][key].draws - one.draws
            low, high = interval(lost)
            drop = scores["fp32"][key].value - one.value
            words.append(f"{key} {one.value:.2f} (lost {drop:+.2f} [{low:+.2f}, {high:+.2f}])")
        print(f"{name:<12} " + "  ".join(words), flush=True)


if __name__ == "__main__":
    main()
