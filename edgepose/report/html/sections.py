"""The parts of the page of a run, in the order in which a reader asks for them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgepose.metrics.metric import METRICS
from edgepose.report import text
from edgepose.report.engine_layers import engine_lines
from edgepose.report.html import plots
from edgepose.report.html.blocks import (
    Block,
    Bullets,
    Cell,
    Code,
    Folded,
    Plot,
    Plots,
    Prose,
    Section,
    Table,
    section,
)
from edgepose.report.html.details import conditions, files, layers
from edgepose.report.html.gather import Extras
from edgepose.report.html.pictures import gallery
from edgepose.report.html.sensitivity import sensitivities
from edgepose.report.people import errors
from edgepose.report.record import ArtifactRecord, Difference, Measured, Report, StageRecord


def sections(report: Report, extras: Extras) -> list[Section]:
    """Every section that has something to show."""
    made = [
        _stages(report),
        _tradeoff(report),
        _joints(report, extras),
        _people(report, extras),
        _latency(report, extras),
        _training(report),
        sensitivities(report),
        layers(extras),
        files(report),
        conditions(report),
        section("notes", "Warnings and notes", [
            *_lines(report.all_warnings), *_lines(text.row_notes(report)),
            *_lines([f"Left out: {line}" for line in extras.left_out])]),
        section("again", "Run it again", [Code(report.commands)] if report.commands else []),
    ]  # fmt: skip
    return [there for there in made if there is not None]


def _lines(lines: Sequence[str]) -> list[Block]:
    return [Bullets(tuple(lines))] if lines else []


def _plots(made: Sequence[Plot | None]) -> list[Block]:
    there = [plot for plot in made if plot is not None]
    return [Plots(there)] if there else []


def _stages(report: Report) -> Section | None:
    primary, secondary = report.primary_metric, report.secondary_metric
    header = (
        "model", text.metric_label(primary), text.metric_label(secondary), "change", "size",
        "params", "MACs", "p50 ms", "precision", "scored by",
    )  # fmt: skip
    rows = []
    for row in report.rows:
        step = next((d for d in report.differences
                     if d.after == row.name and d.metric == primary), None)  # fmt: skip
        change = Cell(text.difference(step), mark=_loss(step))
        rows.append(
            (row.name, text.score_long(row.metrics.get(primary)),
             text.score_long(row.metrics.get(secondary)), change, text.size(row.size_bytes),
             text.count(row.params), text.count(row.macs),
             text.latency(row.latency_ms, row.latency_origin),
             getattr(row, "precision", text.DASH), row.executor)
        )  # fmt: skip
    return section(
        "stages",
        "Stage by stage",
        [
            *_plots([plots.waterfall(report, primary), plots.waterfall(report, secondary)]),
            Table("Every model and file", header, "lrrrrrrrlt", rows),
            Prose(
                f"In brackets: the 95 % interval (bootstrap over {report.interval_over}), of a change "
                f"the paired one. Change: {text.metric_label(primary)} points from the stage before, "
                "of a file from the last stage. ~ estimated; - not measured."
            ),
            *([_subsets(report)] if text.subset_names(report) else []),
        ],
    )


def _loss(step: Difference | None) -> str:
    """Marks a change that is surely a loss or surely a gain."""
    if step is None or text.is_noise(step) is not False:
        return ""
    return "no" if step.value < 0 else "yes"


def _subsets(report: Report) -> Folded:
    names, metric = text.subset_names(report), report.primary_metric
    counts = report.data.subset_counts
    heads = [f"{name} ({counts[name]:,})" if name in counts else name for name in names]
    rows = [
        (row.name, *(text.score_long(m.get(metric))
                     for m in (row.metrics, *(row.subsets.get(name, {}) for name in names))))
        for row in report.rows if row.metrics or row.subsets
    ]  # fmt: skip
    title = f"Subsets, {text.metric_label(metric)}"
    return Folded(title, Table(title, ("model", "all", *heads), "l" + "r" * (len(names) + 1), rows))


def _tradeoff(report: Report) -> Section | None:
    return section(
        "tradeoff",
        "Accuracy against size and latency",
        _plots([plots.against_size(report), plots.against_latency(report)]),
    )


def distinct(report: Report) -> list[tuple[str, Measured]]:
    """Rows to compare, those of the same weights or bytes once: ("teacher, student", row)."""
    groups: dict[str, tuple[list[str], Measured]] = {}
    for row in report.rows:
        key = row.name
        if isinstance(row, StageRecord) and row.weights_sha256:
            key = f"{row.weights_sha256} {row.precision}"
        elif isinstance(row, ArtifactRecord):
            key = text.twin(report, row) or row.name
        groups.setdefault(key, ([], row))[0].append(row.name)
    return [(", ".join(names), row) for names, row in groups.values()]


def _joints(report: Report, extras: Extras) -> Section | None:
    """Every joint's score for every model, with bars; the curve where people are kept."""
    metric = report.primary_metric
    rows = [(title, row.metrics[metric].per_joint) for title, row in distinct(report)
            if metric in row.metrics and row.metrics[metric].per_joint]  # fmt: skip
    blocks: list[Block] = _plots([_curve(report, extras)])
    if rows:
        names = dict.fromkeys(joint for _, joints in rows for joint in joints)
        table: list[Sequence[str | Cell]] = [
            (joint.replace("_", " "),
             *(Cell(text.DASH) if (v := joints.get(joint)) is None else Cell(f"{v:.1f}", bar=v)
               for _, joints in rows))
            for joint in names
        ]  # fmt: skip
        label = text.metric_label(metric)
        blocks.append(
            Table(f"{label}, joint by joint", ("joint", *(title for title, _ in rows)),
                  "l" + "b" * len(rows), table)
        )  # fmt: skip
        blocks.append(Prose(f"{label} of each joint, the bar from 0 to 100."))
    return section("joints", "Joint by joint", blocks)


