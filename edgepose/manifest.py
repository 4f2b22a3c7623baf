"""What `artifact.json` says: contracts of input, output, skeleton, crop and decoding, and every file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from edgepose.device.artifact_words import JOINTS_LAYOUT, MANIFEST_NAME, MAX_SIDE
from edgepose.device.coding import RULES, Alignment, Coding, Rule, alignment_of
from edgepose.skeleton import Skeleton
from edgepose.strict_files import NAME_PATTERN

if TYPE_CHECKING:
    from edgepose.device.codec import HeatmapCodec

SCHEMA_VERSION: Final = 1
_Name = Annotated[str, Field(pattern=r"^[^\x00-\x1f|`]{1,200}$")]
"""One line of a card's table."""


def _safe_path(path: str) -> str:
    """A relative path of plain parts with forward slashes; ValueError for anything else."""
    parts = path.split("/")
    if not path or "\\" in path or "\0" in path or ":" in parts[0]:
        raise ValueError(f"{path!r} is not a plain relative path")
    if any(part in ("", ".", "..") for part in parts):
        raise ValueError(f"{path!r} is absolute or leaves the artifact folder")
    if parts == [MANIFEST_NAME]:
        raise ValueError(f"{MANIFEST_NAME} cannot list itself")
    return path


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class FileEntry(_Strict):
    """path: relative to the artifact folder; role: what the runtime uses it for, e.g. "model";
    counted: whether its bytes are part of the size that is reported and budgeted."""

    path: Annotated[str, AfterValidator(_safe_path)]
    role: str
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    size_bytes: Annotated[int, Field(ge=0)]
    counted: bool


class _Port(_Strict):
    name: str
    shape: tuple[int | str, ...]
    dtype: str
    layout: str

    @model_validator(mode="after")
    def _shape_of_its_layout(self) -> Self:
        if len(self.shape) != len(self.layout):
            raise ValueError(f"layout {self.layout} does not name the sides of {list(self.shape)}")
        if any(isinstance(side, int) and not 1 <= side <= MAX_SIDE for side in self.shape):
            raise ValueError(f"a side of {list(self.shape)} is not 1 to {MAX_SIDE}")
        return self


class InputContract(_Port):
    """What the model file takes. shape: "batch" where any count goes; range: in words."""

    color: Literal["RGB", "BGR"]
    range: str

    @model_validator(mode="after")
    def _an_image(self) -> Self:
        if not {"H", "W"} <= set(self.layout):
            raise ValueError(f"layout {self.layout} names no height and width (H, W)")
        return self


class OutputContract(_Port):
    """What the model file gives, e.g. heatmaps (N, J, h, w)."""

    meaning: str


class SkeletonContract(_Strict):
    name: _Name
    joints: tuple[_Name, ...]
    flip_pairs: tuple[tuple[int, int], ...]
    limbs: tuple[tuple[int, int], ...]
    uncounted: tuple[int, ...] = ()

    @classmethod
    def of(cls, skeleton: Skeleton) -> Self:
        return cls(
            name=skeleton.name,
            joints=skeleton.joints,
            flip_pairs=skeleton.flip_pairs,
            limbs=skeleton.limbs,
            uncounted=skeleton.uncounted,
        )

    def to_skeleton(self) -> Skeleton:
        return Skeleton(self.name, self.joints, self.flip_pairs, self.limbs, self.uncounted)

    @model_validator(mode="after")
    def _sound(self) -> Self:
        fault = self.to_skeleton().fault
        if fault is not None:
            raise ValueError(fault)
        return self


_Mean = Annotated[float, Field(ge=-255, le=255)]
_Std = Annotated[float, Field(gt=1e-6, le=255)]


class PreprocessingContract(_Strict):
    """uint8 pixels to the model's numbers: (value / 255 - mean) / std per channel.

    where: "host" (the app does it, see device/geometry.py) or "graph" (the model file does it)
    """

    mean: tuple[_Mean, _Mean, _Mean]
    std: tuple[_Std, _Std, _Std]
    color: Literal["RGB", "BGR"]
    where: Literal["host", "graph"]


class CropContract(_Strict):
    """A person's box becomes a square: its longer side times `padding`, centred on the box;
    bilinear, zero outside the image.

    alignment: "edges": the square's centre goes to (width / 2, height / 2) of the crop, its width to
               `width`; "centers": to ((width - 1) / 2, (height - 1) / 2), its width to `width - 1` and
               its height to `height - 1`
    """

    padding: Annotated[float, Field(gt=0, le=100)] = 1.25
    region: Literal["square"] = "square"
    resampling: Literal["bilinear"] = "bilinear"
    border: Literal["zero"] = "zero"
    alignment: Alignment = "edges"


