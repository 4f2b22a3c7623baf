"""Scores on photographs in COCO's terms: OKS and PCK over the joints that both skeletons name."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgepose.bench.record import MetricValue, Strict
from edgepose.data.base import PoseDataset
from edgepose.device.codec import HeatmapCodec
from edgepose.errors import EdgeposeError
from edgepose.evaluation import EvaluationSet, Runs, find_joints, metric_values
from edgepose.metrics.metric import METRICS
from edgepose.metrics.oks import mean_oks, oks
from edgepose.progress import Progress
from edgepose.skeleton import Skeleton, shared_joints


class PhotographScores(Strict):
    """How well people on photographs are found, each in their own given box.

    joints:      the shared joints by name; only these are scored
    mean_oks:    mean object keypoint similarity, 0..1, over `oks_persons`, those with a known area
    oks_ap:      average precision over OKS .50:.05:.95, percent, every person in their own box
    pck:         every PCK that the labels allow, percent; always "pck_box@0.2": right within 0.2 x
                 the longer side of the person's box, not comparable with PCKh
    Without COCO's sigmas for every shared joint, or without a known area, OKS and AP are None.
    """

    persons: int
    oks_persons: int
    joints: tuple[str, ...]
    mean_oks: float | None
    oks_ap: float | None
    pck: dict[str, MetricValue]
    domain: str
    fingerprint: str
    executor: str


def score_photographs(
    executor: Runs,
    dataset: PoseDataset,
    *,
    skeleton: Skeleton,
    input_hw: tuple[int, int],
    codec: HeatmapCodec,
    flip_test: bool = False,
    report: Progress | None = None,
) -> PhotographScores:
    """Score an executor on people with given boxes, joints matched by name.

    skeleton: the model's. People without one annotated shared joint are left out.
    Raises EdgeposeError where the skeletons share no joint or nobody can be scored.
    """
    ours, theirs, names = shared_joints(skeleton, dataset.skeleton)
    if not names:
        raise EdgeposeError(
            f"{skeleton.name} and {dataset.skeleton.name} share no joint by name",
            fix="score on data whose skeleton has joints in common with the model's",
        )
    data = EvaluationSet.from_dataset(dataset, input_hw, alignment=codec.alignment)
    flip_index = skeleton.flip_index if flip_test else None
    found = find_joints(executor, data, codec=codec, flip_index=flip_index, report=report)
    truth = data.truth.joints(theirs)
    scored = np.asarray(truth.annotated.any(axis=1), dtype=bool)
    if not scored.any():
        raise EdgeposeError(
            f"nobody in the data has one of the joints {', '.join(names)} annotated",
            fix="check the annotation file",
        )
    truth = truth.people(scored)
    predicted, confidence = found.image_xy[scored][:, ours], found.score[scored][:, ours]
    values: dict[str, dict[str, Any]] = {}
    for metric in METRICS.values():
        if metric.word != "oks_ap" and metric.lack(truth) is None:
            values |= metric_values(metric.score(predicted, confidence, truth), truth.skeleton)
    similarity, ap = np.full(len(truth), np.nan), None
    if METRICS["oks_ap"].lack(truth) is None:
        similarity = oks(
            predicted, truth.xy, annotated=truth.annotated, area_px2=truth.area_px2, joints=names
        )
        scores = METRICS["oks_ap"].score(predicted, confidence, truth)
        ap = round(scores["oks_ap"].value, 3)
    sized = int(np.isfinite(similarity).sum())
    return PhotographScores(
        persons=int(scored.sum()),
        oks_persons=sized,
        joints=names,
        mean_oks=mean_oks(similarity) if sized else None,
        oks_ap=ap,
        pck={name: MetricValue.model_validate(value) for name, value in values.items()},
        domain=dataset.domain,
        fingerprint=dataset.fingerprint,
        executor=found.executor,
    )
