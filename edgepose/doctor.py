"""What is installed, what each target needs, and what is missing; looked at, never changed."""

from __future__ import annotations

import importlib.util
import platform
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from edgepose.errors import EdgeposeError
from edgepose.target import Target

State = Literal["ok", "warning", "error", "info"]
PROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"
MODULES = {
    "opencv-python-headless": "cv2",
    "pillow": "PIL",
    "pyyaml": "yaml",
}
"""Packages whose module is not called as they are."""
TIMEOUT_S = 300

SYSTEMS = (
    "Linux x86-64: everything; tested on every change",
    "Linux aarch64: the device runner was run in an emulator; the rest is not known to fail, nor run",
    "macOS: not known to fail, nor run; the only system where Core ML itself could check its artifacts",
    "Windows: not by itself, run folders are locked with fcntl; inside WSL 2 it is Linux",
)
NOT_TARGETS = (
    "LiteRT: no backend yet. Every artifact here is executed and scored before it leaves, and ours "
    "speaks three dialects of one INT8 grid; LiteRT's would be a fourth. Its converter (litert-torch) "
    "also brings jax and transformers. For Android, onnx-android is the target.",
    "QNN: no backend yet. Its files are compiled for the NPU of one Snapdragon generation, and without "
    "such a device nobody here could say what they score. onnx-android runs on its CPU.",
)

# Imports one module after the other and says which: where one ends the interpreter, the last is to blame.
_PROBE = """
import importlib, sys, warnings
warnings.simplefilter("ignore")
out, sys.stdout = sys.stdout, sys.stderr
for name in sys.argv[1:]:
    print("try", name, file=out, flush=True)
    try:
        importlib.import_module(name)
    except Exception as error:
        text = " ".join(str(error).split())[:200]
        print("bad", name, type(error).__name__ + ":", text, file=out, flush=True)
    else:
        print("good", name, file=out, flush=True)
"""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. group: "system", "packages" or a target's name; get: what mends it."""

    group: str
    name: str
    state: State
    text: str
    get: str | None = None


@dataclass(frozen=True)
class Diagnosis:
    """findings in the order of looking; `healthy` unless a core package is missing or broken."""

    findings: tuple[Finding, ...]
    systems: tuple[str, ...] = SYSTEMS
    not_targets: tuple[str, ...] = NOT_TARGETS

    def of(self, group: str) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.group == group)

    def count(self, state: State) -> int:
        return sum(finding.state == state for finding in self.findings)

    @property
    def healthy(self) -> bool:
        return self.count("error") == 0


def requirements() -> tuple[Requirement, ...]:
    """The packages that edgepose needs, with pyproject.toml's ranges; the installed copy's otherwise."""
    if PROJECT.is_file():
        project = tomllib.loads(PROJECT.read_text(encoding="utf-8")).get("project", {})
        if project.get("name") == "edgepose":
            return tuple(Requirement(line) for line in project["dependencies"])
    try:
        lines = metadata.requires("edgepose") or []
    except metadata.PackageNotFoundError as error:
        raise EdgeposeError(
            "edgepose lies here without its package data, so what it needs is not known",
            fix="install it: pip install -c constraints.txt -e . in its folder",
        ) from error
    found = (Requirement(line) for line in lines)
    return tuple(r for r in found if r.marker is None or r.marker.evaluate({"extra": ""}))


def module_of(package: str) -> str:
    return MODULES.get(package, package.replace("-", "_"))


