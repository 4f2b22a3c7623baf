"""What is in a data set, and what should not be: counts, boxes, and pictures in two splits."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgepose.data.base import PoseDataset
from edgepose.data.images import Picture, dhash
from edgepose.data.leaks import Shot, find_leaks
from edgepose.data.photographs import Photographs
from edgepose.data.sift import look_at
from edgepose.device.files import sha256_file
from edgepose.progress import Progress

_SMALL_PX = 32  # a person whose box is smaller than this on its longer side
_PERCENTILES = (1, 5, 25, 50, 75, 95, 99)


@dataclass(frozen=True)
class _Seen:
    """One person, without the picture."""

    image_id: str
    hw: tuple[int, int]
    box_xywh: NDArray[np.float32]
    joints_xy: NDArray[np.float32]
    annotated: NDArray[np.bool_]
    size_px: float
    has_head: bool
    tags: frozenset[str]


def inspect(
    splits: Mapping[str, PoseDataset], *, limit: int | None = None, progress: Progress
) -> dict[str, Any]:
    """Counts, visibility and box statistics of each split, and pictures that two of them share.

    limit: look at the first so many people of each split only
    returns JSON values: {"splits": {name: ...}, "leaks": [...], "shared": {"a / b": {kind: count}}}
    """
    result: dict[str, Any] = {"splits": {}}
    shots: dict[str, list[Shot]] = {}
    for name, dataset in splits.items():
        count = len(dataset) if limit is None else min(limit, len(dataset))
        if isinstance(dataset, Photographs):
            seen, shots[name] = _from_files(dataset, count, name, progress)
        else:
            seen, shots[name] = _from_samples(dataset, count, name, progress)
        result["splits"][name] = {
            **_facts(dataset),
            "looked_at": count,
            **_statistics(seen, dataset.skeleton.joints),
        }
    return {**result, **find_leaks(shots)}


def _facts(dataset: PoseDataset) -> dict[str, Any]:
    bad = getattr(dataset, "bad", None)
    return {
        "people": len(dataset),
        "skeleton": dataset.skeleton.name,
        "domain": dataset.domain,
        "fingerprint": dataset.fingerprint,
        "skipped": dict(getattr(dataset, "skipped", {})),
        "unusable": {
            "counts": dict(bad.counts) if bad else {},
            "examples": {k: list(v) for k, v in bad.examples.items()} if bad else {},
        },
    }


def _from_files(
    dataset: Photographs, count: int, name: str, progress: Progress
) -> tuple[list[_Seen], list[Shot]]:
    people = dataset.people[:count]
    paths = list(dict.fromkeys(person.path for person in people))
    looks = {path: look for path, look in look_at(paths).items() if isinstance(look, Picture)}
    shots = []
    for i, path in enumerate(paths):
        shots.append(Shot(_short(path), looks[path].dhash, sha256_file(path), path))
        progress(f"read {name}", i + 1, len(paths))
    seen = [
        _Seen(
            image_id=str(person.path),
            hw=looks[person.path].hw,
            box_xywh=person.box_xywh,
            joints_xy=person.joints_xy,
            annotated=person.annotated,
            size_px=person.size_px,
            has_head=bool(np.isfinite(person.head_px)),
            tags=person.tags,
        )
        for person in people
    ]
    return seen, shots


def _from_samples(
    dataset: PoseDataset, count: int, name: str, progress: Progress
) -> tuple[list[_Seen], list[Shot]]:
    """The same of a set without files: every picture is asked for, and its pixels are hashed."""
    seen, shots = [], {}
    for i in range(count):
        sample = dataset[i]
        grey = np.asarray(cv2.cvtColor(sample.image, cv2.COLOR_RGB2GRAY), np.uint8)
        digest = hashlib.sha256(repr(sample.image.shape).encode() + sample.image.tobytes())
        shots[digest.hexdigest()] = Shot(sample.sample_id, dhash(grey), digest.hexdigest(), grey)
        seen.append(
            _Seen(
                image_id=digest.hexdigest(),
                hw=(sample.image.shape[0], sample.image.shape[1]),
                box_xywh=sample.box_xywh,
                joints_xy=sample.joints_xy,
                annotated=sample.annotated,
                size_px=sample.size_px,
                has_head=bool(np.isfinite(sample.head_px)),
                tags=sample.tags,
            )
        )
        progress(f"read {name}", i + 1, count)
    return seen, list(shots.values())


def _short(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def _statistics(seen: Sequence[_Seen], joints: Sequence[str]) -> dict[str, Any]:
    if not seen:
        return {"images": 0}
    annotated = np.stack([person.annotated for person in seen])
    xy = np.stack([person.joints_xy for person in seen])
    boxes = np.stack([person.box_xywh for person in seen]).astype(np.float64)
    wh = np.array([person.hw[::-1] for person in seen], dtype=np.float64)
    longer = boxes[:, 2:].max(axis=1)
    low, high = np.maximum(boxes[:, :2], 0), np.minimum(boxes[:, :2] + boxes[:, 2:], wh)
    cut = np.clip(high - low, 0, None).prod(axis=1) < 0.9 * boxes[:, 2:].prod(axis=1)
    outside = annotated & ((xy < -0.5) | (xy > wh[:, None] - 0.5)).any(axis=-1)
    away = np.abs(xy - (boxes[:, None, :2] + 0.5 * boxes[:, None, 2:]))
    region = np.array([person.size_px for person in seen])[:, None, None]
    uncropped = annotated & (away > region / 2).any(axis=-1)
    per_image = list(Counter(person.image_id for person in seen).values())
    tags = Counter(tag for person in seen for tag in person.tags)
    return {
        "images": len(per_image),
        "people_per_image": {"mean": float(np.mean(per_image)), "max": max(per_image)},
        "annotated_joints": dict(zip(joints, annotated.sum(axis=0).tolist(), strict=True)),
        "joints_per_person": _spread(annotated.sum(axis=1)),
        "box_longer_side_px": _spread(longer),
        "box_share_of_image": _spread(boxes[:, 2:].prod(axis=1) / wh.prod(axis=1)),
        "image_longer_side_px": _spread(wh.max(axis=1)),
        "boxes_under_32_px": int((longer < _SMALL_PX).sum()),
        "boxes_cut_by_the_image": int(cut.sum()),
        "joints_outside_the_image": int(outside.sum()),
        "joints_outside_the_crop": int(uncropped.sum()),
        "with_head_size": sum(person.has_head for person in seen),
        "tags": dict(sorted(tags.items())),
    }


def _spread(values: NDArray[Any]) -> dict[str, float]:
    """min, percentiles and max, to three digits after the point."""
    found = np.percentile(values.astype(np.float64), _PERCENTILES)
    named = {f"p{p}": value for p, value in zip(_PERCENTILES, found.tolist(), strict=True)}
    low, high = float(values.min()), float(values.max())
    return {key: round(v, 3) for key, v in {"min": low, **named, "max": high}.items()}
