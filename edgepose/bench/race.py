"""`bench --race`: every form of a TensorRT artifact, on a board or, as a rehearsal, on this host."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from edgepose.artifact import Artifact
from edgepose.bench.bench import accuracy_fields, bench_artifact
from edgepose.bench.board import Board, Gone
from edgepose.bench.latency import FULL, QUICK, Plan, time_model
from edgepose.bench.on_device import PARTIAL, bench_on_device
from edgepose.bench.record import BenchRecord, Race, RaceEntry, save_record
from edgepose.data.base import PoseDataset
from edgepose.device.contract import load_contract
from edgepose.device.engine_settings import MAIN, forms_of
from edgepose.device.race import Entrant, choose, entrants, entry
from edgepose.errors import EdgeposeError
from edgepose.evaluation import EvaluationSet
from edgepose.metrics.metric import natural
from edgepose.progress import Progress
from edgepose.target import Target

Measured = dict[str, Any]

REHEARSAL = (
    "a rehearsal of the race: ONNX Runtime stood in for TensorRT, so which form was the fastest says "
    "nothing of the device; the scores stand"
)


def race(
    artifact: Artifact,
    dataset: PoseDataset,
    path: Path,
    *,
    target: Target,
    board: Board | None = None,
    max_drop: float = 0.5,
    threads: int | None = None,
    quick: bool = False,
    plan: Plan | None = None,
    clean: bool = False,
    command: str | None = None,
    report: Progress | None = None,
) -> BenchRecord:
    """Build, time and score each form; the record, saved at `path`, is of the one that was kept.

    board: where; None: this host, with ONNX Runtime in TensorRT's place
    max_drop: points of the data's natural metric that the fastest may lie below the counted form
    Raises EdgeposeError where the artifact has one form only, the data lacks what a score needs, no form
    could be measured, or the board was lost; what was measured before is then in record-partial.json.
    """
    contract = load_contract(str(artifact.folder))
    if artifact.manifest.runtime != "tensorrt" or len(forms_of(contract)) < 2:
        raise EdgeposeError(
            f"{artifact.manifest.name} has one form only: there is nothing to race",
            fix="export for a TensorRT target that names `forms` or `extra_precisions`",
        )
    runners = entrants(contract)
    alignment = artifact.manifest.codec.to_codec().alignment
    data = EvaluationSet.from_dataset(dataset, artifact.input_hw, alignment=alignment)
    metric = natural(data.truth).primary
    options: dict[str, Any] = {
        "domain": dataset.domain, "threads": threads, "quick": quick, "plan": plan,
        "command": command, "target": target,
    }  # fmt: skip

    def measure(one: Entrant) -> tuple[Measured, BenchRecord | None]:
        if board is None:
            return _here(artifact, one, data, metric=metric, **options), None
        return _there(artifact, board, one, data, metric=metric, **options)

    entries, records, lost = [], [], None
    for number, one in enumerate(runners):
        if report is not None:
            report("race", number, len(runners))
        if lost is not None:
            entries.append(entry(one, why="the board was lost before"))
            continue
        try:
            found, record = measure(one)
        except EdgeposeError as error:
            found, record = entry(one, why=error.problem), None
            lost = error if Gone in (type(error), type(error.__cause__)) else None
        entries.append(found)
        records.append(record)
    if report is not None:
        report("race", len(runners), len(runners))
    best = choose(entries, max_drop=max_drop)
    if best is None and lost is not None:
        raise lost
    if best is None:
        said = "; ".join(f"{e['form']}: {e['why']}" for e in entries[:3])
        raise EdgeposeError(
            f"no form of {artifact.manifest.name} could be measured: {said}",
            fix="bench one form alone with --form and see what it says",
        )
    result = Race(
        metric=metric,
        max_drop=max_drop,
        entries=tuple(RaceEntry.model_validate(e) for e in entries),
    )
    record = records[best]
    if lost is not None and (record is None or result.stand_in):
        raise lost
    if record is None or result.stand_in:
        record = _scored(artifact, board, runners[best], data, **options)
        record = record.model_copy(update={"notes": (*record.notes, REHEARSAL)})
    record = record.model_copy(
        update={"race": result, "form": name_of(artifact, runners[best].form)}
    )
    if lost is not None:
        kept = path.with_name(PARTIAL)
        save_record(record.model_copy(update={"partial": lost.problem}), kept)
        raise EdgeposeError(
            f"{lost.problem}\n  what was measured before is in {kept}", fix=lost.fix
        ) from lost
    if board is not None and clean:
        board.clean()
    save_record(record, path)
    path.with_name(PARTIAL).unlink(missing_ok=True)
    return record


def name_of(artifact: Artifact, form: str | None) -> str | None:
    """As a record says it: None for the counted form."""
    return None if form in (None, MAIN, artifact.manifest.precision) else form


def open_form(artifact: Artifact, one: Entrant, threads: int | None) -> Any:
    """ONNX Runtime with a form of a TensorRT artifact. EdgeposeError for one on a DLA."""
    from edgepose.backends import tensorrt

    if one.dla is not None:
        raise EdgeposeError("a DLA needs TensorRT on its own board", fix="race there with --device")
    return tensorrt.open_executor(artifact, threads=threads, form=one.form)


def _here(
    artifact: Artifact, one: Entrant, data: EvaluationSet, *, metric: str, **options: Any
) -> Measured:
    started = time.perf_counter()
    executor = open_form(artifact, one, options["threads"])
    seconds = time.perf_counter() - started
    plan = options["plan"] or (QUICK if options["quick"] else FULL)
    scores = accuracy_fields(
        artifact, executor, data, domain=options["domain"], flip_test=False, report=None
    )
    timed = time_model(executor, artifact.input_hw, plan=plan, threads=options["threads"])
    return entry(
        one, executor=executor.description, stand_in=True, build_seconds=round(seconds, 3),
        p50_ms=timed.latency.p50, p90_ms=timed.latency.p90, score=_score(scores, metric),
    )  # fmt: skip


def _there(
    artifact: Artifact,
    board: Board,
    one: Entrant,
    data: EvaluationSet,
    *,
    metric: str,
    **options: Any,
) -> tuple[Measured, BenchRecord]:
    record = bench_on_device(
        artifact, board, data, form=one.form, dla=one.dla, stand_in=True, **options
    )
    said = record.device.build if record.device is not None else {}
    runtime = None if record.device is None else record.device.runtime
    latency = record.model_ms
    if latency is None:
        raise EdgeposeError(record.latency_note or "it was not timed", fix="look at the record")
    found = entry(
        one, executor=record.executor, stand_in=runtime == "onnxruntime",
        build_seconds=said.get("seconds"), build_cached=bool(said.get("cached", False)),
        p50_ms=latency.p50, p90_ms=latency.p90, score=_score({"metrics": record.metrics}, metric),
    )  # fmt: skip
    return found, record


def _score(fields: dict[str, Any], metric: str) -> float:
    metrics = fields.get("metrics", {})
    if metric not in metrics:
        raise EdgeposeError(
            "the data's labels are of other joints than the model's: no form can be scored",
            fix="race on data of the model's own skeleton",
        )
    return float(metrics[metric].value)


def _scored(
    artifact: Artifact, board: Board | None, one: Entrant, data: EvaluationSet, **options: Any
) -> BenchRecord:
    """The record of a form without times: what a stand-in measured is none of the target's."""
    if board is not None:
        return bench_on_device(artifact, board, data, form=one.form, dla=one.dla, **options)
    return bench_artifact(artifact, open_form(artifact, one, options["threads"]), data, **options)
