"""A recipe's budget as limits on a network's layers."""

from __future__ import annotations

from collections.abc import Sequence

from edgepose.cost import LayerCost, planned_layer_bytes, total_macs
from edgepose.cost.latency import open_estimator
from edgepose.recipe_sections import Budget
from edgepose.stages.pruning.solve import Limit
from edgepose.target import Target, load_target


def largest_layers_file(layers: Sequence[LayerCost], targets: Sequence[Target]) -> int:
    """Planned bytes of the largest counted file among the targets."""
    return max(
        planned_layer_bytes(layers, runtime=target.runtime, precision=target.precision)
        for target in targets
    )


def limits_of(budget: Budget, targets: Sequence[Target]) -> tuple[list[Limit], str | None]:
    """What a budget asks of the layers, and where its latency comes from, for the report.

    Raises EdgeposeError for a latency on a target that nothing can be said of.
    """
    limits, origin = [], None
    if budget.size_mb is not None:
        limits.append(
            Limit(
                "size_mb", "MB", budget.size_mb,
                lambda layers: largest_layers_file(layers, targets) / 1e6,
                "the largest file still needs {}",
            )
        )  # fmt: skip
    if budget.macs is not None:
        limits.append(
            Limit(
                "macs", "MAC", budget.macs, lambda layers: float(total_macs(layers)),
                "the network still needs {}",
            )
        )  # fmt: skip
    if budget.latency_ms is not None:
        assert budget.latency_on is not None, "a Budget was checked"
        estimator = open_estimator(load_target(budget.latency_on))
        origin = f"latency on {budget.latency_on}: {estimator.origin}"
        limits.append(
            Limit(
                "latency_ms", "ms", budget.latency_ms, estimator.latency_ms,
                f"{budget.latency_on} still needs {{}}",
            )
        )  # fmt: skip
    return limits, origin
