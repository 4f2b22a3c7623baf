"""A person's skeleton: proportions, joint limits, and the walk from angles to places in space.

Angles are degrees. World and body frames: x = the person's left, y up, z forward; limbs hang along
-y of their frame at rest. Plain Python floats: exact and fast for so few joints.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgepose.data.people.draws import Draws

Vec = tuple[float, float, float]
Frame = tuple[Vec, Vec, Vec]  # the frame's x, y and z axes in the world

IDENTITY: Frame = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
SIDES = (("l", 1.0), ("r", -1.0))

# (lowest, highest) degrees a healthy joint reaches; `l_` and `r_` angles share these.
LIMITS: dict[str, tuple[float, float]] = {
    "pelvis_pitch": (-100, 100), "pelvis_roll": (-95, 95),
    "spine_flex": (-22, 75), "spine_side": (-30, 30), "spine_twist": (-45, 45),
    "neck_nod": (-40, 45), "neck_yaw": (-65, 65), "neck_tilt": (-28, 28),
    "hip_flex": (-28, 125), "hip_abd": (-12, 62), "hip_twist": (-35, 50),
    "knee": (0, 142), "ankle": (-45, 25),
    "sho_flex": (-55, 180), "sho_abd": (-14, 172), "sho_twist": (-95, 95),
    "elbow": (0, 145), "wrist": (-45, 45),
}  # fmt: skip
_PAIRED = ("hip_flex", "hip_abd", "hip_twist", "knee", "ankle",
           "sho_flex", "sho_abd", "sho_twist", "elbow", "wrist")  # fmt: skip
ANGLES: tuple[str, ...] = tuple(
    f"{side}{name}" for name in LIMITS for side in (("l_", "r_") if name in _PAIRED else ("",))
)


def limit(name: str) -> tuple[float, float]:
    """(lowest, highest) degrees of an angle of ANGLES."""
    return LIMITS[name[2:] if name[1] == "_" else name]


def clamp(angles: dict[str, float]) -> dict[str, float]:
    """Every angle of ANGLES, absent ones 0, moved into its joint's limits."""
    out = {}
    for name in ANGLES:
        low, high = limit(name)
        out[name] = min(max(angles.get(name, 0.0), low), high)
    return out


@dataclass(frozen=True)
class Proportions:
    """Lengths in metres; girth scales every thickness; hips/shoulders are half widths."""

    height: float
    thigh: float
    shank: float
    foot: float
    torso: float
    neck: float
    head: float
    shoulders: float
    hips: float
    upper_arm: float
    forearm: float
    hand: float
    girth: float
    chest: float  # 0 flat .. 1 full
    child: bool


def sample_proportions(d: Draws) -> Proportions:
    """A body: adults of many builds and, rarely, children with bigger heads."""
    child = d.chance(0.08)
    height = d.near(1.28, 0.08) if child else d.near(1.71, 0.085)
    woman = d.chance(0.5)
    h = height
    leg = d.near(1.0, 0.035) * (0.95 if child else 1.0)
    arm = d.near(1.0, 0.04)
    head = (0.178 if child else 0.147) * d.near(1.0, 0.035)
    broad = d.near(0.118 if woman else 0.130, 0.006) * (0.93 if child else 1.0)
    return Proportions(
        height=h,
        thigh=0.245 * h * leg,
        shank=0.246 * h * leg,
        foot=0.150 * h * d.near(1.0, 0.03),
        torso=0.288 * h * d.near(1.0, 0.03),
        neck=0.053 * h * d.near(1.0, 0.08),
        head=head * h,
        shoulders=broad * h,
        hips=(0.060 if woman else 0.056) * h * d.near(1.0, 0.05),
        upper_arm=0.178 * h * arm,
        forearm=0.150 * h * arm,
        hand=0.098 * h * d.near(1.0, 0.04),
        girth=max(0.82, d.near(1.03, 0.11)) * (0.95 if woman else 1.05),
        chest=d.between(0.35, 1.0) if woman and not child else 0.0,
        child=child,
    )


def _turned(frame: Frame, axis: int, degrees: float) -> Frame:
    """`frame` turned about one of its own axes (0 x, 1 y, 2 z), right-handed."""
    if degrees == 0.0:
        return frame
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    i, j = ((1, 2), (2, 0), (0, 1))[axis]
    a, b = frame[i], frame[j]
    axes = list(frame)
    axes[i] = (c * a[0] + s * b[0], c * a[1] + s * b[1], c * a[2] + s * b[2])
    axes[j] = (c * b[0] - s * a[0], c * b[1] - s * a[1], c * b[2] - s * a[2])
    return (axes[0], axes[1], axes[2])


