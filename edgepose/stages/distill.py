"""`distill:` train a student on ground truth and on its teacher's heatmaps."""

from __future__ import annotations

from collections.abc import Callable

import torch
from pydantic import Field
from torch import Tensor, nn

from edgepose.context import Context
from edgepose.models.pose_model import ModelSpec, PoseModel
from edgepose.train.batches import Batch
from edgepose.train.loop import FitConfig, LossFunction, fit, loss_curve
from edgepose.train.losses import distillation, heatmap_mse


class Config(FitConfig):
    """alpha: the teacher's part of the loss; the rest is ground truth."""

    alpha: float = Field(default=0.5, ge=0, le=1)


def distillation_loss(teacher: PoseModel | None, *, alpha: float) -> LossFunction:
    """The loss against ground truth and, where there is one, the teacher run on the same crops."""
    if teacher is None:
        return lambda _, heatmaps, batch: heatmap_mse(heatmaps, batch.targets, batch.weights)
    network = teacher.module().to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def loss(images: Tensor, heatmaps: Tensor, batch: Batch) -> Tensor:
        network.to(images.device)
        with torch.no_grad():
            soft = network(images).float()
        return distillation(heatmaps, batch.targets, soft, batch.weights, alpha=alpha)

    return loss


def teach(
    network: nn.Module,
    *,
    spec: ModelSpec,
    config: Config,
    context: Context,
    label: str,
    before_step: Callable[[int], None] | None = None,
) -> None:
    """Train `network` in place as `config` says, with the context's teacher where there is one.

    Losses and images seen go into the context's notes. Shared by distill, prune and qat.
    """
    result = fit(
        network,
        spec=spec,
        dataset=context.train,
        loss=distillation_loss(context.teacher, alpha=config.alpha),
        config=config,
        seed=context.seed,
        folder=context.folder,
        report=context.report,
        label=label,
        before_step=before_step,
    )
    context.notes.update(losses=loss_curve(result.losses), images_seen=result.images_seen)


def run(model: PoseModel, config: Config, context: Context) -> PoseModel:
    """The same network, trained with its teacher (on ground truth alone where there is none)."""
    if context.teacher is None:
        context.warn("distill: the recipe names no teacher; training on ground truth alone")
    network = model.module().train()
    teach(network, spec=model.spec, config=config, context=context, label="distill")
    return model.with_module(network, domain=context.train.domain)
