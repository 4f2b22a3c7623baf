"""`distill:` train a student on ground truth and on its teacher's heatmaps."""

from __future__ import annotations

from collections.abc import Callable

import torch
from pydantic import Field
from torch import Tensor, nn

from edgepose.context import Context
from edgepose.models.pose_model import ModelSpec, PoseModel
from edgepose.train.batches import Batch
from edgepose.train.loop import FitConfig, LossFunction, OpenCache, fit, training_notes
from edgepose.train.losses import distillation, heatmap_mse
from edgepose.train.teacher_cache import TeacherCache, cache_teacher


class Config(FitConfig):
    """alpha: the teacher's part of the loss; the rest is ground truth.

    teacher_views: 0 runs the teacher on every crop; n keeps its heatmaps of n fixed views of each
    picture on disk, where later epochs, stages and runs find them (flips, colours and occlusion stay
    random)
    """

    alpha: float = Field(default=0.5, ge=0, le=1)
    teacher_views: int = Field(default=0, ge=0, le=100)


def distillation_loss(teacher: PoseModel | None, *, alpha: float) -> LossFunction:
    """The loss against ground truth and, where there is one, the teacher.

    The teacher's heatmaps are the batch's own where they come with it; else it is run on the crops.
    """
    if teacher is None:
        return lambda _, heatmaps, batch: heatmap_mse(heatmaps, batch.targets, batch.weights)
    network = teacher.module().to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def loss(images: Tensor, heatmaps: Tensor, batch: Batch) -> Tensor:
        soft = batch.teacher
        if soft is None:
            network.to(images.device)
            with torch.no_grad():
                soft = network(images).float()
        return distillation(heatmaps, batch.targets, soft, batch.weights, alpha=alpha)

    return loss


def open_cache(config: Config, context: Context) -> OpenCache | None:
    """How the training gets the teacher's kept heatmaps; None where the teacher runs on every crop."""
    teacher = context.teacher
    if teacher is None or not config.teacher_views:
        return None

    def open_size(input_hw: tuple[int, int]) -> TeacherCache:
        cache = cache_teacher(
            teacher,
            context.train,
            context.cache / "teacher",
            input_hw=input_hw,
            views=config.teacher_views,
            augment=config.augment,
            seed=context.seed,
            report=context.report,
        )
        context.notes["teacher_cache"] = {"views": cache.views, "size_bytes": cache.size_bytes}
        return cache

    return open_size


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
        teacher_cache=open_cache(config, context),
    )
    context.notes.update(training_notes(result))


def run(model: PoseModel, config: Config, context: Context) -> PoseModel:
    """The same network, trained with its teacher (on ground truth alone where there is none)."""
    if context.teacher is None:
        context.warn("distill: the recipe names no teacher; training on ground truth alone")
    network = model.module().train()
    teach(network, spec=model.spec, config=config, context=context, label="distill")
    return model.with_module(network, domain=context.train.domain)
