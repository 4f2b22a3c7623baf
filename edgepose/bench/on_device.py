"""One artifact, measured on a board: the same record as on this host, and what the board said."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepose.artifact import Artifact
from edgepose.bench.bench import counted_name
from edgepose.bench.board import Board, Gone, names_and_hashes
from edgepose.bench.environment import environment_of
from edgepose.bench.latency import FULL, QUICK, Plan
from edgepose.bench.record import (
    NOT_MEASURED,
    BenchRecord,
    Conditions,
    DeviceRun,
    JointDistance,
    Origin,
    environment_hash,
    save_record,
)
from edgepose.bench.runs import LONGEST_S, Results, pooled
from edgepose.bench.scores import score_fields
from edgepose.data.base import PoseDataset
from edgepose.device.artifact_words import MANIFEST_NAME
from edgepose.device.board import board_notes
from edgepose.device.engine_settings import MAIN
from edgepose.device.pack import Pack, pack_bytes
from edgepose.device.steadiness import spread_note
from edgepose.errors import EdgeposeError
from edgepose.evaluation import (
    EvaluationSet,
    Joints,
    Runs,
    find_joints,
    joint_shift,
)
from edgepose.progress import Progress
from edgepose.target import Target

PARTIAL = "record-partial.json"
WAIT_S = 10.0


class Partial(EdgeposeError):
    """A benchmark that ended early. `record` holds what was measured before."""

    def __init__(self, problem: str, fix: str, *, record: BenchRecord | None) -> None:
        super().__init__(problem, fix)
        self.record = record


def bench_there(
    artifact: Artifact,
    board: Board,
    dataset: PoseDataset,
    path: Path,
    *,
    clean: bool = False,
    **options: Any,
) -> BenchRecord:
    """`bench_on_device`, with its record saved at `path`.

    What was measured before a failure is saved beside it as record-partial.json, and the error says
    so; a former record stays. clean: remove our files from the board, whatever happened.
    """
    alignment = artifact.manifest.codec.to_codec().alignment
    data = EvaluationSet.from_dataset(dataset, artifact.input_hw, alignment=alignment)
    try:
        record = bench_on_device(artifact, board, data, domain=dataset.domain, **options)
    except BaseException as error:
        if clean and board.met:
            with suppress(EdgeposeError):  # the first error is the one to tell
                board.clean()
        if not isinstance(error, Partial) or error.record is None:
            raise
        kept = path.with_name(PARTIAL)
        save_record(error.record, kept)
        raise EdgeposeError(
            f"{error.problem}\n  what was measured before is in {kept}", fix=error.fix
        ) from error
    if clean:
        board.clean()
    save_record(record, path)
    path.with_name(PARTIAL).unlink(missing_ok=True)
    return record


def bench_on_device(
    artifact: Artifact,
    board: Board,
    data: EvaluationSet | None,
    *,
    target: Target,
    domain: str | None = None,
    host: Runs | None = None,
    threads: int | None = None,
    quick: bool = False,
    batch: int = 1,
    plan: Plan | None = None,
    runs: int = 1,
    runtime: str = "auto",
    form: str = MAIN,
    dla: int | None = None,
    stand_in: bool = False,
    command: str | None = None,
    report: Progress | None = None,
) -> BenchRecord:
    """Score and time an artifact on a board; nothing about the board is changed.

    data: cropped for the artifact's input; None: not scored. domain: its name
    runs: processes on the board that time it, one after the other; the first also scores
    host: the same artifact's executor here, to compare the joints with
    form, dla: of a TensorRT artifact, see device/engine_settings.py; stand_in: time that, too
    Raises EdgeposeError where nothing could be measured, Partial where the benchmark ended early.
    """
    chosen = plan or (QUICK if quick else FULL)
    files = {
        entry.path: (artifact.folder / entry.path).read_bytes() for entry in artifact.manifest.files
    }
    files[MANIFEST_NAME] = (artifact.folder / MANIFEST_NAME).read_bytes()
    job: dict[str, Any] = {
        "files": names_and_hashes(files, list(files)), "runtime": runtime, "threads": threads,
        "batch": batch, "calls": chosen.calls, "seconds": chosen.seconds,
        "warmup": chosen.warmup, "max_warmup": chosen.max_warmup,
        "form": form, "dla": dla, "stand_in": stand_in,
    }  # fmt: skip
    if data is not None and _scorable(artifact, data):
        files["pack"] = pack_bytes(_pack(data))
        job["pack"] = sha256(files["pack"]).hexdigest()
    scored = "pack" in job
    files["job"] = json.dumps(job, sort_keys=True).encode()
    files["again"] = json.dumps({**job, "pack": None}, sort_keys=True).encode()
    sent = board.send(files, report=report)
    results: list[Results] = []
    failure: EdgeposeError | None = None
    while len(results) < runs and failure is None:
        asked = sha256(files["again" if results else "job"]).hexdigest()
        found, failure = _run_job(board, uuid.uuid4().hex, asked, report=report)
        results.append(found)
    record = _record(
        artifact, results, data if scored else None, target=target, domain=domain, host=host,
        threads=threads, quick=quick, command=command, board=board, sent=sent, report=report,
        partial=None if failure is None else failure.problem,
    )  # fmt: skip
    if form not in (MAIN, artifact.manifest.precision):
        record = record.model_copy(update={"form": form})
    if failure is None:
        return record
    worth = record.metrics or record.model_samples_ms
    raise Partial(failure.problem, failure.fix, record=record if worth else None) from failure


def _scorable(artifact: Artifact, data: EvaluationSet) -> bool:
    return data.truth.skeleton.joints == artifact.manifest.skeleton.to_skeleton().joints


def _pack(data: EvaluationSet) -> Pack:
    return Pack(
        crops=data.crops,
        matrices=data.matrices,
        true_xy=np.asarray(data.truth.xy, dtype=np.float32),
        annotated=data.truth.annotated,
        head_px=np.asarray(data.truth.head_px, dtype=np.float32),
    )


def _run_job(
    board: Board, identity: str, job: str, *, report: Progress | None
) -> tuple[Results, EdgeposeError | None]:
    """Start, follow and collect a job: (what came back, why it ended early)."""
    name, seen = board.transport.name, "start"
    started = time.monotonic()
    state: dict[str, Any] = {}
    try:
        state = board.in_root("start", "--job", identity, "--file", job)
        while state["status"] in ("running", "starting", "unknown"):
            if time.monotonic() - started > LONGEST_S:
                raise Gone(
                    f"{name} did not finish within {LONGEST_S / 3600:.0f} hours",
                    fix="look at the board; use --quick for a shorter benchmark",
                )
            if state["status"] == "unknown":
                state = board.in_root("start", "--job", identity, "--file", job)
            if report is not None and "phase" in state:
                report(f"{state['phase']} (device)", state["done"], state["total"])
            seen = state.get("phase", seen)
            waiting = ("--wait", str(WAIT_S), "--seen", seen)
            state = board.in_root("status", "--job", identity, *waiting, timeout_s=WAIT_S + 40)
    except KeyboardInterrupt:
        with suppress(EdgeposeError):
            board.patience_s = 5.0
            board.in_root("stop", "--job", identity, timeout_s=20)
        raise
    except EdgeposeError as error:  # what earlier runs measured is not lost with this one
        return Results({}), error
    failure: EdgeposeError | None = None
    if state["status"] == "failed":
        failure = EdgeposeError(f"{name}: {state['error']['problem']}", fix=state["error"]["fix"])
    elif state["status"] == "died":
        failure = EdgeposeError(
            f"the benchmark died on {name}: the board restarted, or ran out of memory",
            fix="check the board's log (dmesg) and run the benchmark again",
        )
    files = {}
    try:
        for path, entry in state["results"].items():
            if path != "log.txt":
                at, size = f"jobs/{identity}/{path}", entry["size"]
                files[path] = board.fetch(at, size=size, digest=entry["sha256"])
    except EdgeposeError as error:
        failure = failure or error
    return Results(files), failure


def _record(
    artifact: Artifact,
    results: Sequence[Results],
    data: EvaluationSet | None,
    *,
    target: Target,
    domain: str | None,
    host: Runs | None,
    threads: int | None,
    quick: bool,
    command: str | None,
    board: Board,
    sent: int,
    partial: str | None,
    report: Progress | None,
) -> BenchRecord:
    said, manifest = results[0].document, artifact.manifest
    conditions = _conditions(said.get("board"), board.transport.name)
    origin = Origin(kind="measured", where=f"{conditions.name} ({board.transport.name})")
    executor = said.get("executor", "nothing: the model was not loaded")
    joints = results[0].joints(executor)
    scores: dict[str, Any] = {}
    distance = None
    if joints is not None and data is not None:
        scores = score_fields(joints, data)
        if host is not None:
            distance = _distance(joints, host, data, artifact, report=report)
    elif joints is not None:
        scores = {"persons": len(joints.score)}
    model, model_samples = pooled(results, "model", threads)
    end_to_end, end_to_end_samples = pooled(results, "end_to_end", threads)
    notes = _notes(results)
    note = None
    if model is None:
        note = partial or next((n for n in notes if n.startswith("no latency")), None)
        note = note or "latency was not measured"
    each = tuple(found.run(threads) for found in results)
    notes += spread_note([run.model_ms.p50 for run in each if run.model_ms is not None])
    device = DeviceRun(
        transport=board.transport.name,
        runner_sha256=sha256(board.program.data).hexdigest(),
        joints_vs_host=distance,
        sent_bytes=sent,
        connection_drops=board.drops,
        layers=said.get("layers") or None,
        **{key: said[key] for key in _SAID if key in said},
    )
    resampler = said.get("resampler") if end_to_end else None
    environment = environment_of(
        conditions, executor=executor, threads=threads, batch=model.batch if model else None,
        resampler=resampler, board=said.get("board"),
    )  # fmt: skip
    return BenchRecord(
        artifact=manifest.name,
        artifact_sha256=artifact.sha256,
        target=target.name,
        runtime=manifest.runtime,
        precision=manifest.precision,
        executor=executor,
        counted_file=counted_name(artifact),
        size_bytes=artifact.counted_size_bytes,
        input_hw=artifact.input_hw,
        gives=manifest.gives,
        domain=domain if "metrics" in scores else None,
        metrics_origin=origin if "metrics" in scores else NOT_MEASURED,
        model_ms=model,
        end_to_end_ms=end_to_end,
        frame_hw=said.get("frame_hw") if end_to_end else None,
        resampler=resampler,
        latency_origin=origin if model else NOT_MEASURED,
        latency_note=note,
        quick=quick,
        model_samples_ms=_rounded(model_samples),
        end_to_end_samples_ms=_rounded(end_to_end_samples),
        runs=each,
        environment=environment,
        environment_sha256=environment_hash(environment),
        conditions=conditions,
        notes=tuple(n for n in notes if not n.startswith("no latency")),
        command=command,
        device=device,
        partial=partial,
        **scores,
    )


def _notes(results: Sequence[Results]) -> list[str]:
    """What the first run said, and what others said of their own times."""
    first: list[str] = results[0].document.get("notes", [])
    notes = list(first)
    for i, found in enumerate(results[1:], start=2):
        said = found.document
        general = board_notes(said["board"]) if "board" in said else []
        notes += [f"run {i}: {n}" for n in said.get("notes", []) if n not in [*general, *first]]
    return notes


def _rounded(samples_ms: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(round(float(value), 5) for value in samples_ms)


_SAID = (
    "runtime", "phases", "board", "clocks_after", "build", "timings", "load_seconds",
    "first_inference_ms", "peak_memory_bytes", "gpu_memory_used_bytes",
)  # fmt: skip


def _distance(
    joints: Joints, host: Runs, data: EvaluationSet, artifact: Artifact, *, report: Progress | None
) -> JointDistance:
    """The device's joints against this host's own run of the same file on the same crops."""
    codec = artifact.manifest.codec.to_codec()
    here = find_joints(host, data, codec=codec, report=report, label="compare with the host")
    shift = joint_shift(joints, here)
    return JointDistance(
        p50=shift.p50, p99=shift.p99, off_share=shift.off_share, persons=shift.persons,
        host_executor=here.executor, host_metrics=score_fields(here, data)["metrics"],
    )  # fmt: skip


def _conditions(board: Mapping[str, Any] | None, name: str) -> Conditions:
    """The board in the words of a record; what a board that was lost never said is unknown."""
    if board is None:
        return Conditions(
            name=name, cpu_model="unknown", machine="unknown", cores=0, usable_cores=0,
            os="unknown", kernel="unknown", python="unknown",
        )  # fmt: skip
    clocks = board["clocks"]
    return Conditions(
        name=board["name"],
        cpu_model=board["cpu_model"],
        machine=board["machine"],
        cores=board["cores"],
        usable_cores=board["usable_cores"],
        isa=(board["isa"],),
        os=board["os"],
        kernel=board["kernel"],
        virtual_machine=board["virtual_machine"],
        memory_bytes=board["memory_bytes"],
        governor=board["governors"][0] if board["governors"] else None,
        frequency_mhz=max(clocks["cpu_mhz"], default=None),
        temperature_c=max(clocks["temperature_c"].values(), default=None),
        load_average=tuple(clocks["load_average"]) or None,
        python=board["python"],
    )
