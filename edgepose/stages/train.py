"""`train:` a network on ground truth alone."""

from __future__ import annotations

from edgepose.context import Context
from edgepose.models.pose_model import PoseModel
from edgepose.train.config import FitConfig
from edgepose.train.loop import fit, training_notes
from edgepose.train.objective import GroundTruth, Objective, supervised


class Config(FitConfig):
    """The training loop's options; nothing more."""


def run(model: PoseModel, config: Config, context: Context) -> PoseModel:
    """The same network, trained."""
    network = model.module().train()
    heads = supervised(network, config.supervision, num_joints=model.spec.num_joints)
    result = fit(
        network,
        spec=model.spec,
        dataset=context.train,
        loss=Objective([(1.0, GroundTruth(ohkm=config.ohkm)), *heads]),
        config=config,
        seed=context.seed,
        folder=context.folder,
        report=context.report,
    )
    context.notes.update(training_notes(result))
    return model.with_module(network, domain=context.train.domain)
