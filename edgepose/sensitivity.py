"""Which layers a pose network can spare: one is changed at a time, and its joints are looked at.

Not tensor errors: points of the metric, and how far the heatmaps' peaks move. Peaks are read between
pixels (DARK) whatever the coding, for a quarter-pixel sign that flips says nothing about a layer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgepose.cost import layer_costs
from edgepose.data.base import PoseDataset
from edgepose.data.part import Part
from edgepose.device.codec import HeatmapCodec
from edgepose.device.decode import find_peaks
from edgepose.device.files import write_atomic
from edgepose.device.geometry import normalise
from edgepose.errors import EdgeposeError
from edgepose.evaluation import CONFIDENT, EvaluationSet
from edgepose.metrics.metric import Metric
from edgepose.models.groups import channel_groups
from edgepose.models.pose_model import PoseModel
from edgepose.progress import Progress
from edgepose.quant.probe import Change, Probe, on_the_grid, without_channels

FORMAT_VERSION = 1
RATIOS = (0.1, 0.3, 0.5, 0.7, 0.9)
MAX_BATCH = 16
MAX_KEPT_BYTES = 512_000_000
PHASES = 4  # of a deconvolution in the form that ships
Changes = Mapping[str, Change]


@dataclass(frozen=True)
class LayerSensitivity:
    """What INT8 in this convolution alone costs: points of the primary metric, and how far the peaks
    of confident heatmaps move, median and 99th percentile, input px. macs: of one image."""

    layer: str
    drop: float
    shift_p50_px: float
    shift_p99_px: float
    macs: int


@dataclass(frozen=True)
class GroupSensitivity:
    """What removing each ratio of one group's weakest channels costs, points of the primary metric,
    without any training. layer: the group's first convolution."""

    layer: str
    ratios: tuple[float, ...]
    drop: tuple[float, ...]


@dataclass(frozen=True)
class Effect:
    drop: float
    shift_p50_px: float
    shift_p99_px: float


def people_of(dataset: PoseDataset, model: PoseModel, count: int) -> EvaluationSet:
    """The crops and labels of at most `count` people spread over a data set, for `measure`."""
    return EvaluationSet.from_dataset(
        Part(dataset, count), model.spec.input_hw, alignment=model.spec.codec.alignment
    )


def measure(
    probe: Probe,
    variants: Mapping[str, Changes],
    model: PoseModel,
    data: EvaluationSet,
    metric: Metric,
    *,
    report: Progress,
    label: str = "sensitivity",
) -> dict[str, Effect]:
    """What each variant of the network costs against the float one, by its key.

    model: what `probe` was made from; data: crops at its size, with labels that `metric` takes
    """
    codec = model.spec.codec
    fine = replace(codec, coding="dark") if codec.coding == "standard" else codec
    everything = ("", *variants)
    found: dict[str, list[_Read]] = {key: [] for key in everything}
    start, step, done = 0, 1, 0
    while start < len(data):
        crops = data.crops[start : start + step]
        images = normalise(crops, model.spec.preprocessing.mean, model.spec.preprocessing.std)
        matrices = data.matrices[start : start + step]
        heatmaps = probe.remember(torch.from_numpy(images))
        for key in everything:
            result = heatmaps if not key else probe.changed(variants[key])
            found[key].append(_Read.of(result.numpy(), matrices, codec, fine))
            done += len(crops)
            report(label, done, len(data) * len(everything))
        start += step
        room = MAX_KEPT_BYTES * len(crops) // max(probe.kept_bytes(), 1)
        step = int(np.clip(room, 1, MAX_BATCH))
    reads = {key: _Read.joined(parts) for key, parts in found.items()}
    base = reads.pop("")
    confident = base.score >= CONFIDENT
    if not confident.any():
        confident = np.ones_like(confident)
    value = metric.score(base.image_xy, base.score, data.truth)[metric.primary].value
    effects = {}
    for key, read in reads.items():
        changed = metric.score(read.image_xy, read.score, data.truth)[metric.primary].value
        shift = np.linalg.norm(read.fine_xy - base.fine_xy, axis=2)[confident]
        p50, p99 = np.percentile(shift, (50, 99))
        effects[key] = Effect(round(value - changed, 3), round(float(p50), 4), round(float(p99), 4))
    return effects


