"""Keeping arms out of the trunk: the elbow or wrist that would be inside it moves outward."""

from __future__ import annotations

from edgepose.data.people.skeleton3d import (
    SIDES,
    Posed,
    Proportions,
    Vec,
    limit,
    pose,
)

_TRIES = 5


def _dot(a: Vec, b: Vec) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _inside_trunk(p: Posed, point: Vec) -> bool:
    """Whether a point (world) is in the chest or hip ellipse around the spine, or close."""
    b = p.body
    margin = 0.022 * b.height
    for origin, frame, low, high, wide, deep in (
        ("thorax", "chest", -0.75 * b.torso, 0.02, 0.088 * b.height * b.girth, 0.068),
        ("pelvis", "pelvis", -0.06 * b.height, 0.35 * b.torso,
         b.hips + 0.046 * b.height * b.girth, 0.067),
    ):  # fmt: skip
        o, f = p.places[origin], p.frames[frame]
        delta = (point[0] - o[0], point[1] - o[1], point[2] - o[2])
        if not low <= _dot(delta, f[1]) <= high:
            continue
        x = _dot(delta, f[0]) / (wide + margin)
        z = _dot(delta, f[2]) / (deep * b.height * b.girth + margin)
        if x * x + z * z < 1.0:
            return True
    return False


def untangled(body: Proportions, angles: dict[str, float]) -> Posed:
    """The posed body, its arms opened step by step where they cut through the trunk."""
    posed = pose(body, angles)
    angles = dict(angles)
    for _ in range(_TRIES):
        moved = False
        for side, _ in SIDES:
            elbow, wrist = posed.places[f"{side}_elbow"], posed.places[f"{side}_wrist"]
            half = tuple((a + b) / 2 for a, b in zip(elbow, wrist, strict=True))
            tip = tuple(b + 0.45 * (b - a) for a, b in zip(elbow, wrist, strict=True))
            points = (elbow, (half[0], half[1], half[2]), wrist, (tip[0], tip[1], tip[2]))
            if any(_inside_trunk(posed, q) for q in points):
                for name, step in (("sho_abd", 7.0), ("sho_twist", -12.0), ("sho_flex", 6.0)):
                    key = f"{side}_{name}"
                    low, high = limit(key)
                    angles[key] = min(max(angles[key] + step, low), high)
                moved = True
        if not moved:
            break
        posed = pose(body, angles)
    return posed
