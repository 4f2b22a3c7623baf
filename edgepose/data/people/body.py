"""Flesh and clothes on a posed skeleton: tubes of elliptic rings that share one small vertex grid.

A ring has K vertices; vertex 0 is at its back, K/4 at the person's left, K/2 in front. A segment
joins two rings with one material. Texture u runs around a ring (0.5 is in front), v along a tube.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgepose.data.people.skeleton3d import SIDES, Frame, Posed, Vec, at
from edgepose.data.people.wardrobe import Material, Outfit

K = 12
_PHI = [2 * math.pi * k / K for k in range(K)]
_SIN = np.array([math.sin(p) for p in _PHI])[None, :, None]
_COS = np.array([math.cos(p) for p in _PHI])[None, :, None]


@dataclass
class Mesh:
    """rings as lists while building; `vertices()` and `segments` are what the rasteriser reads."""

    rings: list[tuple[float, ...]] = field(default_factory=list)  # centre, x half axis, z half axis
    v: list[float] = field(default_factory=list)
    ambient: list[float] = field(default_factory=list)  # 1 open .. 0 enclosed
    before: list[int] = field(default_factory=list)
    after: list[int] = field(default_factory=list)
    segments: list[tuple[int, int, int, int]] = field(default_factory=list)  # i, j, material, sides
    bumps: list[tuple[int, int, float]] = field(default_factory=list)  # ring, vertex, radial factor

    def ring(self, place: Vec, frame: Frame, half_w: float, half_d: float, v: float,
             ambient: float = 1.0) -> int:  # fmt: skip
        x, _, z = frame
        self.rings.append(
            (*place, x[0] * half_w, x[1] * half_w, x[2] * half_w,
             z[0] * half_d, z[1] * half_d, z[2] * half_d)
        )  # fmt: skip
        self.v.append(v)
        self.ambient.append(ambient)
        index = len(self.rings) - 1
        self.before.append(index)
        self.after.append(index)
        return index

    def join(self, i: int, j: int, material: int, *, two_sided: bool = False) -> None:
        self.segments.append((i, j, material, 2 if two_sided else 1))
        self.after[i], self.before[j] = j, i

    def vertices(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(R, K, 3) places and unit outward normals."""
        table = np.array(self.rings)
        centre, x, z = table[:, None, 0:3], table[:, None, 3:6], table[:, None, 6:9]
        radial = _SIN * x - _COS * z
        for ring, vertex, factor in self.bumps:
            radial[ring, vertex] *= factor
        places = centre + radial
        around = _COS * x + _SIN * z
        along = places[self.after] - places[self.before]
        ax, ay, az = around[..., 0], around[..., 1], around[..., 2]
        bx, by, bz = along[..., 0], along[..., 1], along[..., 2]
        nx, ny, nz = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
        length = np.maximum(np.sqrt(nx * nx + ny * ny + nz * nz), 1e-12)
        return places, np.stack([nx / length, ny / length, nz / length], axis=-1)


def _halfway(a: Frame, b: Frame) -> Frame:
    z = tuple(p + q for p, q in zip(a[2], b[2], strict=True))
    y = tuple(p + q for p, q in zip(a[1], b[1], strict=True))
    nz = math.sqrt(sum(c * c for c in z)) or 1.0
    ny = math.sqrt(sum(c * c for c in y)) or 1.0
    return (a[0], (y[0] / ny, y[1] / ny, y[2] / ny), (z[0] / nz, z[1] / nz, z[2] / nz))


Profile = list[tuple[Vec, Frame, float, float, float, float]]  # place, frame, w, d, v, ambient


def _limb(
    mesh: Mesh, profile: Profile, *, covered: int, cloth: int, skin: int, ease: float
) -> None:
    """A tube over `profile`; its first `covered` rings wear `cloth`, `ease` times as thick."""
    last = -1
    for n, (place, frame, w, d, v, ambient) in enumerate(profile):
        dressed = n < covered
        grow = (1 + (ease - 1) * min(0.3 * n, 1.0)) if dressed else 1.0
        ring = mesh.ring(place, frame, w * grow, d * grow, v, ambient)
        if last >= 0:
            mesh.join(last, ring, cloth if dressed else skin)
        last = ring
        if n + 1 == covered and n + 1 < len(profile):  # the hem: step back to the skin
            bare = mesh.ring(place, frame, w, d, v, 0.7)
            mesh.join(ring, bare, cloth)
            last = bare


