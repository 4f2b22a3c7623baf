"""`edgepose report`: a run drawn again, runs and benchmarks compared, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from edgepose.bench.record import (
    THIS_HOST,
    BenchRecord,
    Conditions,
    Environment,
    LatencyMs,
    environment_hash,
    save_record,
)
from edgepose.cli import main
from edgepose.metrics.metric import METRICS, difference
from edgepose.metrics.truth import Truth
from edgepose.report.compare import compare_runs
from edgepose.report.compare_text import comparison_text
from edgepose.report.costs import PruneCosts
from edgepose.report.layers import model_layers
from edgepose.report.people import Found, People, load_people
from edgepose.report.record import Report
from edgepose.report.schema import load_report, save_report
from edgepose.skeleton import MPII16

GROUPS = (
    "conv1", *(f"layer{i}.{j}.conv1" for i in (1, 2, 3, 4) for j in (0, 1)),
    *(f"layer{i}.0.conv2" for i in (2, 3, 4)), *(f"deconv_layers.{i}" for i in (0, 3, 6)),
)  # fmt: skip
PRECIOUS = "layer4.0.conv1"
RECIPE = """\
version: 1
name: tiny
data: {source: synthetic, train: 40, val: 8, calibration: 40, frame_px: 64}
student: {arch: resnet18, input_hw: [32, 32]}
budget: {macs: 30.0e+6}
stages:
  train: {steps: 2, batch_size: 2, mixed_precision: "no"}
  prune: {steps: 1, batch_size: 2, mixed_precision: "no", mode: sensitivity, sensitivity: s.json}
"""


def run(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def refused(result: Result, *parts: str) -> None:
    assert result.exit_code == 2, result.output
    assert "fix:" in result.output
    assert "Traceback" not in result.output
    for part in parts:
        assert part in result.output


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps, with its store beside it."""
    root = tmp_path_factory.mktemp("run")
    (root / "tiny.yaml").write_text(RECIPE)
    groups = [{"layer": name, "ratios": [0.5, 0.9], "drop": [30, 60] if name == PRECIOUS else [1, 2]}
              for name in GROUPS]  # fmt: skip
    measured = {"format_version": 1, "kind": "prune", "persons": 96, "groups": groups}
    (root / "s.json").write_text(json.dumps(measured))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEPOSE_CACHE", str(root / "cache"))
        result = run("train", "--recipe", root / "tiny.yaml", "--out", root / "reports")
    assert result.exit_code == 0, result.output
    return (root / "reports" / "tiny" / "latest").resolve()


def people(*, off_px: float, seed: int = 0, names: tuple[str, ...] = ("student",)) -> People:
    """60 people; each joint is off by noise of this size."""
    rng = np.random.default_rng(seed)
    xy = rng.uniform(10, 118, size=(60, 16, 2)).astype(np.float32)
    truth = Truth(
        xy=xy, annotated=np.ones((60, 16), dtype=bool), skeleton=MPII16,
        head_px=np.full(60, 12.0, dtype=np.float32), area_px2=np.full(60, 9e3),
        box_xywh=np.tile([4.0, 4.0, 120.0, 120.0], (60, 1)),
        images=tuple(str(i) for i in range(60)),
    )  # fmt: skip
    noise = np.random.default_rng(seed + 1).normal(0, 1, size=xy.shape) * off_px
    return People(
        truth,
        {name: Found((xy + noise).astype(np.float32), np.ones((60, 16), np.float32))
         for name in names},
    )  # fmt: skip


