"""A benchmark's record: right figures by a known clock, known joints, and honest gaps."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from edgepose.bench.bench import bench_artifact, no_latency_note
from edgepose.bench.latency import Plan, time_calls
from edgepose.bench.photographs import score_photographs
from edgepose.bench.record import BenchRecord, LatencyMs, load_record, save_record, to_json_bytes
from edgepose.device.codec import HeatmapCodec
from edgepose.errors import EdgeposeError
from edgepose.report.scores import scores_text
from edgepose.report.terminal import bench_text
from edgepose.skeleton import COCO17, MPII16, Skeleton
from edgepose.target import load_target
from tests.bench import fakes
from tests.headers import INPUT_HW, STRIDE

PLAN = Plan(warmup=3, max_warmup=9, calls=40, seconds=0.0)


def bench(tmp_path: Path, **options: object) -> BenchRecord:
    runtime = str(options.pop("runtime", "onnx_mobile"))
    target = str(options.pop("for_target", "host"))
    dataset = options.pop("dataset", fakes.Blocks())
    executor = options.pop("executor", fakes.BrightSpot())
    artifact = fakes.make_artifact(tmp_path / "artifact", runtime=runtime, target=target)
    defaults: dict[str, object] = {"plan": PLAN, "clock": fakes.Ticks(2.0), "threads": 2}
    return bench_artifact(artifact, executor, dataset, **{**defaults, **options})  # type: ignore[arg-type]


def test_latency_follows_the_clock(tmp_path: Path) -> None:
    record = bench(tmp_path)
    assert record.model_ms == LatencyMs(
        p50=2.0,
        p90=2.0,
        p99=2.0,
        mean=2.0,
        mean_ci95=(2.0, 2.0),
        min=2.0,
        max=2.0,
        count=40,
        warmup=6,
        batch=1,
        threads=2,
    )
    assert record.fps == pytest.approx(500.0)
    assert record.model_samples_ms == (2.0,) * 40
    assert len(record.end_to_end_samples_ms) == 40
    assert record.frame_hw == (720, 1280)
    assert str(record.latency_origin) == "measured on this host"


def test_percentiles_are_numpys() -> None:
    rng = np.random.default_rng(3)
    clock = (int(t) for t in np.cumsum(rng.gamma(2.0, 3e6, 1000)))
    timed = time_calls(lambda: None, plan=Plan(0, 0, 200, 0.0), clock=lambda: next(clock))
    samples = timed.samples_ms
    assert len(samples) == timed.latency.count == 200
    found = (timed.latency.p50, timed.latency.p90, timed.latency.p99)
    assert found == pytest.approx(tuple(np.percentile(samples, (50, 90, 99))))
    assert timed.latency.max == samples.max()
    assert timed.latency.mean == pytest.approx(samples.mean())


def test_batches_count_as_many_images(tmp_path: Path) -> None:
    record = bench(tmp_path, batch=4)
    assert record.model_ms is not None
    assert record.model_ms.batch == 4
    assert record.fps == pytest.approx(2000.0)


def test_accuracy_is_of_the_executor(tmp_path: Path) -> None:
    right = bench(tmp_path)
    assert right.metrics["pckh@0.5"].value == pytest.approx(100.0)
    assert right.persons == 6
    assert right.domain == "blocks"
    wrong = bench(tmp_path, executor=fakes.BrightSpot(shift=5))
    assert wrong.metrics["pckh@0.5"].value == pytest.approx(0.0)


def test_size_is_of_the_counted_file(tmp_path: Path) -> None:
    record = bench(tmp_path)
    assert record.size_bytes == 1234
    assert record.counted_file == "model.onnx.xz"


def test_without_a_device_there_is_no_latency(tmp_path: Path) -> None:
    record = bench(tmp_path, runtime="tensorrt", for_target="jetson-xavier")
    assert record.model_ms is None
    assert record.end_to_end_ms is None
    assert record.fps is None
    assert record.latency_note is not None
    assert "FPS not measured: no Jetson reached" in record.latency_note
    assert record.metrics["pckh@0.5"].value == pytest.approx(100.0)
    shown = " ".join(bench_text(record).split())
    assert "FPS not measured: no Jetson reached" in shown
    assert " ms" not in shown
    assert no_latency_note("onnx_mobile") is None


def test_a_phones_file_timed_here_says_so(tmp_path: Path) -> None:
    android = load_target("onnx-android", runtimes=("onnx_mobile",))
    record = bench(tmp_path, target=android)
    assert record.target == "onnx-android"
    assert record.latency_note is not None
    assert "no device of target onnx-android" in record.latency_note
    host = bench(tmp_path, target=load_target("host", runtimes=("onnx_mobile",)))
    assert host.latency_note is None


def test_without_data_nothing_is_scored(tmp_path: Path) -> None:
    record = bench(tmp_path, dataset=None)
    assert record.metrics == {}
    assert record.metrics_origin.kind == "not_measured"
    assert "no data set was given" in " ".join(bench_text(record).split())
    headless = bench(tmp_path, dataset=fakes.Blocks(head_px=float("nan")))
    assert list(headless.metrics) == ["pck_box@0.2", "pck_box@0.1"]
    strangers = bench(tmp_path, dataset=CocoBlocks())
    assert strangers.metrics == {}
    assert any("coco17 labels" in note for note in strangers.notes)


def test_record_round_trip(tmp_path: Path) -> None:
    record = bench(tmp_path, command="edgepose bench --target host [ 1,\n 2 ]")
    save_record(record, tmp_path / "record.json")
    assert load_record(tmp_path / "record.json") == record
    text = (tmp_path / "record.json").read_text()
    assert len(text.splitlines()) < 400  # samples stay on one line
    assert json.loads(text)["model_samples_ms"] == [2.0] * 40
    (tmp_path / "record.json").write_text(
        text.replace('"record_version": 2', '"record_version": 9')
    )
    with pytest.raises(EdgeposeError, match="record_version 9"):
        load_record(tmp_path / "record.json")


def test_json_leaves_texts_alone(tmp_path: Path) -> None:
    record = bench(tmp_path, command="a [ 1, 2 ] b")
    assert json.loads(to_json_bytes(record))["command"] == "a [ 1, 2 ] b"


def test_text_fits_and_shows_the_figures(tmp_path: Path) -> None:
    shown = bench_text(bench(tmp_path))
    assert max(len(line) for line in shown.splitlines()) <= 80
    for figure in ("100.0", "1,234 bytes", "2.00 / 2.00 / 2.00", "500.0", "fake executor 1.0",
                   "measured on this host", "2 threads", "1280x720"):  # fmt: skip
        assert figure in shown, figure


def test_a_record_cannot_hide_where_its_latency_is_from(tmp_path: Path) -> None:
    data = bench(tmp_path).model_dump()
    for change in ({"latency_origin": {"kind": "not_measured"}}, {"model_ms": None}):
        with pytest.raises(ValidationError):
            BenchRecord.model_validate({**data, **change})


class CocoBlocks(fakes.Blocks):  # type: ignore[misc, name-defined]
    """The same pictures, labelled with COCO's joints."""

    skeleton: Skeleton = COCO17

    def __getitem__(self, index: int) -> object:
        sample = super().__getitem__(index)
        xy = np.tile(sample.joints_xy[:1], (17, 1))
        return type(sample)(**{**vars(sample), "joints_xy": xy, "annotated": np.ones(17, bool)})


