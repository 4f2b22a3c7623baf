"""The forms of an artifact against each other: on this host, on a board, and by the runner's command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import numpy_helper

import edgepose.cli
from edgepose.artifact import Artifact, Content
from edgepose.backends.onnx_graph.implicit import cache_bytes
from edgepose.backends.tensorrt import pack
from edgepose.bench.board import Board, split_answer
from edgepose.bench.latency import Plan
from edgepose.bench.on_device import PARTIAL, _pack
from edgepose.bench.race import REHEARSAL, race
from edgepose.bench.record import BenchRecord, Race, load_record
from edgepose.bench.runner_file import runner_bytes
from edgepose.bench.transport import Done, Dropped
from edgepose.bench.transports.local import Local
from edgepose.device.errors import DeviceError
from edgepose.device.pack import pack_bytes
from edgepose.device.race import Entrant, choose, entry, kept_form, pckh
from edgepose.errors import EdgeposeError
from edgepose.evaluation import EvaluationSet
from edgepose.manifest import Header
from edgepose.metrics.pck import counted_joints, pck
from edgepose.report.terminal import bench_text
from edgepose.target import load_target
from tests.bench import fakes, networks

PLAN = Plan(warmup=2, max_warmup=4, calls=20, seconds=0.0)
TARGET = load_target("jetson-xavier")
FORMS = ("int8", "deconv_fp16", "fp16", "implicit", "implicit_deconv")


def blind() -> bytes:
    """The bright spot with its sign turned: it finds the darkest place."""
    model = onnx.load_from_string(networks.bright_spot(1))
    for i, tensor in enumerate(model.graph.initializer):
        if tensor.name == "weight":
            turned = numpy_helper.from_array(-numpy_helper.to_array(tensor), "weight")
            model.graph.initializer[i].CopyFrom(turned)
    data: bytes = model.SerializeToString()
    return data


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """int8 and deconv_fp16: the bright spot; fp16: a blind one; implicit: with a cache; implicit_deconv:
    its model file is none."""
    folder = tmp_path_factory.mktemp("race") / "run" / "artifacts" / "jetson-xavier"
    plain = networks.bright_artifact(folder, runtime="tensorrt")
    names = set(Header.model_fields) - {"precision", "target"}
    header = Header(
        precision="int8", target=TARGET.name, **{n: getattr(plain.manifest, n) for n in names}
    )
    onnx_files = {"model": networks.bright_spot(1), "model_fp16": blind(), "model_broken": b"none"}
    contents = [
        Content(f"{role}.onnx.xz", role, pack(data), counted=role == "model")
        for role, data in onnx_files.items()
    ]
    cache = {"image": 0.02, "pooled": 0.02}
    contents.append(Content("calibration.cache", "calibration_implicit", cache_bytes(cache)))
    for name, model, flags in (
        ("int8", "model", ["INT8", "FP16"]),
        ("deconv_fp16", "model", ["INT8", "FP16"]),
        ("fp16", "model_fp16", ["FP16"]),
        ("implicit", "model", ["INT8", "FP16"]),
        ("implicit_deconv", "model_broken", ["INT8", "FP16"]),
    ):
        said: dict[str, Any] = {
            "form": name, "model": model, "builder_flags": flags, "workspace_mib": 64,
            "quantization": "explicit Q/DQ", "layer_precisions": {}, "dla": name == "implicit",
        }  # fmt: skip
        if name == "implicit":
            said["calibration"] = "calibration_implicit"
        role = "build" if name == "int8" else f"build_{name}"
        contents.append(Content(f"{role}.json", role, json.dumps(said).encode()))
    return Artifact.write(folder, header, contents)


@pytest.fixture(scope="module")
def evaluation(artifact: Artifact) -> EvaluationSet:
    return EvaluationSet.from_dataset(fakes.Blocks(3), artifact.input_hw)


def run(artifact: Artifact, tmp_path: Path, **options: Any) -> BenchRecord:
    options = {"target": TARGET, "plan": PLAN, "threads": 1, **options}
    return race(
        artifact, options.pop("people", fakes.Blocks()), tmp_path / "record.json", **options
    )


def entries_of(record: BenchRecord) -> dict[str, Any]:
    assert record.race is not None
    return {entry.label: entry for entry in record.race.entries}


def measured(form: str, p50_ms: float, score: float) -> dict[str, Any]:
    return entry(Entrant(form), p50_ms=p50_ms, score=score)


@pytest.mark.parametrize(
    ("entries", "max_drop", "best"),
    [
        ([("int8", 3.0, 80.0), ("fp16", 2.0, 79.6), ("implicit", 1.0, 70.0)], 0.5, 1),
        ([("int8", 3.0, 80.0), ("fp16", 2.0, 79.4), ("implicit", 1.0, 70.0)], 0.5, 0),
        ([("int8", 3.0, 80.0), ("fp16", 2.0, 79.5), ("implicit", 1.0, 70.0)], 0.5, 1),
        ([("int8", 3.0, 80.0), ("fp16", 2.0, 79.5), ("implicit", 1.0, 70.0)], 10, 2),
        ([("int8", 3.0, 60.0), ("fp16", 4.0, 80.0)], 0, 0),
        ([("int8", 2.0, 80.0), ("fp16", 2.0, 80.0)], 0, 0),
        ([None, ("fp16", 2.0, 70.0), ("implicit", 3.0, 80.0)], 0.5, 2),
        ([None], 0.5, None),
    ],
)
def test_the_fastest_within_the_drop_is_kept(
    entries: list[Any], max_drop: float, best: int | None
) -> None:
    """Below the counted form's score; below the best one's where the counted form did not run."""
    given = [entry(Entrant("int8"), why="no") if e is None else measured(*e) for e in entries]
    assert choose(given, max_drop=max_drop) == best
    assert [e["kept"] for e in given] == [i == best for i in range(len(given))]
    assert all(e["why"] for e in given)
    Race(metric="pckh@0.5", max_drop=max_drop, entries=tuple(given))


def test_why_says_what_decided() -> None:
    given = [measured("int8", 3.0, 80.0), measured("fp16", 2.0, 80.0), measured("implicit", 1, 70)]
    choose(given, max_drop=0.5)
    assert [e["why"] for e in given] == [
        "1.50 times as slow", "the fastest of 2 within 0.5 points",
        "10.00 points below the counted form's, 0.5 are allowed",
    ]  # fmt: skip


def test_the_boards_pckh_is_edgeposes(evaluation: EvaluationSet) -> None:
    truth = evaluation.truth
    rng = np.random.default_rng(0)
    found = truth.xy + rng.normal(scale=5, size=truth.xy.shape)
    annotated = rng.random(truth.annotated.shape) < 0.8
    assert truth.head_px is not None
    head = np.where(np.arange(len(found)) == 1, np.nan, truth.head_px)
    counted = counted_joints(truth.skeleton)
    expected = pck(found, truth.xy, size_px=head, annotated=annotated, alpha=0.5, counted=counted)
    share = (expected.correct & expected.valid).sum() / expected.valid.sum()
    uncounted = truth.skeleton.uncounted
    given = {"true_xy": truth.xy, "annotated": annotated, "head_px": head, "uncounted": uncounted}
    assert pckh(found, **given) == pytest.approx(100 * share)
    assert 10 < pckh(found, **given) < 95
    with pytest.raises(DeviceError, match="no labels with head sizes"):
        pckh(found, **{**given, "head_px": np.full(len(found), np.nan)})


def test_a_rehearsal_on_this_host(artifact: Artifact, tmp_path: Path) -> None:
    """Every form is really executed; times that say nothing of the device are in the race alone."""
    record = run(artifact, tmp_path)
    assert load_record(tmp_path / "record.json") == record
    found = entries_of(record)
    assert list(found) == [*FORMS[:4], "implicit, DLA 0", "implicit_deconv"]
    for form in ("int8", "deconv_fp16", "implicit"):
        assert found[form].score == pytest.approx(100.0), form
    for form in FORMS[:4]:
        assert found[form].p50_ms > 0
        assert found[form].build_seconds > 0
        assert found[form].stand_in
    assert "calibration cache as Q/DQ" in found["implicit"].executor
    assert "points below" in found["fp16"].why
    assert found["implicit, DLA 0"].why == "a DLA needs TensorRT on its own board"
    assert "ONNX" in found["implicit_deconv"].why or "protobuf" in found["implicit_deconv"].why
    assert record.race is not None
    assert record.race.kept is not None
    assert record.race.kept.form in ("int8", "deconv_fp16", "implicit")
    assert (record.model_ms, record.latency_origin.kind) == (None, "not_measured")
    assert record.metrics["pckh@0.5"].value == pytest.approx(100.0)
    assert REHEARSAL in record.notes
    text = bench_text(record, width=120)
    assert "kept: the fastest of 3" in text
    assert "a DLA needs TensorRT" in text


def test_the_allowed_drop_lets_a_worse_form_win(artifact: Artifact, tmp_path: Path) -> None:
    record = run(artifact, tmp_path, max_drop=100.0)
    assert "points below" not in entries_of(record)["fp16"].why


def test_what_cannot_race_is_said(artifact: Artifact, tmp_path: Path) -> None:
    for runtime in ("tensorrt", "onnx_mobile"):
        single = networks.bright_artifact(tmp_path / runtime, runtime=runtime)
        with pytest.raises(EdgeposeError, match="one form only"):
            run(single, tmp_path)
    assert not (tmp_path / "record.json").exists()


TRTEXEC = """\
#!{python}
import array, json, sys
o = dict(w.lstrip("-").split("=", 1) for w in sys.argv[1:] if "=" in w)
print("&&&& RUNNING TensorRT.trtexec [TensorRT v8502] # " + " ".join(sys.argv))
if "--help" in sys.argv:
    sys.exit(0)
