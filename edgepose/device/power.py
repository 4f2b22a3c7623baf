"""Power beside a measurement: tegrastats on a Jetson, the RAPL counters on x86. Only read."""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
import time
from typing import Any, Callable, Dict, List, Optional, Tuple

from .tegrastats import summary


class Tegrastats:
    """tegrastats, where the board has it; its lines go to a file in `folder`."""

    def __init__(self, folder: str) -> None:
        self._path = os.path.join(folder, "tegrastats.txt")
        program = shutil.which("tegrastats")
        self._process: Optional[subprocess.Popen[bytes]] = None
        if program is not None:
            with open(self._path, "wb") as stream:
                self._process = subprocess.Popen(
                    [program, "--interval", "500"],
                    stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.DEVNULL,
                )  # fmt: skip

    def stop(self) -> Dict[str, Any]:
        """`tegrastats.summary` of the time since; {} without tegrastats."""
        if self._process is None:
            return {}
        self._process.terminate()
        self._process.wait()
        with open(self._path, encoding="utf-8", errors="replace") as stream:
            return summary(stream.read())


class Rapl:
    """Energy counters of x86 packages (Linux powercap), from construction to `stop`.

    They count the whole package, whoever uses it, in microjoules and start again at their range's
    end: one such turn is seen, so that a measurement may last minutes, not hours.
    root: where /sys is found; clock: seconds, monotonic
    """

    def __init__(self, root: str = "/", *, clock: Callable[[], float] = time.monotonic) -> None:
        pattern = os.path.join(root, "sys/class/powercap/intel-rapl:[0-9]*")
        # "intel-rapl:0" is a package; "intel-rapl:0:1" a part of one, which it already counts
        zones = [
            path for path in sorted(glob.glob(pattern)) if os.path.basename(path).count(":") == 1
        ]
        self._zones: List[Tuple[str, str, int]] = []
        self.refused: Optional[str] = None
        for zone in zones:
            name = _text(os.path.join(zone, "name"))
            if name is None or not name.startswith("package"):
                continue  # psys counts the packages again
            try:
                _energy_uj(zone)
            except OSError as error:
                self.refused = "{}: {}".format(name, error.strerror)
                continue
            limit = _text(os.path.join(zone, "max_energy_range_uj"))
            self._zones.append((zone, name, int(limit) if limit and limit.isdigit() else 0))
        self._clock = clock
        self._start_s, self._start_uj = clock(), [_energy_uj(zone) for zone, _, _ in self._zones]

    def stop(self) -> Dict[str, Any]:
        """{"power_mw": {"mean", "from"}}; {"power_refused": why} where root only may read, {} else."""
        elapsed_s = self._clock() - self._start_s
        if not self._zones or elapsed_s <= 0:
            return {"power_refused": self.refused} if self.refused else {}
        used_uj = 0.0
        for (zone, _, limit), start_uj in zip(self._zones, self._start_uj):  # noqa: B905
            used = _energy_uj(zone) - start_uj
            used_uj += used + limit if used < 0 else used
        names = ", ".join(name for _, name, _ in self._zones)
        return {"power_mw": {"mean": used_uj / elapsed_s / 1e3, "from": "RAPL " + names}}


class Sensors:
    """What this machine says of its power and temperatures while something is measured."""

    def __init__(self, folder: str, *, root: str = "/") -> None:
        self._tegrastats, self._rapl = Tegrastats(folder), Rapl(root)

    def stop(self) -> Dict[str, Any]:
        rapl = self._rapl.stop()
        return {**rapl, **self._tegrastats.stop()}


def _text(path: str) -> Optional[str]:
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.read().strip()
    except OSError:
        return None


def _energy_uj(zone: str) -> int:
    with open(os.path.join(zone, "energy_uj"), encoding="utf-8") as stream:
        return int(stream.read())
