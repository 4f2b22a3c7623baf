"""A pose network as values: spec, tensors, and nothing that must be unpickled."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from edgepose.device.codec import HeatmapCodec
from edgepose.device.coding import check_coding
from edgepose.device.errors import DeviceError
from edgepose.device.files import replace_folder, write_atomic
from edgepose.errors import EdgeposeError
from edgepose.models import build, deploy, known
from edgepose.models.own import find_stride, is_own
from edgepose.models.plan import QuantPlan
from edgepose.models.widths import fit_widths
from edgepose.skeleton import Skeleton, skeleton
from edgepose.skeleton import from_json as skeleton_from_json

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Preprocessing:
    """Normalisation of RGB scaled to 0..1: (x - mean) / std, per channel."""

    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    color: str = "RGB"


@dataclass(frozen=True)
class ModelSpec:
    """skeleton: the name of a known one or a definition (`Skeleton.reference`);
    form: "train" (batch norm, deconvolutions) or "deploy" (batch norm folded, sub-pixel)."""

    arch: str
    num_joints: int
    input_hw: tuple[int, int]
    skeleton: str | Skeleton
    domain: str = "unknown"
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    codec: HeatmapCodec = field(default_factory=HeatmapCodec)
    form: str = "train"
    quant: QuantPlan | None = None

    @property
    def heatmap_hw(self) -> tuple[int, int]:
        return self.input_hw[0] // self.codec.stride, self.input_hw[1] // self.codec.stride

    def to_json(self) -> dict[str, Any]:
        values = dataclasses.asdict(self)
        if (
            self.codec.coding == "standard"
        ):  # goes without saying: hashes are what they were before it
            del values["codec"]["coding"]
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ModelSpec:
        pre, quant = values["preprocessing"], values["quant"]
        return cls(
            arch=values["arch"],
            num_joints=values["num_joints"],
            input_hw=(values["input_hw"][0], values["input_hw"][1]),
            skeleton=skeleton_from_json(values["skeleton"]),
            domain=values["domain"],
            preprocessing=Preprocessing(tuple(pre["mean"]), tuple(pre["std"]), pre["color"]),
            codec=HeatmapCodec(**values["codec"]),
            form=values["form"],
            quant=None if quant is None else QuantPlan(**quant),
        )


def check_input_hw(input_hw: tuple[int, int]) -> None:
    """Raise EdgeposeError unless both sides are positive multiples of 32."""
    if any(side < 32 or side % 32 for side in input_hw):
        raise EdgeposeError(
            f"input size {input_hw[0]}x{input_hw[1]} (height x width) is not a multiple of 32",
            fix="use e.g. 128x128, 256x192 or 256x256",
        )


def _check_spec(spec: ModelSpec, folder: Path) -> None:
    """Raise EdgeposeError where a spec that was read from `folder` contradicts itself."""
    try:
        skeleton(spec.skeleton)
        check_input_hw(spec.input_hw)
        if not isinstance(spec.arch, str) or not known(spec.arch):
            raise ValueError(f"unknown architecture {spec.arch!r}")
        if not isinstance(spec.num_joints, int):
            raise ValueError(f"{spec.num_joints!r} joints")
        if spec.form not in ("train", "deploy"):
            raise ValueError(f"unknown form {spec.form!r}")
        check_coding(spec.codec.coding)
    except (DeviceError, ValueError, TypeError) as error:
        problem = error.problem if isinstance(error, DeviceError) else error
        raise EdgeposeError(
            f"{folder}/model.json cannot be right: {problem}",
            fix="use the folder as edgepose wrote it",
        ) from error


@dataclass(frozen=True)
class PoseModel:
    """spec and tensors (float32, keys as the architecture's state dict in its form).

    Every graph (eager, prepared for QAT, converted, exported) is rebuilt from this.
    """

    spec: ModelSpec
    tensors: dict[str, Tensor]

    @classmethod
    def fresh(cls, spec: ModelSpec, *, seed: int) -> PoseModel:
        """Random weights that depend on `seed` alone; the stride of an own network is measured."""
        check_input_hw(spec.input_hw)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = build(spec.arch, num_joints=spec.num_joints)
        if is_own(spec.arch):
            stride = find_stride(
                network, arch=spec.arch, num_joints=spec.num_joints, input_hw=spec.input_hw
            )
            spec = dataclasses.replace(spec, codec=dataclasses.replace(spec.codec, stride=stride))
        return cls(spec, {}).with_module(network)

    def module(self) -> nn.Module:
        """The float network in eval mode, (N, 3, H, W) float32 -> (N, J, H/stride, W/stride).

        Raises EdgeposeError naming the keys that do not fit the architecture.
        """
        if self.spec.form == "deploy":
            return deploy.rebuild(self.spec.arch, self.spec.num_joints, self.tensors)
        network = build(self.spec.arch, num_joints=self.spec.num_joints)
        shapes = {key: value.shape for key, value in self.tensors.items()}
        expected = set(network.state_dict())
        missing, unexpected = sorted(expected - set(shapes)), sorted(set(shapes) - expected)
        if missing or unexpected:
            raise EdgeposeError(
                f"the weights do not fit {self.spec.arch}: "
                f"{len(missing)} keys missing {missing[:3]}, "
                f"{len(unexpected)} unexpected {unexpected[:3]}",
                fix="name the architecture that the checkpoint was made with",
            )
        fit_widths(network, shapes)
        try:
            network.load_state_dict(self.tensors)
        except RuntimeError as error:
            raise EdgeposeError(
                f"the weights do not fit {self.spec.arch}: {str(error).splitlines()[-1].strip()}",
                fix="name the architecture and joint count that the checkpoint was made with",
            ) from error
        return network.eval()

    def with_module(self, module: nn.Module, **spec_changes: Any) -> PoseModel:
        """A PoseModel with `module`'s tensors (copied to the CPU) and the spec changed as named."""
        tensors = {
            key: value.detach().cpu().clone().contiguous()
            for key, value in module.state_dict().items()
        }
        return PoseModel(dataclasses.replace(self.spec, **spec_changes), tensors)

    @property
    def num_params(self) -> int:
        """Weights and biases; running statistics are not counted."""
        buffers = ("running_mean", "running_var", "num_batches_tracked")
        return sum(v.numel() for k, v in self.tensors.items() if not k.endswith(buffers))

    def _files(self, *, half: bool = False) -> tuple[bytes, bytes]:
        kept = {key: self.tensors[key] for key in sorted(self.tensors)}
        if half:
            kept = {key: value.half() if value.dim() > 1 else value for key, value in kept.items()}
        weights = save_tensors(kept)
        document = {
            "format_version": FORMAT_VERSION,
            "spec": self.spec.to_json(),
            "weights_sha256": hashlib.sha256(weights).hexdigest(),
        }
        return json.dumps(document, indent=1, sort_keys=True).encode() + b"\n", weights

    @property
    def sha256(self) -> str:
        """Hash over spec and tensors; equal for equal models."""
        return hashlib.sha256(self._files()[0]).hexdigest()

    def save(self, folder: Path, *, half: bool = False) -> None:
        """Write `model.json` and `model.safetensors`; the folder appears whole or not at all.

        half: weights of more than one dimension as float16, biases and batch norm as they are;
        reading gives float32 again, rounded. Raises EdgeposeError for weights beyond its range.
        """
        if half and any(
            value.abs().max() > 65504 for value in self.tensors.values() if value.dim() > 1
        ):
            raise EdgeposeError(
                "a weight is too large for float16", fix="keep this network in float32"
            )
        document, weights = self._files(half=half)
        folder = Path(folder)
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(prefix=".tmp-", dir=folder.parent))
        except OSError as error:
            raise EdgeposeError(
                f"cannot write {folder}: {error.strerror}", fix="check the disk"
            ) from error
        try:
            write_atomic(temporary / "model.safetensors", weights)
            write_atomic(temporary / "model.json", document)
            temporary.chmod(0o755)
            replace_folder(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    @classmethod
    def load(cls, folder: Path) -> PoseModel:
        """Read what `save` wrote; EdgeposeError where it is missing, changed or of another version."""
        folder = Path(folder)
        fix = "give a folder written by `edgepose train` or `edgepose compress`"
        if folder.is_file():
            raise EdgeposeError(
                f"{folder} is a single file; pickled checkpoints are refused, they can run code",
                fix=fix,
            )
        try:
            document = json.loads((folder / "model.json").read_text())
            weights = (folder / "model.safetensors").read_bytes()
        except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise EdgeposeError(f"{folder} is not a pose model: {error}", fix=fix) from error
        if not isinstance(document, dict) or document.get("format_version") != FORMAT_VERSION:
            raise EdgeposeError(
                f"{folder}/model.json is not of format version {FORMAT_VERSION}", fix=fix
            )
        try:
            spec, digest = ModelSpec.from_json(document["spec"]), document["weights_sha256"]
        except (KeyError, TypeError, IndexError) as error:
            raise EdgeposeError(
                f"{folder}/model.json lacks or misstates {error}", fix=fix
            ) from error
        except EdgeposeError as error:
            raise EdgeposeError(f"{folder}/model.json: {error.problem}", fix=fix) from error
        _check_spec(spec, folder)
        if hashlib.sha256(weights).hexdigest() != digest:
            raise EdgeposeError(
                f"{folder}/model.safetensors is not the file that model.json names (sha256 differs)",
                fix="copy the folder again, whole",
            )
        try:
            tensors = load_tensors(weights)
        except SafetensorError as error:
            raise EdgeposeError(f"{folder}/model.safetensors: {error}", fix=fix) from error
        return cls(
            spec,
            {k: v.float() if v.dtype == torch.float16 else v for k, v in tensors.items()},
        )


def at_size(model: PoseModel, input_hw: tuple[int, int]) -> PoseModel:
    """The same network for crops of another size; it is fully convolutional, so its plan stays too."""
    if tuple(input_hw) == model.spec.input_hw:
        return model
    return PoseModel(dataclasses.replace(model.spec, input_hw=input_hw), model.tensors)
