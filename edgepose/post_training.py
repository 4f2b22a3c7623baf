"""`compress --post-training`: a recipe for somebody's own network, from what the command line says.

Nothing is trained: quantize and export are its stages, and it runs through the same pipeline as any
other. It is written as a file, to be changed and run again.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgepose.data.base import PoseDataset
from edgepose.data.spec import open_config, parse_spec
from edgepose.device.files import write_atomic
from edgepose.errors import EdgeposeError
from edgepose.evaluation import labels_of
from edgepose.fetch import is_url
from edgepose.metrics.metric import natural
from edgepose.models.pose_model import PoseModel
from edgepose.recipe_text import to_yaml
from edgepose.skeleton import Skeleton, skeleton
from edgepose.target import list_targets, load_target

CALIBRATION, DECIDE, SCORED = 256, 64, 1000
"""People that calibrate, that say which layers are to blame, and that are scored, at most."""
MAX_DROP = 1.0
"""What the verdict holds the files against where the command line says nothing."""
MAX_SHIFT_PX, MAX_OFF_SHARE = 0.2, 0.2
"""A calibrated grid is coarser than a trained one: where two runtimes round a sum differently, its
joints move further, and more quarter-pixel signs flip (docs/adr/0006)."""


@dataclass(frozen=True)
class Wish:
    """What the command line says. targets: None for every built-in one that takes INT8."""

    checkpoint: str
    data: str
    calibration: Path | None = None
    targets: tuple[str, ...] | None = None
    max_drop: float | None = None
    color: str = "RGB"
    coding: str | None = None
    sha256: str | None = None


def write_recipe(wish: Wish, load: Callable[[str | Skeleton], Any], *, out: Path) -> Path:
    """The recipe's file, `<out>/<name>/<name>.yaml`.

    load: the labels' skeleton -> the network, which takes it where it does not say its own
    Raises EdgeposeError for a network that was quantized before and for data without labels.
    """
    targets = _targets(wish)
    source, values = parse_spec(wish.data)
    if source == "folder":
        raise EdgeposeError(
            f"{wish.data} has no labels, so nobody can say what INT8 costs",
            fix="give labelled people as --data, and the folder as --calibration",
        )
    everybody = _everybody(source, values)
    model = load(everybody.skeleton.reference)
    if not isinstance(model, PoseModel) or model.spec.form == "deploy":
        raise EdgeposeError(
            f"{wish.checkpoint} has been compressed already",
            fix="give the float network that it was made from",
        )
    folder = wish.calibration is not None
    data = {"source": source, **_divided(source, values, len(everybody), folder=folder)}
    own = skeleton(model.spec.skeleton)
    if own.joints != everybody.skeleton.joints and source == "coco" and own.reference == own.name:
        data["skeleton"] = own.name
    scored = open_config(source, {k: v for k, v in data.items() if k != "source"}, "val")
    name = _name(wish.checkpoint, model)
    student: dict[str, Any] = {
        "arch": model.spec.arch,
        "input_hw": list(model.spec.input_hw),
        "checkpoint": wish.checkpoint
        if is_url(wish.checkpoint)
        else str(Path(wish.checkpoint).resolve()),
    }
    if wish.color != "RGB":
        student["color"] = wish.color
    student |= {
        key: value
        for key, value in (("coding", wish.coding), ("sha256", wish.sha256))
        if value is not None
    }
    quantize: dict[str, Any] = {"mode": "static", "rank_layers": True, "people": DECIDE}
    if wish.calibration is not None:
        quantize["calibration"] = str(wish.calibration.resolve())
    if wish.max_drop is not None:
        quantize["max_drop"] = wish.max_drop
    recipe = {
        "version": 1,
        "name": name,
        "description": f"{Path(wish.checkpoint).name} in INT8 without training",
        "seed": 0,
        "data": data,
        "student": student,
        "metric": natural(labels_of(scored)).word,
        "budget": {"max_drop": MAX_DROP if wish.max_drop is None else wish.max_drop},
        "stages": {
            "quantize": quantize,
            "export": {
                "targets": list(targets),
                "max_shift_px": MAX_SHIFT_PX,
                "max_off_share": MAX_OFF_SHARE,
            },
        },
    }
    path = Path(out) / name / f"{name}.yaml"
    write_atomic(
        path, ("# Written by edgepose compress --post-training.\n" + to_yaml(recipe)).encode()
    )
    return path


def _targets(wish: Wish) -> tuple[str, ...]:
    if wish.targets is None:
        return tuple(name for name in list_targets() if load_target(name).precision == "int8")
    if not wish.targets:
        raise EdgeposeError("--targets names none", fix="see edgepose targets")
    for name in wish.targets:
        load_target(name)
    return wish.targets


def _everybody(source: str, values: dict[str, Any]) -> PoseDataset:
    if source in ("coco", "mpii") and "val_annotations" not in values:
        return open_config(source, {**values, "train_fraction": 0.0}, "val")
    return open_config(source, values, "val")


def _divided(source: str, values: dict[str, Any], people: int, *, folder: bool) -> dict[str, Any]:
    """The data source's keys with a part that calibrates and decides, and another that is scored.

    folder: pictures of another folder calibrate, and the first part is to decide only
    """
    if source == "synthetic":
        return {"train": CALIBRATION, "val": 500, "calibration": 128}
    paths: dict[str, Any] = {key: str(Path(value).resolve()) for key, value in values.items()}
    if source == "lsp":
        return paths
    if "val_annotations" in values:
        raise EdgeposeError(
            "head boxes are of the people that are scored, and these files have no others to calibrate",
            fix="leave the head boxes out of --data, or write a recipe like resnet18_5mb_mpii",
        )
    wanted, largest = (DECIDE, 0.5) if folder else (1.5 * CALIBRATION, 0.8)
    share = min(largest, max(0.1, wanted / people))
    paths |= {"train_fraction": round(share, 3), "calibration_people": CALIBRATION}
    return paths | ({"val_people": SCORED} if source == "coco" else {})


def _name(checkpoint: str, model: PoseModel) -> str:
    """Of the report's folder: the checkpoint's, or of a run's model/ the architecture's."""
    path = Path(checkpoint.split("?")[0].rstrip("/"))
    stem = path.stem if path.suffix in (".pth", ".pt", ".safetensors", ".tar") else path.name
    if stem in ("model", ""):
        stem = model.spec.arch
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._")[:80] + "-int8"
