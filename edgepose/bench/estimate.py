"""What an artifact would take on its target, where the target was not reached: estimated, and said so."""

from __future__ import annotations

from edgepose.artifact import Artifact
from edgepose.bench.record import LatencyEstimate, LayerEstimate
from edgepose.cost.latency import Estimator, as_shipped, open_estimator
from edgepose.cost.layers import LayerCost
from edgepose.errors import EdgeposeError
from edgepose.target import Target


def estimate(artifact: Artifact, target: Target) -> LatencyEstimate | str:
    """The roofline of an artifact's own file on a target that is not here, one image at a time; or
    why there is none."""
    if artifact.manifest.input.shape[0] not in (1, "batch"):
        return "no latency is estimated for several images at once"
    if target.hardware is None:
        return f"no latency is estimated: the file of target {target.name} has no hardware figures"
    try:
        layers = _layers(artifact)
        if layers is None:
            return f"no latency is estimated for {artifact.manifest.runtime} files"
        return of_layers(layers, open_estimator(target))
    except EdgeposeError as error:
        return error.problem


def of_layers(layers: list[LayerCost], estimator: Estimator) -> LatencyEstimate:
    """The estimate of a network whose layers are known."""
    found = tuple(
        LayerEstimate(
            name=layer.name,
            kind=layer.kind,
            ms=estimator.costs.layer_ms(layer),
            macs=layer.macs,
        )
        for layer in as_shipped(layers)
    )
    total, band = sum(layer.ms for layer in found), estimator.band
    return LatencyEstimate(
        model_ms=total,
        low_ms=None if band is None else total * (1 - band),
        high_ms=None if band is None else total * (1 + band),
        origin=estimator.origin,
        layers=found,
    )


def _layers(artifact: Artifact) -> list[LayerCost] | None:
    """Of the counted ONNX file; None for a format that is read elsewhere only."""
    from edgepose.backends import tensorrt
    from edgepose.backends.onnx_graph.layer_costs import onnx_layer_costs

    if artifact.manifest.runtime != "tensorrt":
        return None
    return onnx_layer_costs(tensorrt.unpack(artifact.path("model").read_bytes()))
