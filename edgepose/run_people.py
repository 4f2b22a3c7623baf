"""The people that a run scored, kept beside its report; also of a run that was written without them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from edgepose import registry
from edgepose.data.base import PoseDataset
from edgepose.data.cache import cached
from edgepose.errors import EdgeposeError
from edgepose.evaluation import EvaluationSet
from edgepose.fetch import cache_folder
from edgepose.metrics.metric import METRICS
from edgepose.models.pose_model import PoseModel
from edgepose.report.people import Found, People, Shown, choose
from edgepose.report.record import Report
from edgepose.rows import load_joints
from edgepose.store import INPUTS

_TOLERANCE = 0.002  # points: a score in a report is rounded to three digits


def people_of(report: Report, found: Mapping[str, Found], data: EvaluationSet) -> People:
    """Everyone with what each row of a report found, and pictures of those worth seeing.

    The first artifact decides who is shown, or the last stage where nothing was exported.
    """
    people = People(data.truth, dict(found))
    rows = [row.name for row in (*report.artifacts, *report.stages[::-1]) if row.name in found]
    if not rows:
        return people
    index, kinds = choose(people, rows[0], report.metric)
    return People(
        people.truth, people.found, Shown(index, data.crops[index], data.matrices[index], kinds)
    )


def recover_people(report: Report, folder: Path) -> People:
    """The people of a run that kept its joints in `<recipe>/stages/` only.

    They are scored again, and must give what the report says. EdgeposeError where something that
    this needs is gone: joints, the validation data, the network.
    """
    stages = folder.resolve().parent / "stages"
    found = _found(report, stages)
    if not found:
        raise EdgeposeError(
            f"no joints of this run are in {stages}",
            fix="run the recipe again to have curves, pictures and paired comparisons",
        )
    spec = PoseModel.load(folder / "model").spec
    data = EvaluationSet.from_dataset(
        _validation(report), spec.input_hw, alignment=spec.codec.alignment
    )
    people = people_of(report, found, data)
    for row in report.rows:
        if row.name in found and report.primary_metric in row.metrics:
            score = people.scores(row.name, METRICS[report.metric])[report.primary_metric]
            if abs(score.value - row.metrics[report.primary_metric].value) > _TOLERANCE:
                raise EdgeposeError(
                    f"the joints of {row.name} in {stages} score {score.value:.3f}, the report says "
                    f"{row.metrics[report.primary_metric].value:.3f}",
                    fix="run the recipe again; the joints are of another run",
                )
    return people


def _found(report: Report, stages: Path) -> dict[str, Found]:
    """The joints of every row that the store still has, by the hashes of weights and data."""
    val = report.data.fingerprints.get("val")
    flip_test = bool(report.recipe.resolved.get("flip_test"))
    found: dict[str, Found] = {}
    for row in report.stages:
        for item in sorted(stages.glob("score-*")):
            inputs = _inputs(item)
            if (inputs.get("model"), inputs.get("val")) != (row.weights_sha256, val):
                continue
            path = item / ("flip_test.npz" if flip_test else "joints.npz")
            if bool(inputs.get("flip_test")) == flip_test and path.exists():
                found[row.name] = _read(path)
    last = report.stages[-1].weights_sha256 if report.stages else None
    for artifact in report.artifacts:
        for item in sorted(stages.glob("export-*")):
            inputs, path = _inputs(item), item / f"{artifact.name}.npz"
            if (inputs.get("model"), inputs.get("val")) == (last, val) and path.exists():
                found[artifact.name] = _read(path)
    return found


def _inputs(item: Path) -> dict[str, Any]:
    """What an item of the store was made from; nothing where it is not whole."""
    try:
        values = json.loads((item / INPUTS).read_text())
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _read(path: Path) -> Found:
    try:
        joints = load_joints(path)
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise EdgeposeError(
            f"{path} cannot be read: {error}", fix="remove it and run the recipe again"
        ) from error
    return Found(np.asarray(joints.image_xy), np.asarray(joints.score))


def _validation(report: Report) -> PoseDataset:
    """The run's validation data, opened again; EdgeposeError where it is not the same any more."""
    source = registry.sources().module(report.data.source)
    settings = {k: v for k, v in report.recipe.resolved["data"].items() if k != "source"}
    try:
        config = source.Config.model_validate(settings)
    except ValidationError as error:
        raise EdgeposeError(
            f"the data section of the run's recipe is of another version: {error.errors()[0]['msg']}",
            fix="run the recipe again to have curves, pictures and paired comparisons",
        ) from error
    data: PoseDataset = source.open_split(config, "val")
    if data.fingerprint != report.data.fingerprints.get("val"):
        raise EdgeposeError(
            f"the validation data ({report.data.source}) has changed since the run",
            fix="run the recipe again to have curves, pictures and paired comparisons",
        )
    if getattr(source, "RENDERED", False):
        data = cached(data, cache_folder() / "data", workers=1, progress=lambda *_: None)
    return data
