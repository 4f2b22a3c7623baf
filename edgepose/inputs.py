"""What a run starts from, opened and checked before anything is trained."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pydantic import BaseModel

from edgepose import registry
from edgepose.data.base import SPLITS, PoseDataset, PoseSample
from edgepose.data.cache import cached
from edgepose.data.calibration import open_calibration
from edgepose.data.mixture import Unlabelled, open_unlabelled
from edgepose.data.sift import NOTHING_BAD
from edgepose.device.codec import HeatmapCodec
from edgepose.errors import EdgeposeError
from edgepose.evaluation import labels_of
from edgepose.fetch import cache_folder
from edgepose.metrics.metric import METRICS, Metric
from edgepose.models.deploy import to_deploy
from edgepose.models.own import is_own
from edgepose.models.pose_model import ModelSpec, PoseModel, at_size
from edgepose.progress import Progress
from edgepose.quant.calibrate import MIN_IMAGES
from edgepose.quant.graph import check_layers, export
from edgepose.recipe import Recipe, Teacher
from edgepose.recipe_sections import Budget
from edgepose.skeleton import Skeleton, skeleton
from edgepose.target import Target
from edgepose.weights import Wanted, is_here, load_weights


def open_splits(recipe: Recipe) -> dict[str, PoseDataset]:
    """The data sets that a recipe names, to look at: its splits, and folders that stages calibrate on.

    A source without labels has fewer splits than a run needs; those that it has are returned.
    Raises the source's EdgeposeError where it has none at all.
    """
    module = registry.sources().module(recipe.data.source)
    data: dict[str, PoseDataset] = {}
    refused: list[EdgeposeError] = []
    for split in SPLITS:
        try:
            data[split] = module.open_split(recipe.data.config, split)
        except EdgeposeError as error:
            if split != "val" or not data:
                refused.append(error)
    if refused:
        raise refused[0]
    for stage in recipe.stages:
        folder = getattr(stage.config, "calibration", None)
        if folder is not None:
            data[f"{stage.name}.calibration"] = open_calibration(folder)
    joints = next(iter(data.values())).skeleton
    for name, unlabelled in unlabelled_of(recipe).items():
        data[f"{name}.unlabelled"] = open_unlabelled(unlabelled, joints)
    return {split: dataset for split, dataset in data.items() if len(dataset)}


def open_data(recipe: Recipe, report: Progress) -> dict[str, PoseDataset]:
    """The data set of each split; rendered ones are rendered once and then read from the disk."""
    module = registry.sources().module(recipe.data.source)
    data: dict[str, PoseDataset] = {
        split: module.open_split(recipe.data.config, split) for split in SPLITS
    }
    if getattr(module, "RENDERED", False):
        data = {
            split: cached(
                dataset,
                cache_folder() / "data",
                workers=os.cpu_count() or 1,
                progress=partial(report, f"render {split}"),
            )
            for split, dataset in data.items()
        }
    return data


def check_splits(data: Mapping[str, PoseDataset]) -> list[str]:
    """Warnings of what the splits had to pass over; EdgeposeError where their skeletons differ."""
    train = data["train"].skeleton
    for split, dataset in data.items():
        if dataset.skeleton != train:
            raise EdgeposeError(
                f"the training data has {train.name} joints, the {split} data "
                f"{dataset.skeleton.name}",
                fix="give annotations with the same joints in the same order",
            )
    found = {split: getattr(dataset, "bad", NOTHING_BAD) for split, dataset in data.items()}
    return [f"{split} data: {bad.text}" for split, bad in found.items() if bad.count]


def check_metric(recipe: Recipe, val: PoseDataset) -> Metric:
    """The recipe's metric; refuses one that the validation labels do not allow."""
    metric = METRICS[recipe.metric]
    metric.check(labels_of(val), where=f"the validation data ({recipe.data.source})")
    return metric


@dataclass
class NotHere:
    """Stands for a data set whose files are somewhere else: its joints are known, no sample is."""

    skeleton: Skeleton
    domain: str = "photographs"
    fingerprint: str = ""

    def __len__(self) -> int:
        return 0

    def __getitem__(self, index: int) -> PoseSample:
        raise IndexError(f"sample {index} of a data set that is not here")


def missing_paths(config: BaseModel) -> list[Path]:
    """The files and folders that a data source's Config names and this machine does not have."""
    values = (getattr(config, name) for name in type(config).model_fields)
    return [value for value in values if isinstance(value, Path) and not value.exists()]


def check_stages(
    recipe: Recipe, targets: tuple[Target, ...], start: PoseModel, calibration: PoseDataset
) -> None:
    """Refuse before anything is trained what a stage would refuse after hours.

    A stage with something to say beforehand has `check(config, *, targets, budget)`.
    """
    budget = recipe.budget or Budget()
    words = [stage.name for stage in recipe.stages]
    for stage in recipe.stages:
        check = getattr(registry.stages().module(stage.name), "check", None)
        if check is not None:
            check(stage.config, targets=targets, budget=budget)
        folder = getattr(stage.config, "calibration", None)
        images = calibration if folder is None else open_calibration(folder)
        if isinstance(images, NotHere):
            continue
        static = getattr(stage.config, "mode", "static") == "static"
        calibrates = stage.name == "qat" or (stage.name == "quantize" and "qat" not in words)
        if calibrates and static and start.spec.quant is None and len(images) < MIN_IMAGES:
            raise EdgeposeError(
                f"{stage.name} has {len(images)} calibration images, INT8 ranges need {MIN_IMAGES}",
                fix=f"raise data.calibration, or name a folder in stages.{stage.name}.calibration",
            )
        layers = getattr(stage.config, "float_layers", ())
        if layers:
            check_layers(start, layers, where=f"stages.{stage.name}.float_layers")
    decides = recipe.stage("quantize")
    if "qat" in words and (
        getattr(decides, "max_drop", None) is not None or getattr(decides, "rank_layers", False)
    ):
        raise EdgeposeError(
            "quantize.max_drop and rank_layers compare with a float network, and qat leaves none",
            fix="leave out qat, or these two; qat has float_layers, too",
        )
    done = start.spec.form == "deploy"
    refused = [word for word in words if word not in ("quantize", "export")]
    if done and refused:
        raise EdgeposeError(
            f"the student's checkpoint is a quantized network; {refused[0]} needs one in float",
            fix="give a checkpoint from before qat or quantize, or keep the export stage alone",
        )
    integers = [t.name for t in targets if t.precision == "int8"]
    if integers and not done and not {"qat", "quantize"} & set(words):
        raise EdgeposeError(
            f"{', '.join(integers)} takes INT8 and no stage quantizes the network",
            fix="add stages.quantize: {mode: static}, or a target with precision fp16 or fp32",
        )


