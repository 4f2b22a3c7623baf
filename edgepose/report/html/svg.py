"""Matplotlib figures as SVG inside of a page: colours are the page's own, light or dark."""

from __future__ import annotations

import hashlib
import io
import re
from contextlib import AbstractContextManager
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

INK, SOFT, GRID, PAPER = "#010101", "#020202", "#030303", "#040404"
MODEL, SHIPS, LIMIT = "#050505", "#060606", "#070707"
SERIES = ("#080101", "#080202", "#080303", "#080404", "#080505", "#080606", "#080707", "#080808")
"""Stand-ins that no plot really has: each is replaced by the page's colour of that name."""

_NAMES = {
    INK: "ink", SOFT: "soft", GRID: "grid", PAPER: "paper", MODEL: "model", SHIPS: "ships",
    LIMIT: "limit", **{color: f"s{i + 1}" for i, color in enumerate(SERIES)},
}  # fmt: skip
WIDTH_IN = 5.6
STYLE: Any = {
    "svg.fonttype": "none", "font.size": 10, "font.family": "sans-serif",
    "text.color": INK, "axes.labelcolor": INK, "xtick.color": SOFT, "ytick.color": SOFT,
    "xtick.labelcolor": SOFT, "ytick.labelcolor": INK, "axes.edgecolor": GRID,
    "axes.facecolor": "none", "figure.facecolor": "none", "legend.frameon": False,
    "grid.color": GRID, "grid.linewidth": 0.8, "axes.axisbelow": True,
}  # fmt: skip


def figure(height_in: float, *, width_in: float = WIDTH_IN) -> Figure:
    """An empty figure; draw into it within `style()`."""
    made = Figure(figsize=(width_in, height_in), layout="constrained")
    FigureCanvasSVG(made)
    return made


def style() -> AbstractContextManager[None]:
    """The look of every plot of the page, as a context."""
    return rc_context(STYLE)


def clean(axis: Axes, *, grid: str = "x") -> None:
    """Grid lines along one direction, no frame."""
    axis.grid(axis=grid)  # type: ignore[arg-type]
    axis.tick_params(length=0)
    for side in axis.spines.values():
        side.set_visible(False)


def inline_svg(drawn: Figure, *, name: str) -> str:
    """The figure as an <svg> element for a page that holds others too.

    name: distinct in the page; every id begins with it
    """
    buffer = io.StringIO()
    nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
    with rc_context({**STYLE, "svg.hashsalt": name}):
        drawn.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    for color, variable in _NAMES.items():
        text = text.replace(color, f"var(--{variable})")
    text = re.sub(r"font-family: [^;\"]*", "font-family: var(--font)", text)
    prefix = f"{name}-"
    text = re.sub(r'\bid="', f'id="{prefix}', text)
    text = text.replace('href="#', f'href="#{prefix}').replace("url(#", f"url(#{prefix}")
    # The page says what the picture shows; its size follows the column.
    head, rest = text.split(">", 1)
    box = re.search(r'viewBox="([^"]*)"', head)
    assert box is not None, "matplotlib writes a viewBox"
    return f'<svg viewBox="{box[1]}" xmlns="http://www.w3.org/2000/svg" aria-hidden="true">{rest}'


def plot_id(title: str) -> str:
    """A short id from a title."""
    return "p" + hashlib.sha256(title.encode()).hexdigest()[:6]
