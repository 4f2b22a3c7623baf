"""Skeletons: joints, mirror pairs, limbs. Passed along, never guessed from a joint count.

Three have names; any other is carried by its definition (`reference`, `from_json`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgepose.errors import EdgeposeError


@dataclass(frozen=True)
class Skeleton:
    """joints: names in index order; flip_pairs: (right, left) index pairs that a mirror swaps;
    limbs: index pairs to draw; uncounted: joints left out of a mean score."""

    name: str
    joints: tuple[str, ...]
    flip_pairs: tuple[tuple[int, int], ...]
    limbs: tuple[tuple[int, int], ...]
    uncounted: tuple[int, ...] = ()

    @property
    def num_joints(self) -> int:
        return len(self.joints)

    @property
    def flip_index(self) -> tuple[int, ...]:
        """(J,) index of each joint's mirror partner; its own where it has none."""
        index = list(range(self.num_joints))
        for a, b in self.flip_pairs:
            index[a], index[b] = b, a
        return tuple(index)

    @property
    def reference(self) -> str | Skeleton:
        """What a model says of its skeleton: the name of a known one, else the definition itself."""
        return self.name if SKELETONS.get(self.name) == self else self

    @property
    def fault(self) -> str | None:
        """Why this cannot be a skeleton, or None."""
        if not self.joints or not all(self.joints) or len(set(self.joints)) < self.num_joints:
            return "its joints are not one or more different names"
        pairs = [i for pair in self.flip_pairs for i in pair]
        used = [*pairs, *(i for limb in self.limbs for i in limb), *self.uncounted]
        if any(not 0 <= i < self.num_joints for i in used):
            return f"an index is outside of its {self.num_joints} joints"
        if len(set(pairs)) < len(pairs):
            return "a joint is in two flip pairs"
        return None


MPII16 = Skeleton(
    name="mpii16",
    joints=(
        "right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle",
        "pelvis", "thorax", "upper_neck", "head_top",
        "right_wrist", "right_elbow", "right_shoulder",
        "left_shoulder", "left_elbow", "left_wrist",
    ),
    flip_pairs=((0, 5), (1, 4), (2, 3), (10, 15), (11, 14), (12, 13)),
    limbs=(
        (0, 1), (1, 2), (2, 6), (6, 3), (3, 4), (4, 5), (6, 7), (7, 8), (8, 9),
        (10, 11), (11, 12), (12, 7), (7, 13), (13, 14), (14, 15),
    ),
    uncounted=(6, 7),
)  # fmt: skip

COCO17 = Skeleton(
    name="coco17",
    joints=(
        "nose", "left_eye", "right_eye", "left_ear", "right_ear",
        "left_shoulder", "right_shoulder", "left_elbow", "right_elbow",
        "left_wrist", "right_wrist", "left_hip", "right_hip",
        "left_knee", "right_knee", "left_ankle", "right_ankle",
    ),
    flip_pairs=((2, 1), (4, 3), (6, 5), (8, 7), (10, 9), (12, 11), (14, 13), (16, 15)),
    limbs=(
        (0, 1), (0, 2), (1, 3), (2, 4), (5, 6), (5, 7), (7, 9), (6, 8), (8, 10),
        (5, 11), (6, 12), (11, 12), (11, 13), (13, 15), (12, 14), (14, 16),
    ),
)  # fmt: skip

LSP14 = Skeleton(
    name="lsp14",
    joints=(
        "right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle",
        "right_wrist", "right_elbow", "right_shoulder",
        "left_shoulder", "left_elbow", "left_wrist", "upper_neck", "head_top",
    ),
    flip_pairs=((0, 5), (1, 4), (2, 3), (6, 11), (7, 10), (8, 9)),
    limbs=(
        (0, 1), (1, 2), (3, 4), (4, 5), (2, 3), (6, 7), (7, 8), (9, 10), (10, 11),
        (8, 12), (9, 12), (12, 13),
    ),
)  # fmt: skip

SKELETONS = {s.name: s for s in (MPII16, COCO17, LSP14)}


def skeleton(named: str | Skeleton) -> Skeleton:
    """The skeleton of that name, or the given one itself; EdgeposeError naming the known ones."""
    if isinstance(named, Skeleton):
        return named
    if named not in SKELETONS:
        raise EdgeposeError(f"unknown skeleton {named!r}", fix=f"use one of {', '.join(SKELETONS)}")
    return SKELETONS[named]


def from_json(value: str | Mapping[str, Any]) -> str | Skeleton:
    """A `reference` back from JSON: a name stays one; EdgeposeError for a broken definition."""
    if isinstance(value, str):
        return value

    def pairs(key: str) -> tuple[tuple[int, int], ...]:
        return tuple((int(a), int(b)) for a, b in value[key])

    try:
        found = Skeleton(
            name=str(value["name"]),
            joints=tuple(str(joint) for joint in value["joints"]),
            flip_pairs=pairs("flip_pairs"),
            limbs=pairs("limbs"),
            uncounted=tuple(int(i) for i in value["uncounted"]),
        )
        fault = found.fault
    except (KeyError, TypeError, ValueError) as error:
        fault = f"it lacks or misstates {error}"
    if fault is not None:
        raise EdgeposeError(f"the skeleton cannot be right: {fault}", fix="use the file as written")
    return found


def shared_joints(
    a: Skeleton, b: Skeleton
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[str, ...]]:
    """Joints that both skeletons name alike: (indices in a, indices in b, names), in a's order."""
    names = tuple(name for name in a.joints if name in b.joints)
    return (
        tuple(a.joints.index(n) for n in names),
        tuple(b.joints.index(n) for n in names),
        names,
    )