def test_a_run_is_drawn_again(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPOSE_CACHE", str(trained.parents[2] / "cache"))
    before = (trained / "report.html").read_text()
    assert 'id="people"' in before
    assert 'id="layers"' in before
    assert 'id="training"' in before
    assert 'id="sensitivity"' in before
    (trained / "report.html").unlink()
    result = run("report", trained / "report.json")
    assert result.exit_code == 0, result.output
    assert "PCKh@0.5" in result.output
    assert f"report: {trained / 'report.html'}" in result.output
    assert (trained / "report.html").read_text() == before
    kept = load_people(trained / "people.npz")
    (trained / "people.npz").unlink()
    assert run("report", trained).exit_code == 0  # the store beside it has the joints
    again = load_people(trained / "people.npz")
    assert kept is not None
    assert again is not None
    np.testing.assert_array_equal(kept.found["train"].image_xy, again.found["train"].image_xy)
    assert (trained / "report.html").read_text() == before


def test_what_pruning_followed_is_in_the_record(trained: Path) -> None:
    pruned = load_report(trained).stages[-1].sensitivity
    assert isinstance(pruned, PruneCosts)
    assert pruned.persons == 96
    assert sorted(group.layer for group in pruned.groups) == sorted(GROUPS)
    first = pruned.groups[0]  # the costliest
    assert (first.layer, first.kept, first.drop) == (PRECIOUS, first.channels, (30, 60))
    layers = {layer.name: layer.output[0] for layer in model_layers(trained / "model") or ()}
    assert {g.layer: g.kept for g in pruned.groups} == {
        g.layer: layers[g.layer] for g in pruned.groups
    }
    assert any(
        group.drop_removed == pytest.approx(2 * group.removed) for group in pruned.groups[1:]
    )


def test_a_run_without_its_store_says_what_is_missing(trained: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(trained, moved)
    (moved / "people.npz").unlink()
    result = run("report", moved, "--json")
    assert result.exit_code == 0, result.output
    assert "no joints of this run" in result.stderr
    assert json.loads(result.stdout)["recipe"]["name"] == "tiny"
    assert 'id="people"' not in (moved / "report.html").read_text()


def test_what_is_no_whole_run_is_refused(trained: Path, tmp_path: Path) -> None:
    refused(run("report", tmp_path / "nowhere"), "is not there")
    refused(run("report", tmp_path), "is not a run", "report.json")
    refused(run("report", trained.parent), "is not a run", "latest")
    half = tmp_path / "half"
    shutil.copytree(trained, half)
    before = (half / "report.html").read_bytes()
    (half / "model" / "model.safetensors").unlink()
    refused(run("report", half), "half deleted", "model/model.safetensors")
    assert (half / "report.html").read_bytes() == before
    assert run("report", half, trained).exit_code == 0  # comparing needs no network
    document = json.loads((half / "report.json").read_text())
    (half / "report.json").write_text(json.dumps({**document, "schema_version": 1}))
    refused(run("report", half), "schema_version 1; this edgepose reads 2")
    refused(run("report", trained, half, "--html", tmp_path / "no.html"), "schema_version 1")
    assert not (tmp_path / "no.html").exists()
    assert run("report", trained, trained, "--html", tmp_path / "page.html").exit_code == 0
    assert "What changed" in (tmp_path / "page.html").read_text()
    alone = run("report", trained, "--html", tmp_path / "no.html")
    assert alone.exit_code == 2
    assert "--html is for comparing" in alone.output
    refused(run("report", trained, half), "schema_version 1")
    (half / "report.json").unlink()
    refused(run("report", half), "half deleted", "report.json is gone")


def test_runs_are_compared_person_by_person(report: Report) -> None:
    good, bad = people(off_px=3), people(off_px=4.5)
    recipe = report.recipe.model_copy(update={"resolved": {"seed": 0, "budget": {"size_mb": 3}}})
    other = report.model_copy(update={"recipe": recipe})
    found = compare_runs(("a", report, good), ("b", other, bad))
    assert [(c.what, c.before, c.after) for c in found.changes] == [
        ("recipe budget.size_mb", "5", "3")
    ]
    row = next(row for row in found.rows if row.name == "student")
    metric = METRICS["pckh"]
    for score in row.scores:
        _, low, high = difference(
            bad.scores("student", metric)[score.metric],
            good.scores("student", metric)[score.metric],
        )
        assert score.ci95 == pytest.approx((low, high), abs=1e-3)
        assert score.judgement in ("better", "worse", "noise")
        assert (score.judgement == "noise") == (low <= 0 <= high)
    same = compare_runs(("a", report, good), ("b", report, good))
    assert same.changes == ()
    assert next(r for r in same.rows if r.name == "student").scores[0].judgement == "same"


@pytest.mark.parametrize(
    ("second", "reason"),
    [(None, "the second run does not keep"), (people(off_px=3, seed=5), "different people")],
)
def test_what_cannot_be_paired_says_why(report: Report, second: People | None, reason: str) -> None:
    fewer = report.model_copy(update={"artifacts": report.artifacts[:1], "differences": ()})
    found = compare_runs(("a", report, people(off_px=3)), ("b", fewer, second))
    assert found.why_not_paired is not None
    assert reason in found.why_not_paired
    assert {score.judgement for row in found.rows for score in row.scores} == {"unknown"}
    shown = comparison_text(found)
    assert max(len(line) for line in shown.splitlines()) <= 80
    flat = " ".join(shown.split())
    assert reason in flat
    assert "not known" in flat
    assert "only in a: coreml-ios17 and onnx-android" in flat


def bench(conditions: Conditions, *, factor: float = 1.0, seed: int = 0) -> BenchRecord:
    environment: Environment = {"device": conditions.name}
    times = factor * (2.0 + np.random.default_rng(seed).gamma(2.0, 0.05, size=600))
    p50, p90, p99 = (float(v) for v in np.percentile(times, [50, 90, 99]))
    return BenchRecord(
        artifact="host", artifact_sha256="0" * 64, target="host", runtime="onnx_mobile",
        precision="int8", executor="ONNX Runtime", counted_file="model.ort", size_bytes=4_000_000,
        model_ms=LatencyMs(p50=p50, p90=p90, p99=p99), latency_origin=THIS_HOST,
        model_samples_ms=tuple(times), conditions=conditions, environment=environment,
        environment_sha256=environment_hash(environment),
    )  # fmt: skip


def test_benchmarks_are_compared_as_bench_compares_them(report: Report, tmp_path: Path) -> None:
    moved = report.host.model_copy(update={"name": "another"})
    for name, record in (
        ("a", bench(report.host)),
        ("b", bench(report.host, seed=2, factor=1.1)),
        ("moved", bench(moved)),
    ):
        save_record(record, tmp_path / name / "record.json")
    result = run("report", tmp_path / "a", tmp_path / "b" / "record.json")
    assert result.exit_code == 0, result.output
    assert "the second was 10.1% slower, in one run each" in result.output
    page = tmp_path / "pages" / "changes.html"
    words = ("report", tmp_path / "a", tmp_path / "b", "--html", page)
    assert f"comparison: {page}" in run(*words).output
    assert "the second was 10.1% slower, in one run each" in page.read_text()
    assert isinstance(json.loads(run(*words, "--json").stdout), list)
    refused(run("report", tmp_path / "a", tmp_path / "moved"), "different devices")
    assert run("report", tmp_path / "a", tmp_path / "moved", "--anyway").exit_code == 0
    save_report(report, tmp_path / "report.json")
    refused(run("report", tmp_path / "a", tmp_path), "cannot be compared with a benchmark")
