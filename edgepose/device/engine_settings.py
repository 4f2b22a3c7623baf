"""How an engine is to be built: a form of the artifact, and where it runs."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Dict, List, Optional

from .contract import expand
from .engine_files import MAIN as MAIN
from .errors import DeviceError

if TYPE_CHECKING:
    from .contract import Contract

_AGAIN = "copy the whole artifact again, or use the runner of the edgepose that exported it"


@dataclass(frozen=True)
class Settings:
    """form: its name; dla: the DLA's number, None: the GPU
    flags, cleared: of the builder, by name; layer_precisions: {layer: "fp16" or "fp32"}
    model: the file's bytes as they are stored; cache: the calibration cache, None without
    build: the settings file's bytes; float_layers: convolutions that INT8 leaves in float
    """

    form: str
    flags: List[str]
    workspace_mib: int
    model: bytes
    build: bytes
    precision: str
    cleared: List[str] = field(default_factory=list)
    layer_precisions: Dict[str, str] = field(default_factory=dict)
    float_layers: List[str] = field(default_factory=list)
    cache: Optional[bytes] = None
    dla: Optional[int] = None

    def onnx(self) -> bytes:
        return expand(self.model)

    @property
    def label(self) -> str:
        place = "" if self.dla is None else " on DLA {}".format(self.dla)
        return "{} ({}){}".format(self.precision.upper(), self.form, place)


def forms_of(contract: Contract) -> List[str]:
    """Names of the forms in an artifact, the counted one first: those of its size and batch."""
    if "build" not in contract.files:
        return []
    named = [role[len("build_") :] for role in contract.files if role.startswith("build_")]
    ours = [name for name in named if _parsed(contract, "build_" + name).get("form") == name]
    return [contract.precision, *sorted(ours)]


def _parsed(contract: Contract, role: str) -> Dict[str, Any]:
    try:
        said = json.loads(contract.read(role).decode())
    except ValueError as error:
        raise DeviceError("{} is no JSON: {}".format(role + ".json", error), fix=_AGAIN) from error
    return said if isinstance(said, dict) else {}


def may_use_dla(contract: Contract, form: str) -> bool:
    """Whether the form says that it can be built for a DLA."""
    return bool(_said(contract, form).get("dla", False))


def _role(contract: Contract, form: str) -> str:
    return "build" if form in (MAIN, contract.precision) else "build_" + form


def _said(contract: Contract, form: str) -> Dict[str, Any]:
    role = _role(contract, form)
    if role not in contract.files:
        raise DeviceError(
            "artifact {} has no form {!r}, it has {}".format(
                contract.name, form, ", ".join(forms_of(contract)) or "none"
            ),
            fix="name one of these with --form",
        )
    said = _parsed(contract, role)
    missing = [key for key in ("builder_flags", "workspace_mib") if key not in said]
    if missing:
        raise DeviceError("{}.json has no {}".format(role, missing[0]), fix=_AGAIN)
    return said


def settings_of(contract: Contract, *, form: str = MAIN, dla: Optional[int] = None) -> Settings:
    """The settings of a form; DeviceError for one that is not there, or cannot be on a DLA."""
    said = _said(contract, form)
    name = str(said.get("form", contract.precision))
    if dla is not None and not said.get("dla", False):
        raise DeviceError(
            "form {} cannot run on a DLA: {}".format(
                name,
                "it has explicit Q/DQ"
                if "INT8" in said["builder_flags"]
                else "a DLA computes in FP16 and INT8 only",
            ),
            fix="build form implicit, implicit_deconv or fp16 for a DLA, or leave out --dla",
        )
    cache = said.get("calibration")
    flags = [str(flag) for flag in said["builder_flags"]]
    return Settings(
        form=name,
        flags=flags,
        cleared=[str(flag) for flag in said.get("cleared_flags", [])],
        workspace_mib=int(said["workspace_mib"]),
        layer_precisions=dict(said.get("layer_precisions", {})),
        float_layers=[str(name) for name in said.get("float_layers", [])],
        model=contract.read(str(said.get("model", "model"))),
        build=contract.read(_role(contract, form)),
        precision="int8" if "INT8" in flags else "fp16" if "FP16" in flags else "fp32",
        cache=None if cache is None else contract.read(str(cache)),
        dla=dla,
    )


def cache_for(cache: bytes, version: str) -> bytes:
    """A calibration cache under the header of the TensorRT that reads it.

    The scales are edgepose's, not of some TensorRT's calibration; with another version's header the
    builder would want to calibrate, and there are no images here.
    """
    lines = cache.decode().split("\n")
    if not lines[0].startswith("TRT-") or lines[0].count("-") != 2:
        raise DeviceError(
            "the calibration cache begins with {!r}".format(lines[0][:60]), fix=_AGAIN
        )
    try:
        parts = [int(part) for part in version.split(".")[:3]]
    except ValueError as error:
        raise DeviceError(
            "TensorRT's version is {!r}: no cache can be written for it".format(version),
            fix="build another form than implicit INT8",
        ) from error
    scale = 1000 if parts[0] < 10 else 10_000
    number = parts[0] * scale + parts[1] * 100 + parts[2]
    lines[0] = "TRT-{}-{}".format(number, lines[0].rsplit("-", 1)[1])
    return "\n".join(lines).encode()
