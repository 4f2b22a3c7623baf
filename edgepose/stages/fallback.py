"""Which layers INT8 is not worth it for: found on training people, the cheapest ones left in float."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from edgepose.context import Context
from edgepose.errors import EdgeposeError
from edgepose.evaluation import EvaluationSet, TorchExecutor, find_joints, score
from edgepose.metrics.metric import Metric, Score, difference
from edgepose.models.pose_model import PoseModel
from edgepose.quant.graph import int8_graph
from edgepose.sensitivity import LayerSensitivity, int8_sensitivity, people_of, to_json

Quantize = Callable[[tuple[str, ...]], PoseModel]
BLAMED = 5


class Cost(NamedTuple):
    """Points of the primary metric that a quantized model is below the float one, and the paired
    95 % interval."""

    drop: float
    low: float
    high: float

    @property
    def text(self) -> str:
        return f"{self.drop:.2f} [{self.low:.2f}, {self.high:.2f}]"


class Trial:
    """A float model and the people that decide; they are the training split's, never scored ones."""

    def __init__(self, model: PoseModel, context: Context, *, people: int) -> None:
        self.model, self.context = model, context
        self.metric: Metric = context.metric
        self.data: EvaluationSet = people_of(context.train, model, people)
        self.before = self._score(TorchExecutor(model.module(), model.spec), "float")

    def _score(self, executor: TorchExecutor, what: str) -> Score:
        joints = find_joints(
            executor,
            self.data,
            codec=self.model.spec.codec,
            report=self.context.report,
            label=f"quantize: {what}",
        )
        return score(joints, self.data, self.metric)[self.metric.primary]

    def cost(self, quantized: PoseModel, what: str = "int8") -> Cost:
        after = self._score(TorchExecutor(int8_graph(quantized), quantized.spec), what)
        change, low, high = difference(after, self.before)
        return Cost(0.0 - change, 0.0 - high, 0.0 - low)

    def layers(self, quantized: PoseModel) -> list[LayerSensitivity]:
        """What each layer alone costs, the costliest first; noted for the report."""
        assert quantized.spec.quant is not None, "it was quantized"
        found = int8_sensitivity(
            self.model,
            quantized.spec.quant.activation_scales,
            self.data,
            self.metric,
            report=self.context.report,
        )
        self.context.notes["sensitivity"] = to_json(
            found, metric=self.metric.primary, persons=len(self.data)
        )
        self.context.notes["sensitive"] = [blame(item) for item in found[:BLAMED]]
        return found


def blame(item: LayerSensitivity) -> str:
    return f"{item.layer} ({item.drop:+.2f} points, peaks p99 {item.shift_p99_px:.2f} px)"


def in_order(layers: Sequence[LayerSensitivity]) -> list[LayerSensitivity]:
    """The order in which layers go to float: most points per MAC first, among layers that cost none
    the largest shift per MAC."""
    return sorted(layers, key=lambda x: (-max(x.drop, 0.0) / x.macs, -x.shift_p99_px / x.macs))


def fall_back(
    trial: Trial, quantized: PoseModel, quantize: Quantize, *, max_drop: float
) -> PoseModel:
    """The quantized model, with as few layers in float as bring its cost down to `max_drop`.

    quantize: named layers in float -> the model quantized so; its own float layers stay
    Raises EdgeposeError with the figures where that is not reached before the last layer.
    """
    notes, label = trial.context.notes, trial.metric.primary
    cost = first = trial.cost(quantized)
    people = len(trial.data)
    notes["fallback"] = {
        "max_drop": max_drop, "people": people, "drop_int8": round(first.drop, 3),
        "ci95_int8": [round(first.low, 3), round(first.high, 3)], "float_layers": [],
    }  # fmt: skip
    if cost.drop <= max_drop:
        return quantized
    assert quantized.spec.quant is not None, "it was quantized"
    named = quantized.spec.quant.float_layers
    order = [item for item in in_order(trial.layers(quantized)) if item.layer not in named]
    tried: dict[int, tuple[PoseModel, Cost]] = {}

    def fits(count: int) -> bool:
        if count not in tried:
            made = quantize((*named, *(item.layer for item in order[:count])))
            tried[count] = made, trial.cost(made, f"{count} layers in float")
        return tried[count][1].drop <= max_drop

    too_few, count, most = 0, 1, len(order) - 1
    while not fits(count):
        if count >= most:
            raise EdgeposeError(
                f"INT8 costs {first.text} points of {label} on {people} training people, and with "
                f"{count} of {len(order)} layers in float still {tried[count][1].text}; "
                f"{max_drop:g} are allowed",
                fix="raise stages.quantize.max_drop, train through the grid (stages.qat), "
                "or export for fp16",
            )
        too_few, count = count, min(2 * count, most)
    while count - too_few > 1:
        middle = (too_few + count) // 2
        too_few, count = (too_few, middle) if fits(middle) else (middle, count)
    result, cost = tried[count]
    chosen = order[:count]
    share = sum(item.macs for item in chosen) / sum(item.macs for item in order)
    notes["fallback"] |= {
        "float_layers": [item.layer for item in chosen],
        "drop": round(cost.drop, 3),
        "ci95": [round(cost.low, 3), round(cost.high, 3)],
        "float_mac_share": round(share, 4),
    }
    trial.context.warn(
        f"quantize: INT8 everywhere costs {first.text} points of {label} on {people} training people "
        f"({max_drop:g} allowed); in float now: {', '.join(item.layer for item in chosen)}, "
        f"{share:.1%} of the multiply-adds, and the cost is {cost.text}"
    )
    return result
