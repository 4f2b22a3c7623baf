"""COCO keypoint labels and results, checked and scored by the reference package."""

from __future__ import annotations

import contextlib
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from edgepose.errors import EdgeposeError
from edgepose.metrics.coco_ap import evaluate, matches_of
from edgepose.metrics.metric import ap_scores
from edgepose.metrics.oks import sigmas_of

STATS = ("AP", "AP@0.5", "AP@0.75", "AP medium", "AP large",
         "AR", "AR@0.5", "AR@0.75", "AR medium", "AR large")  # fmt: skip
_SHOWN = 5


def score_coco(predictions: Path, ground_truth: Path, *, shift_px: float = 0.0) -> dict[str, Any]:
    """COCO's ten figures in percent, and bootstrap intervals of AP and AP@0.75 over images.

    shift_px: is added to every predicted x and y. EdgeposeError lists what is wrong with a file.
    """
    dataset, names, category = _labels(ground_truth)
    sigmas = sigmas_of(names)
    results = _results(predictions, dataset, len(names), category, shift_px)
    evaluation = evaluate(dataset, results, sigmas)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.summarize()
    people = matches_of(evaluation)
    scores = ap_scores(people, int(people.people.sum()))
    ends = {"AP": scores["oks_ap"].ci95, "AP@0.75": scores["oks_ap@0.75"].ci95}
    return {
        "metric": "oks_ap",
        "persons": int(people.people.sum()),
        "images": len(dataset["images"]),
        "detections": len(results),
        "joints": list(names),
        # COCOeval says -1 where no person is of that size.
        "coco": {name: None if value < 0 else round(100 * float(value), 3)
                 for name, value in zip(STATS, evaluation.stats, strict=True)},
        "ci95": {name: [round(low, 3), round(high, 3)] for name, (low, high) in ends.items()},
    }  # fmt: skip


def _read(path: Path) -> Any:
    if not path.is_file():
        raise EdgeposeError(f"no file at {path}", fix="check the path and its spelling")
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise EdgeposeError(f"{path} is not JSON ({error})", fix="it may be cut short") from error


def _labels(path: Path) -> tuple[dict[str, Any], tuple[str, ...], object]:
    """(the dataset with the keypoint category alone, its joint names, its category id)."""
    content = _read(path)
    lists = ("images", "annotations", "categories")
    if not isinstance(content, dict) or not all(isinstance(content.get(k), list) for k in lists):
        raise EdgeposeError(
            f"{path} is no COCO annotation file", fix=f"it needs the lists {', '.join(lists)}"
        )
    named = [c for c in content["categories"] if isinstance(c, dict) and c.get("keypoints")]
    if len(named) != 1 or "id" not in named[0]:
        raise EdgeposeError(
            f"{path} has {len(named)} categories with keypoint names",
            fix="give a file with one, such as COCO's person_keypoints_*.json",
        )
    category = named[0]["id"]
    names = tuple(str(n).strip().lower().replace(" ", "_") for n in named[0]["keypoints"])
    images = {i.get("id") for i in content["images"] if isinstance(i, dict)}
    problems: list[str] = []
    kept, seen = [], set()
    for at, entry in enumerate(content["annotations"]):
        if not isinstance(entry, dict) or entry.get("category_id") != category:
            continue
        name = f"annotation {entry.get('id', f'number {at}')}"
        points = entry.get("keypoints", [0] * (3 * len(names)))
        if "id" not in entry or entry["id"] in seen:
            problems.append(f"{name} has no id of its own")
        elif entry.get("image_id") not in images:
            problems.append(f"{name} is of image {entry.get('image_id')!r}, which is not listed")
        elif not _finite(points, 3 * len(names)):
            problems.append(f"{name} needs {3 * len(names)} finite keypoint numbers")
        elif not _finite(entry.get("bbox"), 4) or not _finite([entry.get("area")], 1):
            problems.append(f"{name} needs a bbox of four numbers and an area")
        seen.add(entry.get("id"))
        labelled = sum(v > 0 for v in points[2::3]) if not problems else 0
        kept.append({"num_keypoints": labelled, "iscrowd": 0, **entry, "keypoints": points})
    _raise(path, problems)
    if not any(e["num_keypoints"] and not e["iscrowd"] for e in kept):
        raise EdgeposeError(
            f"{path} has no person with keypoints", fix="use an annotation file with keypoints"
        )
    dataset = {
        "info": {}, "images": content["images"], "annotations": kept, "categories": [named[0]],
    }  # fmt: skip
    return dataset, names, category


def _results(
    path: Path, dataset: dict[str, Any], joints: int, category: object, shift_px: float
) -> list[dict[str, Any]]:
    content = _read(path)
    if not isinstance(content, list) or not content:
        raise EdgeposeError(
            f"{path} is no list of COCO results" if content else f"{path} holds no results",
            fix="give a list of {image_id, category_id, keypoints, score}",
        )
    images = {i.get("id") for i in dataset["images"]}
    problems: list[str] = []
    results = []
    for at, entry in enumerate(content):
        name = f"result {at}"
        if not isinstance(entry, dict) or entry.get("image_id") not in images:
            known = entry.get("image_id") if isinstance(entry, dict) else entry
            problems.append(f"{name} is of image {known!r}, which the ground truth does not list")
        elif entry.get("category_id") != category:
            problems.append(f"{name} is of category {entry.get('category_id')!r}, not {category!r}")
        elif not _finite(entry.get("keypoints"), 3 * joints):
            problems.append(f"{name} needs {3 * joints} finite keypoint numbers")
        elif not _finite([entry.get("score")], 1):
            problems.append(f"{name} needs a finite score")
        else:
            points = np.array(entry["keypoints"], dtype=np.float64).reshape(joints, 3)
            points[:, :2] += shift_px
            results.append({"image_id": entry["image_id"], "category_id": category,
                            "keypoints": points.ravel().tolist(), "score": entry["score"]})  # fmt: skip
    _raise(path, problems)
    return results


def _finite(values: object, count: int) -> bool:
    return (
        isinstance(values, list)
        and len(values) == count
        and all(isinstance(v, int | float) and math.isfinite(v) for v in values)
    )


def _raise(path: Path, problems: list[str]) -> None:
    if problems:
        more = f"\n  and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise EdgeposeError(
            f"{path} has {len(problems)} problem{'s' * (len(problems) > 1)}:\n  "
            + "\n  ".join(problems[:_SHOWN])
            + more,
            fix="correct the file, or give the ground truth that it belongs to",
        )