def unlabelled_of(recipe: Recipe) -> dict[str, Unlabelled]:
    """Stage -> the unlabelled pictures that it learns from."""
    found = {stage.name: getattr(stage.config, "unlabelled", None) for stage in recipe.stages}
    return {name: unlabelled for name, unlabelled in found.items() if unlabelled is not None}


def check_unlabelled(recipe: Recipe, train: PoseDataset) -> dict[str, int]:
    """Stage -> how many unlabelled people it learns from; refuses them where nobody teaches."""
    found: dict[str, int] = {}
    for name, unlabelled in unlabelled_of(recipe).items():
        if recipe.teacher is None:
            raise EdgeposeError(
                f"stages.{name}.unlabelled: the recipe has no teacher, and nobody else says "
                "anything of pictures without labels",
                fix="add a teacher, or leave out unlabelled",
            )
        if not isinstance(train, NotHere):
            found[name] = len(open_unlabelled(unlabelled, train.skeleton))
    return found


def start_model(
    recipe: Recipe,
    data: PoseDataset,
    *,
    report: Progress = lambda *_: None,
    warn: Callable[[str], None] = lambda _: None,
    fetch: bool = True,
) -> PoseModel:
    """The student before its first stage: a checkpoint's weights, or random ones.

    fetch: False leaves a checkpoint that would have to be downloaded, and takes random weights.
    """
    student = recipe.student
    named = skeleton(student.skeleton) if student.skeleton else data.skeleton
    joints = student.num_joints or named.num_joints
    if joints != data.skeleton.num_joints or named != data.skeleton:
        raise EdgeposeError(
            f"the student has {joints} joints ({named.name}), the data {data.skeleton.num_joints} "
            f"({data.skeleton.name})",
            fix="leave out student.num_joints and student.skeleton; the data set decides them",
        )
    source = student.source
    if source is None or not (fetch or is_here(source)):
        spec = ModelSpec(
            arch=student.arch, num_joints=joints, input_hw=student.input_hw,
            skeleton=named.reference, domain=data.domain,
            codec=HeatmapCodec(coding=student.coding or "standard"),
        )  # fmt: skip
        model = PoseModel.fresh(spec, seed=recipe.seed)
    else:
        wanted = Wanted(
            named.reference,
            student.input_hw,
            student.arch,
            student.color,
            recipe.seed,
            student.coding,
        )
        model = load_weights(source, wanted, report=report, warn=warn)
        check_fits(model, data, what="student")
        if model.spec.arch != student.arch:
            raise EdgeposeError(
                f"{student.checkpoint} holds a {model.spec.arch}, the recipe says {student.arch}",
                fix=f"set student.arch: {model.spec.arch}, or give another checkpoint",
            )
        model = at_size(model, student.input_hw)
    if is_own(student.arch) and model.spec.form == "train":
        export(to_deploy(model.module()), input_hw=student.input_hw)  # refused before any training
    return model


def teacher_model(
    recipe: Recipe,
    teacher: Teacher,
    data: PoseDataset,
    *,
    report: Progress,
    warn: Callable[[str], None],
) -> PoseModel:
    """The teacher in its checkpoint; for crops of the student's size where that does not say."""
    assert teacher.source is not None, "asked only where there is a checkpoint"
    size = recipe.student.input_hw
    wanted = Wanted(
        data.skeleton.reference, size, teacher.arch, teacher.color, recipe.seed, teacher.coding
    )
    model = load_weights(teacher.source, wanted, report=report, warn=warn)
    check_fits(model, data, what="teacher")
    return model


def check_teacher_lies_on_student(teacher: PoseModel, student: PoseModel) -> None:
    """Raise EdgeposeError where a heatmap pixel of one is another place of the crop for the other."""
    ours, theirs = student.spec.codec, teacher.spec.codec
    if ours.alignment != theirs.alignment:
        raise EdgeposeError(
            f"the teacher was trained with the {theirs.coding} coding, the student has {ours.coding}: "
            "their heatmaps do not lie on each other",
            fix=f"set student.coding: {theirs.coding}, or give a teacher with {ours.coding}",
        )


def check_fits(model: PoseModel, data: PoseDataset, *, what: str) -> None:
    found = (model.spec.num_joints, skeleton(model.spec.skeleton).name)
    wanted = (data.skeleton.num_joints, data.skeleton.name)
    if found != wanted:
        raise EdgeposeError(
            f"the {what} finds {found[0]} {found[1]} joints, the data has {wanted[0]} {wanted[1]}",
            fix=f"give a {what} that was trained on {data.skeleton.name} labels",
        )
    model.module()  # refuses weights that are not of the architecture
