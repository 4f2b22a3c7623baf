"""Two networks timed in turns in one process, so that whatever the machine does falls on both."""

from __future__ import annotations

import os
from dataclasses import dataclass
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, Dict, List

import numpy as np

from .contract import load_contract
from .errors import DeviceError
from .files import write_atomic
from .runtimes import open_engine
from .timing import measure

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Optional

    from .runtimes import Engine

MIN_BLOCK = 4


@dataclass(frozen=True)
class Turns:
    """rounds: turns of each; block_seconds: about how long one turn lasts; warmup, max_warmup: calls
    of each before, see timing.measure"""

    rounds: int = 20
    block_seconds: float = 0.1
    warmup: int = 10
    max_warmup: int = 200


def take_turns(
    calls: List[Callable[[], object]],
    turns: Turns,
    *,
    clock: Callable[[], int] = perf_counter_ns,
) -> List[np.ndarray]:
    """Milliseconds (rounds, n_i) of each callable; every second round goes in the other order.

    n_i: as many calls as fill `block_seconds` at the median of the warm-up, at least MIN_BLOCK
    """
    sizes = []
    for call in calls:
        warm = measure(
            call,
            warmup=turns.warmup,
            max_warmup=turns.max_warmup,
            repeats=turns.warmup,
            clock=clock,
        )
        sizes.append(max(MIN_BLOCK, round(turns.block_seconds * 1e3 / warm.p50_ms)))
    found = [np.empty((turns.rounds, size)) for size in sizes]
    order = list(range(len(calls)))
    for turn in range(turns.rounds):
        for which in order if turn % 2 == 0 else order[::-1]:
            call, row = calls[which], found[which][turn]
            call()  # the other network's data lie in the caches
            for i in range(sizes[which]):
                start = clock()
                call()
                row[i] = (clock() - start) / 1e6
    return found


def interleave(
    folders: List[str],
    out: str,
    *,
    turns: Turns,
    threads: Optional[int] = None,
    batch: int = 1,
    runtime: str = "auto",
) -> Dict[str, Any]:
    """Time the artifacts in `folders` in turns; model only. Writes out/<index>.f64, rounds after
    rounds; returns {"models": [{"executor", "calls" per round}], "rounds"}.

    Raises DeviceError where one of them is not run by the runtime that it was made for.
    """
    engines: List[Engine] = []
    calls: List[Callable[[], object]] = []
    try:
        for folder in folders:
            contract = load_contract(folder)
            engine = open_engine(
                contract, engines=os.path.join(out, "engines"), threads=threads, runtime=runtime
            )
            engines.append(engine)
            if engine.stand_in:
                raise DeviceError(
                    "{} cannot be timed here: {}".format(contract.name, engine.description),
                    fix="compare records that were measured on its own device",
                )
            size = engine.fixed_batch or batch
            images = np.random.default_rng(0).normal(size=(size, 3, *contract.input_hw))
            calls.append(_call(engine, images.astype(np.float32)))
        found = take_turns(calls, turns)
    finally:
        for engine in engines:
            engine.close()
    for index, samples_ms in enumerate(found):
        write_atomic(os.path.join(out, "{}.f64".format(index)), samples_ms.astype("<f8").tobytes())
    models = [
        {"executor": engine.description, "calls": samples_ms.shape[1]}
        for engine, samples_ms in zip(engines, found)  # noqa: B905
    ]
    return {"models": models, "rounds": turns.rounds}


def _call(engine: Engine, images: np.ndarray) -> Callable[[], object]:
    return lambda: engine.infer(images)
