"""`distill:` train a student on ground truth and on its teacher's heatmaps."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import nn

from edgepose.context import Context
from edgepose.data.base import PoseDataset
from edgepose.data.mixture import Unlabelled
from edgepose.models.pose_model import ModelSpec, PoseModel
from edgepose.train.config import FitConfig
from edgepose.train.loop import OpenCache, fit, training_notes
from edgepose.train.objective import (
    Distance,
    GroundTruth,
    Objective,
    TeacherFeatures,
    TeacherHeatmaps,
    supervised,
)
from edgepose.train.teacher_cache import TeacherCache, cache_teacher


class FeatureLink(BaseModel):
    """student, teacher: a layer of each, by name; a learned 1x1 convolution takes one to the other."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    student: str
    teacher: str


class Config(FitConfig):
    """alpha: the teacher's part of the loss; the rest is ground truth.

    distance: between heatmaps, "mse" or "kl" (of their softmax over positions at `temperature`)
    temperature: of distance "kl"
    features: pairs of inner layers to bring together, too, with `feature_weight`
    feature_weight: of these beside the heatmaps
    teacher_views: 0 runs the teacher on every crop; n keeps its heatmaps of n fixed views of each
    picture on disk, where later epochs, stages and runs find them (flips, colours and occlusion stay
    random)
    unlabelled: more pictures, of which only the teacher says anything: {root: folder, boxes: json};
    unlabelled_share: the part of the crops that come from there; a labelled crop weighs as before
    """

    alpha: float = Field(default=0.5, ge=0, le=1)
    distance: Distance = "mse"
    temperature: float = Field(default=0.1, gt=0)
    features: tuple[FeatureLink, ...] = ()
    feature_weight: float = Field(default=1e-3, gt=0)
    teacher_views: int = Field(default=0, ge=0, le=100)
    unlabelled: Unlabelled | None = None
    unlabelled_share: float = Field(default=0.5, gt=0, le=1)

    @model_validator(mode="after")
    def _features_need_the_teacher_itself(self) -> Config:
        if self.features and self.teacher_views:
            raise ValueError(
                "features come from the teacher itself; teacher_views keeps its heatmaps alone "
                "(set teacher_views: 0)"
            )
        return self

    @model_validator(mode="after")
    def _unlabelled_pictures_need_the_teacher(self) -> Config:
        if self.unlabelled is not None and self.alpha == 0:
            raise ValueError("unlabelled pictures teach nothing with alpha: 0; raise alpha")
        return self


def objective(
    network: nn.Module,
    teacher: PoseModel | None,
    config: Config,
    *,
    num_joints: int,
    input_hw: tuple[int, int] = (64, 64),
) -> Objective:
    """Ground truth, and where there is a teacher its heatmaps and features; heads on inner layers.

    input_hw: of an image that `network` takes
    """
    truth = GroundTruth(ohkm=config.ohkm)
    heads = supervised(network, config.supervision, num_joints=num_joints, input_hw=input_hw)
    if teacher is None:
        return Objective([(1.0, truth), *heads])
    master = teacher.module()
    soft = TeacherHeatmaps(master, distance=config.distance, temperature=config.temperature)
    terms: list[tuple[float, nn.Module]] = [(1 - config.alpha, truth), (config.alpha, soft)]
    if config.features:
        links = [(link.student, link.teacher) for link in config.features]
        features = TeacherFeatures(network, master, links, input_hw=input_hw)
        terms.append((config.feature_weight, features))
    return Objective([*terms, *heads])


def open_cache(config: Config, context: Context, dataset: PoseDataset) -> OpenCache | None:
    """How the training gets the teacher's kept heatmaps; None where the teacher runs on every crop."""
    teacher = context.teacher
    if teacher is None or not config.teacher_views:
        return None

    def open_size(input_hw: tuple[int, int]) -> TeacherCache:
        with context.processes.first_alone():
            cache = cache_teacher(
                teacher,
                dataset,
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
    dataset = context.training_set(config.unlabelled, share=config.unlabelled_share)
    result = fit(
        network,
        spec=spec,
        dataset=dataset,
        loss=objective(
            network, context.teacher, config, num_joints=spec.num_joints, input_hw=spec.input_hw
        ),
        config=config,
        seed=context.seed,
        folder=context.folder,
        report=context.report,
        label=label,
        before_step=before_step,
        teacher_cache=open_cache(config, context, dataset),
    )
    context.notes.update(training_notes(result))


def run(model: PoseModel, config: Config, context: Context) -> PoseModel:
    """The same network, trained with its teacher (on ground truth alone where there is none)."""
    if context.teacher is None:
        context.warn("distill: the recipe names no teacher; training on ground truth alone")
    network = model.module().train()
    teach(network, spec=model.spec, config=config, context=context, label="distill")
    return model.with_module(network, domain=context.train.domain)
