"""One artifact, measured on a board: the same record as on this host, and what the board said."""

from __future__ import annotations

import io
import json
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepose.artifact import MANIFEST_NAME, Artifact
from edgepose.bench.bench import counted_name
from edgepose.bench.board import Board, Gone, Report, names_and_hashes
from edgepose.bench.latency import FULL, QUICK, Plan
from edgepose.bench.record import (
    NOT_MEASURED,
    BenchRecord,
    Conditions,
    DeviceRun,
    JointDistance,
    LatencyMs,
    Metrics,
    MetricValue,
    Origin,
    save_record,
)
from edgepose.data.base import PoseDataset
from edgepose.device.pack import Pack, pack_bytes
from edgepose.errors import EdgeposeError
from edgepose.evaluation import (
    EvaluationSet,
    Joints,
    Runs,
    find_joints,
    joint_shift,
    metric_values,
    score,
)
from edgepose.metrics.metric import natural
from edgepose.target import Target

PARTIAL = "record-partial.json"
WAIT_S = 10.0
LONGEST_S = 4 * 3600.0


class Partial(EdgeposeError):
    """A benchmark that ended early. `record` holds what was measured before."""

    def __init__(self, problem: str, fix: str, *, record: BenchRecord | None) -> None:
        super().__init__(problem, fix)
        self.record = record


