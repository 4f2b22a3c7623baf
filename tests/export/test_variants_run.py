"""A recipe that exports several sizes, batches and whole-pose graphs, to the bundle."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from edgepose.artifact import Artifact
from edgepose.backends import onnx_mobile
from edgepose.bench.record import load_record
from edgepose.cli import main
from edgepose.data import synthetic
from edgepose.errors import EdgeposeError
from edgepose.variants import Variant, sizes_in, variants_in
from tests.networks import SHORT, short

PHONE = "version: 1\nextends: onnx-android\nprecision: fp32\n"
VARIANTS = [
    Variant(hw, batch, gives)
    for gives in ("heatmaps", "joints")
    for hw in ((64, 64), (96, 64))
    for batch in (1, 4)
]


def compress(recipe: Path, out: Path, *words: str) -> Result:
    command = ["compress", "--recipe", str(recipe), "--out", str(out), *words]
    return CliRunner().invoke(main, command)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short ResNet, untrained, exported in float in eight variants."""
    folder = tmp_path_factory.mktemp("variants")
    short(domain=synthetic.VERSION).save(folder / "mine")
    path, phone = folder / "variants.yaml", folder / "phone.yaml"
    phone.write_text(PHONE, encoding="utf-8")
    path.write_text(
        f"""version: 1
name: variants
data: {{source: synthetic, train: 8, val: 12, calibration: 32}}
student: {{arch: '{SHORT}', input_hw: [64, 64], checkpoint: mine}}
stages:
  export:
    targets: [{phone}]
    input_hw: [[96, 64]]
    batch: [1, 4]
    pose_graphs: [{phone}]
""",
        encoding="utf-8",
    )
    return path


@pytest.fixture(scope="module")
def run(recipe: Path) -> Path:
    found = compress(recipe, recipe.parent / "out")
    assert found.exit_code == 0, found.output
    assert "other joints than its heatmaps" not in found.output
    return (recipe.parent / "out" / "variants" / "latest").resolve()


@pytest.fixture(scope="module")
def row(run: Path) -> dict[str, Any]:
    (row,) = json.loads((run / "report.json").read_text())["artifacts"]
    return row


