"""Core ML: mlpackages with an image input, made and executed on any system.

int8 is W8A8 on iOS 17: weights per channel in INT8, every activation on the model's own grid; the
rest of the arithmetic is declared fp16, as the Neural Engine has it. The head's output stays float.
iOS 16 has INT8 weights only: there int8 is the same weights, computed in fp16. iOS 15 has neither.
One package takes all crop sizes (enumerated shapes), and any number of images, one after the other,
through Core ML's own batches; whole-pose graphs are a package for each size.
Without Core ML the package is executed by the MIL interpreter, which says so in its description.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

import edgepose
from edgepose.artifact import Artifact, Content
from edgepose.backends.common.contract import header_of, pose_header
from edgepose.backends.mil.convert import (
    CONVERTER,
    INPUT_NAME,
    OUTPUT_NAME,
    Description,
    convert,
    system_version,
)
from edgepose.backends.mil.interleave import use_pixel_shuffle
from edgepose.backends.mil.interpreter import Interpreter
from edgepose.backends.mil.quiet import quiet
from edgepose.backends.mil.whole_pose import JOINTS, WholePose
from edgepose.backends.onnx_graph.whole_pose import check_coding
from edgepose.errors import EdgeposeError
from edgepose.manifest import Gives, Header, VariantContract
from edgepose.models.pose_model import PoseModel, at_size
from edgepose.quant.graph import export, int8_graph
from edgepose.quant.weights import WEIGHTS, on_grid, weights_graph
from edgepose.skeleton import skeleton
from edgepose.target import Target
from edgepose.variants import Variant, contract_of, select, suffix_of

Engine = Literal["mil", "coreml"]
INT8_WEIGHTS, INT8_ACTIVATIONS = 16, 17
"""The iOS versions that brought them (coremltools: constexpr_affine_dequantize, quantize)."""
_BATCH = 8
_MODEL_FILE = "Data/com.apple.CoreML/model.mlmodel"


def emit(
    model: PoseModel, target: Target, folder: Path, *, variants: Sequence[Variant] = ()
) -> Artifact:
    """Writes model.mlpackage (counted) and one package per extra precision, and the manifest.

    variants: further crop sizes, which every package then takes, and whole-pose graphs in the main
    precision. The same model gives the same bytes. Raises EdgeposeError where the target asks for int8
    and the model has no such plan, where its minimum OS is too old, and on a full disk.
    """
    sizes = tuple(dict.fromkeys(variant.input_hw for variant in variants))
    contents = []
    for precision in target.precisions:
        main = precision == target.precision
        files = _files(model, target, precision, sizes=sizes)
        contents += _contents(files, package_name(precision, main=main), precision, main=main)
    contracts, written = [], {""}
    for variant in variants:
        contract, suffix = _variant(model, target, variant)
        contracts.append(contract)
        if suffix not in written:
            written.add(suffix)
            files = _files(
                at_size(model, variant.input_hw), target, target.precision, gives=variant.gives
            )
            contents += _contents(
                files, f"model{suffix}.mlpackage", target.precision, main=True, suffix=suffix
            )
    header = _header(model, target).model_copy(update={"variants": tuple(contracts)})
    return Artifact.write(folder, header, contents)


def _contents(
    files: dict[str, bytes], package: str, precision: str, *, main: bool, suffix: str = ""
) -> list[Content]:
    return [
        Content(
            path=f"{package}/{path}",
            role=_role(path, precision, main=main) + suffix,
            data=data,
            counted=main and not suffix,
        )
        for path, data in files.items()
    ]


def _variant(model: PoseModel, target: Target, variant: Variant) -> tuple[VariantContract, str]:
    """A variant's entry in the manifest, and the suffix of its package: heatmaps of all sizes have one."""
    header = _header(at_size(model, variant.input_hw), target)
    suffix = ""
    if variant.gives == "joints":
        header = pose_header(header, output_name=JOINTS)
        suffix = suffix_of(variant, model.spec.input_hw, any_batch=True)
    return contract_of(variant, suffix, header), suffix


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
    input_hw: tuple[int, int] | None = None,
    batch: int | None = None,
    gives: Gives | None = None,
) -> MilExecutor | CoreMLExecutor:
    """What runs the package of `precision` (the counted one by default).

    engine "coreml" is Core ML itself, on macOS only.
    input_hw, batch, gives: another variant than the main file, see variants.py
    """
    artifact = select(artifact, input_hw=input_hw, batch=batch, gives=gives)
    package = package_folder(artifact, precision)
    if engine == "coreml":
        return CoreMLExecutor(package, output=artifact.manifest.output.name)
    return MilExecutor(
        package,
        threads=threads,
        output=artifact.manifest.output.name,
        input_hw=artifact.input_hw,
    )


class MilExecutor:
    """The package computed by the MIL interpreter. Its speed says nothing about Core ML's."""

    def __init__(
        self,
        package: Path,
        *,
        threads: int | None = None,
        output: str = OUTPUT_NAME,
        input_hw: tuple[int, int] | None = None,
    ) -> None:
        """input_hw: of the crops, one of the sizes that the package takes; None: its default"""
        self.interpreter = Interpreter.load(package)
        self.threads = threads
        self.output: str = output
        program = self.interpreter.program
        if INPUT_NAME not in program.images or output not in program.outputs:
            raise EdgeposeError(
                f"{package} takes {[t.name for t in program.inputs]} and gives "
                f"{list(program.outputs)}; edgepose reads {INPUT_NAME} (an image) to {output}",
                fix="use an mlpackage that edgepose exported",
            )
        self.image = program.images[INPUT_NAME]
        self.input_hw = (self.image.height, self.image.width) if input_hw is None else input_hw
        if self.input_hw not in self.image.sizes:
            raise EdgeposeError(
                f"{package} takes images of {self.image.sizes}, not {self.input_hw}",
                fix="export again; the package is not of this artifact",
            )

    @property
    def gives(self) -> Gives:
        return "joints" if self.output == JOINTS else "heatmaps"

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
        wanted = (*self.input_hw, 3)
        if crops.dtype != np.uint8 or crops.ndim != 4 or crops.shape[1:] != wanted:
            raise EdgeposeError(
                f"crops are {crops.dtype} {crops.shape}; the model takes uint8 (N, {wanted})",
                fix="crop to the input size that artifact.json names",
            )
        ordered = crops if self.image.color == "RGB" else crops[..., ::-1]
        return np.ascontiguousarray(ordered.transpose(0, 3, 1, 2), dtype=np.float32)

    def infer(self, prepared: NDArray[np.float32]) -> NDArray[np.float32]:
        with _torch_threads(self.threads):
            return self.interpreter.run({INPUT_NAME: prepared})[self.output]


