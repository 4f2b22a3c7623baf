"""report.html from a report and what lies beside it."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from edgepose.device.files import write_atomic
from edgepose.report.html.blocks import Page
from edgepose.report.html.gather import Extras, gather
from edgepose.report.html.sections import sections
from edgepose.report.html.verdict import badge, headline, verdicts
from edgepose.report.record import Report

FILE_NAME = "report.html"
_HERE = Path(__file__).parent


def report_html(report: Report, extras: Extras) -> str:
    """The page as text; nothing in it refers to another file."""
    judged = verdicts(report, extras)
    words, kind = badge(report, judged)
    page = Page(
        kicker=f"edgepose report · {report.run_id}",
        title=report.recipe.name,
        subtitle=report.recipe.description,
        badge=words,
        badge_kind=kind,
        verdicts=judged,
        figures=headline(report),
        sections=sections(report, extras),
        foot=f"from report.json of run {report.run_id}",
    )
    return rendered(page, tab=f"{page.title} · {report.run_id}", version=report.edgepose_version)


def rendered(page: Page, *, tab: str, version: str) -> str:
    """A page as text. tab: its name in a browser; version: of the edgepose that it tells of"""
    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    template = environment.get_template("page.html.j2")
    style = Markup((_HERE / "style.css").read_text())
    return template.render(page=page, tab=tab, version=version, style=style, drawing=Markup)


def save_html(report: Report, folder: Path) -> Path:
    """Write report.html into a run folder, atomically; the file."""
    path = folder / FILE_NAME
    write_atomic(path, report_html(report, gather(report, folder)).encode())
    return path