def _torso(mesh: Mesh, p: Posed, o: Outfit) -> None:
    b, h, g = p.body, p.body.height, p.body.girth
    t, c = p.places["thorax"], p.frames["chest"]
    w, wf = p.places["waist"], p.frames["waist"]
    o0, pf = p.places["pelvis"], p.frames["pelvis"]
    s, slim = b.shoulders, 1.0 - 0.10 * (b.chest > 0)
    e = o.top_ease
    hip_w = b.hips + 0.046 * h * g
    bust = 0.016 * h * b.chest
    rings: list[tuple[Vec, Frame, float, float, float]] = [
        (at(t, c, 0, 0.028 * h, -0.008), c, 0.036 * h, 0.034 * h, 1.0),
        (at(t, c, 0, 0.014 * h, -0.008), c, 0.55 * s, 0.046 * h * g, 1.0),
        (at(t, c, 0, -0.006 * h, -0.006), c, 0.97 * s, 0.050 * h * g, 1.0),
        (at(t, c, 0, -0.045 * h, 0.0), c, 0.92 * s, 0.062 * h * g * e, 0.95),
        (at(t, c, 0, -0.095 * h, 0.008 + 0.4 * bust), c, 0.088 * h * g * e,
         0.068 * h * g * e + bust, 0.9),
        (at(w, wf, 0, 0.045 * h, 0.006), wf, 0.082 * h * g * slim * e, 0.062 * h * g * e, 0.95),
        (at(w, wf, 0, -0.010 * h, 0.004), wf, 0.078 * h * g * slim * e, 0.060 * h * g * e, 0.95),
        (at(o0, pf, 0, 0.052 * h, 0.0), pf, 0.94 * hip_w * e, 0.064 * h * g * e, 0.95),
        (at(o0, pf, 0, 0.010 * h, -0.004), pf, hip_w * e, 0.067 * h * g * e, 0.9),
        (at(o0, pf, 0, -0.035 * h, -0.006), pf, 0.97 * hip_w, 0.066 * h * g, 0.85),
        (at(o0, pf, 0, -0.066 * h, -0.004), pf, 0.62 * hip_w, 0.050 * h * g, 0.75),
        (at(o0, pf, 0, -0.080 * h, 0.0), pf, 0.02 * h, 0.02 * h, 0.7),
    ]  # fmt: skip
    hem = o.hem_ring
    last = -1
    for n, (place, frame, half_w, half_d, ambient) in enumerate(rings):
        ring = mesh.ring(place, frame, half_w, half_d, n / (len(rings) - 1), ambient)
        if last >= 0:
            neckline = Material.SKIN if n == 1 and o.open_neck else Material.TOP
            mesh.join(last, ring, neckline if n <= hem else Material.BOTTOM)
        last = ring
        if n == hem:
            under = mesh.ring(place, frame, half_w * 0.94, half_d * 0.92, n / 11, 0.6)
            mesh.join(ring, under, Material.TOP)
            last = under
    neck = p.frames["neck"]
    last = -1
    for y, r, v, ambient in (
        (-0.010, 0.046, 0.0, 0.9), (0.018, 0.034, 0.3, 0.85), (0.042, 0.031, 0.6, 0.7),
        (0.090, 0.030, 1.0, 0.5),
    ):  # fmt: skip
        ring = mesh.ring(at(t, neck, 0, y * h, 0.004), neck, r * h, r * h, v, ambient)
        if last >= 0:
            collar = o.high_collar and v < 0.5
            mesh.join(last, ring, Material.TOP if collar else Material.SKIN)
        last = ring


