"""Poses that people strike: named activities with their own spread, not uniform noise.

Each activity fills a dict of angles (degrees, names of skeleton3d.ANGLES); `sample_pose` adds a
little correlated noise, mirrors half of them and clamps to the joint limits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from edgepose.data.people.arms import put_arm, put_arms
from edgepose.data.people.draws import Draws
from edgepose.data.people.skeleton3d import ANGLES, clamp

Angles = dict[str, float]


@dataclass(frozen=True)
class SampledPose:
    """angles: clamped; lift_m: height of the lowest point above the ground; seated: on a seat."""

    activity: str
    angles: Angles
    lift_m: float
    seated: bool


def _legs(a: Angles, side: str, flex: float, abd: float, twist: float, knee: float,
          ankle: float = 0.0) -> None:  # fmt: skip
    a.update({f"{side}_hip_flex": flex, f"{side}_hip_abd": abd, f"{side}_hip_twist": twist,
              f"{side}_knee": knee, f"{side}_ankle": ankle})  # fmt: skip


def _gaze(a: Angles, d: Draws, spread: float = 18.0) -> None:
    a["neck_yaw"] = d.near(0, spread)
    a["neck_nod"] = d.near(4, 9)
    a["neck_tilt"] = d.near(0, 5)


def _stand(a: Angles, d: Draws) -> None:
    lean = d.near(0, 3)
    wide = d.between(1, 11)
    for side in "lr":
        flex = d.near(2, 4)
        _legs(a, side, flex, wide + lean * (1 if side == "l" else -1), d.near(5, 5), max(0, flex))
    if d.chance(0.35):  # weight on one leg
        _legs(a, "l", d.between(6, 18), d.between(4, 14), d.between(0, 20), d.between(12, 35), -4)
        a["spine_side"] = d.near(-4, 3)
    a["spine_flex"] = d.near(2, 4)
    a["spine_twist"] = d.near(0, 7)
    put_arms(a, d, "standing")


def _stride(a: Angles, d: Draws, *, hip: float, swing: float, knee: float, lift: float) -> float:
    phase = d.between(0, 2 * math.pi)
    for side, p in (("l", phase), ("r", phase + math.pi)):
        up = max(0.0, -math.sin(p + 0.55))
        flex = hip + swing * math.cos(p)
        _legs(a, side, flex, d.near(2, 2), d.near(3, 4), knee + lift * up, d.near(-4, 6) * up)
    a["spine_twist"] = 0.25 * swing * math.cos(phase)
    return phase


def _walk(a: Angles, d: Draws) -> None:
    phase = _stride(a, d, hip=8, swing=d.between(16, 30), knee=6, lift=52)
    a["spine_flex"] = d.near(4, 3)
    swing = d.between(12, 32)
    if d.chance(0.75):
        for side, p in (("l", phase), ("r", phase + math.pi)):
            put_arm(a, d, side, "swing", amount=-swing * math.cos(p), bend=d.between(10, 35))
    else:
        put_arms(a, d, "standing")


def _run(a: Angles, d: Draws) -> None:
    phase = _stride(a, d, hip=17, swing=d.between(34, 52), knee=18, lift=d.between(70, 105))
    a["spine_flex"] = d.between(4, 16)
    for side, p in (("l", phase), ("r", phase + math.pi)):
        put_arm(a, d, side, "swing", amount=-48 * math.cos(p), bend=d.between(70, 108))


def _sit(a: Angles, d: Draws) -> None:
    a["pelvis_pitch"] = d.near(-6, 6)
    wide = d.between(0, 22)
    for side in "lr":
        _legs(a, side, d.near(84, 5), wide + d.near(0, 4), d.near(3, 4), d.near(84, 14))
    if d.chance(0.18):  # one leg stretched out
        a["l_knee"] = d.between(20, 60)
    a["spine_flex"] = d.near(10, 9)
    put_arms(a, d, "sitting")


def _sit_ground(a: Angles, d: Draws) -> None:
    a["pelvis_pitch"] = d.near(-14, 6)
    if d.chance(0.5):  # knees up
        for side in "lr":
            flex = d.between(110, 122)
            _legs(a, side, flex, d.between(2, 18), 3, d.between(85, 120), -10)
        a["spine_flex"] = d.between(14, 34)
        put_arms(a, d, "knees")
    else:  # legs out or crossed
        crossed = d.chance(0.45)
        for side in "lr":
            if crossed:
                _legs(a, side, 88, d.between(32, 44), 30, d.between(105, 122))
            else:
                _legs(a, side, d.near(80, 5), d.between(2, 20), 5, d.between(4, 40))
        a["spine_flex"] = d.near(14, 8)
        put_arms(a, d, "sitting")


def _squat(a: Angles, d: Draws) -> None:
    deep = d.between(0.45, 1.0)
    a["pelvis_pitch"] = d.between(12, 30) * deep
    wide = d.between(8, 28)
    for side in "lr":
        _legs(a, side, 40 + 75 * deep, wide, d.near(10, 5), 60 + 66 * deep, 20 * deep)
    a["spine_flex"] = d.near(14, 8)
    put_arms(a, d, "reaching" if d.chance(0.6) else "sitting")


def _bend(a: Angles, d: Draws) -> None:
    pitch = d.between(15, 48)
    a["pelvis_pitch"] = pitch
    for side in "lr":
        knee = d.between(0, 32)
        _legs(a, side, pitch + 0.5 * knee + d.near(0, 4), d.between(2, 12), 4, knee, 0.4 * knee)
    a["spine_flex"] = d.between(18, 58)
    a["spine_twist"] = d.near(0, 10)
    put_arms(a, d, "down")
    a["neck_nod"] = d.between(-20, 15)


def _reach(a: Angles, d: Draws) -> None:
    _stand(a, d)
    a["spine_flex"] = d.near(8, 8)
    a["spine_side"] = d.near(0, 7)
    a["spine_twist"] = d.near(0, 12)
    put_arms(a, d, "reaching")


def _raised(a: Angles, d: Draws) -> None:
    _stand(a, d)
    put_arms(a, d, "raised")
    a["neck_nod"] = d.near(-6, 9)


def _lunge(a: Angles, d: Draws) -> None:
    deep = d.between(0.4, 1.0)
    _legs(a, "l", 30 + 50 * deep, d.near(3, 3), 4, 35 + 55 * deep, 6)
    _legs(a, "r", -18 * deep - 6, d.near(3, 3), 6, d.between(5, 75) * deep, -8)
    a["spine_flex"] = d.between(-4, 22)
    put_arms(a, d, "sport")


def _kneel(a: Angles, d: Draws) -> None:
    _legs(a, "r", d.between(-6, 12), d.near(4, 3), 3, d.between(88, 112), -32)
    if d.chance(0.6):
        _legs(a, "l", d.between(78, 95), d.between(0, 14), 4, d.between(82, 100), 4)
    else:
        _legs(a, "l", d.between(-2, 12), d.near(5, 3), 3, d.between(90, 112), -32)
    a["spine_flex"] = d.near(10, 8)
    put_arms(a, d, d.pick(("reaching", "sitting", "standing")))


def _kick(a: Angles, d: Draws) -> None:
    _legs(a, "l", d.between(35, 98), d.between(0, 30), 6, d.between(0, 45), -25)
    _legs(a, "r", d.between(-8, 12), d.near(4, 3), 4, d.between(4, 28), 4)
    a["pelvis_pitch"] = d.near(-8, 5)
    a["spine_flex"] = d.near(6, 9)
    a["spine_twist"] = d.near(10, 8)
    put_arms(a, d, "sport")


def _jump(a: Angles, d: Draws) -> None:
    if d.chance(0.5):  # star
        for side in "lr":
            _legs(a, side, d.near(4, 10), d.between(14, 36), 6, d.between(0, 30), -28)
    else:
        for side in "lr":
            _legs(a, side, d.between(10, 75), d.between(2, 16), 4, d.between(20, 105), -28)
    a["spine_flex"] = d.near(2, 9)
    put_arms(a, d, "raised" if d.chance(0.5) else "sport")


def _play(a: Angles, d: Draws) -> None:
    """Ready stances, throws, serves, boxing, dance."""
    for side in "lr":
        flex = d.between(8, 48)
        _legs(a, side, flex, d.between(6, 26), d.near(6, 5), flex * d.between(0.8, 1.4), 8)
    if d.chance(0.3):
        _legs(a, "r", d.between(-15, 5), d.between(4, 18), 4, d.between(2, 30), -6)
    a["spine_flex"] = d.near(12, 11)
    a["spine_twist"] = d.near(0, 15)
    a["spine_side"] = d.near(0, 7)
    put_arms(a, d, "sport")


def _step(a: Angles, d: Draws) -> None:
    _legs(a, "l", d.between(55, 95), d.between(0, 18), 6, d.between(65, 108), 5)
    _legs(a, "r", d.near(0, 5), d.near(3, 3), 4, d.between(0, 18), 0)
    a["spine_flex"] = d.near(7, 6)
    put_arms(a, d, d.pick(("reaching", "raised", "standing")))


def _lie(a: Angles, d: Draws) -> None:
    how = d.pick(("back", "front", "side"))
    if how == "side":
        a["pelvis_roll"] = d.near(86, 3)
    else:
        a["pelvis_pitch"] = d.near(-88, 4) if how == "back" else d.near(90, 4)
    for side in "lr":
        knee = d.between(0, 60) if how != "front" else d.between(0, 25)
        _legs(a, side, 0.8 * knee, d.between(0, 16), d.near(6, 5), knee, -20)
    a["spine_flex"] = d.near(3, 5)
    put_arms(a, d, d.pick(("standing", "raised", "sitting")))


ACTIVITIES: dict[str, tuple[Callable[[Angles, Draws], None], float]] = {
    "stand": (_stand, 24), "walk": (_walk, 15), "run": (_run, 9), "sit": (_sit, 11),
    "sit_ground": (_sit_ground, 3), "squat": (_squat, 4), "bend": (_bend, 5),
    "reach": (_reach, 8), "raised": (_raised, 6), "lunge": (_lunge, 3), "kneel": (_kneel, 2.5),
    "kick": (_kick, 2), "jump": (_jump, 2), "play": (_play, 7), "step": (_step, 2.5),
    "lie": (_lie, 1.5),
}  # fmt: skip


def _mirrored(angles: Angles) -> Angles:
    swap = {"l_": "r_", "r_": "l_"}
    odd = ("pelvis_roll", "spine_side", "spine_twist", "neck_yaw", "neck_tilt")
    return {
        swap.get(name[:2], name[:2]) + name[2:]: -value if name in odd else value
        for name, value in angles.items()
    }


def sample_pose(d: Draws, *, easy: bool = False) -> SampledPose:
    """A pose within the joint limits; `easy` keeps to what bystanders do: stand, walk, sit."""
    names = [(name, weight) for name, (_, weight) in ACTIVITIES.items()]
    if easy:
        names = [("stand", 6), ("walk", 4), ("sit", 1), ("reach", 1), ("run", 0.6)]
    activity = d.weighted(names)
    angles: Angles = {}
    _gaze(angles, d)
    ACTIVITIES[activity][0](angles, d)
    if d.chance(0.5):
        angles = _mirrored(angles)
    for name in ANGLES:
        angles[name] = angles.get(name, 0.0) + d.near(0, 2.5)
    lift = d.between(0.08, 0.45) if activity == "jump" else 0.0
    if activity == "run":
        lift = d.between(0.0, 0.10)
    return SampledPose(activity, clamp(angles), lift, activity == "sit")
