"""The variants of one network in one artifact: crop sizes, numbers of images, heatmaps or joints.

A variant is named by what it takes and gives; its files are told from the main ones by the end of their
roles and names. `select` gives one of them as an artifact of its own, which every backend can open.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from edgepose.artifact import Artifact, Content
from edgepose.errors import EdgeposeError
from edgepose.manifest import Gives, Header, VariantContract

MODEL = "model"


@dataclass(frozen=True)
class Variant:
    """input_hw: crop (height, width); batch: images at once; gives: "heatmaps" or "joints"."""

    input_hw: tuple[int, int]
    batch: int = 1
    gives: Gives = "heatmaps"

    def __str__(self) -> str:
        return f"{self.input_hw[0]}x{self.input_hw[1]}, batch {self.batch}, {self.gives}"


def all_variants(
    own_hw: tuple[int, int],
    *,
    sizes: Sequence[tuple[int, int]] = (),
    batches: Sequence[int] = (1,),
    joints: bool = False,
) -> tuple[Variant, ...]:
    """Every combination, the model's own size for one image first."""
    hw = dict.fromkeys((own_hw, *sizes))
    counts = sorted({1, *batches})
    gives: tuple[Gives, ...] = ("heatmaps", "joints") if joints else ("heatmaps",)
    return tuple(Variant(size, batch, what) for what in gives for size in hw for batch in counts)


def suffix_of(variant: Variant, own_hw: tuple[int, int], *, any_batch: bool) -> str:
    """What a variant's roles and file names end with: "" for the main one, or e.g. "_192x144_b8".

    any_batch: a file takes any number of images, so that all batches share it
    """
    parts = [] if variant.input_hw == own_hw else ["{}x{}".format(*variant.input_hw)]
    if variant.batch > 1 and not any_batch:
        parts.append(f"b{variant.batch}")
    if variant.gives == "joints":
        parts.append("joints")
    return "".join(f"_{part}" for part in parts)


def contract_of(variant: Variant, suffix: str, header: Header) -> VariantContract:
    """The manifest's entry of a variant; header: as it would be if the variant were the main file."""
    return VariantContract(
        input_hw=variant.input_hw,
        batch=variant.batch,
        gives=variant.gives,
        role=f"{MODEL}{suffix}",
        input=header.input,
        output=header.output,
        where=header.preprocessing.where,
    )


def variants_in(artifact: Artifact) -> tuple[Variant, ...]:
    """The variants that an artifact lists; its main file alone where it lists none."""
    manifest = artifact.manifest
    if manifest.variants:
        return tuple(Variant(v.input_hw, v.batch, v.gives) for v in manifest.variants)
    batch = manifest.input.shape[0]
    return (Variant(artifact.input_hw, batch if isinstance(batch, int) else 1, manifest.gives),)


def sizes_in(artifact: Artifact) -> tuple[tuple[int, int], ...]:
    """The crop sizes to choose from, see device/input_sizes.py."""
    return tuple(dict.fromkeys(variant.input_hw for variant in variants_in(artifact)))


def select(
    artifact: Artifact,
    *,
    input_hw: tuple[int, int] | None = None,
    batch: int | None = None,
    gives: Gives | None = None,
) -> Artifact:
    """The artifact as one of its variants: that variant's contract, and its files under the main roles.

    input_hw: None: the main file's; batch: None: the smallest; gives: None: what the main file gives
    Raises EdgeposeError naming the variants that there are.
    """
    if input_hw is None and batch is None and gives is None:
        return artifact
    manifest = artifact.manifest
    hw = artifact.input_hw if input_hw is None else (input_hw[0], input_hw[1])
    what = manifest.gives if gives is None else gives
    fits = [v for v in variants_in(artifact) if (v.input_hw, v.gives) == (hw, what)]
    variant = (
        min(fits, key=lambda v: v.batch, default=None)
        if batch is None
        else next((v for v in fits if v.batch == batch), None)
    )
    if variant is None:
        wanted = f"{hw[0]}x{hw[1]}{'' if batch is None else f', batch {batch}'}, {what}"
        raise EdgeposeError(
            f"{artifact.folder} has no variant for {wanted}",
            fix=f"use one of: {'; '.join(map(str, variants_in(artifact)))}; or export with that variant",
        )
    return artifact if not manifest.variants else as_variant(artifact, variant)


@contextmanager
def chosen(
    artifact: Artifact,
    *,
    input_hw: tuple[int, int] | None = None,
    batch: int = 1,
    gives: Gives | None = None,
) -> Iterator[Artifact]:
    """`select` for what reads a folder (the runner, a device): the variant's files and contract lie in
    one of their own, which goes afterwards; the artifact itself where that is the variant.

    batch: of a file that takes any number of images, any
    """
    own = artifact.manifest
    free = batch == 1 or not isinstance(own.input.shape[0], int)
    found = select(artifact, input_hw=input_hw, batch=None if free else batch, gives=gives)
    top = found.manifest
    if (top.input, top.output) == (own.input, own.output):
        yield artifact
        return
    with tempfile.TemporaryDirectory(prefix="edgepose-variant-") as folder:
        contents = [Content(f.path, f.role, found.folder / f.path, f.counted) for f in top.files]
        yield Artifact.write(Path(folder) / "artifact", top, contents)


def as_variant(artifact: Artifact, variant: Variant) -> Artifact:
    """The artifact with `variant` as its main file; `variant` is one that it lists."""
    manifest = artifact.manifest
    contract = next(
        v
        for v in manifest.variants
        if (v.input_hw, v.batch, v.gives) == (variant.input_hw, variant.batch, variant.gives)
    )
    suffix = contract.role.removeprefix(MODEL)
    counted = {f.role for f in manifest.files if f.counted}
    roles = {f: f.role.removesuffix(suffix) for f in manifest.files
             if _suffix_in(f.role, manifest.variants) == suffix}  # fmt: skip
    files = tuple(
        f.model_copy(update={"role": role, "counted": role in counted}) for f, role in roles.items()
    )
    preprocessing = manifest.preprocessing.model_copy(update={"where": contract.where})
    update = {
        "input": contract.input,
        "output": contract.output,
        "preprocessing": preprocessing,
        "files": files,
        "variants": (),
    }
    return replace(artifact, manifest=manifest.model_copy(update=update))


def variant_at(artifact: Artifact, role: str) -> Variant | None:
    """The first variant whose file has that role, None where it is one of the main files."""
    variants = artifact.manifest.variants
    suffix = _suffix_in(role, variants)
    if not suffix:
        return None
    found = (v for v in variants if v.role.removeprefix(MODEL) == suffix)
    return next((Variant(v.input_hw, v.batch, v.gives) for v in found), None)


def _suffix_in(role: str, variants: Sequence[VariantContract]) -> str:
    """What tells a role from the main file's: the longest suffix of a variant that it ends with."""
    suffixes = {v.role.removeprefix(MODEL) for v in variants}
    return max((s for s in suffixes if role.endswith(s)), key=len, default="")