def at(origin: Vec, frame: Frame, x: float, y: float, z: float) -> Vec:
    """The world place of (x, y, z) in `frame` at `origin`."""
    (a, b, c), (e, f, g), (k, m, n) = frame
    return (
        origin[0] + x * a + y * e + z * k,
        origin[1] + x * b + y * f + z * m,
        origin[2] + x * c + y * g + z * n,
    )


@dataclass(frozen=True)
class Posed:
    """Joint places (world, metres) and segment frames of one posed person.

    places: pelvis, waist, thorax, neck (upper neck), head_top and, with l_/r_: hip, knee, ankle,
            shoulder, elbow, wrist
    frames: pelvis, waist, chest, head and, with l_/r_: thigh, shank, foot, upper_arm, forearm, hand
    """

    body: Proportions
    places: dict[str, Vec]
    frames: dict[str, Frame]


def pose(body: Proportions, angles: dict[str, float]) -> Posed:
    """Forward kinematics of clamped `angles`; the pelvis is the origin."""
    places: dict[str, Vec] = {"pelvis": (0.0, 0.0, 0.0)}
    frames: dict[str, Frame] = {}
    pelvis = _turned(_turned(IDENTITY, 0, angles["pelvis_pitch"]), 2, angles["pelvis_roll"])
    waist, chest = pelvis, pelvis
    for share, axis, name in ((0.5, 0, "flex"), (0.5, 2, "side"), (0.5, 1, "twist")):
        waist = _turned(waist, axis, share * angles[f"spine_{name}"])
    chest = waist
    for share, axis, name in ((0.5, 0, "flex"), (0.5, 2, "side"), (0.5, 1, "twist")):
        chest = _turned(chest, axis, share * angles[f"spine_{name}"])
    places["waist"] = at(places["pelvis"], pelvis, 0, 0.38 * body.torso, 0.01)
    places["thorax"] = at(places["waist"], chest, 0, 0.62 * body.torso, -0.01)
    neck = _turned(chest, 0, 14 + 0.4 * angles["neck_nod"])
    places["neck"] = at(places["thorax"], neck, 0, body.neck, 0)
    head = _turned(_turned(chest, 0, angles["neck_nod"]), 1, angles["neck_yaw"])
    head = _turned(head, 2, angles["neck_tilt"])
    places["head_top"] = at(places["neck"], head, 0, body.head, 0.01)
    frames.update(pelvis=pelvis, waist=waist, chest=chest, neck=neck, head=head)

    for s, sign in SIDES:
        hip = at(places["pelvis"], pelvis, sign * body.hips, 0, 0)
        thigh = _turned(pelvis, 0, -angles[f"{s}_hip_flex"])
        thigh = _turned(thigh, 2, sign * angles[f"{s}_hip_abd"])
        thigh = _turned(thigh, 1, sign * angles[f"{s}_hip_twist"])
        shank = _turned(thigh, 0, angles[f"{s}_knee"])
        foot = _turned(_turned(shank, 1, sign * 7), 0, -angles[f"{s}_ankle"])
        knee = at(hip, thigh, 0, -body.thigh, 0)
        places[f"{s}_hip"], places[f"{s}_knee"] = hip, knee
        places[f"{s}_ankle"] = at(knee, shank, 0, -body.shank, 0)
        frames[f"{s}_thigh"], frames[f"{s}_shank"], frames[f"{s}_foot"] = thigh, shank, foot

        flex, abd = angles[f"{s}_sho_flex"], angles[f"{s}_sho_abd"]
        raised = min(max(flex, abd, 0.0) / 150.0, 1.0)  # shoulder blades lift a raised arm
        shoulder = at(
            places["thorax"], chest,
            sign * (body.shoulders - 0.025 * raised), -0.012 * body.height + 0.045 * raised, 0.0,
        )  # fmt: skip
        arm = _turned(_turned(chest, 0, -flex), 2, sign * abd)
        arm = _turned(arm, 1, -sign * angles[f"{s}_sho_twist"])
        forearm = _turned(arm, 0, -angles[f"{s}_elbow"])
        hand = _turned(_turned(forearm, 1, -sign * 70), 2, -sign * angles[f"{s}_wrist"])
        elbow = at(shoulder, arm, 0, -body.upper_arm, 0)
        places[f"{s}_shoulder"], places[f"{s}_elbow"] = shoulder, elbow
        places[f"{s}_wrist"] = at(elbow, forearm, 0, -body.forearm, 0)
        frames[f"{s}_upper_arm"], frames[f"{s}_forearm"] = arm, forearm
        frames[f"{s}_hand"] = hand
    return Posed(body, places, frames)


# MPII16 order (edgepose.skeleton.MPII16) to names in Posed.places.
MPII_PLACES = (
    "r_ankle", "r_knee", "r_hip", "l_hip", "l_knee", "l_ankle", "pelvis", "thorax", "neck",
    "head_top", "r_wrist", "r_elbow", "r_shoulder", "l_shoulder", "l_elbow", "l_wrist",
)  # fmt: skip
