"""Runs compared as a page: what was done differently, what came of it, and is it noise."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

from edgepose.report import text
from edgepose.report.compare import Comparison, RowChange, ScoreChange
from edgepose.report.compare import Figure as CountedFigure
from edgepose.report.compare_text import (
    NOTHING_DIFFERENT,
    figure_words,
    judged_word,
    remarks,
    score_words,
)
from edgepose.report.html.blocks import (
    Block,
    Bullets,
    Cell,
    Figure,
    Page,
    Plot,
    Plots,
    Prose,
    Section,
    Table,
    Verdict,
    section,
)
from edgepose.report.html.compare_plots import Line, forest

MARKS = {"better": "yes", "worse": "no"}


def judged_verdict(judged: str, line: str) -> Verdict:
    """A line that says in its own word whether it is good."""
    met = {"better": True, "worse": False}.get(judged)
    return Verdict(met, line, "" if met is None else judged.capitalize())


def runs_page(found: Sequence[Comparison]) -> Page:
    """The page of `compare_runs`, for one or more runs that were compared with the same first."""
    words, kind = _badge(found)
    names = _short([found[0].before, *(item.after for item in found)])[1:]
    titles = names if len(found) > 1 else [""]
    return Page(
        kicker="edgepose comparison of runs",
        title="What changed",
        subtitle=f"{found[0].before} → {', '.join(item.after for item in found)}",
        badge=words,
        badge_kind=kind,
        verdicts=[
            v for item, title in zip(found, titles, strict=True) for v in _verdicts(item, title)
        ],
        figures=_headline(found[0]) if len(found) == 1 else (),
        sections=[p for i, item in enumerate(found) for p in _parts(item, titles[i], i + 1)],
        foot="from report.json and people.npz of each run",
    )


def _short(names: Sequence[str]) -> list[str]:
    """Paths of runs by their last two parts, recipe and run, where these tell them apart."""
    ends = ["/".join(PurePath(name).parts[-2:]) for name in names]
    return ends if len(set(ends)) == len(ends) else list(names)


def primary(found: Comparison) -> list[tuple[RowChange, ScoreChange]]:
    """Each file that both have with the change of its first score; without files, each model."""
    scored = [(row, row.scores[0]) for row in found.rows if row.scores]
    files = [(row, score) for row, score in scored
             if any(figure.what == "size_bytes" for figure in row.figures)]  # fmt: skip
    return files or scored


def _badge(found: Sequence[Comparison]) -> tuple[str, str]:
    judged = {score.judgement for item in found for _, score in primary(item)}
    if not judged or judged == {"unknown"}:
        return "Not known", "none"
    if judged <= {"noise", "same", "unknown"}:
        return "Within noise" if "noise" in judged else "The same", "none"
    if {"better", "worse"} <= judged:
        return "Better and worse", "none"
    return ("Better", "yes") if "better" in judged else ("Worse", "no")


def _verdicts(item: Comparison, title: str) -> list[Verdict]:
    """What was done, what became of the first score, and what became of sizes. title: of its run, or
    empty."""
    begin = f"{title}: " if title else ""
    done = f"{len(item.changes)} things were done differently"
    if not item.changes:
        done = capital(NOTHING_DIFFERENT)
    elif len(item.changes) <= 3:
        done = f"Different: {text.listed([change.what for change in item.changes])}"
    lines = [Verdict(None, begin + done)]
    scores = primary(item)
    if scores:
        label = text.metric_label(scores[0][1].metric)
        for judged, words in (("worse", "is surely worse"), ("better", "is surely better")):
            names = [f"{row.name} ({text.signed(score.value)})"
                     for row, score in scores if score.judgement == judged]  # fmt: skip
            if names:
                line = f"{begin}{label} {words}: {text.listed(names)}"
                lines.append(judged_verdict(judged, line))
        rest = [row.name for row, score in scores if score.judgement in ("noise", "same")]
        if rest:
            lines.append(Verdict(None, f"{begin}{label} does not differ beyond noise: "
                                       f"{text.listed(rest)}"))  # fmt: skip
        if item.why_not_paired is not None:
            lines.append(Verdict(None, f"{begin}whether {label} differs by more than noise cannot be "
                                       f"said: {item.why_not_paired}"))  # fmt: skip
    sizes = [(row.name, figure) for row in item.rows for figure in row.figures
             if figure.what == "size_bytes"]  # fmt: skip
    for judged, words in (("worse", "Larger"), ("better", "Smaller")):
        told = [f"{name} ({text.size(round(f.before))} to {text.size(round(f.after))})"
                for name, f in sizes if f.judgement == judged and not _alike(f)]  # fmt: skip
        if told:
            line = f"{begin}{words} files: {text.listed(told)}"
            lines.append(judged_verdict(judged, line))
    alike = [name for name, f in sizes if _alike(f)]
    if alike:
        lines.append(Verdict(None, f"{begin}Files of one size within 1 %: {text.listed(alike)}"))
    return lines


def capital(line: str) -> str:
    """The line with a capital to begin with, the rest as it is."""
    return line[:1].upper() + line[1:]


def _alike(size: CountedFigure) -> bool:
    return abs(size.after - size.before) <= 0.01 * size.before


def _headline(item: Comparison) -> list[Figure]:
    """The last file that both have: it is what ships."""
    figures = []
    scored = primary(item)
    if scored:
        row, score = scored[-1]
        interval = "" if score.ci95 is None else (
            f", interval {score.ci95[0]:+.1f} to {score.ci95[1]:+.1f}"
        )  # fmt: skip
        figures.append(Figure(text.signed(score.value), f"points of {text.metric_label(score.metric)}",
                              f"{row.name}{interval}"))  # fmt: skip
    titles = {"size_bytes": "size", "macs": "multiply-adds"}
    if not item.notes:  # of other machines: times say nothing
        titles["latency_ms_p50"] = "median latency, timed once"
    for what, title in titles.items():
        having = [(row, f) for row in item.rows for f in row.figures if f.what == what and f.before]
        if having:
            row, figure = having[-1]
            words, _ = figure_words(figure)
            figures.append(Figure(words[3], title,
                                  f"{row.name}, {words[1]} to {words[2]}"))  # fmt: skip
    return figures


def _parts(item: Comparison, title: str, number: int) -> list[Section]:
    """The sections of one comparison; of several, each has its run's title and a number."""
    of = f": {title}" if title else ""
    end = f"-{number}" if title else ""
    changes: Block = Prose(capital(NOTHING_DIFFERENT) + ".")
    if item.changes:
        rows = [(c.what, c.before or text.DASH, c.after or text.DASH) for c in item.changes]
        changes = Table(f"What was done differently{of}", ("what", "before", "after"), "ltt", rows)
    plots = [plot for i in (0, 1) if (plot := _plot(item, i, of)) is not None]
    came: list[Block] = [Plots(plots)] if plots else []
    table = _table(item, of)
    if table.rows:
        came.append(table)
    made = [
        section(f"done{end}", f"What was done differently{of}", [changes]),
        section(f"came{end}", f"What came of it{of}", came),
        section(f"notes{end}", f"Notes{of}", [Bullets(notes)] if (notes := remarks(item)) else []),
    ]
    return [part for part in made if part is not None]


