"""What arms do, by situation. Degrees: shoulder flexion, abduction, inward twist; elbow."""

from __future__ import annotations

from edgepose.data.people.draws import Draws

# gesture: (flex, abd, twist, elbow), each (low, high)
GESTURES: dict[str, tuple[tuple[float, float], ...]] = {
    "hang": ((-8, 12), (5, 19), (0, 30), (4, 32)),
    "hip": ((-14, 8), (36, 52), (66, 86), (82, 104)),
    "pocket": ((-20, -6), (12, 24), (14, 36), (30, 52)),
    "cross": ((28, 42), (4, 14), (58, 76), (96, 116)),
    "hold": ((16, 42), (2, 12), (18, 42), (58, 100)),
    "phone": ((40, 72), (8, 26), (10, 34), (122, 140)),
    "back": ((-44, -26), (8, 20), (35, 60), (30, 66)),
    "wave": ((0, 25), (70, 115), (-92, -62), (50, 115)),
    "up": ((138, 178), (-4, 28), (-20, 20), (0, 42)),
    "up_bent": ((95, 140), (10, 45), (-15, 35), (60, 125)),
    "tee": ((-5, 20), (68, 104), (-30, 10), (0, 30)),
    "high_v": ((0, 15), (115, 150), (-30, 10), (0, 25)),
    "forward": ((62, 108), (-8, 22), (-5, 25), (0, 48)),
    "low_forward": ((25, 62), (0, 24), (-5, 25), (5, 60)),
    "side": ((10, 50), (40, 85), (-15, 25), (0, 50)),
    "guard": ((32, 68), (8, 30), (8, 36), (98, 138)),
    "cock": ((-20, 20), (78, 110), (-92, -55), (75, 115)),
    "lap": ((14, 34), (0, 10), (8, 34), (42, 78)),
    "thigh": ((18, 36), (4, 16), (-2, 16), (28, 54)),
    "prop": ((-48, -28), (8, 26), (-20, 15), (0, 20)),
    "knees": ((48, 72), (0, 10), (10, 32), (24, 62)),
    "down": ((62, 112), (-4, 14), (-6, 20), (0, 38)),
    "head": ((60, 95), (50, 80), (-50, -15), (110, 135)),
}

# situation: (gesture of both arms, weight) and (gesture of one arm alone, weight)
SITUATIONS: dict[str, tuple[tuple[tuple[str, float], ...], tuple[tuple[str, float], ...]]] = {
    "standing": (
        (("hang", 10), ("hip", 2.2), ("cross", 1.3), ("hold", 3), ("pocket", 1.6), ("back", 1),
         ("side", 0.7), ("guard", 0.5)),
        (("hang", 7), ("hip", 2), ("pocket", 2), ("phone", 1.4), ("hold", 2), ("low_forward", 2),
         ("wave", 1), ("side", 1)),
    ),
    "sitting": (
        (("lap", 4), ("thigh", 4), ("low_forward", 2), ("hold", 2), ("prop", 0.7), ("cross", 0.6)),
        (("lap", 3), ("thigh", 3), ("phone", 1), ("low_forward", 2), ("hang", 1), ("wave", 0.4)),
    ),
    "knees": ((("knees", 4), ("prop", 1)), (("knees", 3), ("prop", 1), ("low_forward", 1))),
    "reaching": (
        (("forward", 3), ("low_forward", 2), ("side", 1), ("tee", 0.8)),
        (("forward", 3), ("low_forward", 2), ("hang", 3), ("side", 2), ("up", 1.5), ("tee", 1)),
    ),
    "raised": (
        (("up", 4), ("high_v", 4), ("up_bent", 2), ("wave", 1), ("head", 1)),
        (("up", 4), ("wave", 3), ("high_v", 2), ("hang", 3), ("up_bent", 2), ("tee", 1)),
    ),
    "down": ((("down", 4), ("hang", 1)), (("down", 4), ("thigh", 1), ("hang", 1), ("hip", 0.5))),
    "sport": (
        (("guard", 3), ("low_forward", 2), ("side", 2), ("tee", 2), ("forward", 1)),
        (("cock", 2), ("forward", 2), ("up", 2), ("guard", 2), ("side", 3), ("tee", 2),
         ("low_forward", 2), ("high_v", 1), ("up_bent", 1.5)),
    ),
}  # fmt: skip


def put_arm(a: dict[str, float], d: Draws, side: str, gesture: str, *, amount: float = 0.0,
            bend: float = 20.0) -> None:  # fmt: skip
    """Set one arm's angles; "swing" takes its flexion from `amount` and its elbow from `bend`."""
    if gesture == "swing":
        flex, abd, twist, elbow = amount, d.between(4, 14), d.between(4, 26), bend
    else:
        flex, abd, twist, elbow = (d.between(low, high) for low, high in GESTURES[gesture])
    a.update({f"{side}_sho_flex": flex, f"{side}_sho_abd": abd, f"{side}_sho_twist": twist,
              f"{side}_elbow": elbow, f"{side}_wrist": d.near(0, 10)})  # fmt: skip


def put_arms(a: dict[str, float], d: Draws, situation: str) -> None:
    """Both arms: the same gesture with small differences, or each its own."""
    both, single = SITUATIONS[situation]
    if d.chance(0.45):
        gesture = d.weighted(both)
        for side in "lr":
            put_arm(a, d, side, gesture)
    else:
        for side in "lr":
            put_arm(a, d, side, d.weighted(single))
