"""`train:` a network on ground truth alone."""

from __future__ import annotations

from edgepose.context import Context
from edgepose.models.pose_model import PoseModel
from edgepose.train.loop import FitConfig, fit, training_notes
from edgepose.train.losses import heatmap_mse


class Config(FitConfig):
    """The training loop's options; nothing more."""


def run(model: PoseModel, config: Config, context: Context) -> PoseModel:
    """The same network, trained."""
    network = model.module().train()
    result = fit(
        network,
        spec=model.spec,
        dataset=context.train,
        loss=lambda _, heatmaps, batch: heatmap_mse(heatmaps, batch.targets, batch.weights),
        config=config,
        seed=context.seed,
        folder=context.folder,
        report=context.report,
    )
    context.notes.update(training_notes(result))
    return model.with_module(network, domain=context.train.domain)
