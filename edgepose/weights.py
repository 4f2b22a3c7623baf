"""Where a network's weights come from: a model folder, a checkpoint file, or a URL of one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from edgepose.errors import EdgeposeError
from edgepose.fetch import Source, cached, fetch
from edgepose.models.checkpoints import load_checkpoint
from edgepose.models.pose_model import PoseModel
from edgepose.skeleton import Skeleton

PHOTOGRAPHS = "photographs"
"""What published checkpoints were trained on."""

Report = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Wanted:
    """What a checkpoint file does not say itself, see `load_checkpoint`; not asked of model folders."""

    skeleton: str | Skeleton
    input_hw: tuple[int, int]
    arch: str | None = None
    color: str = "RGB"
    seed: int = 0


def is_here(source: Source) -> bool:
    """Whether loading it needs no network."""
    return not source.is_remote or cached(source) is not None


def load_weights(
    source: Source, wanted: Wanted, *, report: Report, warn: Callable[[str], None]
) -> PoseModel:
    """The model in a folder that edgepose wrote, or in a checkpoint file, fetched where it is a URL."""
    path = fetch(source, report=report, warn=warn)
    if path.is_dir():
        if source.sha256 is not None or wanted.color != "RGB":
            raise EdgeposeError(
                f"{path} is a model folder, which knows its own hash and channel order",
                fix="leave out sha256 and color",
            )
        return PoseModel.load(path)
    if (path.parent / "model.json").exists() and path.name == "model.safetensors":
        return PoseModel.load(path.parent)
    loaded = load_checkpoint(path, domain=PHOTOGRAPHS, **vars(wanted))
    for note in loaded.notes:
        warn(note)
    return loaded.model


def at_size(model: PoseModel, input_hw: tuple[int, int]) -> PoseModel:
    """The same network for crops of another size; it is fully convolutional."""
    return PoseModel(replace(model.spec, input_hw=input_hw), model.tensors)
