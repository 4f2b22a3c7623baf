"""Where a network's weights come from: a model folder, a checkpoint file, or a URL of one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from edgepose.device.coding import check_coding
from edgepose.errors import EdgeposeError
from edgepose.fetch import Source, cached, fetch
from edgepose.models.checkpoints import load_checkpoint
from edgepose.models.pose_model import PoseModel
from edgepose.progress import Progress
from edgepose.skeleton import Skeleton

PHOTOGRAPHS = "photographs"
"""What published checkpoints were trained on."""


@dataclass(frozen=True)
class Wanted:
    """What a checkpoint file does not say itself, see `load_checkpoint`. Of model folders nothing is
    asked but that the named coding fits theirs, where one is named."""

    skeleton: str | Skeleton
    input_hw: tuple[int, int]
    arch: str | None = None
    color: str = "RGB"
    seed: int = 0
    coding: str | None = None


def is_here(source: Source) -> bool:
    """Whether loading it needs no network."""
    return not source.is_remote or cached(source) is not None


def load_weights(
    source: Source, wanted: Wanted, *, report: Progress, warn: Callable[[str], None]
) -> PoseModel:
    """The model in a folder that edgepose wrote, or in a checkpoint file, fetched where it is a URL."""
    path = fetch(source, report=report, warn=warn)
    if path.is_dir():
        if source.sha256 is not None or wanted.color != "RGB":
            raise EdgeposeError(
                f"{path} is a model folder, which knows its own hash and channel order",
                fix="leave out sha256 and color",
            )
        return _of_coding(PoseModel.load(path), path, coding=wanted.coding, warn=warn)
    if (path.parent / "model.json").exists() and path.name == "model.safetensors":
        return _of_coding(PoseModel.load(path.parent), path, coding=wanted.coding, warn=warn)
    loaded = load_checkpoint(path, domain=PHOTOGRAPHS, **vars(wanted))
    for note in loaded.notes:
        warn(note)
    return loaded.model


def _of_coding(
    model: PoseModel, path: Path, *, coding: str | None, warn: Callable[[str], None]
) -> PoseModel:
    """The model, read by the named coding from here on.

    Standard and DARK heatmaps lie on each other, so a network of one may go on in the other. Raises
    EdgeposeError where a pixel of the two is another place of the crop.
    """
    own = model.spec.codec
    if coding is None or coding == own.coding:
        return model
    wanted = replace(own, coding=check_coding(coding))
    if wanted.alignment != own.alignment:
        raise EdgeposeError(
            f"{path} was trained with the {own.coding} coding, whose heatmaps do not lie on those "
            f"of {coding}",
            fix=f"leave out coding, or set it to {own.coding}; a model folder knows its own",
        )
    warn(f"{path} was trained with the {own.coding} coding, and is read by {coding} from here on")
    return PoseModel(replace(model.spec, codec=wanted), model.tensors)
