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
    made = []
    for i, (person, kind) in enumerate(zip(shown.index, shown.kinds, strict=True)):
        crop, matrix = shown.crops[i], shown.matrices[i]
        factor = SIDE_PX / max(crop.shape[:2])
        size = round(crop.shape[1] * factor), round(crop.shape[0] * factor)
        large = cv2.resize(crop, size, interpolation=cv2.INTER_CUBIC)
        labels = people.truth.annotated[person].astype(np.float64)
        name = f"{kind} {sum(k == kind for k in shown.kinds[: i + 1])}"

        def drawn(
            xy: NDArray[np.floating], confidence: NDArray[np.floating], title: str, told: str,
            *, image: NDArray[np.uint8] = np.asarray(large, dtype=np.uint8),
            to_crop: NDArray[np.float64] = matrix, scale: float = factor, name: str = name,
        ) -> Picture:  # fmt: skip
            inside = np.asarray(xy, dtype=np.float64) @ to_crop[:, :2].T + to_crop[:, 2]
            picture = draw_skeletons(
                image, [inside * scale + 0.5 * (scale - 1)], [confidence], people.truth.skeleton
            )
            return Picture(
                f"{title}{told}", _jpeg(picture), f"{name}: skeleton by {title}{told}"
            )

        pictures = [drawn(people.truth.xy[person], labels, "labels", "")]
        for title, row in columns:
            error = errors(people, row, word)[person]
            mean = np.nanmean(error) if np.isfinite(error).any() else np.nan
            told = f", error {mean:.2f}" if np.isfinite(mean) else ""
            found = people.found[row]
            pictures.append(drawn(found.image_xy[person], found.score[person], title, told))
        made.append(Person(name, pictures))
    return Gallery(made)
