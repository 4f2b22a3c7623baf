"""Drift, throttling and outliers are named; steady times are left alone."""

import numpy as np

from edgepose.device.board import board_notes, read_board, read_clocks
from edgepose.device.steadiness import drift, steadiness_notes

CALM = {"throttle_count": 5, "cooling": {}, "gpu_hz": 1377e6}


def notes(samples, after=None):
    return steadiness_notes("model", np.asarray(samples), CALM, {**CALM, **(after or {})})


def test_steady_times_need_no_words():
    assert notes(10 + np.random.default_rng(0).normal(0, 0.1, 300)) == []
    assert notes(np.linspace(10, 12, 12)) == []  # too few to tell
    assert notes([]) == []


def test_drift_both_ways():
    rising = np.linspace(10, 13, 300)
    assert drift(rising) > 0.15
    (slower,) = notes(rising)
    assert "slower" in slower
    (faster,) = notes(rising[::-1])
    assert "faster" in faster


def test_throttling_names_its_signs():
    signs = {"throttle_count": 8, "cooling": {"cpu": 2.0}, "gpu_hz": 900e6}
    (said,) = notes(np.full(300, 10.0), signs)
    assert said.startswith("throttling (model): the CPU was throttled 3 times; cooling by cpu")
    assert "from 1377 to 900 MHz" in said
    assert len(notes(np.linspace(10, 13, 300), signs)) == 2
    assert notes(np.full(300, 10.0), {"gpu_hz": 1300e6}) == []


def test_outliers():
    samples = np.full(300, 10.0)
    samples[::50] = 100.0
    (said,) = notes(samples)
    assert "2.0% of the calls took over 3 times the median" in said


def test_a_board_is_read_and_not_touched(tmp_path):
    zone = tmp_path / "sys/class/thermal/thermal_zone0"
    core = tmp_path / "sys/devices/system/cpu/cpu0/cpufreq"
    gpu = tmp_path / "sys/class/devfreq/17000000.gv11b"
    files = {
        zone / "temp": "41500", zone / "type": "GPU-therm", core / "scaling_cur_freq": "2265600",
        core / "scaling_governor": "schedutil", gpu / "cur_freq": "1377000000",
        tmp_path / "etc/nv_tegra_release": "# R35 (release), REVISION: 4.1, GCID: 1",
        tmp_path / "proc/device-tree/model": "Jetson-AGX\0",
    }  # fmt: skip
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    board = read_board(str(tmp_path))
    assert (board["board"], board["l4t"], board["jetpack"]) == ("Jetson-AGX", "35.4.1", "5.1")
    assert board["clocks"]["temperature_c"] == {"GPU-therm": 41.5}
    assert board["clocks"]["gpu_hz"] == 1377e6
    assert board["clocks"]["cpu_mhz"] == [2265.6]
    assert any("schedutil" in note for note in board_notes(board))
    assert {path: path.read_text() for path in files} == files
    assert read_clocks(str(tmp_path / "nothing"))["throttle_count"] is None
