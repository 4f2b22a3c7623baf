"""COCO's keypoint AP and AR: pycocotools matches and counts, only the resampling is ours.

pycocotools is the code that published figures come from, and it keeps its matches per image, which
is what a bootstrap needs.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgepose.metrics.bootstrap import RESAMPLES, draw_rows
from edgepose.metrics.oks import sigmas_of

THRESHOLDS: Sequence[float] = tuple(float(t) for t in np.linspace(0.5, 0.95, 10))
_RECALLS = np.linspace(0.0, 1.0, 101)
_NOWHERE = 1e8  # pixels; where a prediction that is no number is put
_CONFIDENT = 0.2  # HRNet rescores a person by the joints above this
_ROWS = 50


@dataclass(frozen=True)
class Matches:
    """What COCOeval counted at each of the ten OKS thresholds, fractions of 1, and why.

    ap, recall: (10,)
    image:   (D,) index of each detection's image, detections from sure to unsure
    true, false: (10, D) bool; a detection that matched an ignored person is neither
    people:  (I,) counted persons of each image
    """

    ap: NDArray[np.float64]
    recall: NDArray[np.float64]
    image: NDArray[np.int64]
    true: NDArray[np.bool_]
    false: NDArray[np.bool_]
    people: NDArray[np.int64]

    @cached_property
    def ap_draws(self) -> NDArray[np.float64]:
        """(1000, 10) AP at each threshold, each over images drawn with replacement.

        A person is matched within the image, so matches stay as they are and only weights change:
        the figure is COCOeval's own on a data set in which each image stands as often as drawn.
        """
        draws = [self._weighted(block[start : start + _ROWS])
                 for block in draw_rows(len(self.people), 0, RESAMPLES)
                 for start in range(0, len(block), _ROWS)]  # fmt: skip
        return np.concatenate(draws)

    def _weighted(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """(r, 10) AP for rows (r, I) of drawn images. Precision is highest at true positives and
        recall changes only there, so nothing else is looked at."""
        images = len(self.people)
        weights = np.stack([np.bincount(row, minlength=images) for row in rows]).astype(np.float64)
        wanted = weights @ self.people
        of_detection = weights[:, self.image]
        result = np.zeros((len(rows), len(THRESHOLDS)))
        for t in range(len(THRESHOLDS)):
            at = np.nonzero(self.true[t])[0]
            if not len(at):
                continue
            hits = np.cumsum(of_detection[:, at], axis=1)
            misses = np.cumsum(of_detection * self.false[t], axis=1)[:, at]
            precision = hits / (hits + misses + np.spacing(1.0))
            best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
            with np.errstate(invalid="ignore", divide="ignore"):
                recall = hits / wanted[:, None]
            reached = np.searchsorted(_RECALLS, recall.ravel(), side="right").reshape(recall.shape)
            result[:, t] = (best * np.diff(reached, axis=1, prepend=0)).sum(axis=1) / len(_RECALLS)
        result[wanted == 0] = np.nan
        return result


def matches_of(evaluation: Any) -> Matches:
    """The matches of a COCOeval that was evaluated and accumulated, people of every size."""
    images = len(evaluation.params.imgIds)
    scores, places, true, false = [], [], [], []
    people = np.zeros(images, dtype=np.int64)
    for place, entry in enumerate(evaluation.evalImgs[:images]):
        if entry is None:
            continue
        people[place] = np.count_nonzero(np.asarray(entry["gtIgnore"]) == 0)
        ignored = np.asarray(entry["dtIgnore"], dtype=bool)
        matched = np.asarray(entry["dtMatches"]) > 0
        scores += entry["dtScores"]
        places += [place] * len(entry["dtScores"])
        true.append(matched & ~ignored)
        false.append(~matched & ~ignored)
    order = np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable")
    none = np.zeros((len(THRESHOLDS), 0), dtype=bool)
    return Matches(
        ap=evaluation.eval["precision"][:, :, 0, 0, -1].mean(axis=1),
        recall=evaluation.eval["recall"][:, 0, 0, -1],
        image=np.asarray(places, dtype=np.int64)[order],
        true=np.concatenate([none, *true], axis=1)[:, order],
        false=np.concatenate([none, *false], axis=1)[:, order],
        people=people,
    )


def rescored(joint_scores: ArrayLike) -> NDArray[np.float64]:
    """(N, J) heatmap maxima -> (N,) confidence: the mean of those above 0.2, 0 where none is.

    Source: HRNet's lib/dataset/coco.py, boxes given (box score 1, no suppression of doubles).
    """
    scores = np.asarray(joint_scores, dtype=np.float64)
    sure = scores > _CONFIDENT
    counts = sure.sum(axis=1)
    mean: NDArray[np.float64] = np.where(sure, scores, 0.0).sum(axis=1) / np.maximum(counts, 1)
    return mean


def match(
    pred_xy: ArrayLike,
    confidence: ArrayLike,
    true_xy: ArrayLike,
    *,
    annotated: ArrayLike,
    area_px2: ArrayLike,
    joints: Sequence[str],
    images: Sequence[str],
) -> Matches:
    """Match predictions with people, each prediction made in a given box; COCO's rules.

    pred_xy, true_xy: (N, J, 2) image pixels; confidence: (N,); annotated: (N, J)
    area_px2: (N,) finite and positive; images: (N,) the image of each person
    joints:   (J,) names; EdgeposeError for those that COCO has no sigma for
    """
    sigmas = sigmas_of(joints)
    true, known = np.asarray(true_xy, dtype=np.float64), np.asarray(annotated, dtype=bool)
    predicted = np.asarray(pred_xy, dtype=np.float64)
    predicted = np.where(np.isfinite(predicted), predicted, _NOWHERE)
    area, sure = np.asarray(area_px2, dtype=np.float64), np.asarray(confidence, dtype=np.float64)
    numbers = {name: i + 1 for i, name in enumerate(dict.fromkeys(images))}
    truth: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for i, image in enumerate(images):
        places = {"image_id": numbers[image], "category_id": 1}
        labels = np.concatenate([true[i], 2.0 * known[i][:, None]], axis=1)
        truth.append({
            **places, "id": i + 1, "iscrowd": 0, "area": float(area[i]), "bbox": [0, 0, 1, 1],
            "keypoints": labels.ravel().tolist(), "num_keypoints": int(known[i].sum()),
        })  # fmt: skip
        points = np.concatenate([predicted[i], np.ones((len(joints), 1))], axis=1)
        found.append({**places, "keypoints": points.ravel().tolist(), "score": float(sure[i])})
    dataset = {
        "info": {},
        "images": [{"id": number} for number in numbers.values()],
        "categories": [{"id": 1, "name": "person"}],
        "annotations": truth,
    }
    return matches_of(evaluate(dataset, found, sigmas, every_size=False))


def evaluate(
    dataset: dict[str, Any],
    results: list[dict[str, Any]],
    sigmas: NDArray[np.float64],
    *,
    every_size: bool = True,
) -> Any:
    """A COCOeval of COCO labels and results, evaluated and accumulated; it prints nothing.

    every_size: also count medium and large people on their own
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = dataset
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), "keypoints")
        evaluation.params.kpt_oks_sigmas = sigmas
        if not every_size:
            evaluation.params.areaRng = evaluation.params.areaRng[:1]
            evaluation.params.areaRngLbl = evaluation.params.areaRngLbl[:1]
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation
