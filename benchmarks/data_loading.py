"""How many training crops a second one core makes of JPEG files.

    python benchmarks/data_loading.py [--image-hw 480 640] [--crop-px 256] [--count 64] [--rounds 5]

Writes pictures (noise over smooth shapes, so that a file has about the bytes of a photograph) and
COCO labels to a temporary folder, then reads them as training does. Prints crops per second of
processor time (what one core gives, whoever else uses the machine) and of wall time, the median and
the best of the rounds: decoded and cropped, and also augmented with targets made.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch

from edgepose.data.base import PoseDataset
from edgepose.data.coco import Config, open_split
from edgepose.data.crop import Augment, crop_sample
from edgepose.models.pose_model import HeatmapCodec
from edgepose.skeleton import COCO17
from edgepose.train.batches import make_loader


def write_pictures(folder: Path, count: int, image_hw: tuple[int, int]) -> float:
    """`count` JPEGs of one person each and labels.json beside them; the mean file size in bytes."""
    height, width = image_hw
    rng = np.random.default_rng(0)
    content: dict[str, list[object]] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": 1, "name": "person", "keypoints": list(COCO17.joints)}],
    }
    for i in range(count):
        coarse = rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)
        image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        noise = cv2.GaussianBlur(rng.normal(0, 80, image.shape).astype(np.float32), (0, 0), 1.2)
        image = np.clip(image + noise, 0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / f"{i}.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, 94])
        box = [width * 0.3, height * 0.1, width * 0.4, height * 0.8]
        xy = rng.uniform(box[:2], [box[0] + box[2], box[1] + box[3]], (17, 2))
        points = np.concatenate([xy, np.full((17, 1), 2)], axis=1).ravel().tolist()
        content["images"].append({"id": i, "file_name": f"{i}.jpg"})
        content["annotations"].append(
            {
                "id": i,
                "image_id": i,
                "category_id": 1,
                "bbox": box,
                "area": 1.0,
                "keypoints": points,
            }
        )
    (folder / "labels.json").write_text(json.dumps(content))
    return statistics.mean(path.stat().st_size for path in folder.glob("*.jpg"))


def measure(name: str, run: Callable[[], int], rounds: int) -> None:
    run()
    cpu, wall = [], []
    for _ in range(rounds):
        cpu_begin, wall_begin = time.process_time(), time.perf_counter()
        count = run()
        cpu.append(count / (time.process_time() - cpu_begin))
        wall.append(count / (time.perf_counter() - wall_begin))
    for clock, rates in (("processor time", cpu), ("wall time", wall)):
        print(
            f"{name}, 1 thread, {clock}: median {statistics.median(rates):.0f}, "
            f"best {max(rates):.0f} crops/s ({rounds} rounds)"
        )


def crops(dataset: PoseDataset, side: int) -> int:
    for i in range(len(dataset)):
        crop_sample(dataset[i], (side, side))
    return len(dataset)


def batches(dataset: PoseDataset, side: int) -> int:
    loader = make_loader(
        dataset, positions=range(len(dataset)), input_hw=(side, side), batch_size=16,
        codec=HeatmapCodec(), augment_config=Augment(), seed=0,
    )  # fmt: skip
    return sum(len(batch[0]) for batch in loader)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--image-hw", type=int, nargs=2, default=(480, 640))
    parser.add_argument("--crop-px", type=int, default=256)
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    height, width = options.image_hw
    with tempfile.TemporaryDirectory() as folder:
        size = write_pictures(Path(folder), options.count, (height, width))
        config = Config(annotations=Path(folder, "labels.json"), images=folder, train_fraction=1)
        people = open_split(config, "train")
        print(f"{len(people)} JPEGs of {width} x {height}, {size / 1000:.0f} kB on average")
        side = options.crop_px
        measure(f"read and crop to {side} px", lambda: crops(people, side), options.rounds)
        measure("the same, augmented, with targets", lambda: batches(people, side), options.rounds)


if __name__ == "__main__":
    main()
