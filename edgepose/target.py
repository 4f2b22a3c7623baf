"""A target: a device family that artifacts are made for. targets/*.yaml in, a frozen Target out.

A new device on a known runtime is one YAML file; a new runtime is one file in edgepose/backends.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from edgepose.strict_files import NAME_PATTERN, Rules, builtin_folder, override, read_layers
from edgepose.strict_model import validate
from edgepose.strict_yaml import Node, Problems, did_you_mean, short, shown

Precision = Literal["int8", "fp16", "fp32"]
Form = Literal["interleave", "fused_sums", "deconv_fp16", "implicit", "implicit_deconv"]
"""Other ways to write an INT8 network for TensorRT: see backends/onnx_graph/tensorrt_forms.py."""

# A transport reaches ssh and adb as an argument: no part of it may look like an option.
_WORD = r"[A-Za-z0-9_][A-Za-z0-9._-]*"
_SERIAL = r"[A-Za-z0-9_][A-Za-z0-9._:-]*"  # 0A041FDD4003DX, emulator-5554, 192.168.1.7:5555
TRANSPORT_PATTERN = re.compile(
    rf"local|ssh://({_WORD}@)?{_WORD}(:[0-9]{{1,5}})?|adb(:{_SERIAL})?|iphone(:[^:]{{1,100}})?"
)
OS_PATTERN = re.compile(r"[A-Za-z]+[0-9]+(\.[0-9]+)?")
RULES = Rules(known_versions=(1,), own=("name",))


def _name(value: str) -> str:
    if not NAME_PATTERN.fullmatch(value):
        raise ValueError(f"{shown(value)} is no name; use letters, digits, '.', '_' and '-'")
    return value


def _transport(value: str) -> str:
    if not TRANSPORT_PATTERN.fullmatch(value):
        raise ValueError(
            f"{shown(value)} is no transport; "
            "write local, ssh://user@host, ssh://user@host:22, adb, adb:SERIAL or iphone"
        )
    return value


def _os(value: str) -> str:
    if not OS_PATTERN.fullmatch(value):
        raise ValueError(f"{shown(value)} is no system version; write, for instance, iOS17")
    return value


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ChannelMultiple(_Strict):
    """Channel counts, per precision, that something is a multiple of."""

    int8: Annotated[int, Field(ge=1, le=1024)] = 1
    fp16: Annotated[int, Field(ge=1, le=1024)] = 1


class Hardware(_Strict):
    """Published peak figures for the roofline estimate, and where they come from.

    attained:           share of the peaks that kernels reach
    kernel_overhead_us: what starting a kernel costs
    device:             whose published latencies the estimate is checked against (cost/published.py);
                        null: it is never checked, and says so
    """

    int8_tops: Annotated[float, Field(gt=0)] | None = None
    fp16_tflops: Annotated[float, Field(gt=0)] | None = None
    fp32_tflops: Annotated[float, Field(gt=0)] | None = None
    bandwidth_gb_s: Annotated[float, Field(gt=0)] | None = None
    attained: Annotated[float, Field(gt=0, le=1)] = 1.0
    kernel_overhead_us: Annotated[float, Field(ge=0)] = 0.0
    device: str | None = None
    source: Annotated[str, Field(min_length=1)]


class Limits(_Strict):
    """What the device's runtime refuses; read by `edgepose lint`.

    ir_version:      highest ONNX IR version; None: not known
    dynamic_shapes:  whether dimensions, the batch included, may be left open
    dla:             whether the network is to run on NVIDIA's DLA
    operators:       every ONNX operator that its parser has; empty: not known
    float_operators: those of them that it runs in float only
    """

    ir_version: Annotated[int, Field(ge=3, le=20)] | None = None
    dynamic_shapes: bool = True
    dla: bool = False
    operators: tuple[str, ...] = ()
    float_operators: tuple[str, ...] = ()


class Tool(_Strict):
    """A program on this computer. command: looked up in PATH; purpose: what asks for it; get: how it
    is had."""

    command: Annotated[str, Field(min_length=1)]
    purpose: Annotated[str, Field(min_length=1)]
    get: Annotated[str, Field(min_length=1)]


class Needs(_Strict):
    """What a target asks for beside edgepose; read by `edgepose doctor`.

    packages: distributions here that write and check its files; tools: programs here that reach or build
    for a device; device: what the device itself must have, in words
    """

    packages: tuple[str, ...] = ()
    tools: tuple[Tool, ...] = ()
    device: tuple[str, ...] = ()


class Target(_Strict):
    """What a device takes: `runtime` is a file in edgepose/backends, `precision` the main file's.

    extra_precisions: further files to emit beside it, e.g. Core ML's fp16
    forms:            further forms of the INT8 network, to race on the device (`bench --race`)
    opset:            highest ONNX opset that the runtime parses; None where there is no ONNX
    minimum_os:       as the runtime spells it, e.g. "iOS17"
    channel_multiple: what the device's kernels pad channels to; read by lint and the cost model
    prune_multiple:   what pruning rounds channels to where a recipe does not say; None: 8
    size_limit_mb:    largest counted file, 10^6 bytes; None: no limit of the device's own
    device:           transport to a device at hand (local, ssh://..., adb); None: none
    """

    name: Annotated[str, AfterValidator(_name)]
    version: Literal[1] = 1
    runtime: str
    precision: Precision
    extra_precisions: tuple[Precision, ...] = ()
    forms: tuple[Form, ...] = ()
    description: str = ""
    opset: Annotated[int, Field(ge=13, le=25)] | None = None
    minimum_os: Annotated[str, AfterValidator(_os)] | None = None
    channel_multiple: ChannelMultiple = ChannelMultiple()
    prune_multiple: ChannelMultiple | None = None
    limits: Limits = Limits()
    size_limit_mb: Annotated[float, Field(gt=0)] | None = None
    device: Annotated[str, AfterValidator(_transport)] | None = None
    hardware: Hardware | None = None
    needs: Needs = Needs()
    notes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _each_precision_once(self) -> Target:
        if len(set(self.precisions)) < len(self.precisions):
            raise ValueError("extra_precisions names a precision twice, or `precision` again")
        return self

    @model_validator(mode="after")
    def _forms_are_of_int8(self) -> Target:
        if len(set(self.forms)) < len(self.forms):
            raise ValueError("forms names one twice")
        if self.forms and (self.runtime != "tensorrt" or "int8" not in self.precisions):
            raise ValueError(
                "forms are of TensorRT's INT8 network: runtime or precision is another"
            )
        return self

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """All that are to be emitted, the counted one first."""
        return (self.precision, *self.extra_precisions)


def list_runtimes() -> tuple[str, ...]:
    """Runtime words: the files in edgepose/backends that define `emit`, read without importing."""
    folder = Path(__file__).resolve().parent / "backends"
    has_emit = re.compile(r"^(def emit\(|from .* import .*\bemit\b)", re.MULTILINE)
    return tuple(
        file.stem
        for file in sorted(folder.glob("[a-z]*.py"))
        if has_emit.search(file.read_text(encoding="utf-8"))
    )


def list_targets() -> tuple[str, ...]:
    """Names of the targets in ./targets and of the built-in ones."""
    folders = (Path("targets"), builtin_folder("targets"))
    return tuple(sorted({file.stem for folder in folders for file in folder.glob("*.yaml")}))


def load_target(
    name: str | Path, *, overrides: Sequence[str] = (), runtimes: Sequence[str] | None = None
) -> Target:
    """The target in a file, or the built-in one of that name. EdgeposeError tells all errors.

    overrides: "key=value" texts laid over it, e.g. "device=ssh://nvidia@xavier"
    runtimes:  the runtime words to accept; those found in edgepose/backends by default
    """
    problems = Problems()
    tree, files = read_layers(name, kind="target", rules=RULES, problems=problems)
    tree = override(tree, overrides, rules=RULES, problems=problems)
    entries = {"name": Node(files[0].stem, tree.place), **tree.mapping}
    runtime = entries.get("runtime")
    known = list_runtimes() if runtimes is None else tuple(runtimes)
    if runtime is not None and isinstance(runtime.value, str) and runtime.value not in known:
        hint = did_you_mean(runtime.value, known)
        problems.add(runtime.place, f"runtime: unknown runtime '{short(runtime.value)}'{hint}")
    target = validate(Node(entries, tree.place), "", Target, problems=problems)
    problems.raise_any(f"target {tree.place.source}", check="edgepose targets")
    assert target is not None, "a target is None only with a problem told"
    return target


def _listed(value: str) -> str:
    """A target's name, known to `list_targets`; a path is left to `load_target`."""
    known = list_targets()
    if value not in known and not value.endswith((".yaml", ".yml")):
        raise ValueError(f"unknown target '{short(value)}'{did_you_mean(value, known)}")
    return value


TargetName = Annotated[str, AfterValidator(_listed)]
"""For stage Configs: the name of a known target, or a target file's path."""
