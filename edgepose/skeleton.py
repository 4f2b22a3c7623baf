"""Named skeletons: joints, mirror pairs, limbs. Passed along, never guessed from a joint count."""

from __future__ import annotations

from dataclasses import dataclass

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


def skeleton(name: str) -> Skeleton:
    """The skeleton called `name`; EdgeposeError naming the known ones otherwise."""
    if name not in SKELETONS:
        raise EdgeposeError(f"unknown skeleton {name!r}", fix=f"use one of {', '.join(SKELETONS)}")
    return SKELETONS[name]


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