class CoreMLExecutor:
    """Core ML itself, several images as one of its batches. Written against coremltools'
    documentation: NOT YET RUN, for want of a Mac."""

    native = True  # its times are Core ML's own

    def __init__(self, package: Path, *, output: str = OUTPUT_NAME) -> None:
        if sys.platform != "darwin":
            raise EdgeposeError(
                f"Core ML runs on macOS only; this is {sys.platform}", fix='use engine "mil"'
            )
        with quiet():
            import coremltools
        self.model: Any = coremltools.models.MLModel(str(package))
        self.output: str = output

    @property
    def gives(self) -> Gives:
        return "joints" if self.output == JOINTS else "heatmaps"

    @property
    def description(self) -> str:
        return f"Core ML ({CONVERTER})"

    def run(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self.infer(self.prepare(crops))

    def prepare(self, crops: NDArray[np.uint8]) -> list[Any]:
        from PIL import Image  # coremltools takes images as PIL only

        return [Image.fromarray(crop, "RGB") for crop in crops]

    def infer(self, prepared: list[Any]) -> NDArray[np.float32]:
        found = self.model.predict([{INPUT_NAME: image} for image in prepared])
        return np.concatenate([one[self.output] for one in found]).astype(np.float32)


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


def _network(
    model: PoseModel, precision: str, minimum_os: str | None, *, any_size: bool
) -> nn.Module:
    """(1, 3, H, W) -> heatmaps, in the form that Core ML runs best; any_size: H, W left open."""
    if precision != "int8" and model.spec.form == "train":
        return model.module()  # Core ML has deconvolutions, and folds batch norm itself
    if precision != "int8":
        graph = export(model.module(), input_hw=model.spec.input_hw, batch=1)
        return use_pixel_shuffle(graph, any_size=any_size)
    plan = model.spec.quant
    if plan is None or plan.mode not in ("static", WEIGHTS):
        found = "no quantization plan" if plan is None else f"a {plan.mode} plan"
        raise EdgeposeError(
            f"Core ML's int8 needs fixed activation scales; the model has {found}",
            fix="add a qat or a static quantize stage, or ask the target for fp16",
        )
    if plan.mode == WEIGHTS or system_version(minimum_os) < INT8_ACTIVATIONS:
        return use_pixel_shuffle(weights_graph(on_grid(model), batch=1), any_size=any_size)
    return use_pixel_shuffle(int8_graph(model, batch=1), any_size=any_size)


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


def _files(
    model: PoseModel,
    target: Target,
    precision: str,
    *,
    sizes: Sequence[tuple[int, int]] = (),
    gives: Gives = "heatmaps",
) -> dict[str, bytes]:
    spec = model.spec
    _check_system(target, precision)
    if precision != "fp32":
        _check_fp16(model)
    network = _network(model, precision, target.minimum_os, any_size=len(sizes) > 1)
    if gives == "joints":
        check_coding(spec.codec)
        network = WholePose(
            network, codec=spec.codec, joints=spec.num_joints, heatmap_hw=spec.heatmap_hw
        )
    return convert(
        network,
        input_hw=spec.input_hw,
        mean=spec.preprocessing.mean,
        std=spec.preprocessing.std,
        color=spec.preprocessing.color,
        compute="fp32" if precision == "fp32" else "fp16",
        minimum_os=target.minimum_os,
        description=_description(model, precision, sizes=sizes, gives=gives),
        sizes=sizes,
        output_name=OUTPUT_NAME if gives == "heatmaps" else JOINTS,
    )


def _check_system(target: Target, precision: str) -> None:
    """EdgeposeError for INT8 of any kind on a system that has none."""
    if precision == "int8" and system_version(target.minimum_os) < INT8_WEIGHTS:
        raise EdgeposeError(
            f"{target.name}: {target.minimum_os} has no INT8, not even for weights",
            fix=f"set minimum_os: iOS{INT8_WEIGHTS}, or precision: fp16",
        )


def _description(
    model: PoseModel,
    precision: str,
    *,
    sizes: Sequence[tuple[int, int]] = (),
    gives: Gives = "heatmaps",
) -> Description:
    spec = model.spec
    taken = " or ".join("{}x{}".format(*size) for size in sizes or (spec.input_hw,))
    heatmaps = (
        "Heatmaps (1, joints, height / "
        f"{spec.codec.stride}, width / {spec.codec.stride}); the peak of each is the joint"
    )
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
            f"Human pose of one person ({len(joints)} joints) from a crop of {taken}: "
            f"{spec.arch}, {precision}"
        ),
        input_text=f"Crop around one person, {pre.color}, {taken}, not normalised",
        output_text=(
            heatmaps if gives == "heatmaps" else "(1, joints, 3): x, y in pixels of the crop, score"
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
