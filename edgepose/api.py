"""The stable Python interface: `edgepose.compress`, `edgepose.evaluate`, `edgepose.load`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgepose import registry
from edgepose.artifact import MODEL_FILES, Artifact, lone_file
from edgepose.backends.lint.findings import Finding
from edgepose.backends.lint.subject import is_artifact, lint_path
from edgepose.bench.photographs import score_photographs
from edgepose.data.base import PoseDataset
from edgepose.data.calibration import open_calibration
from edgepose.data.crop import crop_batches
from edgepose.data.spec import open_config, open_spec, parse_spec
from edgepose.device.artifact_words import MANIFEST_NAME
from edgepose.errors import EdgeposeError
from edgepose.evaluation import (
    EvaluationSet,
    Runs,
    find_joints,
    labels_of,
    metric_values,
    score,
    subset_values,
)
from edgepose.fetch import Source, is_url
from edgepose.inputs import check_fits, start_model
from edgepose.measure import model_executor
from edgepose.metrics.metric import METRICS, natural
from edgepose.metrics.tables import score_files
from edgepose.models import ARCHITECTURES
from edgepose.models.pose_model import PoseModel
from edgepose.pipeline import compress as run_recipe
from edgepose.predict import Contract
from edgepose.preflight import lint_recipe as lint_recipe
from edgepose.processes import joined
from edgepose.progress import Progress
from edgepose.quant.calibrate import calibrate
from edgepose.recipe import Recipe, load_recipe
from edgepose.sensitivity import (
    GroupSensitivity,
    LayerSensitivity,
    check_float,
    int8_sensitivity,
    people_of,
    prune_sensitivity,
)
from edgepose.skeleton import Skeleton
from edgepose.target import load_target
from edgepose.weights import Wanted, load_weights


def _quiet(what: str, done: int, total: int) -> None:
    """A progress report that nobody reads."""


def read_recipe(name: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe in a file or the built-in one of that name, checked; EdgeposeError tells all errors."""
    return load_recipe(
        name,
        overrides=overrides,
        stage_configs=registry.stages(),
        data_configs=registry.sources(),
        archs=ARCHITECTURES,
    )


def compress(
    recipe: str | Path | Recipe,
    *,
    overrides: Sequence[str] = (),
    out: str | Path = "reports",
    progress: Progress = _quiet,
    warn: Callable[[str], None] = print,
) -> Path:
    """Run a recipe from teacher to artifacts; returns the run folder `<out>/<recipe name>/<run>`.

    recipe:    a file, the name of a built-in recipe, or a Recipe; overrides: "a.b.c=value" texts
    progress:  called with (what, done, total)
    The folder holds report.html, report.json, report.md, waterfall.png, people.npz, artifacts/<target>/
    and model/.
    Raises EdgeposeError for what the user can mend; calling again continues where it stopped.
    Started by `accelerate launch`, every process calls this, see processes.py.
    """
    with joined() as processes:
        checked = recipe if isinstance(recipe, Recipe) else read_recipe(recipe, overrides)
        return run_recipe(
            checked,
            out=Path(out),
            report=progress,
            warn=warn,
            overrides=tuple(overrides),
            processes=processes,
        )


