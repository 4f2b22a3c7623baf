"""Pictures without labels, one person filling each: for calibration and for looking at results."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from edgepose.data.base import PoseSample
from edgepose.data.images import IMAGE_SUFFIXES, read_image
from edgepose.device.files import sha256_file
from edgepose.device.geometry import box_to_crop
from edgepose.errors import EdgeposeError
from edgepose.skeleton import Skeleton, skeleton


class Config(BaseModel):
    """root: folder of pictures, read in order of their names, subfolders included;
    skeleton: the model's, since pictures name none; domain: what the pictures show."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    root: Path
    skeleton: str = "mpii16"
    domain: str = "photographs"


class FolderDataset:
    """Every picture of a folder with the whole picture as the person's box and no joint known."""

    def __init__(self, config: Config) -> None:
        root = config.root
        if not root.is_dir():
            raise EdgeposeError(f"no image folder at {root}", fix="check data.root")
        self.skeleton: Skeleton = skeleton(config.skeleton)
        self.domain = config.domain
        self.paths = sorted(
            path
            for path in root.rglob("*")
            if path.suffix.lower() in IMAGE_SUFFIXES
            and not any(part.startswith(".") for part in path.relative_to(root).parts)
        )
        self._names = [path.relative_to(root).as_posix() for path in self.paths]
        if not self.paths:
            raise EdgeposeError(
                f"{root} holds no images",
                fix=f"add pictures of people ({', '.join(IMAGE_SUFFIXES)})",
            )
        digest = hashlib.sha256(f"folder-v1 {config.skeleton} {config.domain}\n".encode())
        for name, path in zip(self._names, self.paths, strict=True):
            digest.update(f"{sha256_file(path)} {name}\n".encode())
        self.fingerprint = digest.hexdigest()

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> PoseSample:
        image = read_image(self.paths[index])
        height, width = image.shape[:2]
        box = np.array([0, 0, width, height], dtype=np.float32)
        center, size = box_to_crop(box, padding=1.0)
        joints = self.skeleton.num_joints
        return PoseSample(
            image=image,
            joints_xy=np.zeros((joints, 2), dtype=np.float32),
            annotated=np.zeros(joints, dtype=bool),
            box_xywh=box,
            center_xy=center.astype(np.float32),
            size_px=size,
            head_px=float("nan"),
            area_px2=float("nan"),
            sample_id=self._names[index],
        )


def open_split(config: Config, split: str) -> FolderDataset:
    """The folder as calibration data; EdgeposeError for splits that need labels."""
    if split != "calibration":
        raise EdgeposeError(
            f"data.source: folder has no labels, so it has no {split!r} split",
            fix="use it for calibration only; train and score on a labelled source such as coco",
        )
    return FolderDataset(config)
