"""What a stage gets from outside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgepose.data.base import PoseDataset
from edgepose.data.calibration import open_calibration, warn_domain
from edgepose.data.mixture import Mixture, Unlabelled, open_unlabelled
from edgepose.metrics.metric import METRICS, Metric
from edgepose.models.pose_model import PoseModel
from edgepose.processes import ALONE, Processes
from edgepose.progress import Progress
from edgepose.recipe_sections import Budget
from edgepose.target import Target


@dataclass(frozen=True)
class Context:
    """train, val, calibration: data sets; teacher: a better model or None; targets: what is exported
    for; budget: what the result must keep to; folder: scratch space of this stage (checkpoints; kept
    until the stage is finished); cache: what any run may use again and can be made anew; report:
    progress (what, done, total);
    notes: what a stage wants to have said in the report, JSON values; warn: prints a warning that
    also lands in the report; processes: those that share a training; metric: what drops are in."""

    train: PoseDataset
    val: PoseDataset
    calibration: PoseDataset
    teacher: PoseModel | None
    targets: tuple[Target, ...]
    budget: Budget
    seed: int
    folder: Path
    cache: Path
    report: Progress
    warn: Callable[[str], None]
    notes: dict[str, Any] = field(default_factory=dict)
    processes: Processes = ALONE
    metric: Metric = METRICS["pckh"]

    def training_set(self, unlabelled: Unlabelled | None, *, share: float) -> PoseDataset:
        """The training data, with pictures that have no labels mixed in where a stage asks for them.

        share: of the crops that are unlabelled; what they are is noted for the report
        """
        if unlabelled is None:
            return self.train
        pictures = open_unlabelled(unlabelled, self.train.skeleton)
        if pictures.bad.count:
            self.warn(f"unlabelled data: {pictures.bad.text}")
        self.notes["unlabelled"] = {
            "people": len(pictures),
            "share": share,
            "fingerprint": pictures.fingerprint,
        }
        return Mixture(self.train, pictures, share=share)

    def calibration_set(self, folder: Path | None, *, model_domain: str) -> PoseDataset:
        """The pictures that choose INT8 ranges: a folder's, else the data source's own split.

        Warns where they are of another domain than the model was trained on, and notes what they
        are for the report.
        """
        dataset = self.calibration if folder is None else open_calibration(folder)
        warning = warn_domain(model_domain, dataset.domain)
        if warning:
            self.warn(warning)
        self.notes["calibration"] = {
            "source": "the data source's calibration split" if folder is None else folder.name,
            "domain": dataset.domain,
            "images": len(dataset),
            "fingerprint": dataset.fingerprint,
            "warnings": [warning] if warning else [],
        }
        return dataset
