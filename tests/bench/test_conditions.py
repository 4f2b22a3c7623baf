"""Conditions are read from the system's files, and a missing file is a gap, not an error."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from edgepose.bench.conditions import OtherLoad, library_versions, notes_on, read_conditions
from edgepose.bench.record import Conditions


def machine(root: Path) -> Path:
    """An ARM board's system files."""
    files = {
        "proc/cpuinfo": "processor\t: 0\nmodel name\t: Carmel\nFeatures\t: fp asimd asimddp\n\n",
        "proc/meminfo": "MemTotal:       32657440 kB\n",
        "etc/os-release": 'NAME="Ubuntu"\nPRETTY_NAME="Ubuntu 20.04.6 LTS"\n',
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "schedutil\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "2265600\n",
        "sys/class/thermal/thermal_zone0/temp": "41500\n",
        "sys/class/thermal/thermal_zone1/temp": "garbage\n",
        "sys/fs/cgroup/cpu.max": "150000 100000\n",
    }
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


def test_a_boards_files_are_read(tmp_path: Path) -> None:
    found = read_conditions(machine(tmp_path))
    assert found.cpu_model == "Carmel"
    assert found.isa == ("DOTPROD", "NEON")
    assert found.os == "Ubuntu 20.04.6 LTS"
    assert found.governor == "schedutil"
    assert found.frequency_mhz == pytest.approx(2265.6)
    assert found.temperature_c == pytest.approx(41.5)
    assert found.memory_bytes == 32657440 * 1024
    assert found.cpu_quota_cores == pytest.approx(1.5)


def test_what_cannot_be_read_is_null(tmp_path: Path) -> None:
    found = read_conditions(tmp_path)
    assert found.governor is None
    assert found.temperature_c is None
    assert found.isa == ()
    assert OtherLoad(tmp_path).cores() is None


def test_this_machine_agrees_with_psutil() -> None:
    found = read_conditions()
    assert found.cores == psutil.cpu_count()
    assert found.memory_bytes == pytest.approx(psutil.virtual_memory().total, rel=1e-6)
    assert found.versions["numpy"] == library_versions(["numpy"])["numpy"]
    assert library_versions(["no-such-package"]) == {}


def write_stat(root: Path, busy_ticks: int) -> None:
    path = root / "proc/stat"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"cpu  {busy_ticks} 0 0 1000 0 0 0 0 0 0\ncpu0 0 0 0 0\n")


def test_other_load_is_the_busy_time_less_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter([10.0, 14.0])
    ours = iter([1.0, 3.0])
    monkeypatch.setattr("edgepose.bench.conditions.time.monotonic", lambda: next(times))
    monkeypatch.setattr("edgepose.bench.conditions.time.process_time", lambda: next(ours))
    ticks = os.sysconf("SC_CLK_TCK")
    write_stat(tmp_path, 100 * ticks)
    load = OtherLoad(tmp_path)
    write_stat(tmp_path, 105 * ticks)  # five busy seconds, two of them ours, within four
    assert load.cores() == pytest.approx(0.75)


def conditions(**changes: object) -> Conditions:
    base = {"name": "x", "cpu_model": "x", "machine": "x86_64", "cores": 4, "usable_cores": 4,
            "os": "x", "kernel": "x", "python": "3.11"}  # fmt: skip
    return Conditions.model_validate({**base, **changes})


def test_notes_name_what_disturbs() -> None:
    assert notes_on(conditions(), 0.1) == ()
    assert "busy" in notes_on(conditions(), 1.5)[0]
    assert "upper bound" in notes_on(conditions(load_average=(3.0, 1.0, 1.0)), None)[0]
    assert notes_on(conditions(load_average=(3.0, 1.0, 1.0)), 0.0) == ()
    assert "powersave" in notes_on(conditions(governor="powersave"), 0.0)[0]
    assert "virtual machine" in notes_on(conditions(virtual_machine=True), 0.0)[0]
    assert "1.5 cores" in notes_on(conditions(cpu_quota_cores=1.5), 0.0)[0]
