"""Timing with a clock that the test moves: no wall clock is asserted on."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepose.device.errors import DeviceError
from edgepose.device.timing import Timing, measure


class FakeWork:
    """A function whose n-th call takes `cost_ns(n)` on the clock that belongs to it."""

    def __init__(self, cost_ns):
        self.now_ns, self.calls, self.cost_ns = 1_000, 0, cost_ns

    def __call__(self):
        self.now_ns += self.cost_ns(self.calls)
        self.calls += 1

    def clock(self):
        return self.now_ns


@given(
    st.lists(st.integers(1, 10**9), min_size=1, max_size=40), st.integers(1, 5), st.integers(5, 9)
)
def test_every_timed_call_is_kept_in_order(costs, warmup, max_warmup):
    work = FakeWork(lambda n: costs[n % len(costs)])
    timing = measure(
        work, warmup=warmup, max_warmup=max_warmup, repeats=len(costs), clock=work.clock
    )
    assert work.calls == timing.warmup_calls + len(costs)
    expected = [costs[(timing.warmup_calls + k) % len(costs)] / 1e6 for k in range(len(costs))]
    np.testing.assert_array_equal(timing.samples_ms, expected)
    assert timing.count == len(costs)
    assert warmup <= timing.warmup_calls <= max_warmup


def test_warm_up_waits_until_the_times_settle():
    work = FakeWork(lambda n: 10_000_000 if n < 30 else 1_000_000 + n)
    timing = measure(work, warmup=5, repeats=10, clock=work.clock)
    assert timing.settled
    slow_again = FakeWork(lambda n: int(1e6 * 1.2**n))
    drifting = measure(slow_again, warmup=5, max_warmup=40, repeats=10, clock=slow_again.clock)
    assert not drifting.settled
    assert drifting.warmup_calls == 40


def test_steady_work_needs_two_windows_of_warm_up():
    work = FakeWork(lambda n: 2_000_000)
    timing = measure(work, warmup=10, repeats=7, clock=work.clock)
    assert (timing.warmup_calls, timing.settled) == (20, True)
    assert timing.samples_ms.tolist() == [2.0] * 7
    assert timing.p50_ms == timing.p90_ms == timing.p99_ms == timing.mean_ms == timing.min_ms == 2


def test_minimum_time_and_repeats_both_hold():
    long = FakeWork(lambda n: 1_000_000)
    assert measure(long, warmup=0, repeats=5, min_seconds=0.1, clock=long.clock).count == 100
    short = FakeWork(lambda n: 10**9)
    assert measure(short, warmup=0, repeats=5, min_seconds=0.1, clock=short.clock).count == 5
    assert short.calls == 5


@given(st.lists(st.floats(0, 1e4), min_size=1, max_size=50))
def test_percentiles_are_numpys_and_ordered(values):
    timing = Timing(np.array(values), 0, True)
    assert timing.p90_ms == np.percentile(values, 90)
    assert timing.min_ms <= timing.p50_ms <= timing.p90_ms <= timing.p99_ms <= max(values)


def test_the_real_clock_runs():
    timing = measure(lambda: time.sleep(0.001), warmup=1, max_warmup=2, repeats=3)
    assert (timing.samples_ms >= 1).all()


@pytest.mark.parametrize("wrong", [{"repeats": 0}, {"warmup": -1}, {"min_seconds": float("nan")}])
def test_counts_that_make_no_sense(wrong):
    with pytest.raises(DeviceError, match="cannot time"):
        measure(lambda: None, **wrong)


def test_a_clock_that_runs_backwards_is_refused():
    ticks = iter(range(100, 0, -1))
    with pytest.raises(DeviceError, match="backwards"):
        measure(lambda: None, clock=lambda: next(ticks))
