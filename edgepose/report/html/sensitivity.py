"""What each layer was found to cost alone, with what the run made of it."""

from __future__ import annotations

from edgepose.report import text
from edgepose.report.costs import Int8Costs, PruneCosts
from edgepose.report.html import svg
from edgepose.report.html.blocks import Block, Plot, Plots, Section, Table, section
from edgepose.report.record import Report, StageRecord
from edgepose.report.sensitivity_plot import SHOWN, Look, draw, height_in

_LOOK = Look(
    ink=svg.INK, soft=svg.SOFT, grid=svg.GRID, bar=svg.MODEL, chosen=svg.SHIPS, paper=svg.PAPER,
    name=20,
)  # fmt: skip


def sensitivities(report: Report) -> Section | None:
    """A plot for each stage that asked."""
    made = [_plot(stage) for stage in report.stages if stage.sensitivity is not None]
    blocks: list[Block] = [Plots(made)] if made else []
    return section("sensitivity", "What each layer can spare", blocks)


def _plot(stage: StageRecord) -> Plot:
    found = stage.sensitivity
    assert found is not None, "the caller asked"
    points = f"{text.metric_label(found.metric)} points" if found.metric else "points"
    table = _of_groups(found, stage) if isinstance(found, PruneCosts) else _of_layers(found, stage)
    with svg.style():
        drawn = svg.figure(height_in(len(table.rows)))
        draw(drawn, found.model_dump(mode="json"), look=_LOOK, points=points)
    people = f"{found.persons:,} training people" if found.persons else "training people"
    left = len(table.rows) - SHOWN
    more = f" The {left} that cost least are in the table alone." if left > 0 else ""
    what = (
        "Height: the drop when that share of one group alone leaves, without training. Stroke and "
        "diamond, and the figures beside: the share that this run removed, and its drop."
        if isinstance(found, PruneCosts)
        else "What INT8 in one layer alone costs. Hollow: the layers that this run left in float."
    )
    return Plot(
        title=table.caption,
        svg=svg.inline_svg(drawn, name=svg.plot_id(table.caption)),
        alt=f"{table.caption}: " + _alt(found),
        note=f"{what} In {points}, of {people}.{more}",
        table=table,
    )


def _alt(found: PruneCosts | Int8Costs) -> str:
    if isinstance(found, PruneCosts):
        parts = [
            f"{g.layer} {g.removed:.0%} removed, {_drop(g.drop_removed)}" for g in found.groups
        ]
    else:
        parts = [f"{r.layer} {r.drop:+.2f}{' in float' * r.in_float}" for r in found.layers]
    return ", ".join(parts[:SHOWN])


def _drop(points: float | None) -> str:
    return "not measured" if points is None else f"{points:+.1f} points"


def _of_groups(found: PruneCosts, stage: StageRecord) -> Table:
    ratios = sorted({ratio for group in found.groups for ratio in group.ratios})
    rows = []
    for group in found.groups:
        at = dict(zip(group.ratios, group.drop, strict=True))
        drops = [f"{at[ratio]:+.2f}" if ratio in at else text.DASH for ratio in ratios]
        cost = group.drop_removed
        rows.append((group.layer, f"{group.kept} of {group.channels}", f"{group.removed:.1%}",
                     "beyond" if cost is None else f"{cost:+.2f}", *drops))  # fmt: skip
    heads = (
        "group, by its first layer",
        "kept",
        "removed",
        "costs",
        *(f"-{r:.0%}" for r in ratios),
    )
    return Table(f"{stage.name}: what removing channels of one group costs", heads,
                 "l" + "r" * (len(heads) - 1), rows)  # fmt: skip


def _of_layers(found: Int8Costs, stage: StageRecord) -> Table:
    rows = [
        (row.layer, f"{row.drop:+.2f}", f"{row.shift_p50_px:.3f}", f"{row.shift_p99_px:.2f}",
         text.count(row.macs), "float" if row.in_float else "int8")
        for row in found.layers
    ]  # fmt: skip
    heads = ("layer", "drop", "peaks move p50 px", "p99 px", "MACs", "in this run")
    return Table(f"{stage.name}: what INT8 in one layer costs", heads, "lrrrrl", rows)
