"""What the harness adds: its latency against a bare ONNX Runtime loop, in turns in one process.

    python benchmarks/harness_overhead.py ARTIFACT [--threads 1] [--rounds 40] [--block-seconds 0.25]

ARTIFACT is a host or Android artifact folder. Each round times a block of calls by the loop that
everybody writes (session.run between two clock readings) and one by `device.timing.measure` over the
runner's engine, in changing order. Both use the same session options, model bytes and input. Prints both
p50 and the quotient of the two with its 95 % interval over the rounds; exit code 1 above --limit.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime

from edgepose.bench.intervals import paired_ratio
from edgepose.device.contract import load_contract
from edgepose.device.runtimes import open_engine
from edgepose.device.timing import measure


def bare_loop(
    session: onnxruntime.InferenceSession, feed: dict[str, np.ndarray], calls: int
) -> np.ndarray:
    """Milliseconds of each call."""
    samples = []
    for _ in range(calls):
        start = time.perf_counter()
        session.run(None, feed)
        samples.append(1e3 * (time.perf_counter() - start))
    return np.array(samples)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--block-seconds", type=float, default=0.25)
    parser.add_argument("--limit", type=float, default=0.02)
    options = parser.parse_args()
    contract = load_contract(str(options.artifact))
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.threads
    settings.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        contract.read("model"), settings, providers=["CPUExecutionProvider"]
    )
    images = np.random.default_rng(0).normal(size=(1, 3, *contract.input_hw)).astype(np.float32)
    feed = {contract.input_name: images}
    with tempfile.TemporaryDirectory() as engines:
        engine = open_engine(contract, engines=engines, threads=options.threads)
        bare_loop(session, feed, 50)
        warm = measure(lambda: engine.infer(images), warmup=25, repeats=25)
        calls = max(4, round(options.block_seconds * 1e3 / warm.p50_ms))
        bare, ours = [], []
        for turn in range(options.rounds):
            for which in (0, 1) if turn % 2 == 0 else (1, 0):
                if which == 0:
                    bare.append(bare_loop(session, feed, calls))
                else:
                    timing = measure(lambda: engine.infer(images), warmup=0, repeats=calls)
                    ours.append(timing.samples_ms)
    ratio = paired_ratio([(np.stack(bare), np.stack(ours))], level=0.95)
    print(
        f"{engine.description}, {options.threads} threads, {options.rounds} rounds of {calls} calls"
    )
    print(f"bare loop p50 {np.median(bare):.4f} ms, harness p50 {np.median(ours):.4f} ms")
    print(
        f"harness / bare loop {ratio.value:.4f}, 95 % [{ratio.low:.4f}, {ratio.high:.4f}], "
        f"limit 1 ± {options.limit:g}"
    )
    sys.exit(abs(ratio.value - 1) > options.limit)


if __name__ == "__main__":
    main()
