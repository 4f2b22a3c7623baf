"""The training loop: any network that gives heatmaps, any loss, continued from any kill."""

from __future__ import annotations

import io
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from edgepose.data.base import PoseDataset
from edgepose.data.crop import Augment
from edgepose.device.files import write_atomic
from edgepose.errors import EdgeposeError
from edgepose.models.pose_model import ModelSpec
from edgepose.train.batches import Batch, make_loader
from edgepose.train.ema import Ema
from edgepose.train.schedule import Schedule, lr_factor
from edgepose.train.teacher_cache import TeacherCache

Precision = Literal["auto", "no", "bf16", "fp16"]
Report = Callable[[str, int, int], None]
LossFunction = Callable[[Tensor, Tensor, Batch], Tensor]
OpenCache = Callable[[tuple[int, int]], TeacherCache]
HISTORY_POINTS = 200


class Phase(BaseModel):
    """A part of the training at its own input size (progressive resizing)."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    input_hw: tuple[int, int]
    share: float = Field(gt=0, le=1)
    batch_size: int | None = Field(default=None, ge=1)


class FitConfig(BaseModel):
    """steps: optimiser steps (a budget in steps, never in seconds); lr: peak learning rate of AdamW;
    ema: decay of the weight average, 0 is off; mixed_precision: "auto" takes bf16 where the processor
    has it; workers: processes that load pictures, 0 loads in line."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    steps: int = Field(ge=1)
    batch_size: int = Field(default=32, ge=1)
    lr: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=1e-4, ge=0)
    schedule: Schedule = "one_cycle"
    ema: float = Field(default=0.0, ge=0, lt=1)
    clip_norm: float = Field(default=1.0, gt=0)
    phases: tuple[Phase, ...] = ()
    augment: Augment = Augment()
    mixed_precision: Precision = "auto"
    workers: int = Field(default=0, ge=0)
    checkpoint_every: int = Field(default=200, ge=1)


@dataclass(frozen=True)
class FitResult:
    """losses: mean loss per history interval; images_seen: crops that the network was trained on;
    duration_s: wall time, that of killed processes up to their last checkpoint included."""

    losses: tuple[tuple[int, float], ...]
    images_seen: int
    duration_s: float


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


def _save(path: Path, state: dict[str, Any]) -> None:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomic(path, buffer.getvalue())


def fit(
    network: nn.Module,
    *,
    spec: ModelSpec,
    dataset: PoseDataset,
    loss: LossFunction,
    config: FitConfig,
    seed: int,
    folder: Path,
    report: Report,
    label: str = "train",
    before_step: Callable[[int], None] | None = None,
    teacher_cache: OpenCache | None = None,
) -> FitResult:
    """Train `network` in place on `dataset`; `folder/checkpoint.pt` lets a killed run continue.

    loss:        (images (N, 3, H, W) normalised, heatmaps (N, J, h, w), batch) -> scalar
    before_step: called with every step's number before it runs; must depend on that number alone
    teacher_cache: opens the kept heatmaps of an input size, which then come with every batch
    Raises EdgeposeError when the loss is not finite; the last checkpoint is then kept.
    """
    accelerator = make_accelerator(config.mixed_precision)
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    trainable = [p for p in network.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(
        trainable, lr=config.lr, weight_decay=config.weight_decay, fused=True
    )
    network, optimiser = accelerator.prepare(network, optimiser)
    bare = accelerator.unwrap_model(network)
    ema = Ema(bare, decay=config.ema) if config.ema else None
    losses: list[tuple[int, float]] = []
    running: list[float] = []
    position = start = 0
    seconds_before, started = 0.0, time.monotonic()
    checkpoint = Path(folder) / "checkpoint.pt"
    if checkpoint.exists():
        try:
            state = torch.load(checkpoint, map_location="cpu", weights_only=True)
            bare.load_state_dict(state["network"])
            optimiser.load_state_dict(state["optimiser"])
            if ema is not None:
                ema.load_state_dict(state["ema"])
            start, position = state["step"], state["position"]
            losses, running = [tuple(entry) for entry in state["losses"]], state["running"]
            seconds_before = state["seconds"]
        except Exception as error:  # a damaged file makes the unpickler raise almost anything
            raise EdgeposeError(
                f"{label}: the checkpoint {checkpoint} is damaged ({type(error).__name__})",
                fix="remove that file; the stage then starts anew",
            ) from error
    normalise = normaliser(spec, accelerator.device)
    every = max(1, config.steps // HISTORY_POINTS)
    processes = accelerator.num_processes

    for steps, input_hw, batch_size in _phases(config, spec):
        steps = range(max(steps.start, start), steps.stop)
        if not steps:
            continue
        loader = make_loader(
            dataset,
            positions=range(position, position + len(steps) * batch_size * processes),
            input_hw=input_hw,
            batch_size=batch_size,
            codec=spec.codec,
            augment_config=config.augment,
            seed=seed,
            workers=config.workers,
            teacher=None if teacher_cache is None else teacher_cache(input_hw),
        )
        loader = accelerator.prepare(loader)
        for step, tensors in zip(steps, loader, strict=True):
            if before_step is not None:
                before_step(step)
            batch = Batch(*tensors)
            for group in optimiser.param_groups:
                group["lr"] = config.lr * lr_factor(
                    step, steps=config.steps, schedule=config.schedule
                )
            images = normalise(batch.crops)
            with accelerator.autocast():
                heatmaps = network(images)
            value = loss(images, heatmaps, batch)
            number = float(value.detach())
            if not math.isfinite(number):
                kept = f"the state of step {state_step(checkpoint)} is kept in {checkpoint}"
                raise EdgeposeError(
                    f"{label}: the loss became {number} at step {step}; {kept}",
                    fix="lower the learning rate (lr), or set mixed_precision: no",
                )
            accelerator.backward(value)
            accelerator.clip_grad_norm_(trainable, config.clip_norm)
            optimiser.step()
            optimiser.zero_grad()
            if ema is not None:
                ema.update(bare)
            position += batch_size * processes
            running.append(number)
            if (step + 1) % every == 0 or step + 1 == config.steps:
                losses.append((step + 1, sum(running) / len(running)))
                running = []
            report(label, step + 1, config.steps)
            if (step + 1) % config.checkpoint_every == 0 and accelerator.is_main_process:
                _save(
                    checkpoint,
                    {
                        "network": bare.state_dict(),
                        "optimiser": optimiser.state_dict(),
                        "ema": {} if ema is None else ema.state_dict(),
                        "step": step + 1,
                        "position": position,
                        "losses": losses,
                        "running": running,
                        "seconds": seconds_before + time.monotonic() - started,
                    },
                )
    if ema is not None:
        bare.load_state_dict(ema.state)
    seconds = seconds_before + time.monotonic() - started
    return FitResult(losses=tuple(losses), images_seen=position, duration_s=seconds)


def state_step(checkpoint: Path) -> int:
    """The step that a checkpoint was written after; 0 where there is none."""
    if not checkpoint.exists():
        return 0
    return int(torch.load(checkpoint, map_location="cpu", weights_only=True)["step"])


def training_notes(result: FitResult) -> dict[str, Any]:
    """What a report says of a training: loss curve, images seen, seconds."""
    return {
        "losses": [[step, value] for step, value in result.losses],
        "images_seen": result.images_seen,
        "training_s": round(result.duration_s, 1),
    }
