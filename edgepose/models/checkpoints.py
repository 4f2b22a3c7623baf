"""Somebody else's checkpoint -> a PoseModel.

    loaded = load_checkpoint(path, skeleton="mpii16", input_hw=(256, 256))
    loaded.model, loaded.notes

What is in the file decides architecture, width, depth and joint count; what cannot be in it (skeleton,
crop size, channel order of the training pictures) is passed. Official HRNet and SimpleBaseline,
MMPose 0.x and 1.x, and ImageNet backbones are understood (layouts.py); files are read by
tensor_file.py, which executes nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from edgepose.device.codec import HeatmapCodec
from edgepose.device.coding import check_coding
from edgepose.errors import EdgeposeError
from edgepose.models import build
from edgepose.models.layouts import BOOKKEEPING, StateDict, find_architecture, under_our_names
from edgepose.models.own import is_own
from edgepose.models.pose_model import ModelSpec, PoseModel, Preprocessing, check_input_hw
from edgepose.models.tensor_file import read_tensors
from edgepose.models.widths import fit_widths
from edgepose.skeleton import Skeleton
from edgepose.skeleton import skeleton as named_skeleton

SHOWN = 6
HEAD = ("attention.", "deconv_layers.", "final_layer.")


@dataclass(frozen=True)
class Loaded:
    """model: in training form; layout: whose names the file had; notes: what the user should know."""

    model: PoseModel
    layout: str
    notes: tuple[str, ...] = ()


def load_checkpoint(
    path: Path,
    *,
    skeleton: str | Skeleton,
    input_hw: tuple[int, int],
    domain: str = "unknown",
    arch: str | None = None,
    color: str = "RGB",
    seed: int = 0,
    coding: str | None = None,
) -> Loaded:
    """The network in a `.pth`, `.pt` or `.safetensors` file.

    skeleton: the joints in the file's order; their number must be the file's
    input_hw: (height, width) of the crops; the file does not say
    arch:     what it must be, None: whatever it is; own networks (package.module:name) need it
    color:    channel order of the pictures it was trained on; "BGR" (the official SimpleBaseline
              checkpoints) is turned into RGB exactly, by exchanging the first layer's channels
    seed:     of the random head, where the file has a backbone alone
    coding:   "standard" (also None), "dark" or "udp": how its heatmaps were encoded
    Raises EdgeposeError with one message: a damaged file, another architecture, what does not fit.
    """
    check_input_hw(input_hw)
    joints = named_skeleton(skeleton)
    tensors = read_tensors(path)
    if arch is not None and is_own(arch):
        state = StateDict(_plain_names(tensors, arch, joints.num_joints), "own")
        found = arch
    else:
        state = under_our_names(tensors)
        try:
            found = find_architecture(state.tensors)
        except EdgeposeError as error:
            raise EdgeposeError(f"{path} holds {error.problem}", fix=error.fix) from error
    if state.layout == "imagenet" and arch == f"{found}_attention":
        found = arch  # a backbone's attention starts from random weights, as its head does
    if arch is not None and arch != found:
        raise EdgeposeError(
            f"{path} holds a {found} ({state.layout} names), not a {arch}",
            fix=f"set arch: {found}, or give another checkpoint",
        )
    codec = HeatmapCodec(coding=check_coding(coding or "standard"))
    spec = ModelSpec(
        found, joints.num_joints, input_hw, joints.reference, domain=domain, codec=codec
    )
    base = _base(spec, state.layout, seed=seed)
    complete, notes = _completed(state, base, path)
    _check_fit(complete, base, path)
    _check_joints(complete, path, skeleton=joints)
    spec = base.spec
    if color == "BGR":
        complete = _rgb_first_layer(complete, path)
        spec = dataclasses.replace(spec, preprocessing=_reversed(spec.preprocessing))
        notes.append("trained on BGR pictures; the first layer's channels were exchanged for RGB")
    widened = {key for key, value in complete.items() if value.shape != base.tensors[key].shape}
    if widened:
        notes.append(f"{len(widened)} tensors have other widths than a published {found}")
    return Loaded(PoseModel(spec, complete), state.layout, tuple(notes))


def _base(spec: ModelSpec, layout: str, *, seed: int) -> PoseModel:
    """The architecture with random weights; with shapes alone where nothing of it will be kept."""
    if layout in ("imagenet", "own"):
        return PoseModel.fresh(spec, seed=seed)
    with torch.device("meta"):
        return PoseModel(spec, dict(build(spec.arch, num_joints=spec.num_joints).state_dict()))


def _plain_names(tensors: Mapping[str, Tensor], arch: str, num_joints: int) -> dict[str, Tensor]:
    """An own network's tensors, less a wrapper's prefix where the network has none."""
    expected = build(arch, num_joints=num_joints).state_dict()
    if not set(tensors) & set(expected):
        return {key.removeprefix("module."): value for key, value in tensors.items()}
    return dict(tensors)


def _completed(
    state: StateDict, base: PoseModel, path: Path
) -> tuple[dict[str, Tensor], list[str]]:
    """The file's tensors, with `base`'s where a file of this layout does not have them, and notes."""
    notes: list[str] = []
    tensors = dict(state.tensors)
    if state.layout == "imagenet":
        added = [key for key in base.tensors if key.startswith(HEAD) and key not in tensors]
        tensors |= {key: base.tensors[key] for key in added}
        notes.append(
            f"{path.name} is a backbone without a pose head; "
            f"{', '.join(sorted({key.split('.')[0] for key in added}))} start from random weights"
        )
        if state.dropped:
            notes.append(f"{len(state.dropped)} tensors of its classifier were dropped")
    for key in base.tensors:
        if key.endswith(BOOKKEEPING) and key not in tensors:
            tensors[key] = torch.zeros((), dtype=torch.int64)
    return tensors, notes


def _check_fit(tensors: dict[str, Tensor], base: PoseModel, path: Path) -> None:
    """Raise EdgeposeError naming everything of `tensors` that does not fit `base`'s architecture.

    Other widths are taken where the whole network agrees on them; kernel sizes are never.
    """
    arch = base.spec.arch
    expected = base.tensors
    missing = [key for key in expected if key not in tensors]
    unexpected = [key for key in tensors if key not in expected]
    wrong = [
        f"{key} {tuple(tensors[key].shape)} where {tuple(value.shape)} fits"
        for key, value in expected.items()
        if key in tensors and tensors[key].shape != value.shape
    ]
    if not missing and not unexpected:
        if wrong and _only_widths(tensors, expected):
            network = build(arch, num_joints=base.spec.num_joints)
            fit_widths(network, {key: value.shape for key, value in tensors.items()})
            if _runs(network, tensors):
                return
        elif not wrong:
            return
    parts = [
        f"{len(names)} {what}: {', '.join(names[:SHOWN])}" + (", ..." if len(names) > SHOWN else "")
        for what, names in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("wrong shape", wrong),
        )
        if names
    ]
    raise EdgeposeError(
        f"{path} does not fit {arch}: {'; '.join(parts)}",
        fix="give a checkpoint of HRNet or SimpleBaseline with its 1x1 head, whole and unchanged",
    )


def _only_widths(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> bool:
    """Whether no tensor differs in rank or kernel size, and the image still has three channels."""
    first = next(iter(expected))
    return tensors[first].shape[1:] == expected[first].shape[1:] and all(
        tensors[key].dim() == value.dim() and tensors[key].shape[2:] == value.shape[2:]
        for key, value in expected.items()
    )


def _runs(network: nn.Module, tensors: dict[str, Tensor]) -> bool:
    """Whether the widths of neighbouring layers agree: whether an image goes through."""
    try:
        network.load_state_dict(tensors)
        with torch.no_grad():
            network.eval()(torch.zeros(1, 3, 64, 64))
    except RuntimeError:
        return False
    return True


def _check_joints(tensors: Mapping[str, Tensor], path: Path, *, skeleton: Skeleton) -> None:
    found = tensors.get("final_layer.weight")
    wanted = skeleton.num_joints
    if found is not None and found.shape[0] != wanted:
        raise EdgeposeError(
            f"{path} finds {found.shape[0]} joints, {skeleton.name} has {wanted}",
            fix="name the skeleton that the checkpoint was trained on",
        )


def _rgb_first_layer(tensors: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The tensors for RGB input of a network that was trained on BGR."""
    weight = tensors.get("conv1.weight")
    if weight is None or weight.dim() != 4 or weight.shape[1] != 3:
        raise EdgeposeError(
            f"{path}: no conv1.weight over three channels, so BGR cannot be turned into RGB",
            fix="leave out color, and exchange the channels in the network",
        )
    return tensors | {"conv1.weight": weight[:, [2, 1, 0]].contiguous()}


def _reversed(pre: Preprocessing) -> Preprocessing:
    """Mean and deviation follow their channel: the first of BGR was normalised with the first value."""
    (r, g, b), (dr, dg, db) = pre.mean, pre.std
    return dataclasses.replace(pre, mean=(b, g, r), std=(db, dg, dr))
