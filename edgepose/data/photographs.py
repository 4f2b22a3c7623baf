"""People in image files: the data set behind every source that reads labels and pictures."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgepose.data.base import PoseSample
from edgepose.data.images import read_image
from edgepose.data.sift import NOTHING_BAD, Bad
from edgepose.errors import EdgeposeError
from edgepose.skeleton import Skeleton, shared_joints

PADDING = 1.25  # HRNet widens people's boxes by this


@dataclass(frozen=True)
class Labels:
    """A PoseSample (see there for the units) whose picture is still in its file.

    image_id: what one picture's people share; splits never part them
    image_hw: (height, width) that the labels were made for, None where they do not say
    """

    sample_id: str
    image_id: str
    path: Path
    joints_xy: NDArray[np.float32]
    annotated: NDArray[np.bool_]
    box_xywh: NDArray[np.float32]
    center_xy: NDArray[np.float32]
    size_px: float
    head_px: float = math.nan
    area_px2: float = math.nan
    tags: frozenset[str] = frozenset()
    image_hw: tuple[int, int] | None = None
    visible: NDArray[np.bool_] | None = None


@dataclass
class Photographs:
    """The people of one split, in order (PoseDataset).

    version: names the source and everything of its configuration that decides the content
    skipped: how many labels were left out on purpose, by reason (crowds, no keypoints)
    bad:     what could not be used and was passed over
    """

    people: Sequence[Labels]
    skeleton: Skeleton
    version: str
    domain: str = "photographs"
    skipped: Mapping[str, int] = field(default_factory=dict)
    bad: Bad = NOTHING_BAD
    fingerprint: str = field(init=False)

    def __post_init__(self) -> None:
        self._last: tuple[Path, NDArray[np.uint8]] | None = None
        digest = hashlib.sha256(f"{self.version} {self.skeleton!r} {self.domain}\n".encode())
        for person in self.people:
            text = f"{person.sample_id} {person.path.name} {person.path.stat().st_size} "
            numbers = (*person.center_xy, person.size_px, person.head_px, person.area_px2)
            digest.update((text + " ".join(repr(float(n)) for n in numbers)).encode())
            digest.update(person.joints_xy.tobytes() + person.annotated.tobytes())
        self.fingerprint = digest.hexdigest()

    def __len__(self) -> int:
        return len(self.people)

    def __getitem__(self, index: int) -> PoseSample:
        person = self.people[index]
        return PoseSample(
            image=self._image(person.path),
            joints_xy=person.joints_xy.copy(),
            annotated=person.annotated.copy(),
            box_xywh=person.box_xywh.copy(),
            center_xy=person.center_xy.copy(),
            size_px=person.size_px,
            head_px=person.head_px,
            area_px2=person.area_px2,
            sample_id=person.sample_id,
            tags=person.tags,
            visible=None if person.visible is None else person.visible.copy(),
        )

    def _image(self, path: Path) -> NDArray[np.uint8]:
        """The picture, read-only: people of one image that follow each other share it."""
        if self._last is not None and self._last[0] == path:
            return self._last[1]
        image = read_image(path)
        image.flags.writeable = False
        self._last = (path, image)
        return image


def around(box_xywh: ArrayLike, *, padding: float = PADDING) -> tuple[NDArray[np.float32], float]:
    """(center_xy, size_px) of a box, as `box_to_crop` has them; a box that is none is not refused
    here but counted by `sift`."""
    box = np.asarray(box_xywh, dtype=np.float64)
    center: NDArray[np.float32] = (box[:2] + 0.5 * box[2:]).astype(np.float32)
    return center, float(padding * max(box[2], box[3]))


def unit(key: object) -> float:
    """A fixed number in [0, 1) for a key, the same on every machine."""
    return int.from_bytes(hashlib.sha256(str(key).encode()).digest()[:8], "big") / 2.0**64


def split_by_image(people: Sequence[Labels], split: str, *, train_fraction: float) -> list[Labels]:
    """The people of "val", or of "train" (also for "calibration"), by a hash of their image's id."""
    return [p for p in people if (unit(p.image_id) < train_fraction) == (split != "val")]


def with_joints(people: Sequence[Labels], own: Skeleton, wanted: Skeleton) -> list[Labels]:
    """The people with another skeleton's joints, taken by name; what their labels lack is not
    annotated. EdgeposeError where no joint is shared."""
    to, source, names = shared_joints(wanted, own)
    if not names:
        raise EdgeposeError(
            f"no joint of {wanted.name} is among the labels' ({', '.join(own.joints[:4])}, ...)",
            fix="name the skeleton that both have, or give other labels",
        )

    def moved(values: NDArray[Any], empty: NDArray[Any]) -> NDArray[Any]:
        empty[list(to)] = values[list(source)]
        return empty

    count = wanted.num_joints
    return [
        replace(
            person,
            joints_xy=moved(person.joints_xy, np.full((count, 2), -1, np.float32)),
            annotated=moved(person.annotated, np.zeros(count, bool)),
            visible=None
            if person.visible is None
            else moved(person.visible, np.zeros(count, bool)),
        )
        for person in people
    ]


def some_of(people: Sequence[Labels], count: int, *, salt: str = "calibration") -> list[Labels]:
    """At most `count` of the people, a fixed choice; a higher count only adds some."""
    chosen = sorted(people, key=lambda p: unit(f"{salt} {p.sample_id.rsplit('/')[-1]}"))
    kept = {p.sample_id for p in chosen[:count]}
    return [p for p in people if p.sample_id in kept]


def unknown_split(split: str) -> EdgeposeError:
    return EdgeposeError(f"unknown split {split!r}", fix="use train, val or calibration")
