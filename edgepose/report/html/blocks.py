"""What a page is made of; the template knows how each looks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar


@dataclass(frozen=True)
class Cell:
    """One cell. mark: "yes" or "no" colours it; bar: 0..100 draws a bar behind the figure."""

    text: str
    mark: str = ""
    bar: float | None = None


@dataclass(frozen=True)
class Table:
    """align: l or r per column; the first column names the row. caption: read out, not shown."""

    caption: str
    header: Sequence[str]
    align: str
    rows: Sequence[Sequence[str | Cell]]
    kind: ClassVar[str] = "table"

    @property
    def cells(self) -> list[list[Cell]]:
        return [[c if isinstance(c, Cell) else Cell(c) for c in row] for row in self.rows]


@dataclass(frozen=True)
class Plot:
    """svg: markup that matplotlib wrote; alt: what it shows, in words; table: the figures behind."""

    title: str
    svg: str
    alt: str
    note: str
    table: Table
    kind: ClassVar[str] = "plot"


@dataclass(frozen=True)
class Plots:
    """Plots side by side where there is room."""

    plots: Sequence[Plot]
    kind: ClassVar[str] = "plots"


@dataclass(frozen=True)
class Picture:
    """jpeg: a data URI."""

    title: str
    jpeg: str
    alt: str


@dataclass(frozen=True)
class Person:
    """One person as several models see it."""

    title: str
    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Gallery:
    people: Sequence[Person]
    kind: ClassVar[str] = "gallery"


@dataclass(frozen=True)
class Prose:
    text: str
    kind: ClassVar[str] = "prose"


@dataclass(frozen=True)
class Bullets:
    lines: Sequence[str]
    kind: ClassVar[str] = "bullets"


@dataclass(frozen=True)
class Code:
    lines: Sequence[str]
    kind: ClassVar[str] = "code"


@dataclass(frozen=True)
class Folded:
    """A table behind a line that opens it."""

    title: str
    table: Table
    kind: ClassVar[str] = "folded"


Block = Table | Plots | Gallery | Prose | Bullets | Code | Folded


@dataclass(frozen=True)
class Section:
    """id: what a link goes to."""

    id: str
    title: str
    blocks: Sequence[Block]


def section(name: str, title: str, blocks: Sequence[Block]) -> Section | None:
    """A section, where there is anything to put into it."""
    return Section(name, title, blocks) if blocks else None


@dataclass(frozen=True)
class Verdict:
    """One line of the judgement; met: None where nothing was asked; label: in place of yes and no."""

    met: bool | None
    text: str
    label: str = ""

    @property
    def word(self) -> str:
        return {True: "yes", False: "no", None: "none"}[self.met]


@dataclass(frozen=True)
class Figure:
    """One large figure at the top."""

    value: str
    what: str
    note: str = ""


@dataclass(frozen=True)
class Page:
    """kicker: the line above the title; foot: the last one."""

    kicker: str
    title: str
    subtitle: str
    badge: str
    badge_kind: str
    verdicts: Sequence[Verdict]
    figures: Sequence[Figure]
    sections: Sequence[Section] = field(default_factory=tuple)
    foot: str = ""