@dataclass(frozen=True)
class _Results:
    """Files of a job, as they came back."""

    files: Mapping[str, bytes]

    @property
    def document(self) -> dict[str, Any]:
        return dict(json.loads(self.files.get("result.json", b"{}")))

    def samples_ms(self, phase: str) -> NDArray[np.float64]:
        data = self.files.get(f"{phase}.f64", b"")
        return np.frombuffer(data[: len(data) // 8 * 8], dtype="<f8")

    def joints(self, executor: str) -> Joints | None:
        data = self.files.get("joints.npz")
        if data is None:
            return None
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            crop_xy, image_xy, found = (arrays[key] for key in ("crop_xy", "image_xy", "score"))
        return Joints(crop_xy=crop_xy, image_xy=image_xy, score=found, executor=executor)


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
    runtime: str = "auto",
    command: str | None = None,
    report: Report | None = None,
) -> BenchRecord:
    """Score and time an artifact on a board; nothing about the board is changed.

    data: cropped for the artifact's input; None: not scored. domain: its name
    host: the same artifact's executor here, to compare the joints with
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
    }  # fmt: skip
    if data is not None and _scorable(artifact, data):
        files["pack"] = pack_bytes(_pack(data))
        job["pack"] = sha256(files["pack"]).hexdigest()
    files["job"] = json.dumps(job, sort_keys=True).encode()
    sent = board.send(files, report=report)
    identity = uuid.uuid4().hex
    results, failure = _run_job(board, identity, sha256(files["job"]).hexdigest(), report=report)
    record = _record(
        artifact, results, data if "pack" in job else None, target=target, domain=domain, host=host,
        threads=threads, quick=quick, command=command, board=board, sent=sent, report=report,
        partial=None if failure is None else failure.problem,
    )  # fmt: skip
    if failure is None:
        return record
    worth = record.metrics or record.model_samples_ms
    raise Partial(failure.problem, failure.fix, record=record if worth else None)


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
    board: Board, identity: str, job: str, *, report: Report | None
) -> tuple[_Results, EdgeposeError | None]:
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
    except Gone as gone:
        return _Results({}), gone
    failure: EdgeposeError | None = None
    if state["status"] == "failed":
        failure = EdgeposeError(f"{name}: {state['error']['problem']}", fix=state["error"]["fix"])
    elif state["status"] == "died":
        failure = EdgeposeError(
            f"the benchmark died on {name}: the board restarted, or ran out of memory",
            fix="check the board's log (dmesg) and run the benchmark again",
        )
    files = {
        path: board.fetch(f"jobs/{identity}/{path}", size=entry["size"], digest=entry["sha256"])
        for path, entry in state["results"].items()
        if path != "log.txt"
    }
    return _Results(files), failure


def _record(
    artifact: Artifact,
    results: _Results,
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
    report: Report | None,
) -> BenchRecord:
    said, manifest = results.document, artifact.manifest
    conditions = _conditions(said.get("board"), board.transport.name)
    origin = Origin(kind="measured", where=f"{conditions.name} ({board.transport.name})")
    executor = said.get("executor", "nothing: the model was not loaded")
    joints = results.joints(executor)
    metrics: Metrics = {}
    distance = None
    if joints is not None and data is not None:
        metrics = _metrics(joints, data)
        if host is not None:
            distance = _distance(joints, host, data, artifact, report=report)
    timings = said.get("timings", {})
    latencies = {
        phase: _latency(results.samples_ms(phase), timings.get(phase), threads)
        for phase in ("model", "end_to_end")
    }
    note = None
    if latencies["model"] is None:
        note = partial or next(
            (n for n in said.get("notes", []) if n.startswith("no latency")), None
        )
        note = note or "latency was not measured"
    device = DeviceRun(
        transport=board.transport.name,
        runner_sha256=sha256(board.program.data).hexdigest(),
        joints_vs_host=distance,
        sent_bytes=sent,
        connection_drops=board.drops,
        **{key: said[key] for key in _SAID if key in said},
    )
    return BenchRecord(
        artifact=manifest.name,
        artifact_sha256=artifact.sha256,
        target=target.name,
        runtime=manifest.runtime,
        precision=manifest.precision,
        executor=executor,
        counted_file=counted_name(artifact),
        size_bytes=artifact.counted_size_bytes,
        metrics=metrics,
        persons=None if joints is None else len(joints.score),
        domain=domain if metrics else None,
        metrics_origin=origin if metrics else NOT_MEASURED,
        model_ms=latencies["model"],
        end_to_end_ms=latencies["end_to_end"],
        frame_hw=said.get("frame_hw") if latencies["end_to_end"] else None,
        resampler=said.get("resampler") if latencies["end_to_end"] else None,
        latency_origin=origin if latencies["model"] else NOT_MEASURED,
        latency_note=note,
        quick=quick,
        model_samples_ms=_rounded(results.samples_ms("model")),
        end_to_end_samples_ms=_rounded(results.samples_ms("end_to_end")),
        conditions=conditions,
        notes=tuple(n for n in said.get("notes", []) if not n.startswith("no latency")),
        command=command,
        device=device,
        partial=partial,
    )


_SAID = (
    "runtime", "phases", "board", "clocks_after", "build", "timings", "load_seconds",
    "first_inference_ms", "peak_memory_bytes", "gpu_memory_used_bytes",
)  # fmt: skip


def _rounded(samples_ms: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(round(float(value), 5) for value in samples_ms)


def _latency(
    samples_ms: NDArray[np.float64], said: Mapping[str, Any] | None, threads: int | None
) -> LatencyMs | None:
    """Percentiles of a finished phase. Of one that was cut off only the samples are kept."""
    if said is None or not len(samples_ms):
        return None
    p50, p90, p99 = (float(v) for v in np.percentile(samples_ms, (50, 90, 99)))
    return LatencyMs(
        p50=p50, p90=p90, p99=p99, mean=float(samples_ms.mean()), min=float(samples_ms.min()),
        max=float(samples_ms.max()), count=len(samples_ms), warmup=said["warmup"],
        batch=said["batch"], threads=threads,
    )  # fmt: skip


def _metrics(joints: Joints, data: EvaluationSet) -> Metrics:
    values = metric_values(score(joints, data, natural(data.truth)), data.truth.skeleton)
    return {name: MetricValue.model_validate(value) for name, value in values.items()}


def _distance(
    joints: Joints, host: Runs, data: EvaluationSet, artifact: Artifact, *, report: Report | None
) -> JointDistance:
    """The device's joints against this host's own run of the same file on the same crops."""
    codec = artifact.manifest.codec.to_codec()
    here = find_joints(host, data, codec=codec, report=report, label="compare with the host")
    shift = joint_shift(joints, here)
    return JointDistance(
        p50=shift.p50, p99=shift.p99, off_share=shift.off_share, persons=shift.persons,
        host_executor=here.executor, host_metrics=_metrics(here, data),
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
