"""Write this folder's images and manifest: the calibration split of synthetic people.

python calib_data/make.py            # into this folder
python calib_data/make.py OTHER      # into another one, to compare
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import cv2

from edgepose.data import synthetic
from edgepose.device.files import write_atomic

QUALITY = 90


def main(folder: Path) -> None:
    config = synthetic.Config()
    people = synthetic.open_split(config, "calibration")
    images = []
    for index in range(len(people)):
        sample = people[index]
        name = f"person-{index:03d}.jpg"
        bgr = cv2.cvtColor(sample.image, cv2.COLOR_RGB2BGR)
        data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
        write_atomic(folder / name, data)
        images.append(
            {
                "file": name,
                "sha256": hashlib.sha256(data).hexdigest(),
                "box_xywh": [round(float(c), 2) for c in sample.box_xywh],
                "center_xy": [round(float(c), 2) for c in sample.center_xy],
                "size_px": round(sample.size_px, 2),
            }
        )
    rows = ",\n".join("  " + json.dumps(image) for image in images)
    head = f'"version": 1,\n "domain": {json.dumps(people.domain)},\n "images": [\n{rows}\n ]'
    write_atomic(folder / "manifest.json", f"{{{head}}}\n".encode())
    print(f"{len(images)} images in {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
