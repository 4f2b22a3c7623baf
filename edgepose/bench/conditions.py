"""The machine as it is: read, recorded, never changed."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from edgepose.bench.record import Conditions

LIBRARIES = (
    "numpy",
    "onnxruntime",
    "onnx",
    "torch",
    "torchao",
    "coremltools",
    "opencv-python-headless",
)
"""Packages whose version can change a figure."""

_X86_ISA = (
    ("amx_int8", "AMX-INT8"),
    ("avx512_vnni", "AVX512-VNNI"),
    ("avx_vnni", "AVX-VNNI"),
    ("avx512f", "AVX512"),
    ("avx2", "AVX2"),
    ("fma", "FMA"),
    ("sse4_2", "SSE4.2"),
)
_ARM_ISA = (("i8mm", "I8MM"), ("asimddp", "DOTPROD"), ("sve", "SVE"), ("asimd", "NEON"))


def _read(path: Path) -> str | None:
    """The stripped content of a small system file; None where there is none to read."""
    try:
        return path.read_text(errors="replace").strip() or None
    except OSError:
        return None


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def _sysctl(name: str) -> str | None:
    """A macOS system value; None elsewhere."""
    if platform.system() != "Darwin":
        return None
    try:
        done = subprocess.run(
            ["/usr/sbin/sysctl", "-n", name], capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def _cpuinfo(root: Path) -> dict[str, str]:
    """The first processor's keys of /proc/cpuinfo, lower case."""
    fields: dict[str, str] = {}
    for line in (_read(root / "proc/cpuinfo") or "").splitlines():
        key, separator, value = line.partition(":")
        if separator:
            fields.setdefault(key.strip().lower(), value.strip())
    return fields


def _isa(fields: dict[str, str]) -> tuple[str, ...]:
    """Instruction sets that integer convolutions use, widest first."""
    if "flags" in fields:
        flags = set(fields["flags"].split())
        return tuple(name for flag, name in _X86_ISA if flag in flags)
    if "features" in fields:
        flags = set(fields["features"].split())
        return tuple(name for flag, name in _ARM_ISA if flag in flags)
    if _sysctl("hw.optional.arm.FEAT_I8MM") == "1":
        return ("I8MM", "DOTPROD", "NEON")
    if _sysctl("hw.optional.arm.FEAT_DotProd") == "1":
        return ("DOTPROD", "NEON")
    return ()


def _os_name(root: Path) -> str:
    for line in (_read(root / "etc/os-release") or "").splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip('"')
    if platform.system() == "Darwin":
        return f"macOS {platform.mac_ver()[0]}"
    return f"{platform.system()} {platform.release()}"


def _quota_cores(root: Path) -> float | None:
    """Cores that a container's limit leaves; None without a limit."""
    words = (_read(root / "sys/fs/cgroup/cpu.max") or "").split()
    if len(words) == 2 and words[0].isdigit() and words[1].isdigit() and int(words[1]) > 0:
        return int(words[0]) / int(words[1])
    return None


def _temperature_c(root: Path) -> float | None:
    """The hottest sensor that the system shows, degrees Celsius."""
    paths = [
        *root.glob("sys/class/thermal/thermal_zone*/temp"),
        *root.glob("sys/class/hwmon/hwmon*/temp*_input"),
    ]
    values = [
        v / 1000 for v in (_number(_read(p)) for p in paths) if v is not None and 0 < v < 150_000
    ]
    return max(values, default=None)


def _memory_bytes(root: Path) -> int | None:
    for line in (_read(root / "proc/meminfo") or "").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    mac = _sysctl("hw.memsize")
    return int(mac) if mac else None


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def library_versions(names: Sequence[str] = LIBRARIES) -> dict[str, str]:
    """Versions of the installed packages among `names`, read without importing them."""
    found: dict[str, str] = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def source_commit() -> dict[str, str]:
    """{"edgepose_commit": hash} where edgepose runs from a git checkout, "+" after it if changed."""
    source = Path(__file__).resolve().parents[2]
    if not (source / ".git").exists():
        return {}
    try:
        head, status = (
            subprocess.run(
                ["git", *words], cwd=source, capture_output=True, text=True, timeout=20, check=True
            ).stdout.strip()
            for words in (["rev-parse", "HEAD"], ["status", "--porcelain", "--", "edgepose"])
        )
    except (OSError, subprocess.SubprocessError):
        return {}
    return {"edgepose_commit": head + ("+" if status else "")}


