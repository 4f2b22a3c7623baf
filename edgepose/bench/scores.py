"""The accuracy part of a record, with what a paired comparison on the same people needs."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import numpy as np

from edgepose.bench.record import MetricValue, PersonCounts
from edgepose.evaluation import EvaluationSet, Joints, metric_values, score
from edgepose.metrics.bootstrap import interval, percent_draws
from edgepose.metrics.metric import Metric, natural
from edgepose.metrics.pck import counted_joints, pck


def score_fields(joints: Joints, data: EvaluationSet) -> dict[str, Any]:
    """metrics, persons, per_person, data_sha256: fields of a BenchRecord."""
    metric = natural(data.truth)
    values = metric_values(score(joints, data, metric), data.truth.skeleton)
    return {
        "metrics": {name: MetricValue.model_validate(value) for name, value in values.items()},
        "persons": len(data),
        "per_person": person_counts(joints, data, metric),
        "data_sha256": data_hash(data),
    }


def data_hash(data: EvaluationSet) -> str:
    """Of the labels and of where each crop lies: equal for the same people in the same order."""
    digest = sha256()
    truth = data.truth
    for values in (truth.xy, truth.annotated, truth.head_px, truth.box_xywh):
        digest.update(np.ascontiguousarray(values, dtype=np.float64).tobytes())
    return digest.hexdigest()


def person_counts(joints: Joints, data: EvaluationSet, metric: Metric) -> dict[str, PersonCounts]:
    """Right and scored joints of everybody, by score; {} where a score is no share of joints."""
    if metric.alphas is None or metric.size_px is None:
        return {}
    truth, found = data.truth, {}
    for name, alpha in zip((metric.primary, metric.strict), metric.alphas, strict=True):
        counts = pck(
            joints.image_xy,
            truth.xy,
            size_px=metric.size_px(truth),
            annotated=truth.annotated,
            alpha=alpha,
            counted=counted_joints(truth.skeleton),
        )
        right = (counts.correct & counts.valid).sum(axis=1)
        found[name] = PersonCounts(
            right=tuple(right.tolist()), scored=tuple(counts.valid.sum(axis=1).tolist())
        )
    return found


def share_difference(first: PersonCounts, second: PersonCounts) -> tuple[float, float, float]:
    """second - first in points and its paired 95 % interval. The same people, in the same order."""
    shares, draws = [], []
    for counts in (first, second):
        right, scored = np.array(counts.right), np.array(counts.scored)
        shares.append(100.0 * right.sum() / scored.sum())
        # one column per joint that was right, one per joint that was not: only the sums matter
        width = int(scored.max(initial=1))
        columns = np.arange(width)
        draws.append(percent_draws(columns < right[:, None], columns < scored[:, None]))
    low, high = interval(draws[1] - draws[0])
    return float(shares[1] - shares[0]), low, high
