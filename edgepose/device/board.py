"""The board as it was found: hardware, software, power mode, clocks, temperatures. Only read.

Every field is what could be read; None, or a sentence that says why, where it could not.
"""

from __future__ import annotations

import glob
import os
import platform
import re
import shutil
import subprocess
from typing import Any, Dict, List, Optional

from .cpu import instruction_set

# L4T major release -> JetPack, where the minor one does not matter
_JETPACKS = {32: "4", 34: "5.0", 35: "5.1", 36: "6", 38: "7"}
_POWERSAVING = ("powersave", "conservative", "ondemand", "schedutil")


def _read(path: str) -> Optional[str]:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read().strip("\0 \n\t") or None
    except OSError:
        return None


def _number(text: Optional[str]) -> Optional[float]:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def ask(*words: str) -> Dict[str, Optional[str]]:
    """{"output": ..., "failed": why not}: what a command of the board says; it must change nothing."""
    program = shutil.which(words[0]) or shutil.which(words[0], path="/usr/sbin:/usr/bin:/sbin:/bin")
    if program is None:
        return {"output": None, "failed": words[0] + " is not installed"}
    try:
        done = subprocess.run(
            [program, *words[1:]],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            timeout=20, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return {"output": None, "failed": str(error)}
    text = done.stdout.decode("utf-8", "replace").strip()
    failed = None if done.returncode == 0 else "exit code {}".format(done.returncode)
    return {"output": text or None, "failed": failed}


def parse_l4t(text: Optional[str]) -> Optional[str]:
    """/etc/nv_tegra_release -> "35.4.1"."""
    found = re.search(r"R(\d+) \(release\), REVISION: ([\d.]+)", text or "")
    return None if found is None else "{}.{}".format(found.group(1), found.group(2))


def jetpack_of(l4t: Optional[str]) -> Optional[str]:
    """JetPack's (first) number for an L4T release."""
    return _JETPACKS.get(int(l4t.split(".")[0])) if l4t else None


def parse_nvpmodel(text: Optional[str]) -> Optional[Dict[str, Any]]:
    """`nvpmodel -q` -> {"name": "MODE_15W", "id": 2}; id None where it is not printed."""
    name = re.search(r"NV Power Mode:\s*(\S+)", text or "")
    if name is None:
        return None
    number = re.search(r"^\s*(\d+)\s*$", text or "", re.MULTILINE)
    return {"name": name.group(1), "id": int(number.group(1)) if number else None}


def parse_jetson_clocks(text: Optional[str]) -> Dict[str, Dict[str, Any]]:
    """`jetson_clocks --show` -> {"cpu0": {"Governor": ..., "MinFreq": ..., ...}, "GPU": {...}}.

    Frequencies as printed: kHz for CPUs, Hz for GPU and EMC.
    """
    result: Dict[str, Dict[str, Any]] = {}
    for line in (text or "").splitlines():
        unit = re.match(r"\s*(cpu\d+|GPU|EMC|DLA\d*_\w+|PVA\d*_\w+)\b:?\s", line)
        fields = re.findall(r"(\w+)=(\S+)", line)
        if unit and fields:
            result[unit.group(1)] = {k: int(v) if v.isdigit() else v for k, v in fields}
    return result


def _cpuinfo(root: str) -> Dict[str, str]:
    fields: Dict[str, str] = {}
    for line in (_read(os.path.join(root, "proc/cpuinfo")) or "").splitlines():
        key, separator, value = line.partition(":")
        if separator:
            fields.setdefault(key.strip().lower(), value.strip())
    return fields


def _os_name(root: str) -> str:
    for line in (_read(os.path.join(root, "etc/os-release")) or "").splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip('"')
    return "{} {}".format(platform.system(), platform.release())


def read_clocks(root: str = "/") -> Dict[str, Any]:
    """What may move while measuring: clocks, temperatures, throttle counters, load.

    temperature_c: {zone: C}; cpu_mhz: per core; gpu_hz; cooling: {device: state above 0};
    throttle_count: times that x86 cores were throttled since they started
    """

    def at(*parts: str) -> str:
        return os.path.join(root, *parts)

    temperatures: Dict[str, float] = {}
    for zone in sorted(glob.glob(at("sys/class/thermal/thermal_zone*"))):
        value = _number(_read(os.path.join(zone, "temp")))
        if value is not None and 0 < value < 150_000:
            name = _read(os.path.join(zone, "type")) or os.path.basename(zone)
            temperatures[name] = value / 1000
    cores = sorted(glob.glob(at("sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq")))
    clocks = [_number(_read(core)) for core in cores]
    gpu = [
        _number(_read(path))
        for pattern in ("*gpu*", "*gv11b*", "*ga10b*", "*gp10b*", "*gm20b*")
        for path in glob.glob(at("sys/class/devfreq", pattern, "cur_freq"))
    ]
    cooling: Dict[str, float] = {}
    for device in sorted(glob.glob(at("sys/class/thermal/cooling_device*"))):
        kind = _read(os.path.join(device, "type")) or os.path.basename(device)
        state = _number(_read(os.path.join(device, "cur_state")))
        if state and "fan" not in kind.lower() and "idle" not in kind.lower():
            cooling[kind] = state
    counters = glob.glob(at("sys/devices/system/cpu/cpu*/thermal_throttle/core_throttle_count"))
    counts = [value for value in (_number(_read(path)) for path in counters) if value is not None]
    return {
        "temperature_c": temperatures,
        "cpu_mhz": [value / 1000 for value in clocks if value is not None],
        "gpu_hz": next((value for value in gpu if value), None),
        "cooling": cooling,
        "throttle_count": sum(counts) if counts else None,
        "load_average": list(os.getloadavg()),
    }


def read_board(root: str = "/") -> Dict[str, Any]:
    """Everything that `info` shows but the runtimes. `root`: where /proc, /sys and /etc are found."""
    fields = _cpuinfo(root)
    l4t = parse_l4t(_read(os.path.join(root, "etc/nv_tegra_release")))
    board = _read(os.path.join(root, "proc/device-tree/model"))
    cpu = fields.get("model name") or fields.get("model") or platform.processor()
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    usable = usable or os.cpu_count() or 1
    isa = instruction_set()
    scaling = os.path.join(root, "sys/devices/system/cpu/cpu*/cpufreq/scaling_governor")
    governors = {value for value in map(_read, glob.glob(scaling)) if value}
    memory = re.search(r"MemTotal:\s+(\d+) kB", _read(os.path.join(root, "proc/meminfo")) or "")
    nvpmodel, jetson_clocks = ask("nvpmodel", "-q"), ask("jetson_clocks", "--show")
    what = board or cpu or "unknown CPU"
    return {
        "name": "{}, {} core{}, {}".format(what, usable, "" if usable == 1 else "s", isa),
        "board": board,
        "hostname": platform.node(),
        "cpu_model": cpu or board or "unknown CPU",
        "machine": platform.machine(),
        "isa": isa,
        "cores": os.cpu_count() or 1,
        "usable_cores": usable,
        "memory_bytes": int(memory.group(1)) * 1024 if memory else None,
        "os": _os_name(root),
        "kernel": platform.release(),
        "virtual_machine": "hypervisor" in fields["flags"].split() if "flags" in fields else None,
        "python": platform.python_version(),
        "l4t": l4t,
        "jetpack": jetpack_of(l4t),
        "governors": sorted(governors),
        "power_mode": parse_nvpmodel(nvpmodel["output"]),
        "nvpmodel": nvpmodel,
        "jetson_clocks": {**jetson_clocks, "parsed": parse_jetson_clocks(jetson_clocks["output"])},
        "clocks": read_clocks(root),
    }


def board_notes(board: Dict[str, Any]) -> List[str]:
    """What a reader must know before trusting a latency of this board."""
    notes = []
    saving = [name for name in board["governors"] if name in _POWERSAVING]
    if saving:
        notes.append("CPU governor is {}: the clock may vary while measuring".format(saving[0]))
    load = (board["clocks"]["load_average"] or [0.0])[0]
    if load > 0.5 * board["usable_cores"]:
        notes.append(
            "the board was busy: load average {:.1f} on {} cores; treat the latency as an upper "
            "bound".format(load, board["usable_cores"])
        )
    if board["virtual_machine"]:
        notes.append("virtual machine: neighbours on the same hardware can slow it unseen")
    mode = board["power_mode"]
    if mode is not None and not mode["name"].upper().startswith("MAXN"):
        notes.append("power mode {}: other modes are faster or slower".format(mode["name"]))
    return notes
