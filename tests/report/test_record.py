"""report.json: a round trip loses nothing, and what is inconsistent is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from edgepose.bench.record import LatencyMs, MetricValue, Origin
from edgepose.errors import EdgeposeError
from edgepose.report.costs import GroupCost, Int8Costs
from edgepose.report.record import Difference, Report, StageRecord, thin
from edgepose.report.schema import json_schema, load_report, save_report, subsets_from
from edgepose.rows import sensitivity


def test_round_trip_loses_nothing(report: Report, tmp_path: Path) -> None:
    save_report(report, tmp_path / "report.json")
    assert load_report(tmp_path / "report.json") == report
    assert load_report(tmp_path) == report  # the run folder will do


def test_a_record_from_before_sensitivities_opens(report: Report, tmp_path: Path) -> None:
    save_report(report, tmp_path / "report.json")
    data = json.loads((tmp_path / "report.json").read_text())
    assert [row["sensitivity"] and row["sensitivity"]["kind"] for row in data["stages"]] == [
        None, None, None, "prune", "int8"
    ]  # fmt: skip
    for row in data["stages"]:
        del row["sensitivity"]
    (tmp_path / "report.json").write_text(json.dumps(data))
    assert {stage.sensitivity for stage in load_report(tmp_path).stages} == {None}


def test_notes_of_a_stage_become_its_sensitivity() -> None:
    row = {"layer": "a", "drop": 0.5, "shift_p50_px": 0.1, "shift_p99_px": 1.0, "macs": 7}
    rows = [row, {**row, "layer": "b"}, {**row, "layer": "c"}]
    measured = {
        "format_version": 1,
        "kind": "int8",
        "metric": "oks_ap",
        "persons": 3,
        "layers": rows,
    }
    found = sensitivity(
        {"sensitivity": measured, "float_layers": ["a"], "fallback": {"float_layers": ["c"]}}
    )
    assert isinstance(found, Int8Costs)
    assert (found.metric, found.persons) == ("oks_ap", 3)
    assert [layer.layer for layer in found.layers if layer.in_float] == ["a", "c"]
    assert sensitivity({"losses": []}) is None
    assert sensitivity({"sensitivity": {"kind": "int8", "layers": []}}) is None


def test_a_groups_drop_is_read_off_its_curve() -> None:
    group = {"layer": "a", "channels": 8, "ratios": (0.5, 0.75), "drop": (2.0, 6.0)}
    drops = [
        GroupCost.model_validate({**group, "kept": kept}).drop_removed for kept in (8, 6, 3, 1)
    ]
    assert drops == [0.0, 1.0, 4.0, None]
    for wrong in ({"kept": 9}, {"kept": 4, "drop": (2.0,)}):
        with pytest.raises(ValidationError):
            GroupCost.model_validate({**group, **wrong})


def test_json_has_the_promised_keys(report: Report, tmp_path: Path) -> None:
    save_report(report, tmp_path / "report.json")
    data = json.loads((tmp_path / "report.json").read_text())
    assert data["schema_version"] == 2
    for row in (*data["stages"], *data["artifacts"]):
        promised = {"name", "metrics", "params", "macs", "size_bytes", "latency_ms", "fps",
                    "executor", "host"}  # fmt: skip
        assert promised <= set(row)
        assert set(row["metrics"]) == {"pckh@0.5", "pckh@0.1"}
        assert {"value", "ci95", "per_joint"} <= set(row["metrics"]["pckh@0.5"])
    for row in data["artifacts"]:
        assert {"target", "file", "size_bytes", "joint_shift_px"} <= set(row)
        assert {"p50", "p99"} <= set(row["joint_shift_px"])
    timed = data["artifacts"][2]
    assert timed["fps"] == pytest.approx(1000 / timed["latency_ms"]["p50"])
    assert data["artifacts"][0]["latency_ms"] is None
    assert data["artifacts"][0]["latency_note"]


def test_schema_describes_every_key(report: Report) -> None:
    schema = json_schema()
    assert set(schema["properties"]) == set(report.model_dump())
    assert schema["$schema"].endswith("2020-12/schema")
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "is not JSON"),
        ("[1]", "schema_version None"),
        ('{"schema_version": 1}', "schema_version 1; this edgepose reads 2"),
        ('{"schema_version": 3}', "schema_version 3"),
        ('{"schema_version": 2, "surprise": 0}', "surprise"),
        (None, "cannot read"),
    ],
)
def test_unreadable_reports_are_refused(tmp_path: Path, content: str | None, problem: str) -> None:
    path = tmp_path / "report.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(EdgeposeError, match=problem) as caught:
        load_report(path)
    assert caught.value.fix


def test_a_latency_needs_an_origin_and_its_absence_a_reason() -> None:
    latency = LatencyMs(p50=1, p90=2, p99=3)
    measured = Origin(kind="measured", where="this host")
    common = {"name": "student", "executor": "torch", "host": "here"}
    row = StageRecord.model_validate({**common, "latency_ms": latency, "latency_origin": measured})
    assert row.fps == pytest.approx(1000.0)
    for wrong in (
        {"latency_ms": latency},
        {"latency_note": "why", "latency_origin": measured},
        {},
        {"latency_ms": latency, "latency_origin": measured, "fps": 30.0},
    ):
        with pytest.raises(ValidationError):
            StageRecord.model_validate({**common, **wrong})


def test_nan_is_refused() -> None:
    with pytest.raises(ValidationError):
        MetricValue(value=float("nan"))


def test_names_are_unique_and_differences_refer_to_them(report: Report) -> None:
    data = report.model_dump()
    with pytest.raises(ValidationError, match="twice"):
        Report.model_validate({**data, "stages": [*report.stages, report.stages[0]]})
    stray = Difference(before="teacher", after="nobody", metric="pckh@0.5", value=0)
    with pytest.raises(ValidationError, match="nobody"):
        Report.model_validate({**data, "differences": [stray]})


def test_subsets_from_evaluation() -> None:
    found = subsets_from({"occluded": {"persons": 143.0, "pckh@0.5": 79.1, "pckh@0.1": 20.0}})
    assert found["occluded"]["pckh@0.5"] == MetricValue(value=79.1, persons=143)
    assert set(found["occluded"]) == {"pckh@0.5", "pckh@0.1"}


@given(st.integers(0, 1000), st.integers(2, 50))
def test_thin_keeps_order_ends_and_limit(count: int, limit: int) -> None:
    points = [(i, float(i)) for i in range(count)]
    kept = thin(points, limit)
    assert len(kept) == min(count, limit)
    assert list(kept) == sorted(set(kept))
    if points:
        assert kept[0] == points[0]
        assert kept[-1] == points[-1]
