"""Comparisons: a thing against itself is the same, a slower one is slower, apples are no pears."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from click.testing import CliRunner, Result

import edgepose.bench
import edgepose.cli
from edgepose.bench.bench import bench_artifact
from edgepose.bench.comparison import (
    PROCESSES,
    ROUNDS,
    compare_artifacts,
    compare_records,
    runs_ms,
    time_in_turns,
)
from edgepose.bench.environment import unlike
from edgepose.bench.fail_if import check, figures, parse_fail_if
from edgepose.bench.intervals import mean_interval, paired_ratio, tails, unpaired_ratio
from edgepose.bench.latency import Plan
from edgepose.bench.record import (
    BenchRecord,
    PersonCounts,
    environment_hash,
    load_record,
    save_record,
)
from edgepose.bench.schema import SCHEMA_FILE, record_schema
from edgepose.bench.scores import share_difference
from edgepose.device.errors import DeviceError
from edgepose.device.lock import LOCK, take_lock
from edgepose.errors import EdgeposeError
from tests.bench import fakes, networks

PLAN = Plan(warmup=3, max_warmup=9, calls=40, seconds=0.0)


def series(rng: np.random.Generator, count: int, *, mean_ms: float = 10.0) -> np.ndarray:
    """Latencies as busy machines give them: neighbours alike, other work that comes and goes, a few
    far outliers, and one run unlike the next by a percent."""
    noise = rng.normal(0, 0.01, count)
    smooth = np.convolve(noise, 0.9 ** np.arange(40), mode="same")
    busy = np.repeat(rng.random(count // 100 + 1) < 0.4, 100)[:count] * 0.1
    far = np.where(rng.random(count) < 0.01, rng.exponential(1.0, count), 0.0)
    return np.asarray(mean_ms * np.exp(smooth + busy + rng.normal(0, 0.01)) * (1 + far))


def in_turns(rng: np.random.Generator, slower: float) -> bool:
    turns = []
    for _ in range(PROCESSES):
        both = series(rng, ROUNDS * 2 * 15).reshape(ROUNDS, 2, 15)
        layout = np.exp(rng.normal(0, 0.01))  # where memory fell in this process
        turns.append((both[:, 0], both[:, 1] * slower * layout))
    return paired_ratio(turns).differs


def apart(rng: np.random.Generator, slower: float) -> bool:
    first, second = ([series(rng, 1024) for _ in range(5)] for _ in range(2))
    return unpaired_ratio(first, [run * slower for run in second]).differs


@pytest.mark.parametrize("compare", [in_turns, apart])
def test_the_same_is_the_same_and_ten_percent_are_seen(compare: object) -> None:
    rng = np.random.default_rng(1)
    assert sum(compare(rng, 1.0) for _ in range(20)) <= 1  # type: ignore[operator]
    assert sum(compare(rng, 1.1) for _ in range(20)) >= 19  # type: ignore[operator]


def test_intervals_know_their_own_quotient_and_autocorrelation() -> None:
    rng = np.random.default_rng(2)
    samples = series(rng, 2000)
    ratio = unpaired_ratio([samples], [2 * samples])
    assert ratio.value == pytest.approx(2.0)
    assert ratio.low < 2.0 < ratio.high
    assert (ratio.unit, ratio.units) == ("blocks", 20)
    low, high = mean_interval(samples)
    assert low < samples.mean() < high
    naive = 2 * 1.96 * samples.std() / np.sqrt(len(samples))
    assert high - low > 1.5 * naive  # neighbours are alike: fewer independent samples than calls
    assert tails(3, 0.95)[0] < tails(30, 0.95)[0] < 2.5
    assert tails(10_000, 0.95)[0] == pytest.approx(2.5, abs=0.01)
    assert mean_interval([3.0]) == (3.0, 3.0)


def measured(folder: Path, **options: object) -> BenchRecord:
    artifact = fakes.make_artifact(folder / "artifact")
    executor = options.pop("executor", fakes.BrightSpot())
    defaults: dict[str, object] = {
        "plan": PLAN, "clock": fakes.Ticks(float(options.pop("ms", 2.0))), "threads": 2,  # type: ignore[arg-type]
    }  # fmt: skip
    return bench_artifact(artifact, executor, fakes.Blocks(), **{**defaults, **options})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def fast(tmp_path_factory: pytest.TempPathFactory) -> BenchRecord:
    return measured(tmp_path_factory.mktemp("fast"))


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> BenchRecord:
    """A third slower, and it finds nobody."""
    wrong = fakes.BrightSpot(shift=5)
    return measured(tmp_path_factory.mktemp("slow"), ms=3.0, executor=wrong)


def test_records_are_compared_and_scores_are_paired(fast: BenchRecord, slow: BenchRecord) -> None:
    found = compare_records(fast, slow)
    model = found.ratios["model"]
    assert model.value == pytest.approx(1.5)
    assert model.differs
    assert model.how == "apart"
    assert any("--runs 5" in note for note in found.notes)
    score = found.scores["pckh@0.5"]
    assert score.value == pytest.approx(-100.0)
    assert score.ci95 == pytest.approx((-100.0, -100.0))
    other = slow.model_copy(update={"data_sha256": "0" * 64})
    unpaired = compare_records(fast, other)
    assert unpaired.scores["pckh@0.5"].ci95 is None
    assert any("different people" in note for note in unpaired.notes)
    same = compare_records(fast, fast)
    assert not same.ratios["model"].differs
    assert same.scores["pckh@0.5"].ci95 == (0.0, 0.0)


def test_other_conditions_are_refused(fast: BenchRecord, slow: BenchRecord) -> None:
    environment = {**slow.environment, "threads": 8, "governor": "powersave"}
    other = slow.model_copy(
        update={"environment": environment, "environment_sha256": environment_hash(environment)}
    )
    with pytest.raises(EdgeposeError, match=r"(?s)conditions.*threads: 2 / 8.*fix: .*--anyway"):
        compare_records(fast, other)
    found = compare_records(fast, other, anyway=True)
    assert "threads: 2 / 8" in found.unlike
    assert any(line.startswith("governor") for line in found.unlike)
    assert unlike(fast, slow) == []
    with pytest.raises(ValueError, match="environment_sha256"):
        BenchRecord.model_validate({**fast.model_dump(), "environment": environment})


def test_paired_differences_are_of_the_same_people() -> None:
    rng = np.random.default_rng(0)
    scored = rng.integers(8, 15, 400)
    right = (scored * 0.8).astype(int)
    first = PersonCounts(right=tuple(right.tolist()), scored=tuple(scored.tolist()))
    fewer = right - (np.arange(400) % 10 == 0)
    second = PersonCounts(right=tuple(fewer.tolist()), scored=first.scored)
    value, low, high = share_difference(first, second)
    assert value == pytest.approx(100 * (fewer.sum() - right.sum()) / scored.sum())
    assert low < value < high < 0
    assert high - low < 0.8  # unpaired, 400 people leave several points
    with pytest.raises(ValueError, match="more joints"):
        PersonCounts(right=(3,), scored=(2,))


@pytest.mark.parametrize(
    ("text", "fired"),
    [
        ("fps_p50 < 0.95x", True),
        ("fps_p50<0.6x", False),
        ("p50_ms > 1.4x", True),
        ("end_to_end_p99_ms > +1.5", False),
        ("p99_ms >= +1", True),
        ("pckh < -0.5", True),
        ("pckh@0.5 < -0.5", True),
        ("pckh < 85", True),
        ("size_bytes > 1233", True),
        ("size_bytes > +0", False),
    ],
)
def test_conditions(fast: BenchRecord, slow: BenchRecord, text: str, fired: bool) -> None:
    assert check(parse_fail_if(text), fast, slow).fired is fired


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("fps_p50", "is no condition"),
        ("fps_p50 < ", "is no condition"),
        ("fps_p50 = 3", "is no condition"),
        ("fps_p50 < 0,95x", "is no condition"),
        ("fps_p50 < 95%", "is no condition"),
        ("fps_p50 < nan", "is no condition"),
        ("a < 1 and b < 2", "is no condition"),
        ("fps_p50 < -0.95x", "no part of a baseline"),
        ("fps_p50 < 0x", "no part of a baseline"),
        ("pckh < 0.5", "scores are percent"),
    ],
)
def test_conditions_that_could_mean_anything_are_refused(text: str, says: str) -> None:
    with pytest.raises(EdgeposeError, match=says):
        parse_fail_if(text)


def test_unknown_figures_are_named_with_the_known(fast: BenchRecord) -> None:
    with pytest.raises(EdgeposeError, match=r"(?s)the baseline has no fps.*fix: it has fps_p50"):
        check(parse_fail_if("fps < 0.9x"), fast, fast)
    assert {"p50_ms", "max_ms", "pckh", "pckh@0.1", "end_to_end_fps_p50"} <= set(figures(fast))


def test_the_schema_is_shipped_and_holds(fast: BenchRecord, tmp_path: Path) -> None:
    shipped = json.loads(SCHEMA_FILE.read_text())
    assert shipped == record_schema()
    assert SCHEMA_FILE.parent == Path(edgepose.bench.__file__).parent
    jsonschema.Draft202012Validator.check_schema(shipped)
    save_record(fast, tmp_path / "record.json")
    document = json.loads((tmp_path / "record.json").read_text())
    jsonschema.validate(document, shipped)
    for wrong in ({**document, "surprise": 1}, {**document, "size_bytes": "big"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, shipped)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two artifacts of one network, in run folders."""
    folder = tmp_path_factory.mktemp("pair")
    artifact = networks.bright_artifact(folder / "a" / "artifacts" / "host")
    shutil.copytree(artifact.folder, folder / "b" / "artifacts" / "host")
    return artifact.folder, folder / "b" / "artifacts" / "host"


