"""Where a network leaves INT8: rules over its tensors, the same for ONNX, MIL and a planned network."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import cached_property

from edgepose.backends.lint.findings import Finding, found
from edgepose.backends.onnx_graph.canonical import DEQUANTIZE, QUANTIZE
from edgepose.manifest import Manifest
from edgepose.target import Target

CONVOLUTIONS = ("Conv", "ConvTranspose")
_ACTIVATIONS = ("Relu", "Clip")
_SUMS = ("Add", "Sum")


@dataclass(frozen=True)
class Step:
    """One operator, under ONNX's name for it, that computes activations.

    data: the activations that it reads; weight: shape of its weights, None without; int8_weight:
    whether those are on the INT8 grid; moves: every value of its output is one of its input
    """

    op: str
    name: str
    data: tuple[str, ...]
    outputs: tuple[str, ...]
    weight: tuple[int, ...] | None = None
    int8_weight: bool = False
    moves: bool = False


@dataclass(frozen=True)
class Net:
    """Steps in order of execution; activations' Q and DQ are steps, weights' are not."""

    steps: tuple[Step, ...]
    outputs: frozenset[str]
    _ends: dict[str, bool] = field(default_factory=dict)

    @cached_property
    def producers(self) -> dict[str, Step]:
        return {name: step for step in self.steps for name in step.outputs}

    @cached_property
    def readers(self) -> dict[str, list[Step]]:
        found: dict[str, list[Step]] = {}
        for step in self.steps:
            for name in dict.fromkeys(step.data):
                found.setdefault(name, []).append(step)
        return found

    @property
    def quantized(self) -> bool:
        return any(step.op == DEQUANTIZE for step in self.steps)

    @cached_property
    def on_grid(self) -> frozenset[str]:
        """Float tensors whose values an INT8 tensor holds: behind DQ, moved on or not."""
        names: set[str] = set()
        for step in self.steps:
            if step.op == DEQUANTIZE or (step.moves and names.issuperset(step.data)):
                names.update(step.outputs)
        return frozenset(names)

    @cached_property
    def behind_int8(self) -> frozenset[str]:
        names: set[str] = set()
        for step in self.steps:
            if step.op == DEQUANTIZE or not names.isdisjoint(step.data):
                names.update(step.outputs)
        return frozenset(names)

    @cached_property
    def before_int8(self) -> frozenset[str]:
        names: set[str] = set()
        for step in reversed(self.steps):
            if step.op == QUANTIZE or not names.isdisjoint(step.outputs):
                names.update(step.data)
        return frozenset(names)

    def ends_in_int8(self, name: str) -> bool:
        """Whether each reader of `name` quantizes it, behind a ReLU or movement at most, or it is (as
        the head's output) read by nobody else."""
        if name not in self._ends:
            self._ends[name] = False  # of a cycle, which only a broken file has
            readers = self.readers.get(name, [])
            self._ends[name] = (bool(readers) or name in self.outputs) and all(
                step.op == QUANTIZE
                or (
                    (step.op in _ACTIVATIONS or step.moves)
                    and all(map(self.ends_in_int8, step.outputs))
                )
                for step in readers
            )
        return self._ends[name]

    def is_int8(self, step: Step) -> bool:
        """Whether a runtime can compute the step on integers: its inputs, weights and output are."""
        grid = self.on_grid.issuperset(step.data)
        if step.op in _ACTIVATIONS and not grid:
            source = self.producers.get(step.data[0]) if step.data else None
            grid = source is not None and source.op not in _ACTIVATIONS and self.is_int8(source)
        weights = step.weight is None or step.int8_weight
        return grid and weights and all(map(self.ends_in_int8, step.outputs))

    def between_int8(self, step: Step) -> bool:
        return not (
            self.behind_int8.isdisjoint(step.data) or self.before_int8.isdisjoint(step.outputs)
        )

    def kept_float(self, planned: Collection[str]) -> frozenset[str]:
        """Steps that are in float because a plan says so: the convolutions it names, and whatever only
        those read."""
        kept: set[str] = set()
        for step in reversed(self.steps):
            readers = [r for name in step.outputs for r in self.readers.get(name, [])]
            named = step.name in planned and not step.int8_weight
            alone = bool(readers) and all(r.name in kept for r in readers)
            if named or (alone and step.op not in (QUANTIZE, DEQUANTIZE)):
                kept.add(step.name)
        return frozenset(kept)

    def feeds_output(self, step: Step) -> bool:
        """Whether the step makes the network's output, moved or not: its channels are the joints'."""
        for name in step.outputs:
            if name in self.outputs:
                return True
            if any(r.moves and self.feeds_output(r) for r in self.readers.get(name, [])):
                return True
        return False


def float_layers(manifest: Manifest | None) -> tuple[str, ...]:
    """The convolutions that an artifact's plan keeps in float; none of a file without a manifest."""
    return () if manifest is None else manifest.provenance.float_layers


def structure(net: Net, target: Target, *, planned: Collection[str] = ()) -> list[Finding]:
    """What keeps a quantized network from running in INT8 as a whole.

    planned: the convolutions and sums that the plan keeps in float, which are notes
    """
    if not net.quantized:
        return []
    sums = list(_residual_scales(net, planned))
    islands = _islands(
        net,
        target,
        excused={name for _, names in sums for name in names},
        kept=net.kept_float(planned),
        planned=planned,
    )
    return [*(finding for finding, _ in sums), *islands, *_channels(net, target)]


def _residual_scales(net: Net, planned: Collection[str]) -> Iterator[tuple[Finding, set[str]]]:
    """A finding per sum of which only some inputs have a scale, and the names that it speaks for."""
    for step in net.steps:
        missing = [name for name in step.data if name not in net.on_grid]
        if step.op not in _SUMS or not missing or len(missing) == len(step.data):
            continue
        sources = [net.producers.get(name) for name in missing]
        what = ", ".join(
            name if s is None else s.name for name, s in zip(missing, sources, strict=True)
        )
        names = {step.name, *(s.name for s in sources if s is not None)}
        for source in sources:  # the convolution behind a ReLU
            behind = (
                net.producers.get(source.data[0]) if source is not None and source.data else None
            )
            names |= {behind.name} if behind is not None else set()
        reason = f"the input from {what} is not quantized, the other one is"
        if step.name in planned:
            fix = "nothing, this is the plan: the sum is part of that convolution's kernel"
            yield found("residual-scale", step.name, reason, fix=fix, level="note"), names
        else:
            yield found("residual-scale", step.name, reason), names


def _islands(
    net: Net,
    target: Target,
    *,
    excused: set[str],
    kept: frozenset[str],
    planned: Collection[str],
) -> Iterator[Finding]:
    float_only = set(target.limits.float_operators)
    for step in net.steps:
        if step.op in (QUANTIZE, DEQUANTIZE) or step.name in excused:
            continue
        if step.op in _ACTIVATIONS and not net.on_grid.issuperset(step.data):
            continue  # part of the operator before it, which is told
        inside = net.between_int8(step)
        if step.op in float_only:
            if inside:
                yield found(
                    "int8-operator", step.name,
                    f"{step.op} between INT8 layers: {target.name} runs it in FP16 or FP32 only",
                )  # fmt: skip
        elif not inside or step.moves or net.is_int8(step):
            continue
        elif step.op == "BatchNormalization":
            yield found("unfolded-norm", step.name, "batch norm between INT8 layers runs in float")
        elif step.op == "ConvTranspose" and step.name not in kept:
            yield found("deconvolution-float", step.name, _why_float(net, step))
        elif step.name in kept:
            by_name = step.name in planned
            why = "the plan's float_layers name it" if by_name else "only float_layers read it"
            yield found(
                "float-island", step.name, f"{step.op} runs in float: {why}",
                fix="nothing, this is the plan", level="note",
            )  # fmt: skip
        else:
            yield found(
                "float-island", step.name, f"{step.op} runs in float: {_why_float(net, step)}"
            )


def _why_float(net: Net, step: Step) -> str:
    missing = [name for name in step.data if name not in net.on_grid]
    if step.weight is not None and not step.int8_weight:
        return "its weights are not quantized"
    if missing:
        return f"its input {missing[0]} is not quantized"
    return f"its output {step.outputs[0]} is not quantized before the next operator"


def _channels(net: Net, target: Target) -> Iterator[Finding]:
    """Channels that no kernel width divides: a warning; those padded to the full INT8 width: a note."""
    widest, least = target.channel_multiple.int8, target.channel_multiple.fp16
    least = least if 1 < least < widest else widest
    padded = []
    for step in net.steps:
        if step.op not in CONVOLUTIONS or step.weight is None or not step.int8_weight:
            continue
        count = step.weight[0] if step.op == "Conv" else step.weight[1]
        if net.feeds_output(step) or count % widest == 0:
            continue
        if count % least:
            yield found(
                "channels", step.name,
                f"{count} INT8 channels; {target.name} pads to multiples of {widest}, and {count} is "
                f"no multiple of {least} either",
                fix=f"prune with round_to: {widest} (or {least})",
            )  # fmt: skip
        else:
            padded.append((step.name, count))
    if padded:
        name, count = max(padded, key=lambda item: -item[1] % widest)
        example = f"{name} from {count}"
        yield found(
            "channels", "",
            f"{len(padded)} INT8 convolutions are padded to multiples of {widest} channels, "
            f"e.g. {example}" if len(padded) > 1
            else f"one INT8 convolution is padded to a multiple of {widest} channels: {example}",
            fix=f"prune with round_to: {widest} for the least padding", level="note",
        )  # fmt: skip
