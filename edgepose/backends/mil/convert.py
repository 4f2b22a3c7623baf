"""From a torch network to the files of an .mlpackage, the same bytes every time.

coremltools converts; the package around it is written here, because coremltools puts random
identifiers, the date and a debugging table into it.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from edgepose.backends.mil.quiet import quiet
from edgepose.backends.mil.whole_pose import is_network
from edgepose.errors import EdgeposeError

with quiet():
    import coremltools as ct

CONVERTER = f"coremltools {ct.__version__}"
INPUT_NAME = "image"
OUTPUT_NAME = "heatmaps"
DEFAULT_OS = "iOS17"
_AUTHOR = "com.apple.CoreML"
_MODEL_PATH = f"{_AUTHOR}/model.mlmodel"
_WEIGHTS_PATH = f"{_AUTHOR}/weights"
_NAMESPACE = uuid.UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")  # RFC 4122's namespace for URLs
_DATE_KEY = "com.github.apple.coremltools.conversion_date"

# The first turns the normalisation's product and sum into a batch norm with an epsilon of its own.
# The second divides the scales around a sum by that of one input: the file would no longer hold the
# scales of the plan, and the quotients are rounded to fp16 once more.
_PASSES_LEFT_OUT = (
    "common::fuse_elementwise_to_batchnorm",
    "common::distributive_quantized_binary_op_scale_normalization",
)


@dataclass(frozen=True)
class Description:
    """What Xcode shows, and what an app can read from the model's metadata at run time."""

    author: str
    license: str
    version: str
    summary: str
    input_text: str
    output_text: str
    user_defined: Mapping[str, str] = field(default_factory=dict)


