"""The metrics that a recipe may name: what each needs, what it gives, in which convention.

Each gives two scores of the same predictions: the one that budgets and drops are in, and a strict
companion that stands beside it, because the first one saturates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgepose.errors import EdgeposeError
from edgepose.metrics.bootstrap import interval, percent_draws
from edgepose.metrics.coco_ap import THRESHOLDS, Matches, match, rescored
from edgepose.metrics.oks import COCO_SIGMAS
from edgepose.metrics.pck import (
    counted_joints,
    head_segment_px,
    longer_side_px,
    pck,
    torso_px,
)
from edgepose.metrics.truth import Truth

Array = NDArray[np.floating]


@dataclass(frozen=True)
class Score:
    """One score of one set of predictions.

    value: percent; persons: how many could be scored; per_joint: (J,) percent, nan where nobody
    has the joint, None where the score has no parts; resample: makes `draws`
    """

    value: float
    persons: int
    resample: Callable[[], NDArray[np.float64]]
    per_joint: NDArray[np.float64] | None = None

    @cached_property
    def draws(self) -> NDArray[np.float64]:
        """(R,) the score of people drawn with replacement, the same for every score of a truth."""
        return self.resample()

    @property
    def ci95(self) -> tuple[float, float]:
        """The 95 % bootstrap interval of `value`."""
        return interval(self.draws)


def difference(after: Score, before: Score) -> tuple[float, float, float]:
    """after - before and its paired 95 % interval, points: (difference, low, high).

    Both must score the same people.
    """
    return after.value - before.value, *interval(after.draws - before.draws)


@dataclass(frozen=True)
class Metric:
    """word: its name in a recipe; primary, strict: the names of its two scores
    convention: how it counts, one sentence; unit: what the bootstrap draws
    lack: what a truth lacks for it, None where it can be computed
    compute: (pred_xy (N, J, 2), joint scores (N, J), truth) -> the two scores
    alphas, size_px, size: of a PCK, its thresholds and what they are parts of, also in words
    """

    word: str
    primary: str
    strict: str
    convention: str
    unit: Literal["persons", "images"]
    lack: Callable[[Truth], str | None]
    compute: Callable[[Array, Array, Truth], dict[str, Score]]
    alphas: tuple[float, float] | None = None
    size_px: Callable[[Truth], Array] | None = None
    size: str = ""

    def score(self, pred_xy: Array, joint_scores: Array, truth: Truth) -> dict[str, Score]:
        """Both scores by name; EdgeposeError where the labels do not allow it."""
        self.check(truth)
        return self.compute(pred_xy, joint_scores, truth)

    def check(self, truth: Truth, *, where: str = "the data") -> None:
        """EdgeposeError where the labels do not allow this metric, naming one that they allow."""
        lack = self.lack(truth)
        if lack is not None:
            raise EdgeposeError(
                f"metric: {self.word} needs {lack}, and {where} has none",
                fix=f"set metric: {natural(truth).word}, or give data that has them",
            )


def _pck_metric(
    word: str,
    alphas: tuple[float, float],
    note: str,
    size: str,
    size_px: Callable[[Truth], Array],
    lack: Callable[[Truth], str | None],
) -> Metric:
    def compute(pred_xy: Array, joint_scores: Array, truth: Truth) -> dict[str, Score]:
        scores = {}
        for alpha in alphas:
            found = pck(
                pred_xy,
                truth.xy,
                size_px=size_px(truth),
                annotated=truth.annotated,
                alpha=alpha,
                counted=counted_joints(truth.skeleton),
            )
            persons = int(found.valid.any(axis=1).sum())
            draws = _Draws(found.correct, found.valid)
            scores[f"{word}@{alpha}"] = Score(found.mean, persons, draws, found.per_joint)
        return scores

    primary, strict = (f"{word}@{alpha}" for alpha in alphas)
    convention = (
        f"{note}error <= {alphas[0]} ({alphas[1]}) x {size} counts, mean weighted by joint counts, "
        "pelvis and thorax left out"
    )
    return Metric(
        word, primary, strict, convention, "persons", lack, compute, alphas, size_px, size
    )


@dataclass(frozen=True)
class _Draws:
    """Makes the draws of a PCK when somebody asks for them."""

    correct: NDArray[np.bool_]
    valid: NDArray[np.bool_]

    def __call__(self) -> NDArray[np.float64]:
        return percent_draws(self.correct, self.valid)


def _oks_ap(pred_xy: Array, joint_scores: Array, truth: Truth) -> dict[str, Score]:
    """COCO's AP over OKS .50:.05:.95 and at .75, every person in the given box."""
    area = _labelled_area(truth)
    scored = np.isfinite(area) & (area > 0)
    people = truth.people(scored)
    found = match(
        np.asarray(pred_xy)[scored],
        rescored(np.asarray(joint_scores)[scored]),
        people.xy,
        annotated=people.annotated,
        area_px2=people.area_px2,
        joints=people.skeleton.joints,
        images=people.images,
    )
    return ap_scores(found, len(people))


