"""A perspective camera that looks at a person and frames them as a photographer would."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgepose.data.people.draws import Draws

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Camera:
    """Pinhole camera. World metres in, image pixels (x right, y down) and depth in metres out.

    azimuth_deg 0 is in front of a person at yaw 0, 90 at their left; elevation above the horizon;
    focal_px in pixels; centre_xy: image place of the optical axis.
    """

    target: tuple[float, float, float]
    azimuth_deg: float
    elevation_deg: float
    roll_deg: float
    distance_m: float
    focal_px: float = 1.0
    centre_xy: tuple[float, float] = (0.0, 0.0)

    def axes(self) -> tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]:
        """World directions of image right, image up and towards the camera (before roll)."""
        a, e = math.radians(self.azimuth_deg), math.radians(self.elevation_deg)
        sa, ca, se, ce = math.sin(a), math.cos(a), math.sin(e), math.cos(e)
        return (ca, 0.0, -sa), (-se * sa, ce, -se * ca), (sa * ce, se, ca * ce)

    def project(self, places: Points) -> tuple[Points, Points]:
        """(..., 3) world -> (..., 2) image pixels and (...,) depth; depth is kept above 0.3 m."""
        right, up, towards = self.axes()
        x, y, z = (places[..., c] - self.target[c] for c in range(3))
        across = x * right[0] + y * right[1] + z * right[2]
        down = -(x * up[0] + y * up[1] + z * up[2])
        depth = self.distance_m - (x * towards[0] + y * towards[1] + z * towards[2])
        depth = np.maximum(depth, 0.3)
        scale = self.focal_px / depth
        c, s = math.cos(math.radians(self.roll_deg)), math.sin(math.radians(self.roll_deg))
        across, down = across * scale, down * scale
        xy = np.empty((*depth.shape, 2))
        xy[..., 0] = c * across - s * down + self.centre_xy[0]
        xy[..., 1] = s * across + c * down + self.centre_xy[1]
        return xy, depth

    def horizon_y(self) -> float:
        """Image row of the horizon below the optical axis' column (roll left out)."""
        return self.centre_xy[1] - self.focal_px * math.tan(math.radians(self.elevation_deg))

    def framed(self, places: Points, *, frame_px: int, fill: float, shift_xy: tuple[float, float]
               ) -> Camera:  # fmt: skip
        """This camera zoomed and shifted so that the larger side of `places`' box is `fill` of
        the frame, its centre `shift_xy` (shares of the frame) off the frame's centre."""
        xy, _ = replace(self, focal_px=1.0, centre_xy=(0.0, 0.0)).project(places)
        flat = xy.reshape(-1, 2)
        low, high = flat.min(axis=0), flat.max(axis=0)
        focal = fill * frame_px / float((high - low).max())
        middle = (frame_px - 1) / 2
        return replace(
            self,
            focal_px=focal,
            centre_xy=(
                middle + shift_xy[0] * frame_px - focal * float(low[0] + high[0]) / 2,
                middle + shift_xy[1] * frame_px - focal * float(low[1] + high[1]) / 2,
            ),
        )


def sample_camera(d: Draws, *, target: tuple[float, float, float], lying: bool) -> Camera:
    """All around, somewhat more often from the front; mostly near eye level; 2.4 to 9 m away."""
    azimuth = d.near(0, 32) if d.chance(0.38) else d.between(-180, 180)
    elevation = d.between(28, 58) if d.chance(0.06) else d.near(7, 8)
    if lying:
        elevation = d.between(12, 50)
    roll = d.near(0, 9) if d.chance(0.12) else d.near(0, 2.2)
    return Camera(target, azimuth, max(elevation, -14.0), roll, d.between(2.6, 9.0))
