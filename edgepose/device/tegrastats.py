"""What Jetson's `tegrastats` prints: memory, load, clocks, temperatures and power of one line.

The format differs between JetPacks and between boards; each field is looked for by itself and is
absent where the line does not have it. Nothing in a line can raise an error.
"""

from __future__ import annotations

import re
from typing import Any, Dict, List

_RAM = re.compile(r"\bRAM (\d+)/(\d+)MB")
_SWAP = re.compile(r"\bSWAP (\d+)/(\d+)MB")
_CPU = re.compile(r"\bCPU \[([^\]]*)\]")
_CORE = re.compile(r"(\d+)%@(\d+)$")
# "GR3D_FREQ 0%@318" (JetPack 4), "GR3D_FREQ 0%" (5), "GR3D_FREQ 0%@[305,305]" (5 and 6 on Orin)
_GPU = re.compile(r"\bGR3D(?:_FREQ)? (\d+)%(?:@\[?(\d+)(?:,\d+)*\]?)?")
_EMC = re.compile(r"\bEMC(?:_FREQ)? (\d+)%(?:@(\d+))?")
_TEMPERATURE = re.compile(r"(?<![\w.])([A-Za-z][\w.-]*)@(-?\d+(?:\.\d+)?)C\b")
# "GPU 1155/1155" (JetPack 4), "VDD_GPU_SOC 2371mW/2371mW" (5, 6), a third figure (the maximum) in 7
_POWER = re.compile(
    r"(?<![\w/])([A-Z][A-Z0-9_]*) (\d+)(?:mW)?/(\d+)(?:mW)?(?:/\d+(?:mW)?)?(?=\s|$)"
)
_TOTALS = ("VDD_IN", "POM_5V_IN")  # Xavier AGX has no rail for the whole board
OFFLINE_C = -200.0  # a sensor that is switched off shows -256


def parse_line(line: str) -> Dict[str, Any]:
    """The fields of one line that are there.

    ram_mb, ram_total_mb, swap_mb; cpu: [{percent, mhz}, None for a core that is off];
    gpu_percent, gpu_mhz; emc_percent, emc_mhz; temperature_c: {sensor: C};
    power_mw: {rail: {now, mean}} as the rails are called on that board
    """
    found: Dict[str, Any] = {}
    ram = _RAM.search(line)
    if ram:
        found["ram_mb"], found["ram_total_mb"] = int(ram.group(1)), int(ram.group(2))
    swap = _SWAP.search(line)
    if swap:
        found["swap_mb"] = int(swap.group(1))
    cpu = _CPU.search(line)
    if cpu:
        cores = [_CORE.match(core.strip()) for core in cpu.group(1).split(",")]
        found["cpu"] = [
            None if core is None else {"percent": int(core.group(1)), "mhz": int(core.group(2))}
            for core in cores
        ]
    for name, pattern in (("gpu", _GPU), ("emc", _EMC)):
        part = pattern.search(line)
        if part:
            found[name + "_percent"] = int(part.group(1))
            if part.group(2):
                found[name + "_mhz"] = int(part.group(2))
    temperatures = {name: float(value) for name, value in _TEMPERATURE.findall(line)}
    temperatures = {name: value for name, value in temperatures.items() if value > OFFLINE_C}
    if temperatures:
        found["temperature_c"] = temperatures
    power = {rail: {"now": int(now), "mean": int(mean)} for rail, now, mean in _POWER.findall(line)}
    if power:
        found["power_mw"] = power
    return found


def total_power_mw(rails: Dict[str, Dict[str, int]]) -> float:
    """The board's power now: its input rail where there is one, else the sum of the rails."""
    for name in _TOTALS:
        if name in rails:
            return float(rails[name]["now"])
    return float(sum(rail["now"] for rail in rails.values()))


def summary(text: str) -> Dict[str, Any]:
    """Over the lines of a measurement: how many, highest temperatures, clocks, mean power.

    power_from says which rail is the total, or that rails were added. Empty without one good line.
    """
    lines: List[Dict[str, Any]] = [found for found in map(parse_line, text.splitlines()) if found]
    if not lines:
        return {}
    result: Dict[str, Any] = {"lines": len(lines)}
    hottest: Dict[str, float] = {}
    for line in lines:
        for name, value in line.get("temperature_c", {}).items():
            hottest[name] = max(value, hottest.get(name, value))
    if hottest:
        result["hottest_c"] = hottest
    for name in ("gpu_mhz", "emc_mhz"):
        clocks = [line[name] for line in lines if name in line]
        if clocks:
            result[name] = {"min": min(clocks), "max": max(clocks)}
    memory = [line["ram_mb"] for line in lines if "ram_mb" in line]
    if memory:
        result["ram_peak_mb"] = max(memory)
    powers = [line["power_mw"] for line in lines if "power_mw" in line]
    if powers:
        totals = [total_power_mw(rails) for rails in powers]
        named = [name for name in _TOTALS if name in powers[0]]
        result["power_mw"] = {
            "mean": sum(totals) / len(totals), "max": max(totals),
            "from": named[0] if named else "sum of " + ", ".join(sorted(powers[0])),
        }  # fmt: skip
    return result