@dataclass(frozen=True)
class _Read:
    """Joints of crops: (N, J, 2) image px as scored, (N, J, 2) crop px read finely, (N, J) scores."""

    image_xy: np.ndarray
    fine_xy: np.ndarray
    score: np.ndarray

    @classmethod
    def of(
        cls, heatmaps: np.ndarray, matrices: np.ndarray, codec: HeatmapCodec, fine: HeatmapCodec
    ) -> _Read:
        hw = heatmaps.shape[2], heatmaps.shape[3]
        xy, score = codec.decode(heatmaps)
        fine_xy = xy if fine == codec else fine.decode(heatmaps)[0]
        peaks, _ = find_peaks(heatmaps)
        fine_xy = np.clip(fine_xy, peaks - 1, peaks + 1)  # a heatmap without a peak has no shape
        return cls(codec.image_xy(xy, matrices, hw), fine.crop_xy(fine_xy, hw), score)

    @classmethod
    def joined(cls, parts: list[_Read]) -> _Read:
        names = ("image_xy", "fine_xy", "score")
        return cls(*(np.concatenate([getattr(p, name) for p in parts]) for name in names))


def int8_sensitivity(
    model: PoseModel,
    scales: Mapping[str, float],
    data: EvaluationSet,
    metric: Metric,
    *,
    report: Progress,
) -> list[LayerSensitivity]:
    """Every convolution that INT8 takes: most points lost first, then the largest shift.

    model: in float; scales: of a static plan of it (tensor key -> scale)
    """
    probe = Probe(model)
    variants = {
        name: {name: on_the_grid(scales[key])}
        for name, key in probe.input_keys.items()
        if key in scales
    }
    costs = layer_costs(model.module(), input_hw=model.spec.input_hw)
    macs = {cost.name: cost.macs for cost in costs}
    effects = measure(probe, variants, model, data, metric, report=report)
    layers = [
        LayerSensitivity(name, e.drop, e.shift_p50_px, e.shift_p99_px, macs[name])
        for name, e in effects.items()
    ]
    return sorted(layers, key=lambda item: (-max(item.drop, 0.0), -item.shift_p99_px))


def prune_sensitivity(
    model: PoseModel,
    data: EvaluationSet,
    metric: Metric,
    *,
    ratios: tuple[float, ...] = RATIOS,
    report: Progress,
) -> list[GroupSensitivity]:
    """Every channel group, the costliest (at the largest ratio) first."""
    check_float(model)
    network = model.module()
    groups = channel_groups(network, input_hw=model.spec.input_hw, ratios=ratios)
    phased = {
        name for name, m in network.named_modules() if isinstance(m, torch.nn.ConvTranspose2d)
    }
    outputs = {key: value.shape[1] for key, value in model.tensors.items() if value.ndim == 4}
    variants = {
        f"{group.layer} {ratio}": {
            name: without_channels(
                [c + k * outputs[f"{name}.weight"] for k in range(PHASES) for c in channels]
                if name in phased
                else list(channels)
            )
            for name, channels in group.removed[ratio].items()
        }
        for group in groups
        for ratio in ratios
    }
    effects = measure(Probe(model), variants, model, data, metric, report=report)
    found = [
        GroupSensitivity(
            group.layer, ratios, tuple(effects[f"{group.layer} {ratio}"].drop for ratio in ratios)
        )
        for group in groups
    ]
    return sorted(found, key=lambda item: item.drop[::-1], reverse=True)


def check_float(model: PoseModel) -> None:
    if model.spec.form == "deploy":
        raise EdgeposeError(
            "the model is in the form that ships; sensitivity asks what that would cost",
            fix="give the network from before qat or quantize",
        )


def to_json(
    found: list[LayerSensitivity] | list[GroupSensitivity],
    *,
    metric: str | None = None,
    persons: int | None = None,
) -> dict[str, Any]:
    """The file's content: {"format_version", "kind": "int8", "layers": [...]} or {..., "prune",
    "groups"}, with the metric that drops are in and the people they were measured on."""
    rows = [asdict(item) for item in found]
    pruned = bool(found) and isinstance(found[0], GroupSensitivity)
    kind = {"kind": "prune", "groups": rows} if pruned else {"kind": "int8", "layers": rows}
    return {"format_version": FORMAT_VERSION, "metric": metric, "persons": persons, **kind}


def save(
    found: list[LayerSensitivity] | list[GroupSensitivity],
    path: Path,
    *,
    metric: str | None = None,
    persons: int | None = None,
) -> None:
    content = to_json(found, metric=metric, persons=persons)
    write_atomic(path, json.dumps(content, indent=1).encode() + b"\n")
