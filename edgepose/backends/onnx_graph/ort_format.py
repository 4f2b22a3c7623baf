"""ONNX Runtime's own file format, and the operators that a reduced build needs for it."""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnxruntime as ort

from edgepose.backends.onnx_graph.ort_order import operators, ordered

DEVICE_SPECIFIC = ("NchwcTransformer",)
"""Optimisers whose result runs on x86 only; onnxruntime's own converter leaves them out too."""


def optimized(model: bytes, suffix: str) -> bytes:
    """The graph that ONNX Runtime executes, saved as "onnx" or "ort": all optimisations but those
    that bind it to one kind of CPU."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"model.{suffix}")
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 1
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.optimized_model_filepath = str(path)
        options.add_session_config_entry("session.save_model_format", suffix.upper())
        ort.InferenceSession(
            model,
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=list(DEVICE_SPECIFIC),
        )
        return path.read_bytes()


def to_ort_format(model: bytes) -> bytes:
    """ORT format of an ONNX model; the same model gives the same bytes."""
    return ordered(optimized(model, "ort"))


def required_operators(ort_model: bytes) -> bytes:
    """The configuration file that a reduced build of ONNX Runtime takes for this model
    (`--include_ops_by_config`)."""
    lines = [
        f"{domain};{since};{','.join(sorted(names))}"
        for (domain, since), names in sorted(operators(ort_model).items())
    ]
    return "\n".join(["# operators of model.ort", *lines, ""]).encode()
