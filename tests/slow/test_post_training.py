"""The embedded network on photographs: INT8 for every target in one command, without training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgepose.cli import main

ROOT = Path(__file__).resolve().parents[2]
PEOPLE = ROOT.parent / "shared" / "data" / "real-people"
WEIGHTS = ROOT / "recipes" / "weights" / "resnet18_synthetic"


@pytest.mark.skipif(not PEOPLE.is_dir(), reason=f"no photographs at {PEOPLE}")
def test_the_embedded_network_on_photographs(tmp_path: Path) -> None:
    data = f"coco:{PEOPLE}/person_keypoints.json,{PEOPLE}/images"
    words = ["compress", "--post-training", "--checkpoint", str(WEIGHTS), "--data", data]
    found = CliRunner().invoke(main, [*words, "--out", str(tmp_path)])
    assert found.exit_code == 0, found.output
    run = tmp_path / "resnet18_synthetic-int8" / "latest"
    report = json.loads((run / "report.json").read_text())
    names = {row["name"] for row in report["artifacts"]}
    assert names >= {"jetson-xavier", "coreml-ios17", "onnx-android", "host"}
    for row in report["artifacts"]:
        assert (run / row["file"]).exists()
        assert row["size_bytes"] < 17_000_000
    change = next(d for d in report["differences"] if d["after"] == "quantize")
    assert len(change["ci95"]) == 2
    assert "INT8 without training" in found.output
    assert "INT8 alone costs most in" in found.output
