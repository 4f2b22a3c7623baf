"""The parts of the page of a run, in the order in which a reader asks for them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgepose.metrics.metric import METRICS
from edgepose.report import text
from edgepose.report.html import plots
from edgepose.report.html.blocks import (
    Block,
    Bullets,
    Cell,
    Code,
    Figure,
    Folded,
    Plot,
    Plots,
    Prose,
    Section,
    Table,
    Verdict,
)
from edgepose.report.html.gather import Extras
from edgepose.report.html.pictures import gallery
from edgepose.report.people import errors
from edgepose.report.record import ArtifactRecord, Difference, Measured, Report, StageRecord


def verdicts(report: Report, extras: Extras) -> list[Verdict]:
    """Does it fit, is the loss allowed, was every file run, are the files the recorded ones?"""
    lines = [Verdict(met, _sentence(line)) for met, line in text.verdicts(report)]
    files = extras.files
    if files.missing or files.changed:
        what = [f"{len(names)} {word}: {text.listed(names[:3])}" for names, word in
                ((files.missing, "missing"), (files.changed, "changed")) if names]  # fmt: skip
        lines.append(Verdict(False, f"Of {files.count} files of the artifacts, {'; '.join(what)}"))
    elif files.count:
        lines.append(
            Verdict(True, f"All {files.count} files of the artifacts have the recorded SHA-256")
        )
    return lines


def _sentence(line: str) -> str:
    return line[:1].upper() + line[1:]


def headline(report: Report) -> list[Figure]:
    """The figures that a decision hangs on."""
    figures = []
    size, drop = report.budget.size, report.budget.drop
    ships = [row for row in report.artifacts if row.size_bytes]
    if size is not None:
        figures.append(Figure(text.size(size.largest_size_bytes), "largest counted file",
                              f"budget {size.size_mb:g} MB"))  # fmt: skip
    elif ships:
        largest = max(ships, key=lambda row: row.size_bytes or 0)
        figures.append(Figure(text.size(largest.size_bytes), "largest counted file", largest.name))
    label = text.metric_label(report.primary_metric)
    scored = [row for row in report.artifacts or report.stages
              if report.primary_metric in row.metrics]  # fmt: skip
    if scored:
        worst = min(scored, key=lambda row: row.metrics[report.primary_metric].value)
        score = worst.metrics[report.primary_metric]
        interval = f", {score.ci95[0]:.1f} to {score.ci95[1]:.1f}" if score.ci95 else ""
        figures.append(Figure(f"{score.value:.1f}", label, f"{worst.name}{interval}"))
    if drop is not None:
        interval = f" {drop.ci95[0]:.1f} to {drop.ci95[1]:.1f}" if drop.ci95 else ""
        figures.append(Figure(f"{drop.drop:.1f}", f"points below {drop.baseline}",
                              f"allowed {drop.max_drop:g}; interval{interval}" if interval
                              else f"allowed {drop.max_drop:g}"))  # fmt: skip
    timed = [row for row in report.artifacts if row.latency_ms is not None]
    if timed:
        fastest = min(timed, key=lambda row: row.latency_ms.p50 if row.latency_ms else 0)
        assert fastest.latency_ms is not None
        mark = "~" if fastest.latency_origin.kind == "estimated" else ""
        figures.append(Figure(f"{mark}{text.milliseconds(fastest.latency_ms.p50)} ms",
                              "median latency", f"{fastest.name}, {fastest.latency_origin}"))  # fmt: skip
    return figures


def sections(report: Report, extras: Extras) -> list[Section]:
    """Every section that has something to show."""
    made = [
        _stages(report),
        _tradeoff(report),
        _joints(report, extras),
        _people(report, extras),
        _latency(report, extras),
        _training(report),
        _layers(extras),
        _files(report),
        _conditions(report),
        _section("notes", "Warnings and notes", [
            *_lines(report.all_warnings), *_lines(text.row_notes(report)),
            *_lines([f"Left out: {line}" for line in extras.left_out])]),
        _section("again", "Run it again", [Code(report.commands)] if report.commands else []),
    ]  # fmt: skip
    return [section for section in made if section is not None]


def _section(name: str, title: str, blocks: Sequence[Block]) -> Section | None:
    return Section(name, title, blocks) if blocks else None


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
    return _section(
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
    return _section(
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
        table = [
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
    return _section("joints", "Joint by joint", blocks)


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
    size = METRICS[report.metric].size or "the longer side of the person's box"
    judged = (report.artifacts or report.stages)[0].name
    return _section(
        "people",
        "Worst and typical predictions",
        [
            Prose(f"From the validation data ({report.data.domain}), not chosen by hand: the people "
                  f"with the largest mean error of {judged}, then those around the median. Errors "
                  f"are in parts of {size}. Orange: the person's right side; blue: left. "
                  "The fainter a joint, the less sure the model."),
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
        if record.model_samples_ms:
            made.append(plots.calls(f"{name}: model only", record.model_samples_ms, note))
        if record.end_to_end_samples_ms:
            made.append(plots.calls(f"{name}: end to end", record.end_to_end_samples_ms, note))
    return _section("latency", "Latency", _plots(made))


def _training(report: Report) -> Section | None:
    return _section("training", "Training", _plots([plots.training(s) for s in report.stages]))


def _layers(extras: Extras) -> Section | None:
    if not extras.layers:
        return None
    total = sum(layer.macs for layer in extras.layers)
    rows = []
    for layer in extras.layers:
        channels, height, width = layer.output
        kept = text.DASH
        if layer.before:
            kept = f"{channels} of {layer.before}"
        rows.append(
            (layer.name, f"{channels} x {height} x {width}", kept, f"{layer.weights:,}",
             text.count(layer.macs), Cell(f"{100 * layer.macs / total:.1f} %",
                                          bar=100 * layer.macs / total), layer.precision)
        )  # fmt: skip
    header = ("layer", "output C x H x W", "kept channels", "weights", "MACs", "share", "precision")
    return _section(
        "layers",
        "Layer by layer",
        [
            Table("Every convolution of the final network", header, "llrrrbl", rows),
            Prose(f"{len(rows)} convolutions, {text.count(total)} multiply-adds for one crop. Kept "
                  "channels: of the architecture as published, in the form that ships (a "
                  "deconvolution's four phases are channels)."),
        ],
    )  # fmt: skip


def _files(report: Report) -> Section | None:
    rows = []
    for artifact in report.artifacts:
        twin = text.twin(report, artifact)
        if twin is not None:
            total = f"{sum(file.size_bytes for file in artifact.files):,}"
            rows.append((artifact.name, f"the same bytes as {twin}", total, "", ""))
            continue
        rows += [(artifact.name, file.path, f"{file.size_bytes:,}",
                  "yes" if file.counted else "no", file.mark)
                 for file in text.file_lines(artifact)]  # fmt: skip
    if not rows:
        return None
    checks = []
    for artifact in report.artifacts:
        shift, share = artifact.joint_shift_px, artifact.integer_mac_share
        off = text.DASH
        if shift is not None and shift.off_share is not None:
            off = f"{100 * shift.off_share:.2f} %"
        checks.append(
            (artifact.name, artifact.precision,
             f"{shift.p50:.3f} / {shift.p99:.3f}" if shift else text.DASH, off,
             f"{100 * share:.1f} %" if share is not None else text.DASH)
        )  # fmt: skip
    blocks: list[Block] = [
        Table("Files", ("artifact", "file", "bytes", "counted", "SHA-256"), "ltrll", rows),
        Table(
            "Each file against the model that it was written from",
            ("artifact", "precision", "joint shift p50 / p99, px", "confident joints off by > 1 px",
             "MACs in integer kernels"), "llrrr", checks),
    ]  # fmt: skip
    return _section("files", "Artifacts", blocks)


def _conditions(report: Report) -> Section | None:
    host = report.host
    facts = list(text.facts(report))
    if host.load_average is not None:
        facts.append(("load", f"load average {host.load_average[0]:.2f} at the end of the run"))
    facts.append(("recipe sha256", report.recipe.sha256))
    facts += [(f"{split} data", mark) for split, mark in report.data.fingerprints.items()]
    facts += [(f"weights of {row.name}", row.weights_sha256)
              for row in report.stages if row.weights_sha256]  # fmt: skip
    versions = [(name, version) for name, version in report.versions.items()]
    return _section(
        "conditions",
        "Conditions and provenance",
        [
            Table("This run", ("what", "value"), "lt", facts),
            Bullets(text.origins(report)),
            *([Folded("Versions", Table("Versions", ("package", "version"), "ll", versions))]
              if versions else []),
        ],
    )  # fmt: skip