def test_photographs_are_scored_by_joint_names() -> None:
    options = {
        "skeleton": MPII16,
        "input_hw": INPUT_HW,
        "codec": HeatmapCodec(stride=STRIDE),
    }
    good = score_photographs(fakes.BrightSpot(), CocoBlocks(), **options)
    assert len(good.joints) == 12
    assert set(good.joints) <= set(COCO17.joints)
    assert good.persons == good.oks_persons == 6
    assert good.pck["pck_box@0.2"].value == pytest.approx(100.0)
    assert good.mean_oks is not None
    assert good.mean_oks > 0.8
    bad = score_photographs(fakes.BrightSpot(shift=5), CocoBlocks(), **options)
    assert bad.pck["pck_box@0.2"].value == pytest.approx(0.0)
    assert bad.mean_oks is not None
    assert bad.mean_oks < 0.1
    shown = scores_text("model", good.model_dump(mode="json"))
    assert f"{good.mean_oks:.3f}" in shown
    assert "12 joints" in shown
    assert max(len(line) for line in shown.splitlines()) <= 88
    unsized = good.model_copy(update={"mean_oks": None, "oks_ap": None, "oks_persons": 0})
    assert "mean OKS     -" in scores_text("model", unsized.model_dump(mode="json"))
    stranger = Skeleton(name="tail", joints=("tail",), flip_pairs=(), limbs=())
    with pytest.raises(EdgeposeError, match="share no joint"):
        score_photographs(fakes.BrightSpot(), CocoBlocks(), **{**options, "skeleton": stranger})