def test_the_manifest_lists_every_variant_and_each_one_runs(run: Path) -> None:
    artifact = Artifact.load(run / "artifacts" / "phone")
    assert list(variants_in(artifact)) == VARIANTS
    assert sizes_in(artifact) == ((64, 64), (96, 64))
    assert artifact.counted_files == ("model.ort",)
    rng = np.random.default_rng(0)
    for variant in VARIANTS:
        executor = onnx_mobile.open_executor(
            artifact, threads=1, input_hw=variant.input_hw, batch=variant.batch, gives=variant.gives
        )
        crops = rng.integers(0, 256, (variant.batch, *variant.input_hw, 3)).astype(np.uint8)
        h, w = variant.input_hw
        expected = (16, h // 4, w // 4) if variant.gives == "heatmaps" else (16, 3)
        assert executor.run(crops).shape == (variant.batch, *expected)


def test_every_variant_is_scored_at_its_own_size(row: dict[str, Any]) -> None:
    found = [Variant(tuple(v["input_hw"]), v["batch"], v["gives"]) for v in row["variants"]]
    assert found == VARIANTS[1:], "the main file is the row itself"
    by_variant = dict(zip(found, row["variants"], strict=True))
    assert all(v["metrics"]["pckh@0.5"]["persons"] == 12 for v in row["variants"])
    for variant, scored in by_variant.items():
        heatmaps = by_variant.get(Variant(variant.input_hw, variant.batch, "heatmaps"))
        if variant.gives == "joints" and heatmaps is not None:
            assert scored["metrics"] == heatmaps["metrics"], "the same joints score the same"
    small, large = (by_variant[Variant(hw, 4, "heatmaps")] for hw in ((64, 64), (96, 64)))
    assert small["file"].endswith("/model.ort")
    assert large["file"].endswith("/model_96x64.ort")
    assert small["joint_shift_px"]["against"] == large["joint_shift_px"]["against"]


def test_the_report_and_the_model_card_show_the_variants(run: Path, tmp_path: Path) -> None:
    text = (run / "report.md").read_text()
    assert "| phone | 96x64 | 4 | joints |" in text
    assert "96x64" in (run / "report.html").read_text()
    bundled = tmp_path / "pose.zip"
    command = ["bundle", str(run / "artifacts" / "phone"), "--to", str(bundled)]
    found = CliRunner().invoke(main, command)
    assert found.exit_code == 0, found.output
    with zipfile.ZipFile(bundled) as archive:
        archive.extractall(tmp_path)
        names = {name.split("/", 1)[1] for name in archive.namelist()}
    assert {"model.ort", "model_96x64.ort", "model_96x64_joints.ort"} <= names
    whole = Artifact.load(tmp_path / "tests.networks-Short-64x64-fp32-phone")
    assert list(variants_in(whole)) == VARIANTS
    card = (whole.folder / "MODEL_CARD.md").read_text()
    assert "`model_96x64_joints.ort`" in card
    readme = (whole.folder / "samples" / "kotlin" / "README.md").read_text()
    assert "nearest above" in readme, "how to choose a size by the box"


def test_a_variant_that_is_not_there_is_refused_by_name(run: Path) -> None:
    artifact = Artifact.load(run / "artifacts" / "phone")
    with pytest.raises(EdgeposeError, match="has no variant for 128x128") as caught:
        onnx_mobile.open_executor(artifact, input_hw=(128, 128))
    assert "96x64, batch 4, joints" in caught.value.fix
    with pytest.raises(EdgeposeError, match="batch 2"):
        onnx_mobile.open_executor(artifact, batch=2)


@pytest.fixture
def few_people(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four people and a few calls, instead of hundreds and seconds."""
    from edgepose import api
    from edgepose.bench import bench
    from edgepose.bench.latency import Plan
    from edgepose.data.spec import open_config

    values = {"train": 8, "val": 4, "calibration": 32}
    monkeypatch.setattr(api, "open_data", lambda text: open_config("synthetic", values, "val"))
    monkeypatch.setattr(bench, "QUICK", Plan(warmup=1, max_warmup=2, calls=5, seconds=0.0))


def test_bench_and_eval_take_the_variant_that_is_asked_for(
    recipe: Path, run: Path, few_people: None
) -> None:
    folder = str(run / "artifacts" / "phone")
    words = ["bench", "--target", str(recipe.parent / "phone.yaml"), "--artifact", folder]
    words += ["--quick", "--threads", "1", "--json"]
    scores = {}
    for gives, size in (("heatmaps", "96x64"), ("joints", "96X64"), ("joints", None)):
        choice = ["--output", gives, *(["--size", size] if size else [])]
        found = CliRunner().invoke(main, [*words, *choice, "--batch", "3"])
        assert found.exit_code == 0, found.output
        hw, name = ((96, 64), "_96x64") if size else ((64, 64), "")
        name += "_joints" if gives == "joints" else ""
        record = load_record(run / f"bench-phone{name.replace('_', '-')}" / "record.json")
        assert (record.input_hw, record.gives) == (hw, gives)
        assert record.counted_file == f"model{name}.ort"
        assert (
            record.size_bytes == (run / "artifacts" / "phone" / record.counted_file).stat().st_size
        )
        assert record.model_ms is not None
        assert record.end_to_end_ms is not None
        assert (record.model_ms.batch, record.end_to_end_ms.batch) == (3, 1)
        assert str(record.command).endswith("--batch 3" + (f" --size {size}" if size else "")
                                            + f" --output {gives}")  # fmt: skip
        scores[gives, hw] = record.metrics
        found = CliRunner().invoke(main, ["eval", folder, *choice, "--threads", "1", "--json"])
        assert found.exit_code == 0, found.output
        value = json.loads(found.stdout)["metrics"]["pckh@0.5"]["value"]
        assert value == record.metrics["pckh@0.5"].value
    assert scores["joints", (96, 64)] == scores["heatmaps", (96, 64)]
    assert not (run / "bench-phone" / "record.json").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--size", "128x128"], "has no variant for 128x128, heatmaps"),
        (["--size", "large"], "not a size: 'large'"),
        (["--size", "96x64", "--form", "fp16"], "has one form"),
    ],
)
def test_bench_names_the_variants_that_there_are(
    recipe: Path, run: Path, words: list[str], message: str
) -> None:
    folder = str(run / "artifacts" / "phone")
    target = ["--target", str(recipe.parent / "phone.yaml"), "--artifact", folder]
    found = CliRunner().invoke(main, ["bench", *target, *words])
    assert found.exit_code == 2
    assert message in found.output
    if "variant" in message:
        assert "fix: use one of: 64x64, batch 1, heatmaps; " in found.output
    assert not list(run.glob("bench-*-128x128*"))
    mistaken = CliRunner().invoke(main, ["eval", str(run / "model"), "--output", "joints"])
    assert mistaken.exit_code == 2
    assert "choose among the files of an artifact" in mistaken.output


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("stages.export.input_hw=[[100, 64]]", "multiples of 32"),
        ("stages.export.input_hw=[[96, 64], [96, 64]]", "named twice"),
        ("stages.export.batch=[0]", "batch"),
        ("stages.export.pose_graphs=[host]", "not among the targets"),
    ],
)
def test_what_cannot_be_is_said_before_anything_runs(
    recipe: Path, tmp_path: Path, setting: str, message: str
) -> None:
    found = compress(recipe, tmp_path, "--set", setting)
    assert found.exit_code == 2
    assert message in " ".join(found.output.split())
    assert list(tmp_path.iterdir()) == []
