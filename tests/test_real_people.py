"""Photographs in COCO's format go through the same commands as everything else, scored by OKS AP."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from edgepose.cli import main
from edgepose.data.coco import Config, open_split
from edgepose.data.codec import encode_batch
from edgepose.device.codec import HeatmapCodec
from edgepose.device.geometry import apply_affine
from edgepose.evaluation import EvaluationSet, find_joints, score
from edgepose.metrics.metric import METRICS, natural

PEOPLE = Path(__file__).resolve().parents[2] / "shared" / "data" / "real-people"
pytestmark = pytest.mark.skipif(not PEOPLE.is_dir(), reason=f"no photographs at {PEOPLE}")
RECIPE = f"""\
version: 1
name: photographs
metric: oks_ap
data: {{source: coco, annotations: {PEOPLE}/person_keypoints.json, images: {PEOPLE}/images}}
student: {{arch: "tests.networks:Short", input_hw: [64, 64]}}
budget: {{size_mb: 0.5, max_drop: 3.0}}
stages:
  train: {{steps: 1, batch_size: 4, mixed_precision: "no"}}
  quantize: {{mode: static}}
  export: {{targets: [host]}}
"""


def test_a_whole_run_from_labels_to_artifacts(tmp_path: Path) -> None:
    recipe = tmp_path / "photographs.yaml"
    recipe.write_text(RECIPE)
    words = ["compress", "--recipe", str(recipe), "--out", str(tmp_path / "reports")]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    assert "OKS AP" in result.output
    assert "bootstrap over images" in result.output
    run = tmp_path / "reports" / "photographs" / "latest"
    report = json.loads((run / "report.json").read_text())
    assert report["metric"] == report["primary_metric"] == "oks_ap"
    assert report["budget"]["drop"]["metric"] == "oks_ap"
    assert report["data"]["counts"] == {"train": 37, "val": 7, "calibration": 37}
    for row in (*report["stages"], *report["artifacts"]):
        assert set(row["metrics"]) == {"oks_ap", "oks_ap@0.75"}
        assert row["metrics"]["oks_ap"]["persons"] == 7
    assert {d["metric"] for d in report["differences"]} == {"oks_ap", "oks_ap@0.75"}
    assert all(len(d["ci95"]) == 2 for d in report["differences"])
    (artifact,) = report["artifacts"]
    assert (run / artifact["file"]).stat().st_size == artifact["size_bytes"] <= 500_000
    assert "| OKS AP |" in (run / "report.md").read_text()

    data = f"coco:{PEOPLE}/person_keypoints.json,{PEOPLE}/images"
    shown = CliRunner().invoke(main, ["eval", str(run / "model"), "--data", data])
    assert shown.exit_code == 0, shown.output
    assert "OKS AP@0.75" in shown.output
    words = ["eval", str(run / "model"), "--data", data, "--metric", "pck_box", "--json"]
    found = json.loads(CliRunner().invoke(main, words).stdout)
    assert set(found["metrics"]) == {"pck_box@0.2", "pck_box@0.1"}
    assert found["persons"] == 44
    words = ["eval", str(run / "model"), "--data", data, "--metric", "pckh"]
    refused = CliRunner().invoke(main, words)
    assert refused.exit_code == 2
    assert "needs head sizes" in refused.output


class GroundTruth:
    """An executor that gives the labels' own heatmaps, whatever the crops show."""

    description = "ground truth"

    def __init__(self, data: EvaluationSet) -> None:
        xy = apply_affine(data.matrices, data.truth.xy)
        hw = (data.crops.shape[1] // 4, data.crops.shape[2] // 4)
        self.heatmaps, _ = encode_batch(
            xy, data.truth.annotated, heatmap_hw=hw, stride=4, sigma=2.0
        )
        self.at = 0

    def run(self, crops: np.ndarray) -> np.ndarray:
        self.at += len(crops)
        return self.heatmaps[self.at - len(crops) : self.at]


def test_the_labels_own_heatmaps_score_nearly_all() -> None:
    config = Config(
        annotations=PEOPLE / "person_keypoints.json", images=PEOPLE / "images", train_fraction=0
    )
    data = EvaluationSet.from_dataset(open_split(config, "val"), (256, 192))
    assert len(data) == 44
    assert natural(data.truth).word == "oks_ap"
    assert len(set(data.truth.images)) < len(data)  # several people of one photograph
    joints = find_joints(GroundTruth(data), data, codec=HeatmapCodec())
    found = score(joints, data, METRICS["oks_ap"])
    assert found["oks_ap"].value > 95
    assert found["oks_ap@0.75"].value > 98
