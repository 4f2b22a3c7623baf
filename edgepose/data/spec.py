"""Data sets in one word of the command line, e.g. `coco:labels.json,images/`."""

from __future__ import annotations

from typing import Any

from edgepose import registry
from edgepose.data.base import PoseDataset
from edgepose.errors import EdgeposeError

SPECS = (
    "synthetic",
    "coco:LABELS.json,IMAGES",
    "mpii:LABELS.json,IMAGES[,HEADS.mat]",
    "lsp:joints.mat,IMAGES",
    "folder:IMAGES[,BOXES.json]",
)


def parse_spec(text: str) -> tuple[str, dict[str, Any]]:
    """(source, keys of its Config) of a word; EdgeposeError for one that is none of SPECS."""
    source, _, rest = text.partition(":")
    parts: list[Any] = [part for part in rest.split(",") if part]
    values = None
    if source == "synthetic" and not parts:
        values = {}
    elif source == "coco" and len(parts) == 2:
        values = {"annotations": parts[0], "images": parts[1]}
    elif source == "mpii" and len(parts) in (2, 3):
        values = {"annotations": parts[0], "images": parts[1]}
        if len(parts) == 3:
            values |= {"val_annotations": parts[0], "head_boxes": parts[2]}
    elif source == "lsp" and len(parts) == 2:
        values = {"annotations": parts[0], "images": parts[1]}
    elif source == "folder" and len(parts) in (1, 2):
        values = {"root": parts[0], "boxes": parts[1] if len(parts) == 2 else None}
    if values is None:
        raise EdgeposeError(
            f"cannot read the data set {text!r}", fix=f"write --data as one of {' '.join(SPECS)}"
        )
    return source, values


def open_spec(text: str) -> PoseDataset:
    """What can be scored of "synthetic" or "lsp", everybody in the files of the other words.

    Raises EdgeposeError for a word that is none of SPECS, and what the source raises.
    """
    source, values = parse_spec(text)
    if source in ("coco", "mpii"):
        values["train_fraction"] = 0.0
    return open_config(source, values, "calibration" if source == "folder" else "val")


def open_config(source: str, values: dict[str, Any], split: str) -> PoseDataset:
    """One split of a source whose Config has these keys."""
    module = registry.sources().module(source)
    dataset: PoseDataset = module.open_split(module.Config(**values), split)
    return dataset