def read_conditions(root: Path = Path("/")) -> Conditions:
    """What there is to know about this machine. `root` is where /proc, /sys and /etc are found."""
    fields = _cpuinfo(root)
    cpu0 = root / "sys/devices/system/cpu/cpu0/cpufreq"
    frequency_khz = _number(_read(cpu0 / "scaling_cur_freq"))
    model = fields.get("model name") or fields.get("model") or _sysctl("machdep.cpu.brand_string")
    model = model or platform.processor() or "unknown CPU"
    isa = _isa(fields)
    usable = _usable_cores()
    measured_mhz = None if frequency_khz is None else frequency_khz / 1000
    return Conditions(
        name=f"{model}, {usable} core{'s' if usable != 1 else ''}" + (f", {isa[0]}" if isa else ""),
        cpu_model=model,
        machine=platform.machine(),
        cores=os.cpu_count() or 1,
        usable_cores=usable,
        cpu_quota_cores=_quota_cores(root),
        isa=isa,
        os=_os_name(root),
        kernel=platform.release(),
        virtual_machine="hypervisor" in fields["flags"].split() if "flags" in fields else None,
        memory_bytes=_memory_bytes(root),
        governor=_read(cpu0 / "scaling_governor"),
        frequency_mhz=measured_mhz or _number(fields.get("cpu mhz")),
        temperature_c=_temperature_c(root),
        load_average=os.getloadavg() if hasattr(os, "getloadavg") else None,
        python=platform.python_version(),
        versions=library_versions(),
    )


class OtherLoad:
    """How many cores other processes used between construction and `cores()`.

    The load average also counts the benchmark itself; this is the machine's busy time less ours.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._start = self._sample()

    def _sample(self) -> tuple[float, float, float] | None:
        """Seconds: (monotonic clock, all processors' busy time, CPU time of this process and of those
        that it started and that have ended)."""
        lines = (_read(self._root / "proc/stat") or "").splitlines()
        words = lines[0].split() if lines else []
        if len(words) < 9 or words[0] != "cpu":
            return None
        user, nice, system, _idle, _iowait, irq, softirq, steal = (float(w) for w in words[1:9])
        busy = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
        children = os.times()
        ours = time.process_time() + children.children_user + children.children_system
        return time.monotonic(), busy, ours

    def cores(self) -> float | None:
        """Mean number of cores busy with other work; None where the system does not tell."""
        end = self._sample()
        if self._start is None or end is None:
            return None
        elapsed, busy, ours = (b - a for a, b in zip(self._start, end, strict=True))
        return max(0.0, busy - ours) / elapsed if elapsed > 0 else None


def notes_on(conditions: Conditions, other_load_cores: float | None) -> tuple[str, ...]:
    """What a reader must know before trusting a latency measured under these conditions."""
    notes: list[str] = []
    if other_load_cores is not None:
        if other_load_cores > 0.1 * conditions.cores:
            notes.append(
                f"the machine was busy: other processes used {other_load_cores:.1f} of "
                f"{conditions.cores} cores; treat the latency as an upper bound"
            )
    elif conditions.load_average and conditions.load_average[0] > 0.5 * conditions.cores:
        notes.append(
            f"the machine was busy: load average {conditions.load_average[0]:.1f} on "
            f"{conditions.cores} cores; treat the latency as an upper bound"
        )
    if conditions.governor in ("powersave", "conservative", "ondemand", "schedutil"):
        notes.append(f"CPU governor is {conditions.governor}: the clock may vary while measuring")
    if conditions.virtual_machine:
        notes.append("virtual machine: neighbours on the same hardware can slow it unseen")
    if conditions.cpu_quota_cores and conditions.cpu_quota_cores < conditions.usable_cores:
        notes.append(f"a container limit leaves {conditions.cpu_quota_cores:g} cores")
    return tuple(notes)
