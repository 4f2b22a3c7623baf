"""A network that has learnt 64 pictures by heart still knows them in every file that is shipped.

Whatever a stage breaks (a shifted crop, swapped channels, a wrong scale, a lost layer) costs more than
the five percent allowed here. The recipe takes minutes on two cores.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import edgepose

pytestmark = pytest.mark.slow

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "memorise.yaml"
STAGES = ["teacher", "distill", "prune", "qat", "quantize"]
EXECUTORS = {  # what executed the file, and what did not
    "jetson-xavier": ("ONNX Runtime", "TensorRT not run"),
    "coreml-ios17": ("MIL interpreter", "Core ML not run"),
    "onnx-android": ("ONNX Runtime",),
    "host": ("ONNX Runtime",),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run."""
    folder = tmp_path_factory.mktemp("memorise")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEPOSE_CACHE", str(folder / "cache"))
        return edgepose.compress(RECIPE, out=folder / "reports")


@pytest.fixture(scope="module")
def report(run: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((run / "report.json").read_text())
    return content


def test_every_row_knows_the_pictures(report: dict[str, Any]) -> None:
    rows = report["stages"] + report["artifacts"]
    assert [row["name"] for row in report["stages"]] == STAGES
    assert {row["target"] for row in report["artifacts"]} == set(EXECUTORS)
    scores = {row["name"]: row["metrics"]["pckh@0.5"]["value"] for row in rows}
    print(scores)
    assert not {name: score for name, score in scores.items() if not score >= 95}


def test_it_was_scored_on_the_pictures_it_learnt(report: dict[str, Any]) -> None:
    data = report["data"]
    assert data["counts"]["train"] == data["counts"]["val"] == 64
    assert data["fingerprints"]["val"] == data["fingerprints"]["train"]


def test_every_artifact_keeps_to_five_million_bytes(run: Path, report: dict[str, Any]) -> None:
    sizes = {}
    for row in report["artifacts"]:
        counted = [run / entry["path"] for entry in row["files"] if entry["counted"]]
        sizes[row["target"]] = sum(path.stat().st_size for path in counted)
        assert row["size_bytes"] == sizes[row["target"]]
    print(sizes)
    assert not {target: size for target, size in sizes.items() if not 0 < size <= 5_000_000}
    assert report["budget"]["size"]["met"] is True
    package = run / "artifacts/coreml-ios17/model.mlpackage"
    whole = sum(path.stat().st_size for path in package.rglob("*") if path.is_file())
    assert sizes["coreml-ios17"] == whole, "an mlpackage is counted whole"


def test_integer_kernels_do_the_work_on_android(report: dict[str, Any]) -> None:
    (row,) = [row for row in report["artifacts"] if row["target"] == "onnx-android"]
    assert row["integer_mac_share"] >= 0.95


def test_every_row_says_what_executed_it(report: dict[str, Any]) -> None:
    for row in report["artifacts"]:
        for words in EXECUTORS[row["target"]]:
            assert words in row["executor"], row["target"]
        if row["target"] in ("jetson-xavier", "coreml-ios17"):
            assert row["fps"] is None, row["target"]
            assert "not measured" in row["latency_note"], row["target"]
    assert all("torch" in row["executor"] for row in report["stages"])
