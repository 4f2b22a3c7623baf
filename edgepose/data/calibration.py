"""Calibration images: a folder with a manifest of person boxes, or simply a folder of pictures."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgepose.data.base import PoseDataset, PoseSample
from edgepose.data.folder import Config as FolderConfig
from edgepose.data.folder import open_folder
from edgepose.data.images import IMAGE_SUFFIXES, read_image
from edgepose.device.files import sha256_file
from edgepose.errors import EdgeposeError
from edgepose.skeleton import Skeleton
from edgepose.skeleton import skeleton as named_skeleton

MANIFEST = "manifest.json"
PHOTOGRAPHS = "photographs"


class ManifestImage(BaseModel):
    """One person in one picture; where only the box is given, the crop is its square x 1.25."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$")
    box_xywh: tuple[float, float, float, float] | None = None
    center_xy: tuple[float, float] | None = None
    size_px: float | None = Field(None, gt=0)


class Manifest(BaseModel):
    """manifest.json of a calibration folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int = Field(1, ge=1, le=1)
    domain: str = PHOTOGRAPHS
    images: tuple[ManifestImage, ...]


class CalibrationImages:
    """The people that a manifest lists; no joint is annotated (PoseDataset)."""

    def __init__(self, folder: Path, manifest: Manifest, skeleton: Skeleton) -> None:
        self.folder, self.images = folder, manifest.images
        self.skeleton, self.domain = skeleton, manifest.domain
        digest = hashlib.sha256(f"calibration-v1 {skeleton.name} {manifest.domain}\n".encode())
        for entry in self.images:
            path = self._path(entry)
            found = sha256_file(path)
            if entry.sha256 is not None and found != entry.sha256:
                raise EdgeposeError(
                    f"{path} is not the image that {folder / MANIFEST} describes",
                    fix="restore it, or remove its sha256 (or the manifest) if it is your own",
                )
            digest.update(f"{found} {entry.model_dump_json()}\n".encode())
        self.fingerprint = digest.hexdigest()

    def _path(self, entry: ManifestImage) -> Path:
        path = self.folder / entry.file
        if not path.resolve().is_relative_to(self.folder.resolve()):
            raise EdgeposeError(
                f"{self.folder / MANIFEST} names {entry.file!r}, outside of its folder",
                fix="keep the images beside the manifest",
            )
        if not path.is_file():
            raise EdgeposeError(
                f"{self.folder / MANIFEST} names {entry.file!r}, which is not there",
                fix="restore it or remove its entry (or the whole manifest)",
            )
        return path

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> PoseSample:
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of {len(self)} in {self.folder}")
        entry = self.images[index]
        image = read_image(self._path(entry))
        height, width = image.shape[:2]
        box = entry.box_xywh or (0.0, 0.0, float(width), float(height))
        x, y, w, h = box
        padding = 1.25 if entry.box_xywh else 1.0
        joints = self.skeleton.num_joints
        return PoseSample(
            image=image,
            joints_xy=np.zeros((joints, 2), np.float32),
            annotated=np.zeros(joints, bool),
            box_xywh=np.array(box, np.float32),
            center_xy=np.array(entry.center_xy or (x + w / 2, y + h / 2), np.float32),
            size_px=entry.size_px or max(w, h) * padding,
            head_px=float("nan"),
            area_px2=float("nan"),
            sample_id=entry.file,
        )


def open_calibration(folder: str | Path, *, skeleton: str = "mpii16") -> PoseDataset:
    """The people in `folder`: those of its manifest.json or, without one, a person per picture.

    skeleton: name of the model's skeleton; pictures carry none
    Pictures without a manifest are of the domain "photographs" and are cropped whole.
    Raises EdgeposeError for a folder that is missing or empty, a manifest that cannot be read or
    does not fit its images.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise EdgeposeError(f"no calibration folder at {folder}", fix="check the path")
    path = folder / MANIFEST
    if path.is_file():
        manifest = _read_manifest(path)
        if not manifest.images:
            raise _empty(folder)
        return CalibrationImages(folder, manifest, named_skeleton(skeleton))
    if not any(p.suffix.lower() in IMAGE_SUFFIXES for p in folder.rglob("*")):
        raise _empty(folder)
    return open_folder(FolderConfig(root=folder, skeleton=skeleton, domain=PHOTOGRAPHS))


def _empty(folder: Path) -> EdgeposeError:
    return EdgeposeError(
        f"the calibration folder {folder} holds no images",
        fix=f"add pictures of people ({', '.join(IMAGE_SUFFIXES)}), 32 or more; see its README.md",
    )


def _read_manifest(path: Path) -> Manifest:
    try:
        data: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EdgeposeError(
            f"{path} is not readable JSON ({error})",
            fix="repair it, or remove it to use all images",
        ) from error
    try:
        return Manifest.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise EdgeposeError(
            f"{path}: {where or 'the file'}: {first['msg']}", fix="see README.md in calib_data/"
        ) from error


def warn_domain(model_domain: str, data_domain: str) -> str | None:
    """The warning to print when a model trained on one domain is calibrated on another."""
    if model_domain == data_domain:
        return None
    return (
        f"WARNING: CALIBRATING ON ANOTHER DOMAIN: the model was trained on {model_domain!r}, the "
        f"calibration images are {data_domain!r}. The INT8 ranges will fit pictures that the model "
        "is not used on, and accuracy can collapse. Use a few dozen images like those that the "
        "model will see (see calib_data/README.md)."
    )
