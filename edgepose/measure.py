"""What a pipeline measures of a model or an artifact besides its accuracy: how fast it runs here."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from edgepose import registry
from edgepose.artifact import Artifact
from edgepose.bench.bench import no_latency_note
from edgepose.bench.conditions import OtherLoad, notes_on, read_conditions
from edgepose.bench.latency import QUICK, time_model
from edgepose.bench.record import LatencyMs
from edgepose.evaluation import Runs, TorchExecutor
from edgepose.models.pose_model import PoseModel
from edgepose.quant.graph import int8_graph
from edgepose.quant.weights import WEIGHTS
from edgepose.target import Target

FLOAT_HOST = Target(
    name="host-fp32",
    runtime="onnx_mobile",
    precision="fp32",
    opset=17,
    description="the float network in ONNX Runtime, for its latency",
)


@cache
def host_name() -> str:
    """This machine in a few words."""
    return read_conditions().name


def model_executor(model: PoseModel, work: Path) -> Runs:
    """What scores a model: torch for float and static INT8, ONNX Runtime for dynamic INT8."""
    plan = model.spec.quant
    if plan is None:
        return TorchExecutor(model.module(), model.spec)
    if plan.mode == WEIGHTS:
        return TorchExecutor(model.module(), model.spec, label="INT8 weights, float arithmetic")
    if plan.mode == "static":
        return TorchExecutor(int8_graph(model), model.spec, label="INT8 graph (PT2E)")
    host = FLOAT_HOST.model_copy(update={"name": "host-dynamic", "precision": "int8"})
    executor: Runs = _open(_emit(model, host, work / "dynamic"), host)
    return executor


def _emit(model: PoseModel, target: Target, folder: Path) -> Artifact:
    backend = registry.backend(target.runtime)
    artifact: Artifact = backend.emit(model, target, folder)
    return artifact


def _open(artifact: Artifact, target: Target) -> Any:
    return registry.backend(target.runtime).open_executor(artifact)


def _timed(executor: Any, input_hw: tuple[int, int]) -> tuple[LatencyMs, tuple[str, ...]]:
    """Model-only latency of one image, and what makes it doubtful."""
    load = OtherLoad()
    latency = time_model(executor, input_hw, plan=QUICK).latency
    busy = [note for note in notes_on(read_conditions(), load.cores()) if "busy" in note]
    return latency, tuple(busy)


def float_latency(model: PoseModel, work: Path) -> tuple[LatencyMs | None, str | None]:
    """Latency of a float model, exported to ONNX and run in ONNX Runtime; (latency, note)."""
    if model.spec.quant is not None:
        return None, "the quantized graph in torch simulates INT8; its artifacts are measured below"
    executor = _open(_emit(model, FLOAT_HOST, work / "fp32"), FLOAT_HOST)
    latency, busy = _timed(executor, model.spec.input_hw)
    return latency, "; ".join([f"measured with {executor.description}", *busy])


def artifact_facts(artifact: Artifact, target: Target) -> dict[str, Any]:
    """Latency of an artifact where this host runs its real runtime, and its integer share."""
    note = no_latency_note(target.runtime)
    if note is not None:
        return {"latency": None, "note": note, "integer_mac_share": None}
    latency, busy = _timed(_open(artifact, target), artifact.input_hw)
    facts = artifact.manifest.provenance.quantization or {}
    share = None
    if "integer_macs" in facts:
        share = int(facts["integer_macs"]) / int(facts["total_macs"])
    notes = list(busy)
    if target.device != "local":
        notes.insert(0, f"timed on this host's CPU; no {target.name} device was reached")
    return {
        "latency": latency.model_dump(),
        "note": "; ".join(notes) or None,
        "integer_mac_share": share,
    }