class CodecContract(_Strict):
    """How joints are read off the heatmaps; device/codec.py does it.

    stride: input px per heatmap px; "udp" has (width - 1) / (heatmap width - 1), each axis its own
    sigma:  of the training target on a 64x64 heatmap; "dark" and "udp" smooth with it, scaled
    coding: "standard", "dark" or "udp"; rule: what that means for reading
    """

    stride: Annotated[int, Field(gt=0, le=1024)]
    sigma: Annotated[float, Field(gt=0, le=100)]
    coding: Coding = "standard"
    rule: Rule = "argmax-quarter-pixel"

    @classmethod
    def of(cls, codec: HeatmapCodec) -> Self:
        return cls(
            stride=codec.stride, sigma=codec.sigma, coding=codec.coding, rule=RULES[codec.coding]
        )

    def to_codec(self) -> HeatmapCodec:
        from edgepose.device.codec import HeatmapCodec  # numpy: not for reading a manifest

        return HeatmapCodec(self.stride, self.sigma, self.coding)

    @model_validator(mode="after")
    def _rule_of_its_coding(self) -> Self:
        if self.rule != RULES[self.coding]:
            raise ValueError(f"the {self.coding} coding is not read by {self.rule}")
        return self


Gives = Literal["heatmaps", "joints"]


class VariantContract(_Strict):
    """The same network for a crop size, a number of images and an output; the artifact's main file is
    one of them.

    input_hw: crop size; batch: images at once; gives: heatmaps, or joints read off them in the graph
    role:     of its model file; files that go with it end alike ("onnx_192x144" with "model_192x144")
    input, output, where: of that file, as the manifest's own `input`, `output` and
              `preprocessing.where` are of the main one
    """

    input_hw: tuple[int, int]
    batch: Annotated[int, Field(ge=1)]
    gives: Gives
    role: Annotated[str, Field(pattern="^model(_[a-z0-9]+)*$")]
    input: InputContract
    output: OutputContract
    where: Literal["host", "graph"]


FLOAT_NAMES = "float_layer_names"


class Provenance(_Strict):
    """Where the weights came from. quantization: summary of the plan, None for a float model."""

    model_sha256: str
    arch: str
    domain: str
    parameters: int
    quantization: dict[str, str | int] | None
    versions: dict[str, str]

    @property
    def float_layers(self) -> tuple[str, ...]:
        """The convolutions that an INT8 plan keeps in float."""
        names = (self.quantization or {}).get(FLOAT_NAMES, "")
        return tuple(name for name in str(names).split(",") if name)


class ScoreValue(_Strict):
    """Percent; ci95: by bootstrap."""

    value: float
    ci95: tuple[float, float] | None = None
    persons: int | None = None


class Scores(_Strict):
    """What the counted file scored when it was executed. data: domain of the validation split

    joint_shift_px: against the model before export, input px: "p50", "p99"
    """

    metrics: dict[str, ScoreValue]
    executor: str
    host: str
    data: str
    data_fingerprint: str
    joint_shift_px: dict[str, float] | None = None


class RecipeContract(_Strict):
    """What made it; sha256: of the resolved recipe."""

    name: str
    sha256: str
    seed: int
    command: str | None = None


class Header(_Strict):
    """Everything in the manifest but the files. scores, recipe: known after export, so in a bundle
    only; variants: where there are more variants than one; without them the keys are left out."""

    name: _Name
    target: Annotated[str, Field(pattern=f"^{NAME_PATTERN.pattern}$")]
    runtime: _Name
    precision: Literal["int8", "fp16", "fp32"]
    input: InputContract
    output: OutputContract
    skeleton: SkeletonContract
    preprocessing: PreprocessingContract
    crop: CropContract = CropContract()
    codec: CodecContract
    provenance: Provenance
    scores: Scores | None = None
    recipe: RecipeContract | None = None
    variants: tuple[VariantContract, ...] = ()

    @property
    def gives(self) -> Gives:
        """What the main file gives."""
        return "joints" if self.output.layout == JOINTS_LAYOUT else "heatmaps"

    @model_validator(mode="after")
    def _crop_of_its_coding(self) -> Self:
        if self.crop.alignment != alignment_of(self.codec.coding):
            raise ValueError(
                f"the {self.codec.coding} coding does not go with crops by {self.crop.alignment}"
            )
        return self


class Manifest(Header):
    schema_version: Literal[1]
    files: Annotated[tuple[FileEntry, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        paths = [entry.path for entry in self.files]
        if len({path.casefold() for path in paths}) != len(paths):
            raise ValueError("a file is listed twice")
        if not any(entry.counted for entry in self.files):
            raise ValueError("no file is counted")
        roles = {entry.role for entry in self.files}
        missing = sorted({variant.role for variant in self.variants} - roles)
        if missing:
            raise ValueError(f"no file is the variant {missing[0]!r}")
        keys = [(v.input_hw, v.batch, v.gives) for v in self.variants]
        if len(set(keys)) != len(keys):
            raise ValueError("a variant is listed twice")
        return self
