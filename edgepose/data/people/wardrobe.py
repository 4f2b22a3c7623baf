"""What a person wears and looks like: choices only; body cuts the cloth, paint colours it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from edgepose.data.people.draws import Draws

RGB = tuple[float, float, float]


class Material(IntEnum):
    """Tiles of a person's texture atlas."""

    SKIN = 0
    ARM = 1
    LEG = 2
    GLOVE = 3
    TOP = 4
    SLEEVE = 5
    BOTTOM = 6
    SHOE = 7
    HEAD = 8
    HAIR = 9
    HAT = 10


@dataclass(frozen=True)
class Outfit:
    """Cut: ring counts index body's profiles; ease multiplies thickness. Colours are 0..255 RGB."""

    top_ease: float
    hem_ring: int
    open_neck: bool
    high_collar: bool
    sleeve_rings: int
    sleeve_ease: float
    gloves: bool
    leg_rings: int
    leg_ease: float
    barefoot: bool
    skirt_length: float  # in thigh lengths, 0 for none; beyond 1 it goes on down the shank
    skirt_flare: float
    skirt_material: Material
    hair: str
    hair_volume: float
    hair_length: float  # in head lengths below the nape
    hat: str
    hat_line: float
    hat_volume: float
    beard: bool
    skin_rgb: RGB
    hair_rgb: RGB
    top_rgb: tuple[RGB, RGB]
    sleeve_rgb: tuple[RGB, RGB]
    bottom_rgb: tuple[RGB, RGB]
    shoe_rgb: tuple[RGB, RGB]
    hat_rgb: RGB
    top_pattern: int
    bottom_pattern: int
    folds: int
    socks: float  # 0 none, else the share of the shank they cover
    face: int  # variant of expression


_SKIN: tuple[RGB, ...] = (
    (244, 208, 186), (236, 192, 166), (226, 178, 148), (214, 163, 130), (198, 143, 108),
    (176, 121, 86), (148, 98, 68), (118, 76, 53), (88, 56, 41), (66, 43, 33),
)  # fmt: skip
_HAIR: tuple[tuple[RGB, float], ...] = (
    ((28, 23, 21), 5), ((52, 36, 27), 5), ((88, 60, 38), 4), ((128, 92, 56), 2),
    ((188, 152, 96), 2), ((222, 196, 142), 1), ((140, 66, 34), 1), ((150, 146, 142), 1.5),
    ((214, 212, 208), 0.7),
)  # fmt: skip
_NEUTRAL: tuple[RGB, ...] = (
    (24, 24, 28), (48, 50, 56), (92, 94, 98), (146, 146, 146), (206, 206, 204), (238, 238, 234),
    (30, 38, 62), (46, 60, 92), (70, 56, 46), (118, 100, 78), (182, 166, 138), (66, 74, 52),
)  # fmt: skip
_VIVID: tuple[RGB, ...] = (
    (186, 36, 42), (220, 84, 44), (232, 158, 44), (236, 212, 84), (88, 152, 66), (34, 104, 72),
    (42, 132, 142), (52, 112, 192), (36, 58, 152), (104, 62, 146), (196, 82, 142), (232, 160, 178),
    (120, 28, 44), (160, 206, 226), (176, 214, 160),
)  # fmt: skip
_DENIM: tuple[RGB, ...] = ((40, 54, 84), (62, 82, 118), (96, 120, 156), (30, 36, 52))


def _shade(d: Draws, rgb: RGB, spread: float = 9.0) -> RGB:
    common = d.near(0, spread)
    r, g, b = (min(max(c + common + d.near(0, spread * 0.5), 6.0), 250.0) for c in rgb)
    return (r, g, b)


def _cloth(d: Draws, vivid: float) -> RGB:
    return _shade(d, d.pick(_VIVID) if d.chance(vivid) else d.pick(_NEUTRAL), 12)