def _curve(report: Report, extras: Extras) -> Plot | None:
    people, metric = extras.people, METRICS.get(report.metric)
    if people is None or metric is None or metric.alphas is None:
        return None
    at = np.linspace(0, metric.alphas[0], 51)
    lines = []
    for title, row in distinct(report):
        if row.name in people.found:
            error = errors(people, row.name, metric.word)
            counted = np.sort(error[np.isfinite(error)])
            if len(counted):
                within = np.searchsorted(counted, at + 1e-12, side="right")
                lines.append((title, (100 * within / len(counted)).tolist()))
    if not lines:
        return None
    label = text.metric_label(metric.word)
    return plots.curves(f"{label} over the threshold", metric.size, at.tolist(), lines)


def _people(report: Report, extras: Extras) -> Section | None:
    if extras.people is None:
        return None
    made = gallery(extras.people, picture_columns(report), word=report.metric)
    if made is None:
        return None
    terms = ""
    if report.data.domain == "photographs":
        terms = " The pictures are of that data: mind its terms before you pass this file on."
    size = METRICS[report.metric].size or "the longer side of the person's box"
    judged = (report.artifacts or report.stages)[0].name
    return section(
        "people",
        "Worst and typical predictions",
        [
            Prose(f"From the validation data ({report.data.domain}), not chosen by hand: the people "
                  f"with the largest mean error of {judged}, then those around the median. Errors "
                  f"are in parts of {size}. Orange: the person's right side; blue: left. "
                  f"The fainter a joint, the less sure the model.{terms}"),
            made,
        ],
    )  # fmt: skip


def picture_columns(report: Report) -> list[tuple[str, str]]:
    """(title, row): the teacher, the float student, and the first artifact or the last stage."""
    teacher = next((row for row in report.stages if row.role == "teacher"), None)
    student = next((row for row in report.stages if row.role == "student"), None)
    last = (report.artifacts or report.stages)[0 if report.artifacts else -1]
    columns: list[tuple[str, str]] = []
    if teacher is not None and student is not None and (
        teacher.weights_sha256 is not None and teacher.weights_sha256 == student.weights_sha256
    ):  # fmt: skip
        columns.append(("teacher = float student", student.name))
    else:
        columns += [("teacher", teacher.name)] if teacher else []
        columns += [("float student", student.name)] if student else []
    if last.name not in [name for _, name in columns]:
        columns.append((last.name, last.name))
    return columns


def _latency(report: Report, extras: Extras) -> Section | None:
    made: list[Plot | None] = [plots.latencies(report)]
    for name, record in extras.benches.items():
        note = f"{record.executor}; {record.conditions.name}."
        if record.device is not None and record.device.layers is not None:
            note += f" {'; '.join(engine_lines(record.device.layers))}."
        if record.model_samples_ms:
            made.append(plots.calls(f"{name}: model only", record.model_samples_ms, note))
        if record.end_to_end_samples_ms:
            made.append(plots.calls(f"{name}: end to end", record.end_to_end_samples_ms, note))
    return section("latency", "Latency", _plots(made))


def _training(report: Report) -> Section | None:
    return section("training", "Training", _plots([plots.training(s) for s in report.stages]))
