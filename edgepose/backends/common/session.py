"""ONNX Runtime on this machine's CPU, as an Executor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from edgepose.backends.common.cpu import instruction_set
from edgepose.device.geometry import network_input
from edgepose.errors import EdgeposeError
from edgepose.manifest import Manifest

BATCH = 16
"""Images at a time where the model takes any number: enough to fill a core's cache."""
_TYPES = {"float32": "tensor(float)", "uint8": "tensor(uint8)"}


class OrtExecutor:
    """(N, H, W, 3) uint8 crops -> (N, J, h, w) float32 heatmaps by an ONNX or ORT-format model;
    of a whole-pose graph (N, J, 3): x, y in crop pixels, score.

    model:    the file's bytes
    manifest: its contract; input and output of the model must be what it says
    threads:  inside an operator; None: one per core
    config:   session configuration entries
    note:     appended to the description
    """

    def __init__(
        self,
        model: bytes,
        manifest: Manifest,
        *,
        threads: int | None = None,
        config: Mapping[str, str] | None = None,
        note: str = "",
    ) -> None:
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.inter_op_num_threads = 1
        if threads is not None:
            options.intra_op_num_threads = threads
        for key, value in (config or {}).items():
            options.add_session_config_entry(key, value)
        try:
            self.session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's exceptions share no other base
            raise EdgeposeError(
                f"ONNX Runtime {ort.__version__} cannot load the model: {error}",
                fix="export again with this version of edgepose",
            ) from error
        self.manifest = manifest
        self._note = note
        self._check()
        self.gives = manifest.gives
        first = self.session.get_inputs()[0].shape[0]
        self._batch = first if isinstance(first, int) else None

    @property
    def description(self) -> str:
        return f"ONNX Runtime {ort.__version__} CPU {instruction_set()}{self._note}"

    def run(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        size = self._batch or BATCH
        parts = [self.infer(self.prepare(crops[i : i + size])) for i in range(0, len(crops), size)]
        return np.concatenate(parts)

    def prepare(self, crops: NDArray[np.uint8]) -> NDArray[Any]:
        """Normalised (N, 3, H, W) float32, with the code that boards run; where the graph does that
        itself, the crops in its colour order."""
        port = self.manifest.input
        height, width = (port.shape[port.layout.index(axis)] for axis in "HW")
        if crops.ndim != 4 or crops.shape[1:3] != (height, width):
            raise EdgeposeError(
                f"crops are {crops.shape}; the model takes (N, {height}, {width}, 3)",
                fix="crop to the input size that artifact.json names",
            )
        pre = self.manifest.preprocessing
        return network_input(crops, color=pre.color, where=pre.where, mean=pre.mean, std=pre.std)

    def infer(self, prepared: NDArray[Any]) -> NDArray[np.float32]:
        name = self.manifest.input.name
        size = self._batch or len(prepared)
        parts = []
        for start in range(0, len(prepared), size):
            images = prepared[start : start + size]
            count = len(images)
            if count < size:  # a fixed batch is filled up with its last image
                images = np.concatenate([images, images[-1:].repeat(size - count, axis=0)])
            parts.append(self.session.run(None, {name: images})[0][:count])
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _check(self) -> None:
        contract = self.manifest
        found = [
            (tensor.name, tuple(tensor.shape[1:]), tensor.type)
            for tensor in (*self.session.get_inputs(), *self.session.get_outputs())
        ]
        wanted = [
            (port.name, tuple(port.shape[1:]), _TYPES[port.dtype])
            for port in (contract.input, contract.output)
        ]
        if found != wanted:
            raise EdgeposeError(
                f"the model file has {found}, artifact.json says {wanted}",
                fix="export again; the two files are not of one artifact",
            )