def _plot(item: Comparison, which: int, of: str) -> Plot | None:
    scored = [(row, row.scores[which]) for row in item.rows if len(row.scores) > which]
    if not scored:
        return None
    label = text.metric_label(scored[0][1].metric)
    lines = [
        Line(row.name, score.value, score.ci95, score.judgement,
             f"{text.signed(score.value)}  {judged_word(score.judgement)}")
        for row, score in scored
    ]  # fmt: skip
    rows = [(row.name, *words[1:], judged_word(judged))
            for row, score in scored for words, judged in (score_words(score),)]  # fmt: skip
    title = f"{label}, after minus before{of}"
    note = ("Lines: paired 95 % interval over the same people." if item.why_not_paired is None
            else f"Hollow: without an interval, for {item.why_not_paired}.")  # fmt: skip
    table = Table(title, ("model", "before", "after", "change", "verdict"), "lrrrl", rows)
    return forest(title, lines, unit=f"points of {label}", same=0.0, note=note, table=table)


def _table(item: Comparison, of: str) -> Table:
    rows: list[Sequence[str | Cell]] = []
    for row in item.rows:
        cells = [score_words(score) for score in row.scores]
        cells += [figure_words(figure) for figure in row.figures if figure.judgement != "same"]
        rows += [(row.name, *words, Cell(judged_word(judged), mark=MARKS.get(judged, "")))
                 for words, judged in cells]  # fmt: skip
    heads = ("model", "figure", "before", "after", "change", "verdict")
    return Table(f"Every figure that both have{of}", heads, "llrrrl", rows)
