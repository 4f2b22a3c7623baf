"""`export:` write one artifact per target, execute each, and compare its joints with the model's."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, field_validator

from edgepose.artifact import Artifact
from edgepose.backends.lint.findings import RULES, lines, warnings
from edgepose.backends.lint.subject import lint_artifact
from edgepose.context import Context
from edgepose.errors import EdgeposeError
from edgepose.evaluation import EvaluationSet, Joints, JointShift, find_joints, joint_shift
from edgepose.models.pose_model import PoseModel
from edgepose.stages.alike import Alike, score_alike
from edgepose.target import Target, TargetName


class Config(BaseModel):
    """targets: what to export for; max_shift_px: largest median joint shift against the model, input
    px; max_off_share: largest share of confident joints off by more than one pixel (a quarter-pixel
    sign that flips between two equal neighbours moves a joint by half a heatmap pixel, so a sound
    artifact has some); allow_mismatch: export even so (the report says it); allow_lint: rules of
    `edgepose lint` whose errors are told and pass."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    targets: tuple[TargetName, ...] = Field(min_length=1)
    max_shift_px: float = Field(default=0.1, gt=0)
    max_off_share: float = Field(default=0.1, ge=0, le=1)
    allow_mismatch: bool = False
    allow_lint: tuple[str, ...] = ()

    @field_validator("allow_lint")
    @classmethod
    def _rules_exist(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in names if name not in RULES]
        if unknown:
            raise ValueError(f"no lint rule {unknown[0]!r}; see edgepose lint --rules")
        return names


@dataclass(frozen=True)
class Exported:
    """An artifact that was executed: its joints on the validation set, and how far they moved.
    alike: the other ways in which the same network is written into it, executed as well"""

    target: Target
    artifact: Artifact
    joints: Joints
    shift: JointShift
    alike: tuple[Alike, ...] = ()


def emit(model: PoseModel, target: Target, folder: Path) -> Artifact:
    """Write the artifact of one target into `folder`."""
    backend = importlib.import_module(f"edgepose.backends.{target.runtime}")
    artifact: Artifact = backend.emit(model, target, folder)
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
    backend = importlib.import_module(f"edgepose.backends.{target.runtime}")
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


def run(model: PoseModel, config: Config, context: Context, *, reference: Joints) -> list[Exported]:
    """Every target's artifact in `context.folder/<target>`, executed on the validation set.

    reference: the model's own joints on that set
    """
    data = EvaluationSet.from_dataset(
        context.val, model.spec.input_hw, alignment=model.spec.codec.alignment
    )
    exported = []
    for number, target in enumerate(context.targets):
        context.report("export: write", number, len(context.targets))
        artifact = emit(model, target, context.folder / target.name)
        check_lint(artifact, target, config, context)
        item = verify(
            artifact,
            target=target,
            data=data,
            reference=reference,
            config=config,
            context=context,
        )
        alike = score_alike(artifact, data=data, reference=reference, context=context)
        for one in alike:
            if one.exact:
                what = f"the form {one.form} for {target.name}"
                _check_shift(one.shift, what, config, context)
        exported.append(replace(item, alike=alike))
    context.report("export: write", len(context.targets), len(context.targets))
    return exported