def test_two_artifacts_take_turns(pair: tuple[Path, Path]) -> None:
    turns = time_in_turns(pair, threads=1, processes=2, rounds=3, block_seconds=0.001)
    assert [(a.shape[0], b.shape[0]) for a, b in turns] == [(3, 3), (3, 3)]
    assert min(a.min() for a, _ in turns) > 0
    packed = networks.bright_artifact(pair[0].parent / "packed", runtime="tensorrt")
    found = compare_artifacts((packed.folder, packed.folder), fakes.Blocks())
    assert found.ratios == {}
    assert "FPS not measured" in found.notes[0]
    assert found.scores["pckh@0.5"].ci95 == (0.0, 0.0)
    with pytest.raises(DeviceError, match="cannot be timed here"):
        time_in_turns((packed.folder, packed.folder), processes=1)


def run(*words: object) -> Result:
    return CliRunner().invoke(edgepose.cli.main, ["bench", *map(str, words)])


def test_the_command_line_checks_a_release(
    pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgepose.api.open_data", lambda text: fakes.Blocks())
    monkeypatch.setattr("edgepose.bench.bench.QUICK", PLAN)
    words = ["--target", "host", "--artifact", pair[0], "--quick", "--threads", 1]
    first = run(*words, "--runs", 2)
    assert first.exit_code == 0, first.output
    path = pair[0].parents[1] / "bench-host" / "record.json"
    record = load_record(path)
    assert len(record.runs) == 2
    assert record.spread is not None
    assert [len(found) for found in runs_ms(record, "model")] == [PLAN.calls] * 2
    assert record.model_ms is not None
    assert record.model_ms.count == 2 * PLAN.calls
    for each in record.runs:
        assert each.cold_start_ms is not None
        assert each.cold_start_ms > 0
        assert each.peak_memory_bytes is not None
        assert 20e6 < each.peak_memory_bytes < 300e6  # of a process without torch
    baseline = path.with_name("baseline.json")
    shutil.copy(path, baseline)
    kept = [*words, "--baseline", baseline]
    assert run(*kept, "--fail-if", "pckh < -0.5", "--fail-if", "size_bytes > 1.0x").exit_code == 0
    failed = run(*kept, "--fail-if", "pckh < -0.5", "--fail-if", "size_bytes >= 1.0x")
    assert failed.exit_code == 1, failed.output
    assert "ok    pckh < -0.5" in failed.output
    assert "FAIL  size_bytes >= 1.0x" in failed.output
    assert run("--compare", baseline, path, "--fail-if", "fps_p50 > 0.001x").exit_code == 1
    for wrong in (
        [*kept, "--fail-if", "pckh < 0.5"],
        [*words, "--fail-if", "pckh < -0.5"],
        [*words, "--baseline", path.with_name("none.json")],
        ["--target", "onnx-android", "--baseline", baseline],
        ["--compare", baseline, pair[0]],
        ["--compare", pair[0], pair[1], "--fail-if", "p50_ms > 1.1x"],
        ["--compare", baseline, path, "--target", "host"],
        [],
    ):
        refused = run(*wrong)
        assert refused.exit_code == 2, (wrong, refused.output)


def test_two_benchmarks_on_this_computer(
    pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgepose.api.open_data", lambda text: fakes.Blocks())
    held = take_lock(LOCK, who="bench of somebody", where="here")
    try:
        for words in (["--target", "host", "--artifact", pair[0]], ["--compare", *pair]):
            refused = run(*words)
            assert refused.exit_code == 2
            assert "another benchmark runs on this computer: bench of somebody" in refused.output
            assert "fix: wait until it has ended" in refused.output
    finally:
        os.close(held)
