"""How fast synthetic people are drawn on one core.

    python benchmarks/render.py [--frame-px 128] [--count 300] [--rounds 5]

Prints images per second of processor time (what one core gives, whoever else uses the machine) and
of wall time, the median and the best of the rounds.
"""

from __future__ import annotations

import argparse
import statistics
import time

import cv2

from edgepose.data import synthetic


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--frame-px", type=int, default=128)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    config = synthetic.Config(train=options.count, frame_px=options.frame_px)
    people = synthetic.open_split(config, "train")
    begin = time.process_time()
    people[0]
    print(f"first image, banks included: {time.process_time() - begin:.2f} s")
    cpu, wall = [], []
    for _ in range(options.rounds):
        cpu_begin, wall_begin = time.process_time(), time.perf_counter()
        for i in range(options.count):
            people[i]
        cpu.append(options.count / (time.process_time() - cpu_begin))
        wall.append(options.count / (time.perf_counter() - wall_begin))
    for name, rates in (("processor time", cpu), ("wall time", wall)):
        print(
            f"{options.frame_px} px, 1 thread, {name}: median {statistics.median(rates):.0f}, "
            f"best {max(rates):.0f} images/s ({options.rounds} rounds of {options.count})"
        )


if __name__ == "__main__":
    main()
