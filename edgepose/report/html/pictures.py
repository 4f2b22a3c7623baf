"""People of the validation data with what each model found on them."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from edgepose.report.html.blocks import Gallery, Person, Picture
from edgepose.report.overlay import draw_skeletons
from edgepose.report.people import People, errors
from edgepose.skeleton import Skeleton

View = tuple[str, NDArray[np.floating], NDArray[np.generic]]
SIDE_PX = 256
QUALITY = 78


def _jpeg(image: NDArray[np.uint8]) -> str:
    done, data = cv2.imencode(
        ".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
    )
    if not done:
        raise ValueError(f"OpenCV cannot encode an image of shape {image.shape}")
    return "data:image/jpeg;base64," + base64.b64encode(bytes(data)).decode()


def gallery(people: People, columns: Sequence[tuple[str, str]], *, word: str) -> Gallery | None:
    """The people that are kept with pictures. columns: (title, row of the report) side by side.

    word: the metric that errors are told in
    """
    shown = people.shown
    columns = [(title, name) for title, name in columns if name in people.found]
    if shown is None or not columns or not len(shown.index):
        return None
    wrong = {name: errors(people, name, word) for _, name in columns}
    made = []
    for i, (person, kind) in enumerate(zip(shown.index, shown.kinds, strict=True)):
        name = f"{kind} {shown.kinds[: i + 1].count(kind)}"
        labelled = people.truth.annotated[person]
        labels = np.where(labelled[:, None], people.truth.xy[person], np.nan)
        views: list[View] = [("labels", labels, labelled)]
        for title, row in columns:
            found, error = people.found[row], wrong[row][person]
            told = f", error {np.nanmean(error):.2f}" if np.isfinite(error).any() else ""
            views.append((f"{title}{told}", found.image_xy[person], found.score[person]))
        pictures = []
        for title, xy, confidence in views:
            drawn = _drawn(shown.crops[i], shown.matrices[i], xy, confidence, people.truth.skeleton)
            pictures.append(Picture(title, _jpeg(drawn), f"{name}: skeleton by {title}"))
        made.append(Person(name, pictures))
    return Gallery(made)


def _drawn(
    crop: NDArray[np.uint8],
    matrix: NDArray[np.float64],
    image_xy: NDArray[np.floating],
    confidence: NDArray[np.generic],
    joints: Skeleton,
) -> NDArray[np.uint8]:
    """A crop enlarged to SIDE_PX with a skeleton on it; matrix: (2, 3) image px -> crop px."""
    factor = SIDE_PX / max(crop.shape[:2])
    size = round(crop.shape[1] * factor), round(crop.shape[0] * factor)
    large = np.asarray(cv2.resize(crop, size, interpolation=cv2.INTER_CUBIC), dtype=np.uint8)
    crop_xy = np.asarray(image_xy, dtype=np.float64) @ matrix[:, :2].T + matrix[:, 2]
    xy = (crop_xy + 0.5) * factor - 0.5
    # An unsure joint counts in the score like any other: it is drawn, faintly.
    return draw_skeletons(large, [xy], [confidence.astype(np.float64)], joints, threshold=0.0)
