"""Skeletons that a data set brings along: its joint names, their mirror pairs, what to draw."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from edgepose.errors import EdgeposeError
from edgepose.skeleton import SKELETONS, Skeleton
from edgepose.skeleton import skeleton as known_skeleton

Pairs = tuple[tuple[str, str], ...]
_OTHER = {"left": "right", "right": "left", "l": "r", "r": "l"}
_EXAMPLE = "data.flip_pairs: [[right_eye, left_eye]], or [] where a mirror swaps no joints"


class Definition(BaseModel):
    """A skeleton in a recipe. joints: names in the order of the heatmaps; limbs: pairs of names to
    draw; flip_pairs: pairs of names that a mirror swaps, found by left_/right_ where left out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    joints: tuple[str, ...]
    limbs: Pairs = ()
    flip_pairs: Pairs | None = None


def tidy(name: object) -> str:
    """A joint's name as we write it: "Left Eye", "left-eye" and "leftEye" are "left_eye"."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", str(name).strip())
    return re.sub(r"[\s_-]+", "_", words).lower()


def make_skeleton(
    names: Sequence[str],
    limbs: Sequence[tuple[int, int]],
    *,
    flip_pairs: Pairs | None,
    label: str,
    source: object,
) -> Skeleton:
    """A known skeleton where the names are its names, else one of its own.

    names: tidied; limbs: index pairs; flip_pairs: pairs of names as the recipe gives them
    label: what the joints are of, the first part of the skeleton's name; a hash of the joints and
        pairs is its last, so that equal names are equal skeletons
    Raises EdgeposeError where the names or the pairs do not say what a mirror does.
    """
    double = sorted({name for name in names if names.count(name) > 1})
    if not names or double or not all(names):
        raise EdgeposeError(
            f"{source}: the joint names are not one or more different ones"
            + (f" ({double[0]!r} appears twice)" if double else ""),
            fix="give every joint a name of its own",
        )
    for known in SKELETONS.values():
        if known.joints == tuple(names):
            if flip_pairs is not None and _sorted(_given(names, flip_pairs, source)) != _sorted(
                known.flip_pairs
            ):
                raise EdgeposeError(
                    f"{source}: its joints are {known.name}, which has other flip pairs than given",
                    fix="leave out data.flip_pairs",
                )
            return known
    pairs = _deduced(names, source) if flip_pairs is None else _given(names, flip_pairs, source)
    digest = hashlib.sha256(repr((tuple(names), _sorted(pairs))).encode()).hexdigest()[:8]
    slug = re.sub(r"[^a-z0-9]+", "", label.lower())[:24] or "custom"
    return Skeleton(f"{slug}{len(names)}-{digest}", tuple(names), pairs, tuple(limbs))


def skeleton_of(given: str | Definition, *, source: object) -> Skeleton:
    """The skeleton that a recipe names or defines."""
    if isinstance(given, str):
        return known_skeleton(given)
    names = [tidy(name) for name in given.joints]
    limbs = tuple((_index(names, a, source), _index(names, b, source)) for a, b in given.limbs)
    return make_skeleton(names, limbs, flip_pairs=given.flip_pairs, label="custom", source=source)


def _sorted(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    return sorted((min(pair), max(pair)) for pair in pairs)


def _index(names: Sequence[str], name: str, source: object) -> int:
    if tidy(name) not in names:
        raise EdgeposeError(
            f"{source}: there is no joint {name!r}", fix=f"use one of {', '.join(names)}"
        )
    return list(names).index(tidy(name))


def _given(names: Sequence[str], pairs: Pairs, source: object) -> tuple[tuple[int, int], ...]:
    found = tuple((_index(names, a, source), _index(names, b, source)) for a, b in pairs)
    flat = [i for pair in found for i in pair]
    if len(set(flat)) < len(flat):
        raise EdgeposeError(
            f"{source}: data.flip_pairs names a joint twice", fix="name each joint in one pair"
        )
    return found


def _deduced(names: Sequence[str], source: object) -> tuple[tuple[int, int], ...]:
    """(right, left) pairs by the words left and right, or a first or last l and r, in the names."""
    pairs, alone = [], []
    for index, name in enumerate(names):
        side, partner = _partner(name)
        if partner is None:
            continue
        if partner not in names:
            alone.append(f"{name} (no {partner})")
        elif side in ("right", "r"):
            pairs.append((index, list(names).index(partner)))
    unclear = [] if pairs else [n for n in names if _glued(n) & set(names)]
    if alone or unclear:
        which = ", ".join((alone or unclear)[:3])
        raise EdgeposeError(
            f"{source}: which joints a mirror swaps does not follow from the names: {which}",
            fix=f"correct the names, or say it in the recipe, as in {_EXAMPLE}",
        )
    if not pairs:
        raise EdgeposeError(
            f"{source}: no joint name says left or right ({', '.join(names[:3])}, ...)",
            fix=f"say in the recipe which joints a mirror swaps, as in {_EXAMPLE}",
        )
    return tuple(pairs)


def _partner(name: str) -> tuple[str, str | None]:
    """The side that a name says, and the name of the joint on the other side (None without one)."""
    words = name.split("_")
    for place, word in enumerate(words):
        edge = place in (0, len(words) - 1) and len(words) > 1
        if word in ("left", "right") or (word in ("l", "r") and edge):
            return word, "_".join([*words[:place], _OTHER[word], *words[place + 1 :]])
    return "", None


def _glued(name: str) -> set[str]:
    """Names of the other side where l or r is glued to the word: lelbow, relbow; eye1l, eye1r."""
    return {
        other
        for at in (0, len(name) - 1)
        if name[at] in "lr"
        for other in (name[:at] + _OTHER[name[at]] + name[at + 1 :],)
    }