def load(
    path: str | Path,
    *,
    skeleton: str | Skeleton | None = None,
    input_hw: tuple[int, int] | None = None,
    arch: str | None = None,
    color: str = "RGB",
    coding: str | None = None,
    sha256: str | None = None,
    progress: Progress = _quiet,
    warn: Callable[[str], None] = print,
) -> Artifact | PoseModel:
    """The artifact or the pose model in a folder, every file checked against its hash.

    Also a checkpoint file (.pth, .pt, .safetensors) or its URL; such a file does not say its skeleton
    and crop size, which are passed: see edgepose/models/checkpoints.py for these and the rest.
    """
    source, folder = Source(str(path), sha256), Path(path)
    if folder.suffix in MODEL_FILES and folder.is_file():
        raise lone_file(folder)
    if is_url(source.location) or folder.is_file():
        if skeleton is None or input_hw is None:
            raise EdgeposeError(
                f"{path} is a checkpoint file, which names neither its joints nor its crop size",
                fix="add --skeleton (e.g. mpii16) and --input (height x width, e.g. 256x192)",
            )
        wanted = Wanted(skeleton, input_hw, arch, color, coding=coding)
        return load_weights(source, wanted, report=progress, warn=warn)
    if (folder / MANIFEST_NAME).exists():
        return Artifact.load(folder)
    if folder.is_dir() and not (folder / "model.json").exists():
        inside = sorted({file.parent.relative_to(folder).as_posix()
                         for name in (MANIFEST_NAME, "model.json")
                         for file in folder.glob(f"*/{name}")})  # fmt: skip
        raise EdgeposeError(
            f"{folder} holds neither {MANIFEST_NAME} nor model.json",
            fix=f"give a folder in it: {', '.join(inside)}"
            if inside
            else "give a run's model/ or one of its artifacts/, e.g. artifacts/host",
        )
    if not folder.exists():
        raise EdgeposeError(f"there is nothing at {folder}", fix="check the path and its spelling")
    return PoseModel.load(folder)


def lint_file(
    path: str | Path, *, target_name: str | None = None, overrides: Sequence[str] = ()
) -> list[Finding]:
    """What lint finds in an artifact folder or a model file.

    target_name: what it is for; may be left out for an artifact, which says it
    overrides:   "key=value" texts laid over the target
    """
    path = Path(path)
    if target_name is None:
        if path.exists() and not is_artifact(path):
            raise EdgeposeError(
                f"{path} does not say what it is for", fix="add --target; see edgepose targets"
            )
        target_name = Artifact.load(path).manifest.target
    return lint_path(path, load_target(target_name, overrides=overrides))


def open_executor(subject: Artifact | PoseModel, *, work: Path, threads: int | None = None) -> Runs:
    """What executes an artifact's files or a model. `work`: scratch folder."""
    if isinstance(subject, PoseModel):
        return model_executor(subject, work)
    executor: Runs = registry.backend(subject.manifest.runtime).open_executor(
        subject, threads=threads
    )
    return executor


def open_data(text: str) -> PoseDataset:
    """The validation set of "synthetic", or all people of e.g. "coco:LABELS.json,IMAGE_FOLDER"."""
    return open_spec(text)


def evaluate(
    subject: str | Path | Artifact | PoseModel,
    *,
    data: str | PoseDataset = "synthetic",
    metric: str | None = None,
    flip_test: bool = False,
    work: str | Path = ".cache/edgepose",
    threads: int | None = None,
    progress: Progress = _quiet,
) -> dict[str, Any]:
    """Scores of an artifact or a pose model: {"executor", "persons", "metrics", "subsets", ...}.

    metric:    "pckh", "oks_ap", "pck", "pckh_head_segment" or "pck_box"; by default the first of
               these that the labels allow. Where model and data have different skeletons: OKS, AP and
               PCK over the joints that both name alike.
    flip_test: average the heatmaps with those of the mirrored crops; `executor` says so
    """
    loaded = load(subject) if isinstance(subject, str | Path) else subject
    dataset = open_data(data) if isinstance(data, str) else data
    executor = open_executor(loaded, work=Path(work), threads=threads)
    contract = (
        Contract.of_artifact(loaded)
        if isinstance(loaded, Artifact)
        else Contract.of_spec(loaded.spec)
    )
    if dataset.skeleton.joints == contract.skeleton.joints:
        chosen = natural(labels_of(dataset)) if metric is None else METRICS[metric]
        chosen.check(labels_of(dataset))
        codec = contract.codec
        people = EvaluationSet.from_dataset(dataset, contract.input_hw, alignment=codec.alignment)
        flip_index = contract.skeleton.flip_index if flip_test else None
        joints = find_joints(executor, people, codec=codec, flip_index=flip_index, report=progress)
        return {
            "executor": joints.executor,
            "domain": dataset.domain,
            "persons": len(people),
            "convention": chosen.convention,
            "metrics": metric_values(score(joints, people, chosen), dataset.skeleton),
            "subsets": subset_values(joints, people, chosen),
        }
    if metric is not None:
        raise EdgeposeError(
            f"the model finds {contract.skeleton.name} joints, the data has {dataset.skeleton.name}"
            f" ones; {metric} needs the same",
            fix="leave out --metric: joints are then compared by name",
        )
    scores = score_photographs(
        executor,
        dataset,
        skeleton=contract.skeleton,
        input_hw=contract.input_hw,
        codec=contract.codec,
        flip_test=flip_test,
        report=progress,
    )
    return scores.model_dump(mode="json")


