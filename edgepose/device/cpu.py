"""Which instructions this CPU multiplies 8-bit integers with."""

from __future__ import annotations

import platform
from functools import lru_cache
from pathlib import Path

_X86 = (
    ("avx512_vnni", "AVX512-VNNI"),
    ("avx_vnni", "AVX-VNNI"),
    ("avx512bw", "AVX512"),
    ("avx2", "AVX2"),
)
_ARM = (("i8mm", "I8MM"), ("asimddp", "DOTPROD"), ("asimd", "NEON"))
SATURATING = ("AVX512", "AVX2")
"""x86 without VNNI adds two 8-bit products in 16 bits, which can saturate."""


@lru_cache(maxsize=None)
def instruction_set(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """E.g. "AVX512-VNNI"; the machine's architecture where the system does not say more."""
    try:
        lines = cpuinfo.read_text(errors="replace").lower().splitlines()
    except OSError:
        return platform.machine()
    for line in lines:
        key, _, value = line.partition(":")
        known = {"flags": _X86, "features": _ARM}.get(key.strip(), ())
        for flag, name in known:
            if flag in value.split():
                return name
    return platform.machine()
