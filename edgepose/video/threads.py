"""Reading ahead and working behind, so that the network does not wait for files."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")
_END = object()
_POLL_S = 0.1


class ReadAhead(Generic[T]):
    """Iterates over `items` in a thread, up to `depth` ahead; their exception comes where they ended.

    latest: never wait for the taker; what it has not taken is replaced, and counted in `dropped`
    The thread reads on in the place of an item that was taken when `read_on` is called, or when the
    next one is asked for.
    """

    def __init__(self, items: Iterable[T], *, depth: int = 4, latest: bool = False) -> None:
        self.dropped = 0
        self._latest = latest
        self._queue: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._room = threading.Semaphore(depth)
        self._owed = False
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._read, args=(iter(items),), daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[T]:
        while True:
            self.read_on()
            item = self._queue.get()
            if item is _END:
                break
            self._owed = True
            yield item  # type: ignore[misc]
        self._thread.join()
        if self._error is not None:
            raise self._error

    def read_on(self) -> None:
        """Now is a good moment for the thread to work."""
        if self._owed:
            self._owed = False
            self._room.release()

    def close(self) -> None:
        """Stop reading; what was read is forgotten."""
        self._stop.set()
        self._thread.join()

    def _read(self, items: Iterator[T]) -> None:
        try:
            for item in items:
                if self._latest:
                    self._drop()
                elif not self._wait_for_room():
                    break
                if self._stop.is_set():
                    break
                self._queue.put(item)
        except BaseException as error:  # handed to whoever iterates
            self._error = error
        finally:
            closing = getattr(items, "close", None)
            if closing is not None:
                closing()  # a generator's files and cameras
            self._queue.put(_END)

    def _wait_for_room(self) -> bool:
        """False once nobody wants more."""
        while not self._room.acquire(timeout=_POLL_S):
            if self._stop.is_set():
                return False
        return True

    def _drop(self) -> None:
        try:
            self._queue.get_nowait()
            self.dropped += 1
        except queue.Empty:
            return  # taken in the meantime


class Behind(Generic[T]):
    """Calls `work` on every item in a thread, in order; its exception comes from `put` or `close`."""

    def __init__(self, work: Callable[[T], None], *, depth: int = 4) -> None:
        self._work = work
        self._queue: queue.Queue[object] = queue.Queue(depth)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def put(self, item: T) -> None:
        """Hand an item over; waits while `depth` are waiting."""
        while self._error is None:
            try:
                self._queue.put(item, timeout=_POLL_S)
                return
            except queue.Full:
                continue
        raise self._error

    def close(self) -> None:
        """Wait until all is done; raises what `work` raised."""
        while self._thread.is_alive():
            try:
                self._queue.put(_END, timeout=_POLL_S)
                break
            except queue.Full:
                continue
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while True:
            item = self._queue.get()
            if item is _END:
                return
            try:
                self._work(item)  # type: ignore[arg-type]
            except BaseException as error:  # handed to whoever puts or closes
                self._error = error
                return
