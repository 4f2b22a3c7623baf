"""Variants of one network in an artifact, and the choice among its crop sizes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepose.artifact import Artifact, Content
from edgepose.backends.common.contract import pose_header
from edgepose.device.contract import load_contract, load_sizes
from edgepose.device.input_sizes import choose_size
from edgepose.errors import EdgeposeError
from edgepose.manifest import Gives
from edgepose.variants import (
    Variant,
    all_variants,
    contract_of,
    select,
    sizes_in,
    suffix_of,
    variant_at,
    variants_in,
)
from tests.headers import header

OWN = (64, 48)
SIZES = [(256, 192), (192, 144), (128, 96)]


VARIANTS = all_variants(OWN, sizes=[(96, 64)], batches=[8], joints=True)


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    """Every variant in files of its own, with a build file each, and one file in another precision."""
    contents = [Content("model_fp16.onnx", "model_fp16", b"half")]
    variants = []
    for variant in VARIANTS:
        suffix = suffix_of(variant, OWN, any_batch=False)
        top = header(variant.input_hw, batch=variant.batch)
        top = top if variant.gives == "heatmaps" else pose_header(top, output_name="joints")
        variants.append(contract_of(variant, suffix, top))
        contents += [
            Content(
                f"model{suffix}.onnx", f"model{suffix}", str(variant).encode(), counted=not suffix
            ),
            Content(f"build{suffix}.json", f"build{suffix}", suffix.encode()),
        ]
    whole = header(OWN, batch=1).model_copy(update={"variants": tuple(variants)})
    return Artifact.write(tmp_path / "a", whole, contents)


def test_each_variant_is_found_with_the_files_that_are_its_own(artifact: Artifact) -> None:
    again = Artifact.load(artifact.folder)
    assert again == artifact
    assert variants_in(again) == VARIANTS
    assert len(VARIANTS) == 8
    for variant in VARIANTS:
        one = select(again, input_hw=variant.input_hw, batch=variant.batch, gives=variant.gives)
        assert one.path("model").read_bytes() == str(variant).encode()
        assert one.path("build").read_text() == suffix_of(variant, OWN, any_batch=False)
        assert one.input_hw == variant.input_hw
        assert one.manifest.input.shape[0] == variant.batch
        assert one.manifest.gives == variant.gives
        assert one.manifest.preprocessing.where == (
            "host" if variant.gives == "heatmaps" else "graph"
        )


def test_what_is_not_named_is_the_main_files(artifact: Artifact) -> None:
    assert select(artifact) is artifact
    other = select(artifact, input_hw=(96, 64))
    assert other.path("model").name == "model_96x64.onnx", "one image, heatmaps"
    assert select(artifact, gives="joints").path("model").name == "model_joints.onnx"
    assert select(artifact, batch=8).path("model").name == "model_b8.onnx"
    assert sizes_in(artifact) == (OWN, (96, 64))
    with pytest.raises(EdgeposeError, match="no variant for 64x64"):
        select(artifact, input_hw=(64, 64))


@pytest.mark.parametrize("gives", ["joints", "heatmaps"])
def test_the_device_reads_a_contract_for_each_size(artifact: Artifact, gives: Gives) -> None:
    path = artifact.folder / "artifact.json"
    document = json.loads(path.read_text())
    if gives == "heatmaps":  # as an export without whole-pose graphs lists them
        document["variants"] = [v for v in document["variants"] if v["gives"] == gives]
        document["files"] = [f for f in document["files"] if not f["role"].endswith("joints")]
        path.write_text(json.dumps(document))
    found = load_sizes(str(artifact.folder))
    assert [contract.input_hw for contract in found] == [OWN, (96, 64)]
    for contract in found:
        one = select(artifact, input_hw=contract.input_hw, batch=1, gives=gives)
        assert contract.files == {f.role: str(one.folder / f.path) for f in one.manifest.files}
        assert contract.read("model") == one.path("model").read_bytes()
        assert (contract.gives, contract.fixed_batch) == (gives, 1)
        assert contract.where == one.manifest.preprocessing.where
        assert contract.output_name == one.manifest.output.name
    del document["variants"]
    path.write_text(json.dumps(document))
    assert load_sizes(str(artifact.folder)) == [load_contract(str(artifact.folder))]


def test_a_file_belongs_to_the_variant_that_its_role_ends_with(artifact: Artifact) -> None:
    assert variant_at(artifact, "model_96x64_b8_joints") == Variant((96, 64), 8, "joints")
    assert variant_at(artifact, "build_b8") == Variant(OWN, 8)
    assert variant_at(artifact, "model_fp16") is None


def test_an_artifact_of_one_variant_reads_and_writes_as_before(tmp_path: Path) -> None:
    files = [Content("model.onnx", "model", b"x", counted=True)]
    plain = Artifact.write(tmp_path / "plain", header(OWN, batch=1), files)
    assert "variants" not in json.loads((plain.folder / "artifact.json").read_text())
    assert variants_in(Artifact.load(plain.folder)) == (Variant(OWN),)
    assert select(plain, input_hw=OWN, batch=1, gives="heatmaps") is plain
    with pytest.raises(EdgeposeError, match="joints"):
        select(plain, gives="joints")


def test_a_variant_without_its_file_is_refused(artifact: Artifact) -> None:
    path = artifact.folder / "artifact.json"
    document = json.loads(path.read_text())
    document["variants"][1]["role"] = "model_32x32"
    path.write_text(json.dumps(document))
    with pytest.raises(EdgeposeError, match="model_32x32"):
        Artifact.load(artifact.folder)
    document["variants"][1] = document["variants"][0]
    path.write_text(json.dumps(document))
    with pytest.raises(EdgeposeError, match="listed twice"):
        Artifact.load(artifact.folder)


@pytest.mark.parametrize(
    ("box_hw", "expected"),
    [
        ((100, 90), (128, 96)),
        ((128, 96), (128, 96)),
        ((129, 96), (192, 144)),
        ((250, 190), (256, 192)),
        ((900, 400), (256, 192)),
        ((0, 0), (128, 96)),
    ],
)
def test_the_size_nearest_above_the_box(
    box_hw: tuple[float, float], expected: tuple[int, int]
) -> None:
    assert choose_size(box_hw, SIZES) == expected
    assert choose_size(box_hw, SIZES[::-1]) == expected


@given(
    box=st.tuples(st.floats(0, 4000), st.floats(0, 4000)),
    sizes=st.lists(st.tuples(st.integers(32, 512), st.integers(32, 512)), min_size=1, max_size=6),
)
def test_no_smaller_size_would_do_and_no_larger_one_is_taken(
    box: tuple[float, float], sizes: list[tuple[int, int]]
) -> None:
    chosen = choose_size(box, sizes)
    area, areas = chosen[0] * chosen[1], [h * w for h, w in sizes]
    enough = [a for a in areas if a >= box[0] * box[1]]
    assert chosen in sizes
    assert area == (min(enough) if enough else max(areas))


def test_there_have_to_be_sizes() -> None:
    with pytest.raises(ValueError, match="no sizes"):
        choose_size((1, 1), [])
