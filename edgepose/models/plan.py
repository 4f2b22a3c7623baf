"""How a network's numbers are represented once it is quantized."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class QuantPlan:
    """Symmetric INT8: real = scale x integer, zero-point 0.

    mode:              "static" (activations have fixed scales), "dynamic" (scales found at run time)
                       or "weight_only"
    source:            "qat", "calibration" or "none": where the activation scales come from
    activation_scales: tensor key (e.g. "layer1.0.add") -> scale; empty unless static
    precision:         layer name -> "int8" or "float"; layers that are not named are "int8"

    Weight scales are per output channel, max |w| / 127, and are read off the (on-grid) weights.
    """

    mode: str
    source: str
    activation_scales: dict[str, float] = field(default_factory=dict)
    precision: dict[str, str] = field(default_factory=dict)

    @property
    def float_layers(self) -> tuple[str, ...]:
        """The convolutions that stay float, sorted."""
        return tuple(sorted(name for name, kind in self.precision.items() if kind == "float"))