def sample_outfit(d: Draws, *, child: bool, womanly: bool, patterns: int) -> Outfit:
    """Clothes, hair and colours; `patterns` is how many cloth patterns paint knows."""
    complexion = d.below(len(_SKIN))
    skin = _shade(d, _SKIN[complexion], 5)
    dark_hair = complexion >= 6 and d.chance(0.92)
    hair_rgb = _shade(d, d.weighted(_HAIR[:2] if dark_hair else _HAIR), 5)
    if womanly:
        hair = d.weighted((("short", 1.5), ("medium", 3), ("long", 4), ("tail", 2), ("bun", 1)))
    else:
        hair = d.weighted((("short", 7), ("bald", 1), ("medium", 1), ("long", 0.3)))
    if child and hair == "bald":
        hair = "short"
    hat = d.weighted((("", 8), ("cap", 1), ("beanie", 0.7), ("brim", 0.5)))
    line = {"": 2.0, "cap": 0.74, "beanie": 0.64, "brim": 0.74}[hat]
    volume = {"": 1.0, "cap": 1.07, "beanie": 1.12, "brim": 1.08}[hat]

    top = (_cloth(d, 0.5), _cloth(d, 0.45))
    dress = womanly and d.chance(0.14)
    skirt = dress or (womanly and d.chance(0.12))
    legs = d.weighted((("long", 6.5), ("shorts", 2.2), ("knee", 1.0)))
    leg_rings = 0 if skirt and d.chance(0.75) else {"long": 10, "shorts": 4, "knee": 6}[legs]
    bottom_base = _shade(d, d.pick(_DENIM), 8) if d.chance(0.4) else _cloth(d, 0.18)
    jacket = d.chance(0.22)
    sleeve = 9 if jacket else d.weighted(((9, 4.2), (4, 1.2), (5, 4.0), (6, 0.6), (0, 1.3)))
    pattern = d.below(patterns)
    plain_sleeve = d.chance(0.22)
    shoe = _shade(d, d.pick(_NEUTRAL) if d.chance(0.75) else d.pick(_VIVID), 8)
    return Outfit(
        top_ease=d.between(1.10, 1.22) if jacket else d.between(1.0, 1.15),
        hem_ring=d.weighted(((7, 2), (8, 3), (9, 2))) if not dress else 9,
        open_neck=d.chance(0.4) and not jacket,
        high_collar=jacket and d.chance(0.6),
        sleeve_rings=sleeve,
        sleeve_ease=d.between(1.15, 1.42) if jacket or sleeve in (4, 5) else d.between(1.06, 1.32),
        gloves=d.chance(0.03),
        leg_rings=leg_rings,
        leg_ease=d.between(1.12, 1.42) if leg_rings in (4, 6) else d.between(1.04, 1.28),
        barefoot=d.chance(0.06),
        skirt_length=d.between(0.5, 1.5) if skirt else 0.0,
        skirt_flare=d.between(0.4, 2.2),
        skirt_material=Material.TOP if dress else Material.BOTTOM,
        hair=hair,
        hair_volume=1.0 if hair == "bald" else d.between(1.04, 1.17 if hair != "short" else 1.12),
        hair_length=d.between(0.45, 1.15),
        hat=hat,
        hat_line=line,
        hat_volume=volume,
        beard=not womanly and not child and d.chance(0.22),
        skin_rgb=skin,
        hair_rgb=hair_rgb,
        top_rgb=top,
        sleeve_rgb=(top[1], top[1]) if plain_sleeve else top,
        bottom_rgb=(bottom_base, _cloth(d, 0.3)),
        shoe_rgb=(shoe, (225, 225, 220) if d.chance(0.55) else (40, 36, 34)),
        hat_rgb=_cloth(d, 0.5),
        top_pattern=pattern,
        bottom_pattern=d.below(patterns) if d.chance(0.15) else 0,
        folds=d.below(1 << 16),
        socks=d.between(0.1, 0.55) if d.chance(0.45) else 0.0,
        face=d.below(4),
    )