@dataclass(frozen=True)
class Sensitivity:
    """rows: the costliest first; metric: the name of the score that drops are in, over `persons`."""

    rows: list[LayerSensitivity] | list[GroupSensitivity]
    metric: str
    persons: int


def sensitivity(
    subject: Recipe | PoseModel,
    *,
    kind: str = "int8",
    data: str = "synthetic",
    count: int = 64,
    progress: Progress = _quiet,
    warn: Callable[[str], None] = print,
) -> Sensitivity:
    """What INT8 ("int8") or removing channels ("prune") costs in each layer alone.

    subject: a model, or a recipe, whose student before its first stage and whose data are taken
    data:    for a model, as for `evaluate`; only its training and calibration parts are looked at
    count:   so many training people decide
    """
    if isinstance(subject, Recipe):
        source, config = subject.data
        if subject.student.checkpoint is None:
            raise EdgeposeError(
                f"recipe {subject.name} starts from random weights, which no layer can spoil",
                fix="give a trained MODEL, or set student.checkpoint",
            )
        train = registry.sources().module(source).open_split(config, "train")
        model = start_model(subject, train, report=progress, warn=warn)
        folders = [getattr(s.config, "calibration", None) for s in subject.stages]
        folder = next((folder for folder in folders if folder is not None), None)
    elif isinstance(subject, PoseModel):
        source, values = parse_spec(data)
        train, model, folder = open_config(source, values, "train"), subject, None
        config = registry.sources().module(source).Config(**values)
        check_fits(model, train, what="model")
    else:
        raise EdgeposeError(
            "an artifact has been compressed already; sensitivity asks what that would cost",
            fix="give the run's model from before qat or quantize, or a checkpoint",
        )
    check_float(model)
    named = subject.metric if isinstance(subject, Recipe) else natural(labels_of(train)).word
    metric = METRICS[named]
    people = people_of(train, model, count)
    if kind == "prune":
        rows: Any = prune_sensitivity(model, people, metric, report=progress)
        return Sensitivity(rows, metric.primary, len(people))
    images = (
        registry.sources().module(source).open_split(config, "calibration")
        if folder is None
        else open_calibration(folder)
    )
    crops = crop_batches(images, model.spec.input_hw, alignment=model.spec.codec.alignment)
    plan = calibrate(model, crops).spec.quant
    assert plan is not None, "calibrated"
    rows = int8_sensitivity(model, plan.activation_scales, people, metric, report=progress)
    return Sensitivity(rows, metric.primary, len(people))


def score_predictions(
    predictions: str | Path,
    ground_truth: str | Path,
    *,
    convention: str | None = None,
    coordinate_base: int | None = None,
    metric: str | None = None,
) -> dict[str, Any]:
    """Scores of a file of predicted joints, without any model; see `metrics.tables.score_files`."""
    return score_files(
        Path(predictions),
        Path(ground_truth),
        convention=convention,
        coordinate_base=coordinate_base,
        metric=metric,
    )
