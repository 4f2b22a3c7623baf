"""One sun or lamp and the light around it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgepose.data.people.draws import Draws


@dataclass(frozen=True)
class Light:
    """direction: towards the light, unit; fill: ambient share; strength: of the direct light;
    table: (256, 4) float32, shade * 128 -> factor of RGB and 1; hard: how sharp its shadows are 0..1."""

    direction: tuple[float, float, float]
    fill: float
    strength: float
    hard: float
    table: NDArray[np.float32]

    def shade(self, normals: NDArray[np.float64], openness: NDArray[np.float64]
              ) -> NDArray[np.float64]:  # fmt: skip
        """Brightness of surfaces; `openness` 1 in the open, less where the body encloses them."""
        lx, ly, lz = self.direction
        facing = normals[..., 0] * lx + normals[..., 1] * ly + normals[..., 2] * lz
        around = self.fill * (0.80 + 0.20 * normals[..., 1])
        return (around + self.strength * np.maximum(facing, 0.0)) * openness


def sample_light(d: Draws, *, camera_azimuth_deg: float, outdoor: bool) -> Light:
    """From above, more often from the camera's side; warm or cool within reason."""
    azimuth = math.radians(camera_azimuth_deg + d.near(0, 60))
    height = d.between(0.45, 0.92)
    flat = math.sqrt(1 - height * height)
    hard = d.between(0.0, 1.0) if outdoor else d.between(0.0, 0.45)
    fill = 0.72 - 0.30 * hard + d.near(0, 0.04)
    strength = (1.18 + d.near(0, 0.08)) - fill * 0.75
    warm = d.near(0.02, 0.06) if outdoor else d.near(0.05, 0.08)
    direct = np.array([1 + warm, 1.0, 1 - warm])
    shadow = np.array([1 - 0.5 * warm - 0.03, 1.0, 1 + 0.5 * warm + 0.03])
    level = (np.arange(256) / 128.0)[:, None]
    mix = np.clip(level, 0, 1)
    table = np.ones((256, 4), np.float32)
    table[:, :3] = level * (shadow + (direct - shadow) * mix)
    return Light(
        (flat * math.sin(azimuth), height, flat * math.cos(azimuth)), fill, strength, hard, table
    )
