"""Heads: skull, nose, ears, hair volume and hats, in the same rings as the body."""

from __future__ import annotations

from edgepose.data.people.body import K, Mesh
from edgepose.data.people.skeleton3d import Frame, Posed, Vec, at
from edgepose.data.people.wardrobe import Material, Outfit

# height, half width, half depth, forward shift: fractions of the head's length
_SKULL = (
    (1.00, 0.03, 0.03, -0.05), (0.97, 0.13, 0.17, -0.05), (0.90, 0.225, 0.29, -0.04),
    (0.78, 0.285, 0.36, -0.02), (0.63, 0.305, 0.385, -0.005), (0.52, 0.300, 0.375, 0.0),
    (0.41, 0.285, 0.345, 0.02), (0.30, 0.255, 0.30, 0.05), (0.18, 0.205, 0.235, 0.10),
    (0.08, 0.13, 0.15, 0.15), (0.04, 0.03, 0.04, 0.15),
)  # fmt: skip
_FRONT, _LEFT, _RIGHT = K // 2, K // 4, 3 * K // 4


def hair_reaches(style: str, k: int) -> float:
    """Height (fraction of the head) down to which hair grows at ring vertex `k`."""
    away = abs(k - _FRONT) / (K / 2)  # 0 in front .. 1 at the back
    if style == "bald":
        return 2.0
    if away < 0.30:
        return 0.83
    if style in ("medium", "long"):
        return 0.55 if away < 0.45 else 0.05
    if away < 0.45:
        return 0.70
    return 0.50 if away < 0.62 else 0.22


def add_head(mesh: Mesh, p: Posed, o: Outfit) -> None:
    """Append head, hair and hat to `mesh`."""
    size, origin, frame = p.body.head, p.places["neck"], p.frames["head"]
    last = -1
    for y, w, d, z in _SKULL:
        ring = mesh.ring(
            at(origin, frame, 0, y * size, z * size), frame, w * size, d * size, 1 - y,
            1.0 if y > 0.3 else 0.8,
        )  # fmt: skip
        if last >= 0:
            mesh.join(last, ring, Material.HEAD)
        last = ring
        for k in range(K):
            factor = 1.0
            if o.hat_line < 1.0 and y >= o.hat_line:
                factor = o.hat_volume
            elif y >= hair_reaches(o.hair, k) and 0.03 < y < 0.99:
                factor = o.hair_volume
            elif k == _FRONT and y in (0.41, 0.52):
                factor = 1.24 if y == 0.41 else 1.07
            elif k in (_LEFT, _RIGHT) and y in (0.41, 0.52, 0.63) and o.hair != "long":
                factor = 1.13 if y != 0.63 else 1.07
            if factor != 1.0:
                mesh.bumps.append((ring, k, factor))
    if o.hair == "long":
        _fall(mesh, origin, frame, size, o.hair_length)
    elif o.hair == "tail":
        _tail(mesh, origin, frame, size)
    elif o.hair == "bun":
        _blob(mesh, at(origin, frame, 0, 0.80 * size, -0.42 * size), frame, 0.15 * size)
    if o.hat == "cap":
        x, y_axis, z_axis = frame
        forward: Frame = (x, (-z_axis[0], -z_axis[1], -z_axis[2]), y_axis)
        last = -1
        for z, w in ((0.18, 0.26), (0.45, 0.25), (0.62, 0.19), (0.68, 0.08)):
            place = at(origin, frame, 0, (0.74 - 0.10 * z) * size, z * size)
            ring = mesh.ring(place, forward, w * size, 0.022 * size, 0.95, 0.9)
            if last >= 0:
                mesh.join(last, ring, Material.HAT)
            last = ring
    elif o.hat == "brim":
        inner = mesh.ring(
            at(origin, frame, 0, 0.72 * size, 0), frame, 0.30 * size, 0.37 * size, 0.9
        )
        outer = mesh.ring(
            at(origin, frame, 0, 0.68 * size, 0), frame, 0.58 * size, 0.64 * size, 1.0
        )
        mesh.join(inner, outer, Material.HAT, two_sided=True)


def _tube(mesh: Mesh, rings: list[tuple[Vec, Frame, float, float]]) -> None:
    last = -1
    for n, (place, frame, w, d) in enumerate(rings):
        ring = mesh.ring(place, frame, w, d, n / (len(rings) - 1), 0.95)
        if last >= 0:
            mesh.join(last, ring, Material.HAIR)
        last = ring


def _drooped(place: Vec, amount: float) -> Vec:
    return (place[0], place[1] - amount, place[2])


def _fall(mesh: Mesh, origin: Vec, f: Frame, size: float, length: float) -> None:
    nape = at(origin, f, 0, 0.35 * size, -0.26 * size)
    _tube(mesh, [
        (at(origin, f, 0, 0.90 * size, -0.16 * size), f, 0.12 * size, 0.10 * size),
        (at(origin, f, 0, 0.70 * size, -0.20 * size), f, 0.30 * size, 0.22 * size),
        (nape, f, 0.34 * size, 0.19 * size),
        (_drooped(nape, 0.5 * length * size), f, 0.33 * size, 0.13 * size),
        (_drooped(nape, length * size), f, 0.22 * size, 0.07 * size),
        (_drooped(nape, (length + 0.08) * size), f, 0.05 * size, 0.02 * size),
    ])  # fmt: skip


def _tail(mesh: Mesh, origin: Vec, f: Frame, size: float) -> None:
    knot = at(origin, f, 0, 0.72 * size, -0.42 * size)
    _tube(mesh, [
        (at(origin, f, 0, 0.75 * size, -0.30 * size), f, 0.06 * size, 0.06 * size),
        (knot, f, 0.09 * size, 0.08 * size),
        (_drooped(knot, 0.35 * size), f, 0.11 * size, 0.09 * size),
        (_drooped(knot, 0.75 * size), f, 0.05 * size, 0.04 * size),
    ])  # fmt: skip


def _blob(mesh: Mesh, centre: Vec, f: Frame, r: float) -> None:
    _tube(mesh, [
        (at(centre, f, 0, r * y, 0), f, r * w, r * w)
        for y, w in ((1.0, 0.05), (0.7, 0.71), (0.0, 1.0), (-0.7, 0.71), (-1.0, 0.05))
    ])  # fmt: skip
