"""Does `edgepose bench --compare` cry wolf, and does it see ten percent? On this machine, for real.

    python benchmarks/compare_aa.py ARTIFACT [--comparisons 20] [--processes 8] [--rounds 12]

ARTIFACT is a host or Android artifact folder. Makes so many comparisons of it with itself, and as many
with a copy of the second's times made --slower times longer (the calls are the same, each sample is
multiplied: the exact effect on real noise). Prints each ratio with its interval. Exit code 1 where more
than one of twenty A/A comparisons is called a difference, or more than one of twenty slower ones is not.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from edgepose.bench.comparison import PROCESSES, ROUNDS, time_in_turns
from edgepose.bench.intervals import Ratio, paired_ratio
from edgepose.device.lock import LOCK, take_lock


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--comparisons", type=int, default=20)
    parser.add_argument("--processes", type=int, default=PROCESSES)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--block-seconds", type=float, default=0.1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--slower", type=float, default=1.1)
    options = parser.parse_args()
    lock = take_lock(LOCK, who="compare_aa.py", where="on this computer")
    same, slower = [], []
    for number in range(options.comparisons):
        turns = time_in_turns(
            (options.artifact, options.artifact), threads=options.threads,
            processes=options.processes, rounds=options.rounds, block_seconds=options.block_seconds,
        )  # fmt: skip
        same.append(paired_ratio(turns, seed=number))
        slower.append(paired_ratio([(a, options.slower * b) for a, b in turns], seed=number))
        print(
            f"{number + 1:>3}  A/A {shown(same[-1])}   {options.slower:g}x {shown(slower[-1])}",
            flush=True,
        )
    os.close(lock)
    alarms, missed = sum(r.differs for r in same), sum(not r.differs for r in slower)
    allowed = options.comparisons / 20
    print(
        f"of {options.comparisons} A/A comparisons {alarms} called a difference; of "
        f"{options.comparisons} with {options.slower:g}x {options.comparisons - missed} seen"
    )
    sys.exit(alarms > allowed or missed > allowed)


def shown(ratio: Ratio) -> str:
    mark = "differs" if ratio.differs else "same"
    return f"{ratio.value:.3f} [{ratio.low:.3f}, {ratio.high:.3f}] {mark:<7}"


if __name__ == "__main__":
    main()
