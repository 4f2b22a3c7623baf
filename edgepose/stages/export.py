"""`export:` write one artifact per target, execute each, and compare its joints with the model's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from edgepose import registry
from edgepose.artifact import Artifact
from edgepose.backends.lint.findings import RULES, lines, warnings
from edgepose.backends.lint.subject import lint_artifact
from edgepose.context import Context
from edgepose.errors import EdgeposeError
from edgepose.evaluation import (
    BATCH,
    EvaluationSet,
    Joints,
    JointShift,
    TorchExecutor,
    find_joints,
    joint_shift,
)
from edgepose.models.pose_model import PoseModel, at_size
from edgepose.quant.graph import int8_graph
from edgepose.stages.alike import Alike, score_alike
from edgepose.target import Target, TargetName
from edgepose.variants import Variant, all_variants, variants_in

SAME_JOINTS_PX = 0.01
"""Whole-pose graphs may differ by so much from their heatmaps decoded on the host, crop pixels."""


class Config(BaseModel):
    """targets: what to export for; max_shift_px: largest median joint shift against the model, input
    px; max_off_share: largest share of confident joints off by more than one pixel (a quarter-pixel
    sign that flips between two equal neighbours moves a joint by half a heatmap pixel, so a sound
    artifact has some); allow_mismatch: export even so (the report says it); allow_lint: rules of
    `edgepose lint` whose errors are told and pass;
    input_hw: crop sizes (height, width) that every artifact takes besides the model's own;
    batch: numbers of images at once; pose_graphs: targets that get each variant a second time as a
    whole-pose graph, uint8 image in and joints out."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    targets: tuple[TargetName, ...] = Field(min_length=1)
    max_shift_px: float = Field(default=0.1, gt=0)
    max_off_share: float = Field(default=0.1, ge=0, le=1)
    allow_mismatch: bool = False
    allow_lint: tuple[str, ...] = ()
    input_hw: tuple[tuple[int, int], ...] = ()
    batch: tuple[Annotated[int, Field(ge=1, le=64)], ...] = (1,)
    pose_graphs: tuple[TargetName, ...] = ()

    @field_validator("input_hw")
    @classmethod
    def _sizes_fit(cls, sizes: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
        for height, width in sizes:
            if not all(64 <= side <= 2048 and side % 32 == 0 for side in (height, width)):
                raise ValueError(
                    f"{height}x{width} (height x width): sides are multiples of 32 from 64 to 2048"
                )
        if len(set(sizes)) < len(sizes):
            raise ValueError("a size is named twice")
        return sizes

    @model_validator(mode="after")
    def _pose_graphs_are_targets(self) -> Self:
        others = [name for name in self.pose_graphs if name not in self.targets]
        if others:
            raise ValueError(f"pose_graphs names {others[0]!r}, which is not among the targets")
        return self

    @field_validator("allow_lint")
    @classmethod
    def _rules_exist(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in names if name not in RULES]
        if unknown:
            raise ValueError(f"no lint rule {unknown[0]!r}; see edgepose lint --rules")
        return names


@dataclass(frozen=True)
class ScoredVariant:
    """A variant beside the main file, executed as it is. shift: None where torch cannot run the model."""

    variant: Variant
    joints: Joints
    shift: JointShift | None


@dataclass(frozen=True)
class Exported:
    """An artifact that was executed: its joints on the validation set, and how far they moved.
    alike: the other ways in which the same network is written into it, executed as well"""

    target: Target
    artifact: Artifact
    joints: Joints
    shift: JointShift
    variants: tuple[ScoredVariant, ...] = ()
    alike: tuple[Alike, ...] = ()


def variants_for(model: PoseModel, word: str, config: Config) -> tuple[Variant, ...]:
    """The variants of a target's artifact; none where there is the main file alone.

    word: the target as `config.targets` names it
    """
    variants = all_variants(
        model.spec.input_hw,
        sizes=config.input_hw,
        batches=config.batch,
        joints=word in config.pose_graphs,
    )
    return variants if len(variants) > 1 else ()


def emit(
    model: PoseModel, target: Target, folder: Path, *, variants: Sequence[Variant] = ()
) -> Artifact:
    """Write the artifact of one target into `folder`."""
    backend = registry.backend(target.runtime)
    artifact: Artifact = backend.emit(model, target, folder, variants=variants)
    return artifact


def check_lint(artifact: Artifact, target: Target, config: Config, context: Context) -> None:
    """Raise EdgeposeError for errors that lint finds in the files; what is allowed is told."""
    findings = [f for f in lint_artifact(artifact, target) if f.level != "note"]
    bad = [f for f in findings if f.level == "error" and f.rule not in config.allow_lint]
    if bad:
        raise EdgeposeError(
            f"the artifact for {target.name} breaks its limits\n" + "\n".join(lines(bad)),
            fix="change the target or the network as said, or name the rules in "
            "stages.export.allow_lint",
        )
    for line in warnings(findings):
        context.warn(f"{target.name}: {line}")


def verify(
    artifact: Artifact,
    *,
    target: Target,
    data: EvaluationSet,
    reference: Joints,
    config: Config,
    context: Context,
) -> Exported:
    """Execute the files of an artifact and hold its joints against the model's.

    Raises EdgeposeError where they differ by more than `config` allows.
    """
    backend = registry.backend(target.runtime)
    executor = backend.open_executor(artifact)
    label = f"export: score {target.name}"
    codec = artifact.manifest.codec.to_codec()
    joints = find_joints(executor, data, codec=codec, report=context.report, label=label)
    shift = joint_shift(joints, reference)
    _check_shift(shift, f"the artifact for {target.name}", config, context)
    return Exported(target, artifact, joints, shift)


def _check_shift(shift: JointShift, what: str, config: Config, context: Context) -> None:
    """Raise EdgeposeError, or warn where mismatches are allowed, for joints that moved too far."""
    if shift.p50 <= config.max_shift_px and shift.off_share <= config.max_off_share:
        return
    problem = (
        f"{what} does not agree with the model: joints moved by "
        f"{shift.p50:.3f} px in the median (allowed {config.max_shift_px:g}), "
        f"{shift.off_share:.2%} of the confident joints by more than 1 px "
        f"(allowed {config.max_off_share:.2%})"
    )
    if not config.allow_mismatch:
        raise EdgeposeError(
            problem,
            fix="if you accept that, raise stages.export.max_shift_px or max_off_share; "
            "stages.export.allow_mismatch: true exports it to be looked at",
        )
    context.warn(problem)


class Sizes:
    """The validation set and the model's own joints, at each crop size, made when first asked for."""

    def __init__(
        self, model: PoseModel, context: Context, own: EvaluationSet, reference: Joints
    ) -> None:
        self.model, self.context = model, context
        hw = model.spec.input_hw
        self._data = {hw: own}
        self._joints: dict[tuple[int, int], Joints | None] = {hw: reference}

    def data(self, input_hw: tuple[int, int]) -> EvaluationSet:
        if input_hw not in self._data:
            self._data[input_hw] = EvaluationSet.from_dataset(
                self.context.val, input_hw, alignment=self.model.spec.codec.alignment
            )
        return self._data[input_hw]

    def joints(self, input_hw: tuple[int, int]) -> Joints | None:
        """None for dynamic INT8, which torch does not run."""
        plan = self.model.spec.quant
        if input_hw not in self._joints and plan is not None and plan.mode == "dynamic":
            self._joints[input_hw] = None
        if input_hw not in self._joints:
            sized = at_size(self.model, input_hw)
            static = plan is not None and plan.mode == "static"
            network = int8_graph(sized) if static else sized.module()
            self._joints[input_hw] = find_joints(
                TorchExecutor(network, sized.spec),
                self.data(input_hw),
                codec=sized.spec.codec,
                report=self.context.report,
                label="export: the model at {}x{}".format(*input_hw),
            )
        return self._joints[input_hw]


def verify_variants(
    artifact: Artifact,
    *,
    target: Target,
    main: Joints,
    sizes: Sizes,
    config: Config,
    context: Context,
) -> tuple[ScoredVariant, ...]:
    """Execute every variant beside the main file, each at its own size, with its number of images.

    Raises EdgeposeError where one moves joints too far, or where a whole-pose graph does not give the
    joints that its heatmaps give.
    """
    backend = registry.backend(target.runtime)
    codec = artifact.manifest.codec.to_codec()
    own, *others = variants_in(artifact)
    found = {own: main}
    scored = []
    for variant in others:
        executor = backend.open_executor(
            artifact, input_hw=variant.input_hw, batch=variant.batch, gives=variant.gives
        )
        joints = find_joints(
            executor,
            sizes.data(variant.input_hw),
            codec=codec,
            report=context.report,
            label=f"export: score {target.name}, {variant}",
            batch=variant.batch if variant.batch > 1 else BATCH,
        )
        what = f"the variant {variant} for {target.name}"
        reference = sizes.joints(variant.input_hw)
        shift = None if reference is None else joint_shift(joints, reference)
        if shift is not None:
            _check_shift(shift, what, config, context)
        if variant.gives == "joints":
            _check_decoded(joints, found[replace(variant, gives="heatmaps")], what, config, context)
        found[variant] = joints
        scored.append(ScoredVariant(variant, joints, shift))
    return tuple(scored)


def _check_decoded(
    joints: Joints, decoded: Joints, what: str, config: Config, context: Context
) -> None:
    """Joints from the graph against joints decoded here from the same network's heatmaps."""
    furthest = float(np.abs(joints.crop_xy - decoded.crop_xy).max())
    if furthest <= SAME_JOINTS_PX:
        return
    problem = (
        f"{what} gives other joints than its heatmaps do: up to {furthest:.3f} px apart "
        f"(allowed {SAME_JOINTS_PX:g})"
    )
    if not config.allow_mismatch:
        raise EdgeposeError(
            problem,
            fix="leave the target out of stages.export.pose_graphs; "
            "stages.export.allow_mismatch: true exports it to be looked at",
        )
    context.warn(problem)


def run(model: PoseModel, config: Config, context: Context, *, reference: Joints) -> list[Exported]:
    """Every target's artifact in `context.folder/<target>`, executed on the validation set.

    reference: the model's own joints on that set
    """
    data = EvaluationSet.from_dataset(
        context.val, model.spec.input_hw, alignment=model.spec.codec.alignment
    )
    sizes = Sizes(model, context, data, reference)
    exported = []
    for number, (word, target) in enumerate(zip(config.targets, context.targets, strict=True)):
        context.report("export: write", number, len(context.targets))
        variants = variants_for(model, word, config)
        artifact = emit(model, target, context.folder / target.name, variants=variants)
        check_lint(artifact, target, config, context)
        item = verify(
            artifact,
            target=target,
            data=data,
            reference=reference,
            config=config,
            context=context,
        )
        if variants:
            scored = verify_variants(
                artifact,
                target=target,
                main=item.joints,
                sizes=sizes,
                config=config,
                context=context,
            )
            item = replace(item, variants=scored)
        alike = score_alike(artifact, data=data, reference=reference, context=context)
        for one in alike:
            if one.exact:
                what = f"the form {one.form} for {target.name}"
                _check_shift(one.shift, what, config, context)
        exported.append(replace(item, alike=alike))
    context.report("export: write", len(context.targets), len(context.targets))
    return exported
