"""Other ways in which the same network is written into an artifact: each executed and scored."""

from __future__ import annotations

from dataclasses import dataclass

from edgepose.artifact import Artifact
from edgepose.context import Context
from edgepose.evaluation import EvaluationSet, Joints, JointShift, find_joints, joint_shift, score

EXACT = ("interleave", "deconv_fp16")
"""Forms that compute the very numbers of the counted one; the others round elsewhere."""


@dataclass(frozen=True)
class Alike:
    """A form that was executed. score: of the recipe's metric, points; shift: against the model"""

    form: str
    executor: str
    metric: str
    score: float
    shift: JointShift

    @property
    def exact(self) -> bool:
        return self.form in EXACT

    @property
    def text(self) -> str:
        return (
            f"form {self.form}: {self.metric} {self.score:.1f}, joints moved by {self.shift.p50:.3f} px "
            f"in the median, {self.shift.off_share:.1%} of the confident ones by more than 1 px "
            f"({self.executor})"
        )


def score_alike(
    artifact: Artifact, *, data: EvaluationSet, reference: Joints, context: Context
) -> tuple[Alike, ...]:
    """Every form of a TensorRT artifact beside the counted one; () for any other."""
    if artifact.manifest.runtime != "tensorrt":
        return ()
    from edgepose.backends import tensorrt

    found = []
    for form in tensorrt.forms(artifact)[1:]:
        joints = find_joints(
            tensorrt.open_executor(artifact, form=form),
            data,
            codec=artifact.manifest.codec.to_codec(),
            report=context.report,
            label=f"export: score {artifact.manifest.target}, {form}",
        )
        value = score(joints, data, context.metric)[context.metric.primary].value
        shift = joint_shift(joints, reference)
        found.append(
            Alike(form, joints.executor, context.metric.primary, round(float(value), 3), shift)
        )
    return tuple(found)
