"""A W8A8 program's every quantized tensor against torch's, each made from the same quantized tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgepose.backends.mil.convert import INPUT_NAME
from edgepose.backends.mil.interleave import use_pixel_shuffle
from edgepose.backends.mil.interpreter import Interpreter, Results
from edgepose.backends.mil.load import Operation
from edgepose.device.geometry import normalise
from edgepose.models.pose_model import PoseModel
from edgepose.quant.graph import int8_graph


class Forced(Interpreter):
    """Compares each quantized tensor with torch's, then goes on from torch's.

    One step of difference deep inside a network grows in the layers behind it; with the same input
    at every step the difference is that of the operators alone.
    """

    wanted: Iterator[np.ndarray]
    steps: list[tuple[int, float]]

    def step(self, op: Operation, arguments: Mapping[str, Any]) -> Results:
        results = super().step(op, arguments)
        if op.kind != "quantize":
            return results
        codes = torch.from_numpy(next(self.wanted))
        (name, got), *_ = results.items()
        assert got.shape == codes.shape
        off = (got.to(torch.int32) - codes.to(torch.int32)).abs()
        self.steps.append((int(off.max()), float((off > 0).float().mean())))
        return {name: codes}


class _Recording(torch.fx.Interpreter):
    codes: list[np.ndarray]

    def run_node(self, n: torch.fx.Node) -> Any:
        value = super().run_node(n)
        if str(n.target).startswith("quantized_decomposed.quantize_per_tensor"):
            self.codes.append(value.numpy())
        return value


@dataclass(frozen=True)
class Compared:
    """tensors: that are quantized in one run; steps: that a code is off by, at most
    share: of a tensor's codes that are off at all, in the worst of them; image_share: of the image's,
    which is normalised in fp16; heatmap_steps: largest difference of the heatmaps, see heatmap_step"""

    tensors: int
    steps: int
    share: float
    image_share: float
    heatmap_steps: float


def heatmap_step(heatmaps: np.ndarray) -> float:
    """The head's output is float; on an INT8 grid of its own this would be the step."""
    return float(np.abs(heatmaps).max()) / 127


def compare(package: Path, quantized: PoseModel, crops: np.ndarray) -> Compared:
    """crops: (N, H, W, 3) uint8, each by itself; the worst of them"""
    recording = _Recording(use_pixel_shuffle(int8_graph(quantized, batch=1)))
    forced = Forced.load(package)
    pre, found = quantized.spec.preprocessing, []
    for crop in crops:
        recording.codes = []
        with torch.no_grad():
            image = torch.from_numpy(normalise(crop[None], pre.mean, pre.std))
            wanted = recording.run(image).numpy()
        forced.wanted, forced.steps = iter(recording.codes), []
        got = forced.run({INPUT_NAME: crop[None].transpose(0, 3, 1, 2)})["heatmaps"]
        assert len(forced.steps) == len(recording.codes)
        shares = [share for _, share in forced.steps]
        found.append(
            Compared(
                tensors=len(shares),
                steps=max(steps for steps, _ in forced.steps),
                share=max(shares[1:]),
                image_share=shares[0],
                heatmap_steps=float(np.abs(got - wanted).max()) / heatmap_step(wanted),
            )
        )
    return Compared(*(max(values) for values in zip(*map(astuple, found), strict=True)))
