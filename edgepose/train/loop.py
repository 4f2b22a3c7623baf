"""The training loop: any network that gives heatmaps, any loss, continued from any kill."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn

from edgepose.data.base import PoseDataset
from edgepose.errors import EdgeposeError
from edgepose.models.pose_model import ModelSpec
from edgepose.progress import Progress
from edgepose.train.batches import Batch, make_loader
from edgepose.train.checkpoint import load_state, save_state, state_step
from edgepose.train.config import FitConfig, Phase, Precision
from edgepose.train.ema import Ema
from edgepose.train.schedule import lr_factor
from edgepose.train.teacher_cache import TeacherCache

LossFunction = Callable[[Tensor, Tensor, Batch], Tensor]
OpenCache = Callable[[tuple[int, int]], TeacherCache]
HISTORY_POINTS = 200


@dataclass(frozen=True)
class FitResult:
    """losses: mean loss per history interval; images_seen: crops that the network was trained on;
    duration_s: wall time, that of killed processes up to their last checkpoint included."""

    losses: tuple[tuple[int, float], ...]
    images_seen: int
    duration_s: float = field(compare=False)


class _Lesson(nn.Module):
    """Network and loss as one module: what is learnt beside the network is learnt with it."""

    def __init__(self, network: nn.Module, loss: LossFunction) -> None:
        super().__init__()
        self.network, self.loss = network, loss

    def forward(self, images: Tensor, batch: Batch) -> Tensor:
        heatmaps = self.network(images)
        with torch.autocast(images.device.type, enabled=False):
            return self.loss(images, heatmaps, batch)

    def learnt_beside(self) -> dict[str, Tensor]:
        """State of the loss's own layers (adapters, heads); empty for a plain function."""
        return self.loss.state_dict() if isinstance(self.loss, nn.Module) else {}


def _cpu_has_bf16() -> bool:
    capability = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(capability.get("avx512_bf16") or capability.get("amx_bf16"))


def resolve_precision(wanted: Precision) -> str:
    """What "auto" means on this machine."""
    if wanted != "auto":
        return wanted
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    return "bf16" if _cpu_has_bf16() else "no"


def make_accelerator(precision: Precision) -> Accelerator:
    """An Accelerator of this precision, whatever the process used before."""
    resolved = resolve_precision(precision)
    if AcceleratorState._shared_state.get("_mixed_precision", resolved) != resolved:
        AcceleratorState._reset_state()
    return Accelerator(mixed_precision=resolved)


def normaliser(spec: ModelSpec, device: torch.device) -> Callable[[Tensor], Tensor]:
    """(N, 3, H, W) uint8 -> float32 normalised, channels last; as device.geometry.normalise."""
    mean = torch.tensor(spec.preprocessing.mean, device=device).view(1, 3, 1, 1) * 255
    scale = 1 / (torch.tensor(spec.preprocessing.std, device=device).view(1, 3, 1, 1) * 255)
    return lambda crops: ((crops.float() - mean) * scale).contiguous(
        memory_format=torch.channels_last
    )


def _phases(config: FitConfig, spec: ModelSpec) -> list[tuple[range, tuple[int, int], int]]:
    """(step range, input size, batch size) of each phase."""
    phases = config.phases or (Phase(input_hw=spec.input_hw, share=1.0),)
    total = sum(phase.share for phase in phases)
    edges, done = [0], 0.0
    for phase in phases:
        done += phase.share / total
        edges.append(round(done * config.steps))
    return [
        (range(a, b), phase.input_hw, phase.batch_size or config.batch_size)
        for phase, a, b in zip(phases, edges[:-1], edges[1:], strict=True)
    ]


