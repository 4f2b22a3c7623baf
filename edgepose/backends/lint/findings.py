"""The rules by name, and what a rule says about one node."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

Level = Literal["error", "warning", "note"]
LEVELS: tuple[Level, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class Rule:
    """level: "error" where the target refuses the file or computes something else, "warning" where it
    only gets slower or less exact, "note" what is worth knowing; what: one line; fix: the usual one."""

    level: Level
    what: str
    fix: str


_QUANTIZE = "quantize with edgepose's symmetric int8 quantizer"
_EXPORT = "export for this target with edgepose"

RULES: dict[str, Rule] = {
    "opset": Rule(
        "error", "the ONNX opset is newer than the target's parser", "export with the target's opset"
    ),
    "ir-version": Rule(
        "error", "the ONNX IR version is newer than the target's runtime", "save with an older IR"
    ),
    "operator": Rule("error", "the target does not have the operator", _EXPORT),
    "operator-attribute": Rule(
        "error", "the target has the operator, not in this form", "use a form that the target has"
    ),
    "not-checked": Rule(
        "note", "the target's file leaves a limit open", "name it in the target's limits"
    ),
    "qdq-two-inputs": Rule(
        "error", "Q/DQ without a zero-point input", "give int8 zeros as the third input"
    ),
    "qdq-zero-point": Rule("error", "a zero-point that is not 0", _QUANTIZE),
    "qdq-zero-point-type": Rule("error", "a zero-point of a type that is refused", _QUANTIZE),
    "qdq-scale": Rule("error", "a scale that is not a positive number", "calibrate again"),
    "qdq-scale-source": Rule(
        "error", "a scale or zero-point that is no constant of its own", "store it as an initializer"
    ),
    "qdq-per-axis-activation": Rule("error", "an activation with a scale per channel", _QUANTIZE),
    "qdq-per-axis-count": Rule(
        "error", "not one scale and zero-point per channel", "give K scales for K channels"
    ),
    "int8-weights": Rule(
        "error", "INT8 weight initializers", "store float32 weights, then Q -> DQ (on the grid)"
    ),
    "int32-bias": Rule(
        "error", "an int32 bias behind DequantizeLinear", "store the bias as float32, without DQ"
    ),
    "qdq-output": Rule(
        "error", "Q/DQ on the network's output", "leave the output float: no Q/DQ behind the head"
    ),
    "int8-direct": Rule(
        "error", "an operator other than DequantizeLinear reads INT8", "put DequantizeLinear between"
    ),
    "int8-operator": Rule(
        "warning", "an operator that the target runs in float only, inside INT8",
        "write an interleave as Reshape-Transpose-Reshape; move the rest behind the last INT8 layer",
    ),
    "float-island": Rule(
        "warning", "float between INT8 layers", "quantize its inputs, weights and output, or fold it"
    ),
    "float-relu": Rule(
        "warning", "a ReLU that keeps its convolution in float",
        "use uint8 with zero-point 0 behind the ReLU (export with edgepose does)",
    ),
    "residual-scale": Rule(
        "warning", "a sum of which one input has no scale", "put Q/DQ on both inputs of the sum"
    ),
    "deconvolution-float": Rule(
        "warning", "a deconvolution that stays in float inside INT8",
        "rewrite it as a sub-pixel convolution (edgepose's deploy form)",
    ),
    "unfolded-norm": Rule(
        "warning", "batch norm that is not folded into its convolution", "fold batch norm before Q/DQ"
    ),
    "channels": Rule(
        "warning", "channels that the target's kernels pad", "prune with round_to: the multiple"
    ),
    "dynamic-shape": Rule("error", "dimensions that the target wants fixed", "export fixed shapes"),
    "dla-dynamic": Rule("error", "dynamic shapes or batch on DLA", "export for a fixed batch"),
    "dla-qdq": Rule(
        "error", "explicit Q/DQ on DLA", "give DLA a float network and a calibration cache"
    ),
    "dla-deconvolution": Rule(
        "error", "a deconvolution that DLA refuses",
        "use padding 0, groups 1 and dilation 1, or the deploy form",
    ),
    "input-layout": Rule(
        "error", "an input that is not (N, 3, H, W)", "export channels first: N, 3, H, W"
    ),
    "input-color": Rule("error", "another colour order than the contract's", "export again"),
    "image-input": Rule(
        "error", "a Core ML input that is no colour image", "convert with ct.ImageType(RGB)"
    ),
    "contract": Rule(
        "error", "the file is not what artifact.json says", "export again; do not mix artifacts"
    ),
    "minimum-os": Rule(
        "error", "the file needs a newer system than the target's", "raise minimum_os, or lower precision"
    ),
    "weights-only": Rule(
        "note", "INT8 in the weights alone; the arithmetic is float",
        "set minimum_os: iOS17 for INT8 arithmetic",
    ),
    "operator-os": Rule(
        "error", "an operator that the target's system does not have yet",
        "convert with the target's minimum_deployment_target",
    ),
    "per-block-weights": Rule(
        "warning", "weight scales per block, which the Neural Engine does not take",
        "use one scale per output channel",
    ),
    "x86-only": Rule(
        "error", "operators for one kind of CPU", "convert without NchwcTransformer"
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """rule: a key of RULES; node: its name, "" for the file as a whole; file: as the user gave it."""

    rule: str
    level: Level
    node: str
    reason: str
    fix: str
    file: str = ""


def found(
    rule: str, node: str, reason: str, *, fix: str | None = None, level: Level | None = None
) -> Finding:
    """A finding with the rule's own level and fix unless others are given."""
    known = RULES[rule]
    return Finding(rule, level or known.level, node, reason, fix or known.fix)


def in_file(findings: Iterable[Finding], file: str) -> list[Finding]:
    """Each finding once, under the name of its file, errors first."""
    named = dict.fromkeys(replace(finding, file=file) for finding in findings)
    return sorted(named, key=lambda finding: LEVELS.index(finding.level))


def errors(findings: Iterable[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.level == "error"]


def _groups(
    findings: Iterable[Finding],
) -> Iterable[tuple[tuple[str, str, str, str], list[Finding]]]:
    """Findings that share file, level, rule and fix."""
    groups: dict[tuple[str, str, str, str], list[Finding]] = {}
    for finding in findings:
        key = (finding.file, finding.level, finding.rule, finding.fix)
        groups.setdefault(key, []).append(finding)
    return groups.items()


def warnings(findings: Iterable[Finding]) -> list[str]:
    """One line per file and rule, for a run's warnings; notes are left out."""
    text = []
    for (file, level, rule, fix), group in _groups(findings):
        first, more = group[0], f" (and {len(group) - 1} more)" if len(group) > 1 else ""
        at = f" {first.node}:" if first.node else ""
        if level != "note":
            text.append(f"{file}: {rule}:{at} {first.reason}{more}; fix: {fix}")
    return text


def lines(findings: Iterable[Finding], *, nodes: int = 4) -> list[str]:
    """Text for a terminal: one paragraph per file and rule, its first nodes by name."""
    text = []
    for (file, level, rule, fix), group in _groups(findings):
        text.append(f"{level} {rule}{f' in {file}' if file else ''}: {RULES[rule].what}")
        text += [f"  {f'{f.node}: ' if f.node else ''}{f.reason}" for f in group[:nodes]]
        if len(group) > nodes:
            text.append(f"  and {len(group) - nodes} more (--json lists all)")
        text.append(f"  fix: {fix}")
    return text
