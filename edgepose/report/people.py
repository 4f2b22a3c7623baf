"""people.npz: what every model of a run found on every person that it was scored on.

It lies in the run folder, so that a report can be drawn again, and two runs compared person by
person, without the data set.
"""

from __future__ import annotations

import dataclasses
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgepose.device.files import write_atomic
from edgepose.errors import EdgeposeError
from edgepose.metrics.metric import METRICS, Metric, Score
from edgepose.metrics.pck import longer_side_px
from edgepose.metrics.truth import Truth
from edgepose.skeleton import Skeleton, from_json, skeleton

FILE_NAME = "people.npz"
FORMAT = 1
_SHOWN = 3  # people that the model is worst at, and as many that it does as well as on average


@dataclass(frozen=True)
class Found:
    """What one model found: image_xy (N, J, 2) image px, score (N, J)."""

    image_xy: NDArray[np.float32]
    score: NDArray[np.float32]


@dataclass(frozen=True)
class Shown:
    """Some people with their pictures. index: (K,) into all; crops: (K, H, W, 3) uint8 RGB;
    matrices: (K, 2, 3) image px -> crop px; kinds: "worst" or "typical" for each"""

    index: NDArray[np.int64]
    crops: NDArray[np.uint8]
    matrices: NDArray[np.float64]
    kinds: tuple[str, ...]


@dataclass(frozen=True)
class People:
    """The scored people of a run. found: by the name of the report's row."""

    truth: Truth
    found: Mapping[str, Found]
    shown: Shown | None = None

    def scores(self, name: str, metric: Metric) -> dict[str, Score]:
        """A row's two scores, as the run computed them."""
        return metric.score(self.found[name].image_xy, self.found[name].score, self.truth)


def errors(people: People, name: str, word: str) -> NDArray[np.float64]:
    """(N, J) distance from the label in parts of the metric's size; nan where nothing is counted.

    A metric that is no PCK has no such size: the longer side of the box stands in.
    """
    truth, metric = people.truth, METRICS[word]
    size = longer_side_px(truth.box_xywh) if metric.size_px is None else metric.size_px(truth)
    distance = np.linalg.norm(people.found[name].image_xy - truth.xy, axis=2)
    counted = truth.annotated.copy()
    counted[:, list(truth.skeleton.uncounted)] = False
    with np.errstate(divide="ignore", invalid="ignore"):
        error = distance / np.asarray(size, dtype=np.float64)[:, None]
    return np.where(counted & np.isfinite(error), error, np.nan)


def choose(people: People, name: str, word: str) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """The people to show for a row: those with the largest mean error, then those around the median.

    Only people with half of their joints counted or more; each once.
    """
    error = errors(people, name, word)
    counted = np.isfinite(error)
    enough = counted.sum(axis=1) >= max(1, counted.shape[1] // 2)
    mean = np.where(counted, error, 0.0).sum(axis=1) / np.maximum(counted.sum(axis=1), 1)
    order = np.flatnonzero(enough)[np.argsort(mean[enough], kind="stable")]
    worst = order[::-1][:_SHOWN]
    middle = len(order) // 2 - _SHOWN // 2
    typical = [i for i in order[max(middle, 0) :] if i not in set(worst)][:_SHOWN]
    return (
        np.array([*worst, *typical], dtype=np.int64),
        ("worst",) * len(worst) + ("typical",) * len(typical),
    )


def save_people(people: People, path: Path) -> None:
    """Write people.npz, atomically."""
    truth = people.truth
    joints = truth.skeleton.reference
    about = {
        "format": FORMAT,
        "skeleton": joints if isinstance(joints, str) else dataclasses.asdict(joints),
        "images": truth.images,
        "rows": list(people.found),
        "kinds": None if people.shown is None else people.shown.kinds,
    }
    arrays: dict[str, NDArray[np.generic]] = {
        "about": np.array(json.dumps(about)),
        "xy": truth.xy, "annotated": truth.annotated, "head_px": truth.head_px,
        "area_px2": truth.area_px2, "box_xywh": truth.box_xywh,
    }  # fmt: skip
    for i, found in enumerate(people.found.values()):
        arrays |= {f"xy_{i}": found.image_xy, f"score_{i}": found.score}
    if people.shown is not None:
        shown = people.shown
        arrays |= {"index": shown.index, "crops": shown.crops, "matrices": shown.matrices}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    write_atomic(path, buffer.getvalue())


def load_people(path: Path) -> People | None:
    """What `save_people` wrote; None where there is no such file.

    EdgeposeError for one that is cut short or of another version.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            about = json.loads(str(arrays["about"]))
            if about["format"] != FORMAT:
                raise ValueError(f"format {about['format']!r}")
            joints: Skeleton = skeleton(from_json(about["skeleton"]))
            truth = Truth(
                xy=arrays["xy"], annotated=arrays["annotated"], skeleton=joints,
                head_px=arrays["head_px"], area_px2=arrays["area_px2"],
                box_xywh=arrays["box_xywh"], images=tuple(about["images"]),
            )  # fmt: skip
            found = {
                name: Found(arrays[f"xy_{i}"], arrays[f"score_{i}"])
                for i, name in enumerate(about["rows"])
            }
            shown = None
            if about["kinds"] is not None:
                shown = Shown(
                    arrays["index"], arrays["crops"], arrays["matrices"], tuple(about["kinds"])
                )
            return People(truth, found, shown)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile, EOFError) as error:
        raise EdgeposeError(
            f"{path} cannot be read: {error}",
            fix="remove it (the report then leaves out what needs it), or copy the run again",
        ) from error