if "onnx" in o:
    if "useDLACore" in o:
        print("[E] Error[9]: no DLA on this board"); sys.exit(1)
    if open(o["onnx"], "rb").read() == b"none":
        import os; os.kill(os.getpid(), 11)
    kind = "implicit" if "calib" in o else "int8" if "--int8" in sys.argv else "fp16"
    open(o["saveEngine"], "w").write(kind)
    ran = {{"int8": "Int8", "fp16": "Half", "implicit": "Half"}}[kind]
    port = {{"Dimensions": [1, 16, 16, 16], "Format/Datatype": "Row major linear " + ran}}
    layer = {{"Name": "Conv_0", "ParameterType": "Convolution", "Weights": {{"Count": 48}},
             "Inputs": [port], "Outputs": [port]}}
    json.dump({{"Layers": [layer]}}, open(o["exportLayerInfo"], "w"))
kind = open(o.get("saveEngine") or o["loadEngine"]).read()
if "loadInputs" in o:
    image = array.array("f", open(o["loadInputs"].split(":", 1)[1], "rb").read())
    pooled = [0.0] * 256
    for i, value in enumerate(image):
        pooled[i % 4096 // 256 * 16 + i % 64 // 4] += value
    values = [v + 100 for v in pooled] * 16
    out = [{{"name": "heatmaps", "dimensions": "1x16x16x16", "values": values}}]
    json.dump(out, open(o["exportOutput"], "w"))
if "exportTimes" in o:
    ms = {{"int8": 2.0, "fp16": 3.0, "implicit": 1.5}}[kind]
    json.dump([{{"latencyMs": ms}}] * int(o["iterations"]), open(o["exportTimes"], "w"))
"""


@pytest.fixture
def with_trtexec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "bin" / "trtexec"
    program.parent.mkdir()
    program.write_text(TRTEXEC.format(python=sys.executable))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")


def board(tmp_path: Path) -> Board:
    lock = str(tmp_path / "lock")
    return Board(Local(), folder=str(tmp_path / "board"), python=sys.executable, lock=lock)


def test_a_board_with_trtexec_keeps_the_fastest(
    artifact: Artifact, tmp_path: Path, with_trtexec: None
) -> None:
    """A double of trtexec builds, runs and times; one form crashes its builder, one finds no DLA."""
    record = run(
        artifact, tmp_path, board=board(tmp_path), quick=True, plan=None, people=fakes.Blocks(2)
    )
    found = entries_of(record)
    assert {k: e.p50_ms for k, e in found.items() if e.p50_ms} == {
        "int8": 2.0, "deconv_fp16": 2.0, "fp16": 3.0, "implicit": 1.5,
    }  # fmt: skip
    assert [k for k, e in found.items() if e.kept] == ["implicit"]
    assert "no DLA on this board" in found["implicit, DLA 0"].why
    assert "cannot build form implicit_deconv" in found["implicit_deconv"].why
    assert (record.form, record.race and record.race.stand_in) == ("implicit", False)
    assert record.model_ms is not None
    assert record.model_ms.p50 == 1.5
    assert "INT8 (implicit) by trtexec" in record.executor
    assert record.device is not None
    assert record.device.build["form"] == "implicit"
    layers = record.device.layers
    assert layers is not None
    assert (layers.planned, layers.convolutions, layers.mac_share) == (
        "int8",
        {"fp16": 1},
        {"fp16": 1},
    )
    said = " ".join(bench_text(record).split())
    assert "of 1 convolutions 1 in FP16 (100.0 % of the MACs); other layers: none" in said
    assert "not as planned: Conv_0 (INT8 planned, ran in FP16)" in said
    assert REHEARSAL not in record.notes


def test_a_board_that_is_lost_in_the_race_leaves_what_it_measured(
    artifact: Artifact, tmp_path: Path, with_trtexec: None
) -> None:
    class Leaves(Local):
        started = 0

        def run(self, words: Sequence[str], *, stdin: bytes = b"", timeout_s: float = 600) -> Done:
            self.started += "start" in words and "status" not in words
            if self.started > 2:
                raise Dropped("Connection timed out")
            return super().run(words, stdin=stdin, timeout_s=timeout_s)

    there = board(tmp_path)
    there.transport, there.patience_s = Leaves(), 0.0
    with pytest.raises(EdgeposeError, match=r"(?s)stopped answering.*before is in .*partial"):
        run(artifact, tmp_path, board=there, quick=True, plan=None, people=fakes.Blocks(2))
    assert not (tmp_path / "record.json").exists()
    kept = load_record(tmp_path / PARTIAL)
    assert "stopped answering" in str(kept.partial)
    found = entries_of(kept)
    assert [name for name, e in found.items() if e.p50_ms is not None] == ["int8", "deconv_fp16"]
    assert [name for name, e in found.items() if e.kept] == ["int8"]
    assert found["implicit"].why == "the board was lost before"


def call(runner: Path, words: list[str]) -> dict[str, Any]:
    done = subprocess.run([sys.executable, runner, *words], capture_output=True, check=False)
    answered = split_answer(done.stdout)
    assert answered is not None, done.stderr.decode()
    return answered[0]


def test_the_runners_own_race(
    artifact: Artifact, evaluation: EvaluationSet, tmp_path: Path, with_trtexec: None
) -> None:
    runner = tmp_path / "edgepose-device.pyz"
    runner.write_bytes(runner_bytes())
    (tmp_path / "pack.npz").write_bytes(pack_bytes(_pack(evaluation)))
    out = ["--artifact", str(artifact.folder), "--out", str(tmp_path / "out")]
    race_words = ["race", *out, "--pack", str(tmp_path / "pack.npz"), "--quick"]
    found = call(
        runner, [*race_words, "--lock", str(tmp_path / "lock"), "--calls", "5", "--seconds", "0"]
    )
    assert found["kept"] == {"form": "implicit", "dla": None}
    assert json.loads((tmp_path / "out" / "race.json").read_text()) == found
    by_name = {e["form"]: e for e in found["entries"] if e["dla"] is None}
    assert {name: e["score"] for name, e in by_name.items()} == {
        "int8": 100.0, "deconv_fp16": 100.0, "fp16": 100.0, "implicit": 100.0,
        "implicit_deconv": None,
    }  # fmt: skip
    assert by_name["implicit"]["build_seconds"] > 0
    assert call(runner, ["build", *out, "--form", "kept"])["build"]["form"] == "implicit"
    assert kept_form(str(artifact.folder), str(tmp_path / "out")) == ("implicit", None)
    other = networks.bright_artifact(tmp_path / "other", runtime="tensorrt")
    with pytest.raises(DeviceError, match="of another artifact"):
        kept_form(str(other.folder), str(tmp_path / "out"))
    answer = call(runner, ["build", *out[:2], "--out", str(tmp_path / "none"), "--form", "kept"])
    assert "there is no race in" in answer["error"]["problem"]


def test_the_command(artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgepose import api

    monkeypatch.setattr(api, "open_data", lambda text: fakes.Blocks())
    monkeypatch.setattr("edgepose.device.lock.LOCK", str(tmp_path / "lock"))
    monkeypatch.setattr("edgepose.bench.race.QUICK", PLAN)
    words = ["bench", "--target", TARGET.name, "--artifact", str(artifact.folder), "--quick"]

    def invoke(*more: str) -> Any:
        return CliRunner().invoke(edgepose.cli.main, [*words, *more])

    done = invoke("--race", "--json", "--max-drop", "1")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["race"]["max_drop"] == 1.0
    assert found["command"].endswith("--quick --race")
    one = invoke("--form", "implicit", "--json")
    assert json.loads(one.stdout)["form"] == "implicit"
    for wrong, said in (
        (("--race", "--form", "fp16"), "leave out --form"),
        (("--form", "fp8"), "has no form 'fp8', it has int8"),
        (("--dla", "0"), "--dla needs a device"),
    ):
        refused = invoke(*wrong)
        assert refused.exit_code == 2
        assert said in " ".join(refused.output.split())


def test_a_board_without_tensorrt_keeps_nothing(
    artifact: Artifact, evaluation: EvaluationSet, tmp_path: Path
) -> None:
    """ONNX Runtime's times are not a race, unless they are asked for."""
    runner = tmp_path / "edgepose-device.pyz"
    runner.write_bytes(runner_bytes())
    (tmp_path / "pack.npz").write_bytes(pack_bytes(_pack(evaluation)))
    found = call(runner, [
        "race", "--artifact", str(artifact.folder), "--out", str(tmp_path / "out"), "--dla", "-1",
        "--pack", str(tmp_path / "pack.npz"), "--quick", "--lock", str(tmp_path / "lock"),
    ])  # fmt: skip
    assert "no form of bright-spot could be measured: int8: no latency" in found["error"]["problem"]
    assert not (tmp_path / "out" / "race.json").exists()
