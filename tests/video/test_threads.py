"""Order is kept, errors arrive, a camera's old frames give way."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from edgepose.video.threads import Behind, ReadAhead


def test_items_come_in_order_and_an_error_after_them() -> None:
    def items() -> Iterator[int]:
        yield from range(20)
        raise OSError("unplugged")

    taken = []
    with pytest.raises(OSError, match="unplugged"):
        taken += list(ReadAhead(items(), depth=2))
    taken = []
    with pytest.raises(OSError, match="unplugged"):  # noqa: PT012 - what came before counts
        for item in ReadAhead(items(), depth=2):
            taken.append(item)
    assert taken == list(range(20))


def test_the_place_of_a_taken_item_is_filled_when_the_taker_says_so() -> None:
    second = threading.Event()

    def items() -> Iterator[int]:
        yield 0
        yield 1  # waits for room
        second.set()
        yield 2

    ahead = ReadAhead(items(), depth=1)
    taken = iter(ahead)
    assert next(taken) == 0
    assert not second.wait(0.3)
    ahead.read_on()
    assert second.wait(5)
    assert list(taken) == [1, 2]  # asking for the next one says so, too


def test_closing_early_closes_the_source() -> None:
    closed = threading.Event()

    def endless() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.set()

    ahead = ReadAhead(endless(), depth=2)
    assert next(iter(ahead)) == 1
    ahead.close()
    assert closed.wait(5)


def test_latest_gives_the_newest_and_counts_the_lost() -> None:
    done = threading.Event()

    def burst() -> Iterator[int]:
        yield from range(50)
        done.set()

    ahead = ReadAhead(burst(), latest=True)
    assert done.wait(5)
    time.sleep(0.05)
    assert list(ahead) == [49]
    assert ahead.dropped == 49


def test_work_behind_is_done_in_order_and_its_error_is_raised() -> None:
    done: list[int] = []
    behind = Behind(done.append, depth=2)
    for i in range(30):
        behind.put(i)
    behind.close()
    assert done == list(range(30))

    def refuse(item: int) -> None:
        raise OSError(f"disk full at {item}")

    broken = Behind(refuse, depth=1)
    with pytest.raises(OSError, match="disk full at 0"):  # noqa: PT012 - by one of these
        for i in range(10):
            broken.put(i)
        broken.close()
    with pytest.raises(OSError, match="disk full"):
        broken.close()
