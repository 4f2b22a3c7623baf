"""Whose names a state dict has, the same tensors under our names, and the architecture they are of.

| layout      | backbone      | head                                   |
|-------------|---------------|----------------------------------------|
| official    | `conv1...`    | `deconv_layers.N`, `final_layer`       |
| mmpose 0.x  | `backbone.`   | `keypoint_head.`                       |
| mmpose 1.x  | `backbone.`   | `head.`                                |
| imagenet    | `conv1...`    | `fc` (or HRNet's `classifier`): dropped |

Each of them with or without `module.`. Sources: leoxiaobin/deep-high-resolution-net.pytorch
lib/models, open-mmlab/mmpose heads (topdown_heatmap_simple_head.py, heatmap_head.py), torchvision.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from edgepose.errors import EdgeposeError
from edgepose.models.blocks import BasicBlock, Bottleneck
from edgepose.models.resnet import LAYOUTS

WRAPPER = "module."
MMPOSE_HEADS = {"keypoint_head.": "mmpose 0.x", "head.": "mmpose 1.x"}
CLASSIFIER = re.compile(r"(fc|classifier|incre_modules|downsamp_modules|final_layer\.[01])\..*")
FULL_LAST_FUSE = re.compile(r"stage4\.2\.fuse_layers\.[123]\..*")  # of classification HRNets
BOOKKEEPING = ".num_batches_tracked"  # files from before PyTorch 0.4.1 lack it; inference does too


@dataclass(frozen=True)
class StateDict:
    """tensors: under our own names; layout: "official", "mmpose 0.x", "mmpose 1.x" or "imagenet";
    dropped: names in the file that a pose network has no use for."""

    tensors: dict[str, Tensor]
    layout: str
    dropped: tuple[str, ...] = ()


def under_our_names(tensors: Mapping[str, Tensor]) -> StateDict:
    """The tensors under the official names, and which layout they came in."""
    found = dict(tensors)
    while found and all(key.startswith(WRAPPER) for key in found):
        found = {key.removeprefix(WRAPPER): value for key, value in found.items()}
    if any(key.startswith("backbone.") for key in found):
        return _from_mmpose(found)
    if "final_layer.weight" not in found and not any(k.startswith("deconv_") for k in found):
        return _backbone(found)
    return StateDict(found, "official")


def _backbone(found: Mapping[str, Tensor]) -> StateDict:
    """A network without a pose head, less its classifier."""
    dropped = tuple(k for k in found if CLASSIFIER.fullmatch(k) or FULL_LAST_FUSE.fullmatch(k))
    return StateDict({k: v for k, v in found.items() if k not in dropped}, "imagenet", dropped)


def _from_mmpose(found: Mapping[str, Tensor]) -> StateDict:
    layout: str | None = None
    renamed: dict[str, Tensor] = {}
    dropped: list[str] = []
    for key, value in found.items():
        head = next((prefix for prefix in MMPOSE_HEADS if key.startswith(prefix)), None)
        if head is not None:
            layout = MMPOSE_HEADS[head]
            renamed[key.removeprefix(head)] = value
        elif key.startswith("data_preprocessor."):  # mean and std, not weights
            dropped.append(key)
        else:
            renamed[key.removeprefix("backbone.")] = value
    if layout is None:
        return _backbone(renamed)
    return StateDict(renamed, layout, tuple(dropped))


def find_architecture(tensors: Mapping[str, Tensor]) -> str:
    """The architecture that these tensors (under our names) are of, read off keys and shapes.

    Where blocks are missing, the nearest published depth: what is missing is then told by key.
    Raises EdgeposeError for a network of another family.
    """
    if "stage4.0.fuse_layers.0.1.0.weight" in tensors or "transition1.0.0.weight" in tensors:
        first = tensors.get(
            "transition1.0.0.weight", tensors.get("stage4.0.branches.0.0.conv1.weight")
        )
        if first is None or first.dim() != 4:
            raise EdgeposeError(
                "an HRNet without transition1.0.0.weight: its width cannot be read",
                fix="give the whole checkpoint",
            )
        return f"hrnet_w{first.shape[0]}"
    if "layer1.0.conv1.weight" not in tensors or "conv1.weight" not in tensors:
        raise EdgeposeError(
            f"no HRNet and no ResNet: its {len(tensors)} keys begin with "
            f"{', '.join(sorted({key.split('.')[0] for key in tensors})[:8])}",
            fix="give an HRNet or SimpleBaseline checkpoint; for a network of your own, set arch to "
            "package.module:name",
        )
    block = Bottleneck if any(".conv3.weight" in key for key in tensors) else BasicBlock
    numbers = [re.match(r"layer([1-4])\.(\d{1,3})\.", key) for key in tensors]
    counts = [
        max((int(n[2]) + 1 for n in numbers if n and n[1] == str(stage)), default=0)
        for stage in (1, 2, 3, 4)
    ]
    depths = {
        depth: sum(abs(a - b) for a, b in zip(counts, layout, strict=True))
        for depth, (kind, layout) in LAYOUTS.items()
        if kind is block
    }
    variant = "_attention" if any(key.startswith("attention.") for key in tensors) else ""
    return f"resnet{min(depths, key=depths.__getitem__)}{variant}"
