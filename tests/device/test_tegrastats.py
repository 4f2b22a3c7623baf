"""tegrastats, nvpmodel, jetson_clocks: lines in the formats that JetPacks print, and garbage."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepose.device.board import (
    jetpack_of,
    parse_jetson_clocks,
    parse_l4t,
    parse_nvpmodel,
)
from edgepose.device.tegrastats import parse_line, summary, total_power_mw

XAVIER_JP4 = (
    "RAM 2448/31918MB (lfb 6984x4MB) SWAP 0/15959MB (cached 0MB) CPU [5%@1190,2%@1190,off,off,"
    "0%@1190,0%@1190,off,off] EMC_FREQ 0%@1333 GR3D_FREQ 12%@318 APE 150 MTS fg 0% bg 0% AO@26.5C "
    "GPU@28C Tdiode@29.25C PMIC@100C AUX@26C CPU@28C thermal@27.2C Tboard@26C GPU 1155/1155 "
    "CPU 385/385 SOC 2502/2502 CV 0/0 VDDRQ 192/192 SYS5V 2692/2692"
)
NANO_JP4 = (
    "RAM 1234/3956MB (lfb 4x4MB) SWAP 0/1978MB (cached 0MB) IRAM 0/252kB(lfb 252kB) "
    "CPU [12%@1479,17%@1479,16%@1479,11%@1479] EMC_FREQ 3%@1600 GR3D_FREQ 99%@921 APE 25 PLL@29C "
    "CPU@29.5C PMIC@100C GPU@28C AO@33.5C thermal@29C POM_5V_IN 1812/1900 POM_5V_GPU 40/41 "
    "POM_5V_CPU 401/410"
)
XAVIER_JP5 = (
    "06-14-2023 10:22:31 RAM 3071/31002MB (lfb 6500x4MB) SWAP 0/15501MB (cached 0MB) "
    "CPU [1%@1190,0%@1190,0%@1190,0%@1190,0%@1190,0%@1190,0%@1190,0%@1190] EMC_FREQ 0%@2133 "
    "GR3D_FREQ 97%@1377 VIC_FREQ 0%@115 APE 150 AUX@37.5C CPU@39.5C thermal@38.35C Tboard@38C "
    "AO@37C GPU@41C Tdiode@41.25C PMIC@50C GPU 9500mW/8800mW CPU 918mW/900mW SOC 2754mW/2700mW "
    "CV 0mW/0mW VDDRQ 1224mW/1200mW SYS5V 3040mW/3000mW"
)
ORIN_NANO_JP6 = (
    "09-24-2026 10:15:32 RAM 2467/7471MB (lfb 2x4MB) SWAP 0/994MB (cached 0MB) CPU [2%@729,1%@729,"
    "0%@729,0%@729,1%@729,off] EMC_FREQ 0%@2133 GR3D_FREQ 7%@[305] NVDEC off NVJPG off VIC off "
    "OFA off APE 200 cpu@47.5C soc2@46.8C soc0@46.4C gpu@46.2C tj@47.5C cv0@-256C "
    "VDD_IN 4462mW/4400mW VDD_CPU_GPU_CV 480mW/480mW VDD_SOC 1400mW/1400mW"
)
ORIN_JP7 = (
    "07-25-2026 09:08:28 RAM 20642/62817MB (lfb 1x2MB) CPU [23%@2201,10%@2201] EMC_FREQ 3%@3199 "
    "GR3D_FREQ 12%@[1300,1298] cpu@52.968C/52.968C gpu@47.625C/47.625C "
    "VDD_GPU_SOC 5139mW/5139mW/5200mW VDD_CPU_CV 3268mW/3268mW/3300mW"
)
LINES = [XAVIER_JP4, NANO_JP4, XAVIER_JP5, ORIN_NANO_JP6, ORIN_JP7]


@pytest.mark.parametrize(
    ("line", "ram", "cores", "gpu", "hottest", "power"),
    [
        (XAVIER_JP4, 2448, 8, (12, 318), ("PMIC", 100.0), 1155 + 385 + 2502 + 192 + 2692),
        (NANO_JP4, 1234, 4, (99, 921), ("PMIC", 100.0), 1812),
        (XAVIER_JP5, 3071, 8, (97, 1377), ("PMIC", 50.0), 9500 + 918 + 2754 + 1224 + 3040),
        (ORIN_NANO_JP6, 2467, 6, (7, 305), ("cpu", 47.5), 4462),
        (ORIN_JP7, 20642, 2, (12, 1300), ("cpu", 52.968), 5139 + 3268),
    ],
    ids=["xavier-4", "nano-4", "xavier-5", "orin-nano-6", "orin-7"],
)
def test_lines_of_every_jetpack(line, ram, cores, gpu, hottest, power):
    found = parse_line(line)
    assert found["ram_mb"] == ram
    assert len(found["cpu"]) == cores
    assert (found["gpu_percent"], found["gpu_mhz"]) == gpu
    sensor, celsius = hottest
    assert found["temperature_c"][sensor] == max(found["temperature_c"].values()) == celsius
    assert total_power_mw(found["power_mw"]) == power


def test_fields_keep_their_names_and_units():
    found = parse_line(XAVIER_JP4)
    assert found["cpu"][0] == {"percent": 5, "mhz": 1190}
    assert found["cpu"][2] is None
    assert found["power_mw"]["CPU"] == {"now": 385, "mean": 385}
    assert set(found["power_mw"]) == {"GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"}
    assert found["emc_mhz"] == 1333
    assert "cv0" not in parse_line(ORIN_NANO_JP6)["temperature_c"]  # a sensor that is off


def test_a_measurement_in_short():
    text = "\n".join([XAVIER_JP5, "cut off RA", XAVIER_JP5.replace("1377", "1100")])
    found = summary(text)
    assert found["lines"] == 2
    assert found["gpu_mhz"] == {"min": 1100, "max": 1377}
    assert found["power_mw"]["mean"] == 17436
    assert found["power_mw"]["from"] == "sum of CPU, CV, GPU, SOC, SYS5V, VDDRQ"
    assert summary(ORIN_NANO_JP6)["power_mw"]["from"] == "VDD_IN"
    assert summary("") == summary("no such thing\n\0\xff") == {}


@settings(deadline=None)
@given(st.text(max_size=200), st.sampled_from(LINES), st.integers(0, 600), st.integers(0, 600))
def test_garbage_raises_nothing(noise, line, start, end):
    for text in (noise, line[start:end], line[:start] + noise + line[end:]):
        found = parse_line(text)
        assert all(value is not None for value in found.values())
        summary(text)
        parse_nvpmodel(text)
        parse_jetson_clocks(text)
        parse_l4t(text)


def test_power_modes():
    assert parse_nvpmodel("NV Power Mode: MODE_15W\n2\n") == {"name": "MODE_15W", "id": 2}
    jetpack4 = "NV Fan Mode:quiet\nNV Power Mode: MAXN\n0\n"
    assert parse_nvpmodel(jetpack4) == {"name": "MAXN", "id": 0}
    assert parse_nvpmodel("NVPM WARN: x\nNV Power Mode: MODE_30W_ALL") == {
        "name": "MODE_30W_ALL", "id": None,
    }  # fmt: skip
    assert parse_nvpmodel(None) is parse_nvpmodel("") is None


def test_clocks():
    said = (
        "SOC family:tegra194  Machine:Jetson-AGX\nOnline CPUs: 0-7\n"
        "cpu0: Online=1 Governor=schedutil MinFreq=1190400 MaxFreq=2265600 CurrentFreq=1190400 "
        "IdleStates: C1=1 c6=1\n"
        "GPU MinFreq=318750000 MaxFreq=1377000000 CurrentFreq=318750000\n"
        "EMC MinFreq=204000000 MaxFreq=2133000000 CurrentFreq=1331200000 FreqOverride=0\n"
        "Fan: speed=0\nNV Power Mode: MODE_15W\n"
    )
    found = parse_jetson_clocks(said)
    assert set(found) == {"cpu0", "GPU", "EMC"}
    assert found["cpu0"]["Governor"] == "schedutil"
    assert found["cpu0"]["MaxFreq"] == 2265600
    assert found["GPU"] == {
        "MinFreq": 318750000, "MaxFreq": 1377000000, "CurrentFreq": 318750000,
    }  # fmt: skip
    assert parse_jetson_clocks("Error: jetson_clocks has to be run as root") == {}


def test_releases():
    line = "# R35 (release), REVISION: 4.1, GCID: 33958178, BOARD: t186ref, EABI: aarch64"
    assert parse_l4t(line) == "35.4.1"
    assert [jetpack_of(v) for v in ("32.7.1", "35.4.1", "36.3", "99.1", None)] == [
        "4", "5.1", "6", None, None,
    ]  # fmt: skip
