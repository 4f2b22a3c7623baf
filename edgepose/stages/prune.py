"""`prune:` remove the channels with the smallest L1 norm, then fine-tune.

How many channels each group keeps is found for the recipe's budget (or said by `ratio`); the parts are
in `stages/pruning`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from pydantic import Field, model_validator
from torch import nn

from edgepose.context import Context
from edgepose.cost import planned_bytes
from edgepose.device.files import write_atomic
from edgepose.errors import EdgeposeError
from edgepose.models.pose_model import PoseModel
from edgepose.recipe_sections import Budget
from edgepose.stages import distill
from edgepose.stages.distill import teach
from edgepose.stages.pruning.channels import Channels, prune_channels, uniform_widths
from edgepose.stages.pruning.limits import limits_of
from edgepose.stages.pruning.order import Mode, Sensitivity, beside, read_sensitivity
from edgepose.stages.pruning.solve import Limit, solve
from edgepose.strict_model import ExistingPath
from edgepose.target import Target

__all__ = ["Config", "check", "largest_file", "narrow", "prune_channels", "run"]

ROUND_TO = 8


class Config(distill.Config):
    """steps: of the fine-tuning, 0: prune and leave it at that

    ratio: share of the channels to remove in every group, null: found for the budget.

    mode: which groups give up channels for a budget: "uniform" all alike, "global" by one threshold of
    the L1 norm over the group's mean, "sensitivity" where a measured drop per cost is smallest
    sensitivity: that measurement, a file of `edgepose sensitivity`
    rounds: prune and fine-tune in so many parts; each gets its part of the steps
    round_to: kept channels are a multiple of this, null: what the targets ask for, else 8
    The rest is the fine-tuning, as distill.
    """

    steps: int = Field(ge=0)
    ratio: float | None = Field(default=None, gt=0, lt=1)
    mode: Mode = "uniform"
    sensitivity: ExistingPath | None = None
    rounds: int = Field(default=1, ge=1, le=100)
    round_to: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _the_mode_has_what_it_needs(self) -> Config:
        if (self.mode == "sensitivity") != (self.sensitivity is not None):
            raise ValueError("mode: sensitivity and sensitivity: FILE need each other")
        if self.mode != "uniform" and self.ratio is not None:
            raise ValueError(f"ratio is of mode uniform; mode {self.mode} follows a budget")
        if self.rounds > max(1, self.steps):
            raise ValueError("each of the rounds needs at least one step")
        return self


@dataclasses.dataclass(frozen=True)
class Narrowing:
    """What pruning will do: widths of the channel groups, and what to say of it.

    asked: limit -> its value and what is needed of it; origin: of an estimated latency
    table: the measurement that it followed, where it did
    """

    channels: Channels
    widths: tuple[int, ...]
    text: str
    asked: dict[str, dict[str, float]]
    origin: str | None = None
    note: str | None = None
    table: Sensitivity | None = None

    @property
    def removed(self) -> float:
        """Share of all channels that leaves."""
        return 1 - sum(self.widths) / max(1, sum(g.channels for g in self.channels.groups))


def step_of(config: Config, targets: Sequence[Target]) -> int:
    """What channel counts are rounded to: the recipe's word, else the coarsest of the targets', else 8."""
    if config.round_to is not None:
        return config.round_to
    wanted = [
        getattr(target.prune_multiple, "fp16" if target.precision == "fp32" else target.precision)
        for target in targets
        if target.prune_multiple is not None
    ]
    return max(wanted, default=ROUND_TO)


def narrowing(
    network: nn.Module,
    config: Config,
    *,
    budget: Budget,
    targets: tuple[Target, ...],
    input_hw: tuple[int, int],
) -> Narrowing:
    """How `network` is to be pruned. The plan, the lint of the plan and the run all ask here.

    Raises EdgeposeError where the budget cannot be met, naming the closest that can.
    """
    check(config, targets=targets, budget=budget)
    step = step_of(config, targets)
    channels = Channels(network, input_hw=input_hw)
    if config.ratio is not None:
        widths = tuple(uniform_widths(channels.groups, config.ratio, step))
        text = f"removed {config.ratio:.1%} of the channels of every group"
        return Narrowing(channels, widths, text, {})
    limits, origin = limits_of(budget, targets)
    table = None if config.sensitivity is None else read_sensitivity(config.sensitivity)
    found = solve(channels, limits, step=step, mode=config.mode, sensitivity=table)
    asked = {limit.key: {"most": limit.most, "needs": found.used[limit.key]} for limit in limits}
    plan = Narrowing(channels, found.widths, "", asked, origin, found.note, table)
    needs = ", ".join(_needs(limit, found.used[limit.key]) for limit in limits)
    text = f"removed {plan.removed:.1%} of the channels ({config.mode}) for {needs}"
    return dataclasses.replace(plan, text=text)


def _needs(limit: Limit, used: float) -> str:
    scale, unit = (1e9, "GMAC") if limit.key == "macs" else (1.0, limit.unit)
    return f"{used / scale:.4g} of {limit.most / scale:g} {unit}"


def narrow(
    network: nn.Module,
    config: Config,
    *,
    budget: Budget,
    targets: tuple[Target, ...],
    input_hw: tuple[int, int],
) -> tuple[nn.Module, Narrowing]:
    """The pruned network and how it was pruned; nothing is trained."""
    plan = narrowing(network, config, budget=budget, targets=targets, input_hw=input_hw)
    return plan.channels.narrowed(plan.widths), plan


def largest_file(network: nn.Module, targets: tuple[Target, ...]) -> int:
    """Planned bytes of the largest counted file among the targets."""
    shapes = {key: value.shape for key, value in network.state_dict().items()}
    return max(
        planned_bytes(shapes, runtime=target.runtime, precision=target.precision)
        for target in targets
    )


def check(config: Config, *, targets: tuple[Target, ...], budget: Budget) -> None:
    """Raise EdgeposeError where `config` leaves open how much to prune."""
    if config.ratio is not None:
        return
    if not budget.limits_width:
        raise EdgeposeError(
            "prune has neither a ratio nor a size budget",
            fix="set stages.prune.ratio, or budget.size_mb, budget.macs or budget.latency_ms",
        )
    if budget.size_mb is not None and not targets:
        raise EdgeposeError(
            "prune is to fit a size budget, and no stage exports a file that has a size",
            fix="set stages.prune.ratio, or add an export stage",
        )


def run(model: PoseModel, config: Config, context: Context) -> PoseModel:
    """A narrower network of the same architecture, fine-tuned (with the teacher where there is one)."""
    hw = model.spec.input_hw
    network = model.module()
    before = _out_channels(network)
    with context.processes.first_alone():  # the host's cost model is measured once, and kept
        plan = narrowing(
            network, config, budget=context.budget, targets=context.targets, input_hw=hw
        )
    for word in (plan.note, plan.origin):
        if word is not None:
            context.warn(word)
    if config.rounds == 1:
        network = plan.channels.narrowed(plan.widths)
        if config.steps:
            _fine_tune(network, model, config, context, label="prune: fine-tune")
    else:
        network = _in_rounds(model, plan, config, context)
    kept = {name: [left, before[name]] for name, left in _out_channels(network).items()}
    context.notes.update(
        pruned=plan.text,
        ratio=round(plan.removed if config.ratio is None else config.ratio, 4),
        budget=plan.asked,
        latency_origin=plan.origin,
        kept_channels=kept,
        planned_bytes=largest_file(network, context.targets) if context.targets else None,
    )
    if plan.table is not None:
        context.notes["sensitivity"] = beside(plan.table, plan.channels.groups, plan.widths)
    return model.with_module(network, domain=context.train.domain)


def _out_channels(network: nn.Module) -> dict[str, int]:
    return {
        name: layer.out_channels
        for name, layer in network.named_modules()
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d))
    }


def _fine_tune(
    network: nn.Module, model: PoseModel, config: Config, context: Context, *, label: str
) -> None:
    teach(network.train(), spec=model.spec, config=config, context=context, label=label)


def _in_rounds(model: PoseModel, plan: Narrowing, config: Config, context: Context) -> nn.Module:
    """Prune a part, fine-tune, and so on; a finished round is kept, so that a killed run continues.

    The widths are those of the plan; which channels go is decided anew by each round's weights.
    """
    groups, parts = plan.channels.groups, config.rounds
    hw, notes = model.spec.input_hw, list[dict[str, Any]]()
    multiple = step_of(config, context.targets)
    for number in range(1, parts + 1):
        folder = context.folder / f"round-{number}"
        finished, written = folder / "model", folder / "notes.json"
        if not finished.is_dir():
            target = [
                _between(group.channels, width, number / parts, multiple * group.blocks)
                for group, width in zip(groups, plan.widths, strict=True)
            ]
            network = Channels(model.module(), input_hw=hw).narrowed(target)
            steps = config.steps * number // parts - config.steps * (number - 1) // parts
            inner = dataclasses.replace(context, folder=folder, notes={})
            folder.mkdir(parents=True, exist_ok=True)
            _fine_tune(
                network, model, config.model_copy(update={"steps": steps}), inner,
                label=f"prune: fine-tune, round {number} of {parts}",
            )  # fmt: skip
            after = model.with_module(network, domain=context.train.domain)
            if context.processes.is_first:
                write_atomic(written, json.dumps(inner.notes).encode())
                after.save(finished)
            notes.append(inner.notes)
            model = after
        else:
            model = PoseModel.load(finished)
            notes.append(json.loads(written.read_text()))
    context.notes.update(_added_up(notes))
    return model.module()


def _between(full: int, last: int, part: float, multiple: int) -> int:
    """Channels after `part` of the way from `full` to `last`, in multiples, never below `last`."""
    width = full + part * (last - full)
    return full if last == full else max(last, int(width + 1e-9) // multiple * multiple)


def _added_up(notes: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The notes of several trainings as of one: one loss curve, all images and seconds."""
    found, done = dict(notes[-1]), 0
    losses = []
    for one in notes:
        losses += [[done + step, value] for step, value in one["losses"]]
        done = losses[-1][0] if losses else done
    return {
        **found,
        "losses": losses,
        "images_seen": sum(one["images_seen"] for one in notes),
        "training_s": round(sum(one["training_s"] for one in notes), 1),
        "rounds": len(notes),
    }