def import_modules(names: Sequence[str]) -> dict[str, str]:
    """{module: why it cannot be imported}, tried in other processes; empty where all can be."""
    broken: dict[str, str] = {}
    left = list(names)
    while left:
        try:
            done = subprocess.run(
                [sys.executable, "-c", _PROBE, *left],
                capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            said = error.stdout or b""
            output, how = said.decode() if isinstance(said, bytes) else said, "does not end"
        else:
            output, how = done.stdout, f"ends Python (exit code {done.returncode})"
        trying = None
        for line in output.splitlines():
            word, _, rest = line.partition(" ")
            name, _, text = rest.partition(" ")
            if word == "bad":
                broken[name] = text
            trying = name if word == "try" else None
            if word != "try":
                left.remove(name)
        if trying is not None:
            broken[trying] = f"its import {how}"
            left.remove(trying)
        elif left and not output:
            raise EdgeposeError(f"{sys.executable} does not start: {how}", fix="reinstall Python")
    return broken


def _system(python: str) -> list[Finding]:
    from edgepose.bench.conditions import read_conditions

    found, name, machine = [], platform.system(), platform.machine()
    text = f"{read_conditions().os}, {machine}"
    if name == "Windows":
        found.append(
            Finding("system", "system", "error", text, get="run it inside WSL 2, which is Linux")
        )
    elif name == "Linux" and machine in ("x86_64", "AMD64"):
        found.append(Finding("system", "system", "ok", text))
    else:
        found.append(Finding("system", "system", "warning", f"{text}: not tested on every change"))
    version = platform.python_version()
    fits = SpecifierSet(python).contains(version, prereleases=True)
    found.append(
        Finding("system", "python", "ok" if fits else "error", f"{version}, needed {python}",
                get=None if fits else "install Python 3.11 or newer and a new environment")
    )  # fmt: skip
    conditions = read_conditions()
    fast = {"AMX-INT8", "AVX512-VNNI", "AVX-VNNI", "I8MM", "DOTPROD"} & set(conditions.isa)
    found.append(
        Finding("system", "cpu", "ok" if fast else "warning", conditions.name
                + ("" if fast else ": no VNNI or dot products; INT8 is slow here and may saturate"))
    )  # fmt: skip
    free = shutil.disk_usage(".").free
    found.append(
        Finding("system", "disk", "ok" if free > 3e9 else "warning", f"{free / 1e9:.0f} GB free here",
                get=None if free > 3e9 else "the default recipe takes 1.5 GB; see --out")
    )  # fmt: skip
    return found


def _packages(
    needed: Sequence[Requirement], try_imports: Callable[[Sequence[str]], dict[str, str]]
) -> list[Finding]:
    broken = try_imports(
        [
            module_of(r.name)
            for r in needed
            if importlib.util.find_spec(module_of(r.name)) is not None
        ]
    )
    found = []
    for requirement in sorted(needed, key=lambda r: r.name.lower()):
        name, wanted = requirement.name, str(requirement.specifier)
        get = f"pip install -c constraints.txt '{name}{wanted}'"
        if name == "torch":
            get = "pip install torch==2.13.0  # a range would pull CUDA packages"
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            found.append(Finding("packages", name, "error", f"missing, needed {wanted}", get))
            continue
        if module_of(name) in broken:
            reason = f"{version} is broken: {broken[module_of(name)]}"
            again = get.replace("pip install", "pip install --force-reinstall", 1)
            found.append(Finding("packages", name, "error", reason, again))
        elif not requirement.specifier.contains(version, prereleases=True):
            found.append(Finding("packages", name, "error", f"{version}, needed {wanted}", get))
        else:
            found.append(Finding("packages", name, "ok", f"{version}  ({wanted})"))
    return found


def _target(target: Target, unfit: frozenset[str]) -> list[Finding]:
    found = []
    missing = [package for package in target.needs.packages if package in unfit]
    about = f"{target.runtime}, {', '.join(target.precisions)}"
    if missing:
        text = f"{about}: cannot be exported without {', '.join(missing)}"
        found.append(Finding(target.name, "export", "error", text, "see the packages above"))
    else:
        found.append(Finding(target.name, "export", "ok", about))
    for tool in target.needs.tools:
        path = shutil.which(tool.command)
        if path is None:
            text = f"missing; for {tool.purpose}"
            found.append(Finding(target.name, tool.command, "warning", text, tool.get))
        else:
            found.append(Finding(target.name, tool.command, "ok", f"{path}; for {tool.purpose}"))
    device = target.needs.device or tuple(filter(None, (target.minimum_os, target.description)))
    if device:
        found.append(Finding(target.name, "device", "info", "; ".join(device)))
    return found


def diagnose(
    targets: Sequence[Target],
    *,
    needed: Sequence[Requirement] | None = None,
    try_imports: Callable[[Sequence[str]], dict[str, str]] = import_modules,
) -> Diagnosis:
    """Look at this computer, at the packages that edgepose needs and at what `targets` need.

    needed:      what must be installed; pyproject.toml's dependencies by default
    try_imports: module names -> {module: why it is broken}
    """
    needed = requirements() if needed is None else needed
    packages = _packages(needed, try_imports)
    unfit = frozenset(f.name for f in packages if f.state == "error")
    found = [*_system(">=3.11"), *packages]
    for target in targets:
        found += _target(target, unfit)
    return Diagnosis(tuple(found))
