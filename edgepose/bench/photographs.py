"""Scores on photographs in COCO's terms: OKS and PCK over the joints that both skeletons name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgepose.bench.record import MetricValue, Strict
from edgepose.data.base import PoseDataset
from edgepose.data.crop import crop_batch
from edgepose.errors import EdgeposeError
from edgepose.evaluation import EvaluationSet, Runs, find_joints
from edgepose.metrics.bootstrap import mean_ci
from edgepose.metrics.oks import mean_oks, oks, oks_ap, pck_box_longer_side
from edgepose.skeleton import Skeleton, shared_joints

ALPHAS = (0.2, 0.1)
_CHUNK = 64


class PhotographScores(Strict):
    """How well people on photographs are found, each in their own given box.

    joints:      the shared joints by name; only these are scored
    mean_oks:    mean object keypoint similarity, 0..1, over `oks_persons`, those with a known area
    oks_ap:      average precision over OKS .50:.05:.95, percent, every person in their own box
    pck:         "pck@0.2": right within 0.2 x the longer side of the person's box, percent;
                 not comparable with PCKh
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
    stride: int,
    report: Callable[[str, int, int], None] | None = None,
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
    data, boxes, areas = _collect(dataset, input_hw)
    found = find_joints(executor, data, stride=stride, report=report)
    predicted = found.image_xy[:, list(ours)]
    true, annotated = data.true_xy[:, list(theirs)], data.annotated[:, list(theirs)]
    scored = annotated.any(axis=1)
    if not scored.any():
        raise EdgeposeError(
            f"nobody in the data has one of the joints {', '.join(names)} annotated",
            fix="check the annotation file",
        )
    predicted, true, annotated = predicted[scored], true[scored], annotated[scored]
    similarity = oks(predicted, true, annotated=annotated, area_px2=areas[scored], joints=names)
    confidence = found.score[scored][:, list(ours)].mean(axis=1)
    pck = {}
    for alpha in ALPHAS:
        correct, valid, percent = pck_box_longer_side(
            predicted, true, annotated=annotated, box_xywh=boxes[scored], joints=names, alpha=alpha
        )
        counts = valid.sum(axis=0)
        per_joint = {
            name: round(100 * float(correct[:, j].sum() / counts[j]), 3) if counts[j] else None
            for j, name in enumerate(names)
        }
        low, high = mean_ci(correct, valid)
        pck[f"pck@{alpha}"] = MetricValue(
            value=percent, ci95=(low, high), per_joint=per_joint, persons=int(scored.sum())
        )
    sized = int(np.isfinite(similarity).sum())
    return PhotographScores(
        persons=int(scored.sum()),
        oks_persons=sized,
        joints=names,
        mean_oks=mean_oks(similarity) if sized else None,
        oks_ap=oks_ap(similarity, confidence) if sized else None,
        pck=pck,
        domain=dataset.domain,
        fingerprint=dataset.fingerprint,
        executor=found.executor,
    )


def _collect(
    dataset: PoseDataset, input_hw: tuple[int, int]
) -> tuple[EvaluationSet, np.ndarray, np.ndarray]:
    """Crops and truth in one pass over the images, (N, 4) boxes and (N,) areas beside them."""
    crops, matrices, kept = [], [], []
    for start in range(0, len(dataset), _CHUNK):
        samples = [dataset[i] for i in range(start, min(start + _CHUNK, len(dataset)))]
        crop, matrix = crop_batch(samples, input_hw)
        crops.append(crop)
        matrices.append(matrix)
        kept += [(s.joints_xy, s.annotated, s.head_px, s.tags, s.box_xywh, s.area_px2)
                 for s in samples]  # fmt: skip
    joints, annotated, heads, tags, boxes, areas = zip(*kept, strict=True)
    data = EvaluationSet(
        crops=np.concatenate(crops),
        matrices=np.concatenate(matrices),
        true_xy=np.stack(joints),
        annotated=np.stack(annotated),
        head_px=np.array(heads, dtype=np.float32),
        tags=tuple(tags),
        skeleton=dataset.skeleton,
    )
    return data, np.stack(boxes).astype(np.float64), np.array(areas, dtype=np.float64)