def _arm(mesh: Mesh, p: Posed, o: Outfit, side: str, sign: float) -> None:
    b, h = p.body, p.body.height
    g = 0.6 + 0.4 * p.body.girth
    s, e, w = (p.places[f"{side}_{n}"] for n in ("shoulder", "elbow", "wrist"))
    ua, fa, hand = (p.frames[f"{side}_{n}"] for n in ("upper_arm", "forearm", "hand"))
    mid = _halfway(ua, fa)
    lu, lf = b.upper_arm, b.forearm

    def r(x: float) -> float:
        return x * h * g

    profile: Profile = [
        (at(s, ua, -sign * 0.008, 0.030 * h, 0), ua, r(0.012), r(0.012), 0.0, 0.95),
        (at(s, ua, -sign * 0.004, 0.016 * h, 0), ua, r(0.027), r(0.029), 0.06, 0.95),
        (at(s, ua, 0, -0.05 * lu, 0), ua, r(0.031), r(0.034), 0.12, 0.9),
        (at(s, ua, 0, -0.35 * lu, 0), ua, r(0.028), r(0.031), 0.3, 0.85),
        (at(s, ua, 0, -0.68 * lu, 0), ua, r(0.0255), r(0.0275), 0.44, 0.95),
        (e, mid, r(0.0235), r(0.0255), 0.56, 1.0),
        (at(e, fa, 0, -0.25 * lf, 0), fa, r(0.0245), r(0.025), 0.7, 1.0),
        (at(e, fa, 0, -0.65 * lf, 0), fa, r(0.0200), r(0.0195), 0.85, 1.0),
        (w, fa, r(0.0155), r(0.0150), 1.0, 1.0),
    ]
    _limb(mesh, profile, covered=o.sleeve_rings, cloth=Material.SLEEVE, skin=Material.ARM,
          ease=o.sleeve_ease)  # fmt: skip
    lh, last = b.hand, -1
    skin = Material.GLOVE if o.gloves else Material.ARM
    for y, hw, hd in ((0.03, 0.014, 0.0135), (0.25, 0.021, 0.0135), (0.55, 0.024, 0.012),
                      (0.85, 0.019, 0.0105), (1.0, 0.007, 0.006)):  # fmt: skip
        ring = mesh.ring(at(w, hand, 0, -y * lh, 0), hand, r(hw), r(hd), 0.8 + 0.2 * y, 1.0)
        if last >= 0:
            mesh.join(last, ring, skin)
        last = ring
    thumb, last = (hand[0], hand[1], hand[2]), -1
    for y, out, size in ((0.22, 0.010, 0.008), (0.42, 0.024, 0.0085), (0.62, 0.031, 0.006)):
        place = at(w, thumb, sign * out * h * 1.1, -y * lh, 0.002)
        ring = mesh.ring(place, hand, r(size), r(size), 0.9, 0.95)
        if last >= 0:
            mesh.join(last, ring, skin)
        last = ring


