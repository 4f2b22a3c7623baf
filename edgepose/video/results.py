"""What was found, as files: COCO's results format and a table."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

from edgepose.device.files import write_atomic
from edgepose.predict import Prediction, coco_results
from edgepose.skeleton import Skeleton
from edgepose.video.angles import angles_of, measure_angles


class Results:
    """Collects people and the pictures that they are in; `write` makes the files."""

    def __init__(self, skeleton: Skeleton) -> None:
        self.skeleton = skeleton
        self.people: list[Prediction] = []
        self._images: list[dict[str, Any]] = []

    def add(
        self, people: list[Prediction], *, image_id: int | str, name: str, hw: tuple[int, int]
    ) -> None:
        """One picture or frame; `people` may be empty."""
        self.people += people
        entry = {"id": image_id, "file_name": Path(name).name, "width": hw[1], "height": hw[0]}
        self._images.append(entry)

    def write(self, folder: Path) -> list[Path]:
        """predictions.json (COCO results), images.json (the data set that they refer to, for
        pycocotools' loadRes), predictions.csv (a row for each person in each picture)."""
        results = json.dumps(coco_results(self.people, self.skeleton), indent=1)
        contents = {
            "predictions.json": results + "\n",
            "images.json": json.dumps(self._dataset(), indent=1) + "\n",
            "predictions.csv": csv_text(self.people, self.skeleton),
        }
        for name, content in contents.items():
            write_atomic(folder / name, content.encode())
        return [folder / name for name in contents]

    def _dataset(self) -> dict[str, Any]:
        person = {
            "id": 1,
            "name": "person",
            "keypoints": list(self.skeleton.joints),
            "skeleton": [[a + 1, b + 1] for a, b in self.skeleton.limbs],
        }
        return {"info": {}, "images": self._images, "annotations": [], "categories": [person]}


def csv_text(people: list[Prediction], skeleton: Skeleton) -> str:
    """Columns: picture, frame's time, person, box and score, then x, y and score of each joint in
    pixels, then each angle in degrees (empty where not seen)."""
    angles = angles_of(skeleton)
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    head = ["image", "image_id", "time_s", "person", "score", "box_x", "box_y", "box_w", "box_h"]
    head += [f"{joint}_{what}" for joint in skeleton.joints for what in ("x", "y", "score")]
    table.writerow([*head, *(f"{angle.name}_deg" for angle in angles)])
    for p in people:
        time_s = "" if p.time_s is None else f"{p.time_s:.4f}"
        row = [Path(p.image).name, p.image_id, time_s, "" if p.track is None else p.track]
        row += [f"{p.score:.4f}", *(f"{v:.2f}" for v in p.box_xywh)]
        for (x, y), score in zip(p.joints_xy, p.scores, strict=True):
            row += [f"{x:.2f}", f"{y:.2f}", f"{score:.4f}"]
        degrees = measure_angles(p.joints_xy, p.scores, angles)
        table.writerow(row + ["" if d != d else f"{d:.2f}" for d in degrees])
    return out.getvalue()