class ImageNetwork(nn.Module):
    """`network` behind its normalisation: takes (1, 3, H, W), 0..255.

    Scaled first, as normalisation is often written, FP16 rounds a large product and a large sum. A byte
    less a whole number it holds exactly, and what the mean has beyond that is below one half.
    """

    whole: torch.Tensor
    rest: torch.Tensor
    scale: torch.Tensor

    def __init__(self, network: nn.Module, *, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.network = network
        mean_, std_ = (
            255 * torch.tensor(v, dtype=torch.float64).reshape(1, 3, 1, 1) for v in (mean, std)
        )
        whole = mean_.round()
        for name, value in (("whole", whole), ("rest", mean_ - whole), ("scale", 1 / std_)):
            self.register_buffer(name, value.float())

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        normalised = (image - self.whole - self.rest) * self.scale
        result: torch.Tensor = self.network(normalised)
        return result


def system_version(minimum_os: str | None) -> int:
    """17 for e.g. "iOS17", and where none is named."""
    digits = (minimum_os or DEFAULT_OS).removeprefix("iOS").partition(".")[0]
    return int(digits) if digits.isdecimal() else 0


def deployment_target(minimum_os: str | None) -> Any:
    """coremltools' constant for e.g. "iOS17"; iOS 17 where none is named."""
    name = minimum_os or DEFAULT_OS
    known = [t.name for t in ct.target if t.name.startswith("iOS")]
    usable = [n for n in known if int(n[3:].partition(".")[0]) >= 15]
    if name not in usable:
        raise EdgeposeError(
            f"minimum_os {name} cannot hold an mlprogram",
            fix=f"use one of {', '.join(usable)} in the target",
        )
    return ct.target[name]


def convert(
    network: nn.Module,
    *,
    input_hw: tuple[int, int],
    mean: Sequence[float],
    std: Sequence[float],
    color: str,
    compute: Literal["fp16", "fp32"],
    minimum_os: str | None,
    description: Description,
    sizes: Sequence[tuple[int, int]] = (),
    output_name: str = OUTPUT_NAME,
) -> dict[str, bytes]:
    """The package's files by relative path.

    network: (1, 3, H, W) normalised float32 -> (1, J, h, w); float, or a converted PT2E graph,
             whose quantize and dequantize calls become MIL's
    compute: the type of everything that is not INT8; joints are decoded in fp32 all the same
    sizes:   where there are more than input_hw, all that the package is to take; the network then
             names no size
    """
    deployment = deployment_target(minimum_os)
    wrapped = ImageNetwork(network, mean=mean, std=std)
    passes = ct.PassPipeline.DEFAULT
    passes.remove_passes(_PASSES_LEFT_OUT)
    shape: Any = (1, 3, *input_hw)
    others = [(1, 3, *size) for size in sizes if size != input_hw]
    if others:
        shape = ct.EnumeratedShapes([shape, *others], default=shape)
    half = ct.transform.FP16ComputePrecision(op_selector=is_network)
    with quiet(), torch.no_grad():
        exported = _exported(wrapped, input_hw, any_size=bool(others))
        try:
            model = ct.convert(
                exported,
                convert_to="mlprogram",
                inputs=[
                    ct.ImageType(
                        name=INPUT_NAME,
                        shape=shape,
                        color_layout=ct.colorlayout[color],
                    )
                ],
                outputs=[ct.TensorType(name=output_name, dtype=np.float32)],
                minimum_deployment_target=deployment,
                compute_precision=half if compute == "fp16" else ct.precision.FLOAT32,
                pass_pipeline=passes,
                skip_model_load=True,
            )
        except (ValueError, NotImplementedError, RuntimeError) as error:
            raise EdgeposeError(
                f"{CONVERTER} cannot convert the network: {error}",
                fix="leave the coreml target out, or use operators that Core ML has",
            ) from error
        return _package(model, description)


def _exported(network: nn.Module, input_hw: tuple[int, int], *, any_size: bool) -> Any:
    """torch's program for one size, or for every size of whole 32 pixels."""
    if not any_size:
        example = torch.zeros(1, 3, *input_hw)
        return torch.export.export(network, (example,)).run_decompositions({})
    height, width = (torch.export.Dim(name, min=2, max=64) for name in ("height", "width"))
    example = torch.zeros(1, 3, 64, 96)  # two sides that differ: neither is taken for the other
    try:
        return torch.export.export(
            network, (example,), dynamic_shapes=({2: 32 * height, 3: 32 * width},)
        ).run_decompositions({})
    except (RuntimeError, ValueError) as error:
        raise EdgeposeError(
            f"the network cannot take several sizes: {str(error).splitlines()[0]}",
            fix="leave stages.export.input_hw out, or the coreml target",
        ) from error


def write_package(files: Mapping[str, bytes], folder: Path) -> Path:
    """The files as the folder `folder`; for scratch use (artifacts are written whole)."""
    for relative, data in files.items():
        path = folder / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def _package(model: Any, description: Description) -> dict[str, bytes]:
    spec = model.get_spec()
    _describe(spec.description, description)
    files = {f"Data/{_MODEL_PATH}": spec.SerializeToString(deterministic=True)}
    if model.weights_dir is not None:
        for path in sorted(Path(model.weights_dir).iterdir()):
            files[f"Data/{_WEIGHTS_PATH}/{path.name}"] = path.read_bytes()
    files["Manifest.json"] = _manifest()
    return files


def _describe(target: Any, description: Description) -> None:
    metadata = target.metadata
    metadata.author = description.author
    metadata.license = description.license
    metadata.versionString = description.version
    metadata.shortDescription = description.summary
    metadata.userDefined.pop(_DATE_KEY, None)
    for key, value in sorted(description.user_defined.items()):
        metadata.userDefined[key] = value
    target.input[0].shortDescription = description.input_text
    target.output[0].shortDescription = description.output_text


def _manifest() -> bytes:
    """Item identifiers only have to differ within the package, so they come from the paths."""
    texts = {
        _MODEL_PATH: ("model.mlmodel", "CoreML Model Specification"),
        _WEIGHTS_PATH: ("weights", "CoreML Model Weights"),
    }
    items = {
        str(uuid.uuid5(_NAMESPACE, path)): {
            "author": _AUTHOR,
            "description": text,
            "name": name,
            "path": path,
        }
        for path, (name, text) in texts.items()
    }
    document = {
        "fileFormatVersion": "1.0.0",
        "itemInfoEntries": items,
        "rootModelIdentifier": str(uuid.uuid5(_NAMESPACE, _MODEL_PATH)),
    }
    return json.dumps(document, indent=4, sort_keys=True).encode() + b"\n"