@dataclass
class _Progress:
    """Where a training is: what is kept beside the weights, and given back at the end."""

    step: int = 0
    position: int = 0
    losses: list[tuple[int, float]] = field(default_factory=list)
    running: list[float] = field(default_factory=list)
    seconds: float = 0.0

    def note(self, loss: float, *, steps: int) -> None:
        """Add one step's loss; every so many steps become one point of the history."""
        self.step += 1
        self.running.append(loss)
        if self.step % max(1, steps // HISTORY_POINTS) == 0 or self.step == steps:
            self.losses.append((self.step, sum(self.running) / len(self.running)))
            self.running = []


def fit(
    network: nn.Module,
    *,
    spec: ModelSpec,
    dataset: PoseDataset,
    loss: LossFunction,
    config: FitConfig,
    seed: int,
    folder: Path,
    report: Progress,
    label: str = "train",
    before_step: Callable[[int], None] | None = None,
    teacher_cache: OpenCache | None = None,
) -> FitResult:
    """Train `network` in place on `dataset`; `folder/checkpoint.pt` lets a killed run continue.

    loss:        (images (N, 3, H, W) normalised, heatmaps (N, J, h, w), batch) -> scalar; where it is a
                 module its parameters are trained, too
    before_step: called with every step's number before it runs; must depend on that number alone
    teacher_cache: opens the kept heatmaps of an input size, which then come with every batch
    Under `accelerate launch` every process calls this; a step's batch is that of all of them.
    Raises EdgeposeError when the loss is not finite; the last checkpoint is then kept.
    """
    accelerator = make_accelerator(config.mixed_precision)
    lesson = _Lesson(network.to(memory_format=torch.channels_last), loss)  # type: ignore[call-overload]
    trainable = [p for p in lesson.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(
        trainable, lr=config.lr, weight_decay=config.weight_decay, fused=True
    )
    lesson, optimiser = accelerator.prepare(lesson, optimiser)
    bare: _Lesson = accelerator.unwrap_model(lesson)
    ema = Ema(bare.network, decay=config.ema) if config.ema else None
    progress, started = _Progress(), time.monotonic()
    checkpoint = Path(folder) / "checkpoint.pt"

    def restore(state: dict[str, Any]) -> None:
        bare.network.load_state_dict(state["network"])
        if isinstance(bare.loss, nn.Module):
            bare.loss.load_state_dict(state["loss"])
        optimiser.load_state_dict(state["optimiser"])
        if ema is not None:
            ema.load_state_dict(state["ema"])
        progress.__dict__.update(state["progress"])

    def state() -> dict[str, Any]:
        seconds = progress.seconds + time.monotonic() - started
        return {
            "network": bare.network.state_dict(),
            "loss": bare.learnt_beside(),
            "optimiser": optimiser.state_dict(),
            "ema": {} if ema is None else ema.state_dict(),
            "progress": {**vars(progress), "seconds": seconds},
        }

    load_state(checkpoint, restore, label=label)
    normalise = normaliser(spec, accelerator.device)

    def step_loss(passes: list[Any]) -> float:
        """Gradients of one step's passes, added up; the mean loss over passes and processes."""
        total = torch.zeros((), device=accelerator.device)
        for number, tensors in enumerate(passes, start=1):
            batch = Batch(*tensors)
            last = number == len(passes)
            with nullcontext() if last else accelerator.no_sync(lesson), accelerator.autocast():
                value = lesson(normalise(batch.crops), batch) / len(passes)
            total += value.detach()
            accelerator.backward(value)
        return float(accelerator.reduce(total, "mean"))

    for steps, input_hw, batch_size in _phases(config, spec):
        steps = range(max(steps.start, progress.step), steps.stop)
        if not steps:
            continue
        crops_per_step = batch_size * config.accumulate * accelerator.num_processes
        loader = make_loader(
            dataset,
            positions=range(progress.position, progress.position + len(steps) * crops_per_step),
            input_hw=input_hw,
            batch_size=batch_size,
            codec=spec.codec,
            augment_config=config.augment,
            seed=seed,
            workers=config.workers,
            teacher=None if teacher_cache is None else teacher_cache(input_hw),
            target=config.target,
        )
        groups = _grouped(accelerator.prepare(loader), config.accumulate)
        for step, passes in zip(steps, groups, strict=True):
            if before_step is not None:
                before_step(step)
            for parameters in optimiser.param_groups:
                parameters["lr"] = config.lr * lr_factor(
                    step, steps=config.steps, schedule=config.schedule
                )
            number = step_loss(passes)
            if not math.isfinite(number):
                kept = f"the state of step {state_step(checkpoint)} is kept in {checkpoint}"
                raise EdgeposeError(
                    f"{label}: the loss became {number} at step {step}; {kept}",
                    fix="lower the learning rate (lr), or set mixed_precision: no",
                )
            accelerator.clip_grad_norm_(trainable, config.clip_norm)
            optimiser.step()
            optimiser.zero_grad()
            if ema is not None:
                ema.update(bare.network)
            progress.position += crops_per_step
            progress.note(number, steps=config.steps)
            report(label, step + 1, config.steps)
            if (step + 1) % config.checkpoint_every == 0 and accelerator.is_main_process:
                save_state(checkpoint, state())
    accelerator.wait_for_everyone()
    if ema is not None:
        bare.network.load_state_dict(ema.state)
    return FitResult(
        losses=tuple(progress.losses),
        images_seen=progress.position,
        duration_s=progress.seconds + time.monotonic() - started,
    )


def _grouped(loader: Any, size: int) -> Iterator[list[Any]]:
    """`size` batches at a time."""
    batches = iter(loader)
    while group := list(islice(batches, size)):
        yield group


def training_notes(result: FitResult) -> dict[str, Any]:
    """What a report says of a training: loss curve, images seen, seconds."""
    return {
        "losses": [[step, value] for step, value in result.losses],
        "images_seen": result.images_seen,
        "training_s": round(result.duration_s, 1),
    }
