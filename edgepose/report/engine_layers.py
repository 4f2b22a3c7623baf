"""The precisions of an engine's layers, in words."""

from __future__ import annotations

from edgepose.bench.engine_layers import EngineLayers

SHOWN = 5


def engine_lines(layers: EngineLayers) -> list[str]:
    """Convolutions by precision, the other layers, and those that ran otherwise than planned."""
    if layers.why_not is not None:
        return [f"the precisions of the engine's layers are not known: {layers.why_not}"]
    convolutions = sum(layers.convolutions.values())
    if not convolutions:
        return ["the engine does not tell its convolutions' precisions"]
    parts = []
    for name, count in layers.convolutions.items():
        share = layers.mac_share.get(name)
        of_macs = "" if share is None else f" ({100 * share:.1f} % of the MACs)"
        parts.append(f"{count} in {name.upper()}{of_macs}")
    rest = {name: count - layers.convolutions.get(name, 0) for name, count in layers.counts.items()}
    others = ", ".join(f"{count} in {name.upper()}" for name, count in rest.items() if count)
    lines = [
        f"engine, by its inspector: of {convolutions} convolutions {', '.join(parts)}; other layers: "
        f"{others or 'none'}; {layers.moves} only move data"
    ]
    if layers.other:
        named = ", ".join(
            f"{layer.name} ({layer.planned.upper()} planned, ran in {layer.ran.upper()})"
            for layer in layers.other[:SHOWN]
        )
        more = len(layers.other) - SHOWN
        lines.append(
            f"not as planned: {named}" + (f", {more} more in the record" if more > 0 else "")
        )
    return lines