def ap_scores(found: Matches, persons: int) -> dict[str, Score]:
    """The scores of `oks_ap` from COCOeval's matches."""
    strict = THRESHOLDS.index(0.75)
    return {
        "oks_ap": Score(
            float(100 * found.ap.mean()), persons, lambda: 100 * found.ap_draws.mean(axis=1)
        ),
        "oks_ap@0.75": Score(
            float(100 * found.ap[strict]), persons, lambda: 100 * found.ap_draws[:, strict]
        ),
    }


def _no_size(size_px: Callable[[Truth], Array], what: str) -> Callable[[Truth], str | None]:
    def lack(truth: Truth) -> str | None:
        size = np.asarray(size_px(truth), dtype=np.float64)
        return None if (np.isfinite(size) & (size > 0)).any() else what

    return lack


def _no_joints(*names: str) -> Callable[[Truth], str | None]:
    def lack(truth: Truth) -> str | None:
        absent = [name for name in names if name not in truth.skeleton.joints]
        return f"the joint{'s' * (len(absent) > 1)} {', '.join(absent)}" if absent else None

    return lack


def _first(*lacks: Callable[[Truth], str | None]) -> Callable[[Truth], str | None]:
    return lambda truth: next((said for said in (lack(truth) for lack in lacks) if said), None)


def _no_sigmas(truth: Truth) -> str | None:
    unknown = [name for name in truth.skeleton.joints if name not in COCO_SIGMAS]
    return f"COCO's sigmas (not known for {', '.join(unknown[:4])})" if unknown else None


def _labelled_area(truth: Truth) -> Array:
    area = np.asarray(truth.area_px2, dtype=np.float64)
    return np.where(truth.annotated.any(axis=1), area, np.nan)


def _segment(truth: Truth) -> Array:
    return head_segment_px(truth.xy, truth.annotated, truth.skeleton)


def _torso(truth: Truth) -> Array:
    return torso_px(truth.xy, truth.annotated, truth.skeleton)


METRICS: Mapping[str, Metric] = {
    metric.word: metric
    for metric in (
        _pck_metric(
            "pckh",
            (0.5, 0.1),
            "HRNet's: ",
            "0.6 x head-box diagonal",
            lambda truth: truth.head_px,
            _no_size(lambda truth: truth.head_px, "head sizes"),
        ),
        Metric(
            "oks_ap",
            "oks_ap",
            "oks_ap@0.75",
            "COCO's AP over OKS .50:.05:.95 (and at .75) by pycocotools, boxes given",
            "images",
            _first(_no_sigmas, _no_size(_labelled_area, "person areas")),
            _oks_ap,
        ),
        _pck_metric(
            "pck",
            (0.2, 0.1),
            "LSP's, person-centric: ",
            "|left shoulder - right hip|",
            _torso,
            _first(_no_joints("left_shoulder", "right_hip"), _no_size(_torso, "torso sizes")),
        ),
        _pck_metric(
            "pckh_head_segment",
            (0.5, 0.1),
            "no head boxes, so not MPII's PCKh: ",
            "|head top - upper neck|",
            _segment,
            _first(_no_joints("head_top", "upper_neck"), _no_size(_segment, "head segments")),
        ),
        _pck_metric(
            "pck_box",
            (0.2, 0.1),
            "",
            "the longer side of the person's box",
            lambda truth: longer_side_px(truth.box_xywh),
            _no_size(lambda truth: longer_side_px(truth.box_xywh), "person boxes"),
        ),
    )
}
"""By word, in the order in which one is chosen for data that no recipe speaks of."""


def natural(truth: Truth) -> Metric:
    """The first metric that the labels allow: PCKh with head boxes, AP with COCO's joints, ..."""
    for metric in METRICS.values():
        if metric.lack(truth) is None:
            return metric
    raise EdgeposeError(
        f"no person of {len(truth)} has a head size, an area, a torso or a box to measure errors by",
        fix="check the annotation file",
    )
