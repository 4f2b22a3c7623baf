"""One run of a recipe: what it was given, and what it has found so far."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel

import edgepose
from edgepose.context import Context
from edgepose.data.base import PoseDataset
from edgepose.data.calibration import open_calibration
from edgepose.data.mixture import open_unlabelled
from edgepose.device.files import sha256_file
from edgepose.evaluation import EvaluationSet, Joints
from edgepose.fetch import cache_folder
from edgepose.metrics.metric import Metric
from edgepose.models.pose_model import ModelSpec, PoseModel
from edgepose.processes import ALONE, Processes
from edgepose.progress import Progress
from edgepose.recipe import Recipe
from edgepose.recipe_sections import Budget
from edgepose.rows import Scored
from edgepose.run_log import LOG, told
from edgepose.store import Store
from edgepose.target import Target

Warn = Callable[[str], None]


@dataclass
class Run:
    """One run of a recipe: what it was given, and the rows that it has found so far."""

    recipe: Recipe
    targets: tuple[Target, ...]
    data: dict[str, PoseDataset]
    metric: Metric
    store: Store
    report: Progress
    print_warning: Warn
    processes: Processes = ALONE
    overrides: tuple[str, ...] = ()
    teacher: PoseModel | None = None
    rows: list[Scored] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    calibration: dict[str, Any] | None = None
    evaluation_sets: dict[tuple[tuple[int, int], str], EvaluationSet] = field(default_factory=dict)
    plain_joints: Joints | None = None  # the last stage's without a flip test, as artifacts are run

    def warn(self, message: str) -> None:
        if message not in self.warnings:
            self.warnings.append(message)
            told("%s", message)
            self.print_warning(message)

    def add(self, scored: Scored) -> None:
        """One more row of the report."""
        self.rows.append(scored)
        metrics = ", ".join(f"{name} {m.value:.1f}" for name, m in scored.row.metrics.items())
        LOG.info("%s: %s, run by %s", scored.row.name, metrics, scored.row.executor)

    def evaluation_set(self, spec: ModelSpec) -> EvaluationSet:
        key = spec.input_hw, spec.codec.alignment
        if key not in self.evaluation_sets:
            self.evaluation_sets[key] = EvaluationSet.from_dataset(
                self.data["val"], spec.input_hw, alignment=spec.codec.alignment
            )
        return self.evaluation_sets[key]

    def context(self, folder: Path) -> Context:
        return Context(
            train=self.data["train"],
            val=self.data["val"],
            calibration=self.data["calibration"],
            teacher=self.teacher,
            targets=self.targets,
            budget=self.recipe.budget or Budget(),
            seed=self.recipe.seed,
            folder=folder,
            cache=cache_folder(),
            report=self.report,
            warn=self.warn,
            processes=self.processes,
            metric=self.metric,
        )

    def inputs(self, word: str, model: PoseModel, config: BaseModel) -> dict[str, Any]:
        """Everything that decides what a stage gives back."""
        calibration = getattr(config, "calibration", None)
        unlabelled = getattr(config, "unlabelled", None)
        sensitivity = getattr(config, "sensitivity", None)
        return {
            "edgepose": edgepose.__version__,
            "stage": word,
            "config": config.model_dump(mode="json"),
            "model": model.sha256,
            "teacher": None if self.teacher is None else self.teacher.sha256,
            "seed": self.recipe.seed,
            "data": {
                split: data.fingerprint for split, data in self.data.items() if split != "val"
            },
            "calibration": calibration and open_calibration(calibration).fingerprint,
            "unlabelled": unlabelled
            and open_unlabelled(unlabelled, self.data["train"].skeleton).fingerprint,
            "sensitivity": sensitivity and sha256_file(sensitivity),
            "targets": [target.model_dump(mode="json") for target in self.targets],
            "budget": (self.recipe.budget or Budget()).model_dump(exclude={"max_drop"}),
            "metric": self.metric.word,
        }