def _leg(mesh: Mesh, p: Posed, o: Outfit, side: str, sign: float) -> None:
    b, h, g = p.body, p.body.height, p.body.girth
    hip, knee, ankle = (p.places[f"{side}_{n}"] for n in ("hip", "knee", "ankle"))
    th, sh, ft = (p.frames[f"{side}_{n}"] for n in ("thigh", "shank", "foot"))
    mid = _halfway(th, sh)
    lt, ls = b.thigh, b.shank
    k = 0.45 + 0.55 * g

    def r(x: float) -> float:
        return x * h * k

    profile: Profile = [
        (at(hip, th, 0, 0.035 * h, 0), th, r(0.034), r(0.036), 0.0, 0.7),
        (at(hip, th, 0, 0.0, -0.002 * h), th, r(0.052), r(0.056), 0.08, 0.75),
        (at(hip, th, 0, -0.25 * lt, 0), th, r(0.050), r(0.052), 0.18, 0.75),
        (at(hip, th, 0, -0.60 * lt, 0.004 * h), th, r(0.042), r(0.043), 0.35, 0.9),
        (at(hip, th, 0, -0.84 * lt, 0.003 * h), th, r(0.035), r(0.036), 0.45, 1.0),
        (knee, mid, r(0.0325), r(0.0345), 0.52, 1.0),
        (at(knee, sh, 0, -0.14 * ls, -0.002 * h), sh, r(0.031), r(0.033), 0.6, 1.0),
        (at(knee, sh, 0, -0.34 * ls, -0.006 * h), sh, r(0.033), r(0.034), 0.7, 0.95),
        (at(knee, sh, 0, -0.68 * ls, -0.003 * h), sh, r(0.0245), r(0.025), 0.86, 0.95),
        (at(ankle, sh, 0, 0.02 * h, 0), sh, r(0.0185), r(0.020), 0.97, 0.9),
        (at(ankle, sh, 0, -0.015 * h, 0), sh, r(0.0185), r(0.022), 1.0, 0.8),
    ]
    _limb(mesh, profile, covered=o.leg_rings, cloth=Material.BOTTOM, skin=Material.LEG,
          ease=o.leg_ease)  # fmt: skip
    x, y, z = ft
    forward: Frame = (x, (-z[0], -z[1], -z[2]), y)  # a tube that runs along +z, its front is up
    q, last = b.foot / 0.15, -1
    shoe = Material.LEG if o.barefoot else Material.SHOE
    for dz, dy, hw, hh in (
        (-0.038, -0.026, 0.010, 0.010), (-0.032, -0.021, 0.019, 0.018),
        (-0.005, -0.013, 0.0225, 0.026), (0.030, -0.016, 0.024, 0.022),
        (0.062, -0.025, 0.027, 0.0135), (0.088, -0.028, 0.024, 0.0105),
        (0.104, -0.031, 0.011, 0.007),
    ):  # fmt: skip
        place = at(ankle, ft, sign * 0.06 * dz * q, dy * h, dz * q)
        ring = mesh.ring(place, forward, hw * h, hh * h, (dz + 0.04) / 0.145, 0.95)
        if last >= 0:
            mesh.join(last, ring, shoe)
        last = ring


def _skirt(mesh: Mesh, p: Posed, o: Outfit) -> None:
    b, h, g = p.body, p.body.height, p.body.girth
    pf, o0 = p.frames["pelvis"], p.places["pelvis"]
    hip_w = b.hips + 0.050 * h * g
    last = mesh.ring(at(o0, pf, 0, 0.055 * h, 0), pf, 0.97 * hip_w, 0.069 * h * g, 0.0, 0.95)
    ring = mesh.ring(at(o0, pf, 0, 0.0, 0), pf, 1.05 * hip_w, 0.076 * h * g, 0.2, 0.95)
    mesh.join(last, ring, o.skirt_material)
    last = ring
    for fraction in (0.25, 0.6, 1.0):
        reach = fraction * o.skirt_length
        ends = []
        for side, _ in SIDES:
            if reach <= 1.0:
                base, frame, y = p.places[f"{side}_hip"], p.frames[f"{side}_thigh"], reach * b.thigh
            else:
                base, frame = p.places[f"{side}_knee"], p.frames[f"{side}_shank"]
                y = (reach - 1.0) * b.shank
            ends.append((at(base, frame, 0, -y, 0), frame))
        (left, lf), (right, rf) = ends
        across = tuple(a - c for a, c in zip(left, right, strict=True))
        width = math.sqrt(sum(c * c for c in across))
        frame = _halfway(lf, rf)
        if width > 1e-6:
            frame = ((across[0] / width, across[1] / width, across[2] / width), frame[1], frame[2])
        centre = tuple((a + c) / 2 for a, c in zip(left, right, strict=True))
        room = (0.052 + 0.030 * o.skirt_flare * fraction) * h * g
        ring = mesh.ring((centre[0], centre[1], centre[2]), frame, 0.5 * width + room,
                         room + 0.018 * h, 0.2 + 0.8 * fraction, 0.95)  # fmt: skip
        mesh.join(last, ring, o.skirt_material, two_sided=True)
        last = ring


def build(p: Posed, o: Outfit) -> Mesh:
    """The dressed body (head and hair are head.add_head's)."""
    mesh = Mesh()
    _torso(mesh, p, o)
    for side, sign in SIDES:
        _arm(mesh, p, o, side, sign)
        _leg(mesh, p, o, side, sign)
    if o.skirt_length > 0:
        _skirt(mesh, p, o)
    return mesh
