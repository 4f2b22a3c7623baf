"""Core ML: mlpackages with an image input, made and executed on any system.

int8 is W8A8 (iOS 17): weights per channel in INT8, every activation on the model's own grid; the
rest of the arithmetic is declared fp16, as the Neural Engine has it. The head's output stays float.
Without Core ML the package is executed by the MIL interpreter, which says so in its description.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

import edgepose
from edgepose.artifact import Artifact, Content, Header
from edgepose.backends.common.contract import header_of
from edgepose.backends.mil.convert import (
    CONVERTER,
    INPUT_NAME,
    OUTPUT_NAME,
    Description,
    convert,
)
from edgepose.backends.mil.interleave import use_pixel_shuffle
from edgepose.backends.mil.interpreter import Interpreter
from edgepose.backends.mil.quiet import quiet
from edgepose.errors import EdgeposeError
from edgepose.models.pose_model import PoseModel
from edgepose.quant.graph import export, int8_graph
from edgepose.quant.weights import WEIGHTS, weights_graph
from edgepose.skeleton import skeleton
from edgepose.target import Target

Engine = Literal["mil", "coreml"]
_BATCH = 8
_MODEL_FILE = "Data/com.apple.CoreML/model.mlmodel"


def emit(model: PoseModel, target: Target, folder: Path) -> Artifact:
    """Writes model.mlpackage (counted) and one package per extra precision, and the manifest.

    The same model gives the same bytes. Raises EdgeposeError where the target asks for int8 and the
    model has no static plan, where its minimum OS is too old, and on a full disk.
    """
    contents = []
    for precision in target.precisions:
        main = precision == target.precision
        files = _files(model, target, precision)
        contents += [
            Content(
                path=f"{package_name(precision, main=main)}/{path}",
                role=_role(path, precision, main=main),
                data=data,
                counted=main,
            )
            for path, data in files.items()
        ]
    return Artifact.write(folder, _header(model, target), contents)


def package_name(precision: str, *, main: bool) -> str:
    return "model.mlpackage" if main else f"model_{precision}.mlpackage"


def package_folder(artifact: Artifact, precision: str | None = None) -> Path:
    """The .mlpackage of `precision` (the counted one by default)."""
    main = precision in (None, artifact.manifest.precision)
    model_file = artifact.path(_role(_MODEL_FILE, str(precision), main=main))
    return model_file.parents[2]


def open_executor(
    artifact: Artifact,
    *,
    threads: int | None = None,
    precision: str | None = None,
    engine: Engine = "mil",
) -> MilExecutor | CoreMLExecutor:
    """What runs the package of `precision` (the counted one by default).

    engine "coreml" is Core ML itself, on macOS only.
    """
    package = package_folder(artifact, precision)
    if engine == "coreml":
        return CoreMLExecutor(package)
    return MilExecutor(package, threads=threads)


class MilExecutor:
    """The package computed by the MIL interpreter. Its speed says nothing about Core ML's."""

    def __init__(self, package: Path, *, threads: int | None = None) -> None:
        self.interpreter = Interpreter.load(package)
        self.threads = threads
        program = self.interpreter.program
        if INPUT_NAME not in program.images or OUTPUT_NAME not in program.outputs:
            raise EdgeposeError(
                f"{package} takes {[t.name for t in program.inputs]} and gives "
                f"{list(program.outputs)}; edgepose reads {INPUT_NAME} (an image) to {OUTPUT_NAME}",
                fix="use an mlpackage that edgepose exported",
            )
        self.image = program.images[INPUT_NAME]

    @property
    def description(self) -> str:
        return f"MIL interpreter, Core ML not run ({CONVERTER})"

    def run(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """crops (N, H, W, 3) RGB 0..255 -> heatmaps (N, J, h, w), a few images at a time."""
        parts = [
            self.infer(self.prepare(crops[i : i + _BATCH])) for i in range(0, len(crops), _BATCH)
        ]
        return np.concatenate(parts)

    def prepare(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """What Core ML makes of an image: (N, 3, H, W), 0..255, in the package's colour order."""
        wanted = (self.image.height, self.image.width, 3)
        if crops.dtype != np.uint8 or crops.ndim != 4 or crops.shape[1:] != wanted:
            raise EdgeposeError(
                f"crops are {crops.dtype} {crops.shape}; the model takes uint8 (N, {wanted})",
                fix="crop to the input size that artifact.json names",
            )
        ordered = crops if self.image.color == "RGB" else crops[..., ::-1]
        return np.ascontiguousarray(ordered.transpose(0, 3, 1, 2), dtype=np.float32)

    def infer(self, prepared: NDArray[np.float32]) -> NDArray[np.float32]:
        with _torch_threads(self.threads):
            return self.interpreter.run({INPUT_NAME: prepared})[OUTPUT_NAME]


class CoreMLExecutor:
    """Core ML itself, one image at a time. Written against coremltools' documentation: NOT YET RUN,
    for want of a Mac."""

    native = True  # its times are Core ML's own

    def __init__(self, package: Path) -> None:
        if sys.platform != "darwin":
            raise EdgeposeError(
                f"Core ML runs on macOS only; this is {sys.platform}", fix='use engine "mil"'
            )
        with quiet():
            import coremltools
        self.model: Any = coremltools.models.MLModel(str(package))

    @property
    def description(self) -> str:
        return f"Core ML ({CONVERTER})"

    def run(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self.infer(self.prepare(crops))

    def prepare(self, crops: NDArray[np.uint8]) -> list[Any]:
        from PIL import Image  # coremltools takes images as PIL only

        return [Image.fromarray(crop, "RGB") for crop in crops]

    def infer(self, prepared: list[Any]) -> NDArray[np.float32]:
        outputs = [self.model.predict({INPUT_NAME: image})[OUTPUT_NAME] for image in prepared]
        return np.concatenate(outputs).astype(np.float32)


@contextmanager
def _torch_threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _role(path: str, precision: str, *, main: bool) -> str:
    kind = "model" if path == _MODEL_FILE else "manifest" if "/" not in path else "weights"
    return kind if main else f"{precision}_{kind}"


def _network(model: PoseModel, precision: str) -> nn.Module:
    """(1, 3, H, W) -> heatmaps, in the form that Core ML runs best."""
    if precision != "int8" and model.spec.form == "train":
        return model.module()  # Core ML has deconvolutions, and folds batch norm itself
    if precision != "int8":
        return use_pixel_shuffle(export(model.module(), input_hw=model.spec.input_hw, batch=1))
    plan = model.spec.quant
    if plan is not None and plan.mode == WEIGHTS:
        return use_pixel_shuffle(weights_graph(model, batch=1))
    if plan is None or plan.mode != "static":
        found = "no quantization plan" if plan is None else f"a {plan.mode} plan"
        raise EdgeposeError(
            f"Core ML's int8 needs fixed activation scales; the model has {found}",
            fix="add a qat or a static quantize stage, or ask the target for fp16",
        )
    return use_pixel_shuffle(int8_graph(model, batch=1))


def _check_fp16(model: PoseModel) -> None:
    """Refuses tensors whose known range does not fit into fp16: Core ML would compute inf or zero."""
    scales = {} if model.spec.quant is None else model.spec.quant.activation_scales
    fp16 = np.finfo(np.float16)
    for key, scale in scales.items():
        if not float(fp16.smallest_subnormal) <= scale <= float(fp16.max) / 127:
            raise EdgeposeError(
                f"{key} reaches {127 * scale:.3g} at a scale of {scale:.3g}: fp16 cannot hold that",
                fix="train the network further, or set the target's precision to fp32",
            )


def _files(model: PoseModel, target: Target, precision: str) -> dict[str, bytes]:
    spec = model.spec
    if precision != "fp32":
        _check_fp16(model)
    return convert(
        _network(model, precision),
        input_hw=spec.input_hw,
        mean=spec.preprocessing.mean,
        std=spec.preprocessing.std,
        color=spec.preprocessing.color,
        compute="fp32" if precision == "fp32" else "fp16",
        minimum_os=target.minimum_os,
        description=_description(model, precision),
    )


def _description(model: PoseModel, precision: str) -> Description:
    spec = model.spec
    height, width = spec.input_hw
    joints = skeleton(spec.skeleton).joints
    pre = spec.preprocessing
    return Description(
        author=f"edgepose {edgepose.__version__}",
        license=(
            "edgepose: Apache-2.0. Weights: the terms of the data that they were trained on "
            f"({spec.domain})."
        ),
        version=edgepose.__version__,
        summary=(
            f"Human pose of one person ({len(joints)} joints) from a crop of {height}x{width}: "
            f"{spec.arch}, {precision}"
        ),
        input_text=f"Crop around one person, {pre.color}, {height}x{width}, not normalised",
        output_text=(
            "Heatmaps (1, joints, height / "
            f"{spec.codec.stride}, width / {spec.codec.stride}); the peak of each is the joint"
        ),
        user_defined={
            "edgepose.skeleton": skeleton(spec.skeleton).name,
            "edgepose.joints": ",".join(joints),
            "edgepose.mean": ",".join(map(repr, pre.mean)),
            "edgepose.std": ",".join(map(repr, pre.std)),
            "edgepose.stride": str(spec.codec.stride),
            "edgepose.coding": spec.codec.coding,
            "edgepose.precision": precision,
            "edgepose.model_sha256": model.sha256,
        },
    )


def _header(model: PoseModel, target: Target) -> Header:
    """The common header, with an image for input and the normalisation inside."""
    header = header_of(
        model,
        target,
        input_name=INPUT_NAME,
        output_name=OUTPUT_NAME,
        batch=1,
        tools=("coremltools", "torch"),
    )
    height, width = model.spec.input_hw
    image = header.input.model_copy(
        update={
            "shape": (1, height, width, 3),
            "dtype": "uint8",
            "layout": "NHWC",
            "range": "0..255, as an image (CVPixelBuffer)",
        }
    )
    inside = header.preprocessing.model_copy(update={"where": "graph"})
    return header.model_copy(update={"input": image, "preprocessing": inside})
