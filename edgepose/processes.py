"""Several processes at one recipe, as `accelerate launch -m edgepose train ...` starts them.

Every process goes through the same steps. The first one decides what is finished, writes and speaks; the
others take part in the training, and wait while it does the rest. They talk through torch's key-value
store, found by the launcher's variables (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT):
waiting there has no time limit, so that rendering or exporting may take hours, which a collective
operation would not survive.

An error in one process ends all of them: who fails first speaks, the others leave without a word, once
it has spoken: a launcher kills everybody as soon as one has left.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, TypeVar

from edgepose.errors import EdgeposeError

Value = TypeVar("Value")
VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
FIRST, FAILED, TOLD, LEFT = (f"edgepose/{word}" for word in ("first", "failed", "told", "left"))
EXIT_SILENT = 2
MEET_S = 600.0  # to find each other at the start
LINGER_S = 20.0  # what the first process, which may hold the store, gives the others to leave
POLL_S = 1.0
_GONE = re.compile("closed by peer|reset by peer|broken pipe|connection refused", re.IGNORECASE)


class Processes:
    """index: of this process, 0 is the first; count: of all of them."""

    def __init__(self, index: int = 0, count: int = 1, *, store: Any = None) -> None:
        self.index, self.count, self._store = index, count, store
        self._number = 0

    @property
    def is_first(self) -> bool:
        return self.index == 0

    def first(self, do: Callable[[], Value]) -> Value:
        """What `do` gives in the first process, a JSON value, in all of them; the others wait for it.

        Every process must come to the same calls in the same order.
        """
        if self.count == 1:
            return do()
        self._number += 1
        key = f"{FIRST}/{self._number}"
        if self.is_first:
            value = do()
            self._store.set(key, json.dumps(value))
            return value
        self._wait_for(key)
        told: Value = json.loads(self._store.get(key))
        return told

    def wait(self) -> None:
        """Go on once the first process has come here, too."""
        self.first(lambda: None)

    @contextmanager
    def first_alone(self) -> Iterator[None]:
        """The first process goes through the body alone; then the others, who find what it made."""
        if not self.is_first:
            self.wait()
        yield
        if self.is_first:
            self.wait()

    def _wait_for(self, key: str) -> None:
        pause = 0.01
        while not self._store.check([key]):
            time.sleep(pause)
            pause = min(POLL_S, pause * 1.5)


ALONE = Processes()


def launched() -> tuple[int, int]:
    """(index, count) that the launcher gave this process; (0, 1) where there was none."""
    values = [os.environ.get(name) for name in VARIABLES]
    if any(value is None for value in values):
        return 0, 1
    try:
        index, count, _ = (int(value or "") for value in values)
    except ValueError:
        index, count = -1, 0
    if not 0 <= index < count:
        raise EdgeposeError(
            f"RANK is {values[0]!r} and WORLD_SIZE {values[1]!r}",
            fix="start with `accelerate launch -m edgepose ...`, or unset both",
        )
    return index, count


def is_first() -> bool:
    """Whether this process is the one that prints."""
    return launched()[0] == 0


@contextmanager
def joined() -> Iterator[Processes]:
    """All processes of this launch; the body runs in each. `ALONE` where there is one.

    An error that leaves the body ends every process: it is raised in the one that failed first, and
    in the others SystemExit, or their end on the spot where they wait for somebody.
    """
    index, count = launched()
    if count == 1:
        yield ALONE
        return
    store = _connect(index, count)
    watch = _Watch(store.clone(), index, count)
    watch.start()
    try:
        yield Processes(index, count, store=store)
    except BaseException as error:
        speaks = watch.fail()
        somebody_is_gone = isinstance(error, RuntimeError) and _GONE.search(str(error))
        watch.leave(linger_s=2 * POLL_S if somebody_is_gone else LINGER_S, listen=not speaks)
        if not speaks:
            raise SystemExit(EXIT_SILENT) from None
        if somebody_is_gone:
            raise EdgeposeError(
                "another process of this run has ended",
                fix="see what ended it, often memory; the same command continues where it was",
            ) from error
        raise
    watch.leave(linger_s=LINGER_S)
    _end_training_group()


def _connect(index: int, count: int) -> Any:
    """torch's key-value store, in which every process has arrived."""
    from torch.distributed.rendezvous import rendezvous

    try:
        store, _, _ = next(iter(rendezvous("env://", timeout=timedelta(seconds=MEET_S))))
    except (RuntimeError, ValueError) as error:
        place = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        raise EdgeposeError(
            f"process {index} of {count} did not find the others at {place}: "
            f"{str(error).splitlines()[0]}",
            fix="start all of them, with a MASTER_ADDR and MASTER_PORT that every machine reaches",
        ) from error
    return store


def _end_training_group() -> None:
    """Take down the process group that a training has set up; NCCL complains at exit otherwise."""
    if "accelerate" not in sys.modules:
        return
    from accelerate.state import AcceleratorState, PartialState

    if PartialState._shared_state:
        PartialState().destroy_process_group()
        AcceleratorState._reset_state(reset_partial_state=True)


class _Watch(threading.Thread):
    """Ends this process when another one has failed, whatever this one is waiting for."""

    def __init__(self, store: Any, index: int, count: int) -> None:
        super().__init__(daemon=True, name="edgepose-processes")
        self._store, self._index, self._count = store, index, count
        self._leaving = threading.Event()

    def run(self) -> None:
        try:
            while not self._leaving.wait(POLL_S):
                if self._store.check([FAILED]) and not self._leaving.is_set():
                    with suppress(RuntimeError):  # the first process has told, and gone
                        self._linger(LINGER_S, listen=True)
                    os._exit(EXIT_SILENT)
        except RuntimeError:  # the store went down with the first process
            if not self._leaving.wait(LINGER_S):  # a collective operation may notice by itself
                sys.stderr.write("error: the first process of this run has ended\n")
                sys.stderr.flush()
                os._exit(EXIT_SILENT)

    def fail(self) -> bool:
        """Tell the others to end; whether nobody has before, so that this one speaks."""
        self._leaving.set()
        try:
            speaks = bool(self._store.add(FAILED, 1) == 1)
        except RuntimeError:
            return True
        if speaks:
            atexit.register(self._told)
        return speaks

    def _told(self) -> None:
        with suppress(RuntimeError):  # nobody is left to hear it
            self._store.set(TOLD, "")

    def leave(self, *, linger_s: float, listen: bool = False) -> None:
        """Nothing more is watched; the first process returns once the others have left, too.

        listen: return only after the process that failed has said so
        """
        self._leaving.set()
        try:
            self._linger(linger_s, listen=listen)
        except RuntimeError:  # the store went down with the first process: nobody to tell
            return

    def _linger(self, seconds: float, *, listen: bool) -> None:
        self._store.add(LEFT, 1)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            alone = self._index > 0 or self._store.add(LEFT, 0) >= self._count
            if alone and (not listen or self._store.check([TOLD])):
                return
            time.sleep(0.05)
