"""Energy counters are read as the kernel writes them; what cannot be read is said, not guessed."""

import os

import pytest

from edgepose.device.interleave import MIN_BLOCK, Turns, take_turns
from edgepose.device.power import Rapl, Sensors
from edgepose.device.steadiness import spread_note
from edgepose.device.work import peak_memory_bytes


def zone(root, name, label, energy_uj, *, limit=1_000_000):
    folder = root / "sys/class/powercap" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "name").write_text(label + "\n")
    (folder / "energy_uj").write_text(f"{energy_uj}\n")
    (folder / "max_energy_range_uj").write_text(f"{limit}\n")


def test_packages_add_up_and_their_parts_do_not(tmp_path):
    zone(tmp_path, "intel-rapl:0", "package-0", 100)
    zone(tmp_path, "intel-rapl:0:0", "core", 50)
    zone(tmp_path, "intel-rapl:1", "package-1", 999_000)
    zone(tmp_path, "intel-rapl:2", "psys", 7)
    times = iter([10.0, 12.0])
    rapl = Rapl(str(tmp_path), clock=lambda: next(times))
    zone(tmp_path, "intel-rapl:0", "package-0", 40_100)
    zone(tmp_path, "intel-rapl:0:0", "core", 30_000)
    zone(tmp_path, "intel-rapl:1", "package-1", 19_000)  # its counter has started again
    zone(tmp_path, "intel-rapl:2", "psys", 500_000)
    found = rapl.stop()["power_mw"]
    assert found["mean"] == pytest.approx((40_000 + 20_000) / 2.0 / 1e3)
    assert found["from"] == "RAPL package-0, package-1"


def test_no_counters_and_counters_for_root_only(tmp_path):
    assert Rapl(str(tmp_path)).stop() == {}
    zone(tmp_path, "intel-rapl:0", "package-0", 1)
    counter = tmp_path / "sys/class/powercap/intel-rapl:0/energy_uj"
    counter.unlink()
    counter.mkdir()  # cannot be read by anybody, root included
    refused = Rapl(str(tmp_path)).stop()
    assert set(refused) == {"power_refused"}
    assert refused["power_refused"].startswith("package-0: ")


def test_tegrastats_goes_before_rapl(tmp_path, monkeypatch):
    program = tmp_path / "bin/tegrastats"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 'RAM 1/2MB VDD_IN 5000mW/5000mW'\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    zone(tmp_path, "intel-rapl:0", "package-0", 1)
    sensors = Sensors(str(tmp_path), root=str(tmp_path))
    lines = tmp_path / "tegrastats.txt"
    for _ in range(10_000_000):
        if lines.stat().st_size:
            break
    found = sensors.stop()
    assert found["power_mw"]["from"] == "VDD_IN"
    assert found["power_mw"]["mean"] == 5000.0


def test_memory_is_of_this_program(tmp_path):
    status = tmp_path / "status"
    status.write_text("Name:\tx\nVmHWM:\t    1234 kB\n")
    assert peak_memory_bytes(str(status)) == 1234 * 1024
    assert peak_memory_bytes(str(tmp_path / "none")) > 1 << 20


def test_turns_change_their_order_and_fill_their_time():
    now, order = [0], []

    def work(name, cost_ns):
        def call():
            now[0] += cost_ns
            order.append(name)

        return call

    turns = Turns(rounds=4, block_seconds=0.01, warmup=2, max_warmup=8)
    calls = [work("a", 1_000_000), work("b", 5_000_000)]
    a, b = take_turns(calls, turns, clock=lambda: now[0])
    assert a.shape == (4, 10)
    assert b.shape == (4, MIN_BLOCK)
    assert (a == 1.0).all()
    assert (b == 5.0).all()
    timed = "".join(order)[-4 * (11 + MIN_BLOCK + 1) :]
    first, second = "a" * 11, "b" * (MIN_BLOCK + 1)  # one call before each turn is not timed
    assert timed == 2 * (first + second + second + first)


def test_spread_of_runs():
    assert spread_note([10.0]) == []
    assert spread_note([10.0, 10.2, 10.4]) == []
    (said,) = spread_note([10.0, 10.0, 12.0])
    assert "p50 of 3 runs lie 20% apart" in said
