"""A report as markdown: the same figures as the terminal, with room for intervals and joints."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from edgepose.report import text
from edgepose.report.record import Measured, Report


def report_markdown(report: Report, *, waterfall: str | None = "waterfall.png") -> str:
    """The whole report. `waterfall` is the picture's path beside the file, None without one."""
    blocks = [
        f"# {report.recipe.name}",
        report.recipe.description,
        "\n".join(_verdict(met, sentence) for met, sentence in text.verdicts(report)),
        _main_table(report),
        text.legend(report),
    ]
    if waterfall:
        primary = text.metric_label(report.primary_metric)
        blocks.append(f"![{primary} and size from the teacher to each artifact]({waterfall})")
    if report.differences:
        blocks += ["## Where accuracy was lost", _difference_table(report)]
    if text.subset_names(report):
        label = text.metric_label(report.primary_metric)
        blocks += [f"## Subsets, {label}", _subset_table(report)]
    if any(_joints(row, report.primary_metric) for row in report.rows):
        label = text.metric_label(report.primary_metric)
        blocks += [f"## Joint by joint, {label}", _joint_table(report)]
    blocks += ["## Where each number comes from", _bullets(text.origins(report))]
    if report.artifacts:
        blocks += ["## Files", _file_table(report), _artifact_table(report), _variant_table(report)]
    if report.all_warnings:
        blocks += ["## Warnings", _bullets(report.all_warnings)]
    if text.row_notes(report):
        blocks += ["## Notes", _bullets(text.row_notes(report))]
    blocks += ["## This run", _table(("what", "value"), text.facts(report), "ll")]
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    if versions:
        blocks.append(f"Versions: {_escape(versions)}")
    if report.commands:
        blocks += ["## Again", "```sh\n" + "\n".join(report.commands) + "\n```"]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _verdict(met: bool | None, sentence: str) -> str:
    word = {True: "**Yes:** ", False: "**No:** ", None: ""}[met]
    return f"- {word}{_escape(sentence)}"


def _escape(cell: str) -> str:
    """Markdown's own characters in names and notes, taken literally."""
    for character in ("\\", "|", "*", "_", "<", ">", "`", "[", "]"):
        cell = cell.replace(character, "\\" + character)
    return cell.replace("\n", " ")


def _table(header: Sequence[str], rows: Iterable[Sequence[str]], alignment: str) -> str:
    """A pipe table; `alignment` holds l or r for each column."""
    rules = [":---" if a == "l" else "---:" for a in alignment]
    lines = [[_escape(h) for h in header], rules, *([_escape(c) for c in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {_escape(line)}" for line in lines)


def _main_table(report: Report) -> str:
    primary, secondary = report.primary_metric, report.secondary_metric
    header = (
        "model", text.metric_label(primary), text.metric_label(secondary), "params", "MACs",
        "size", "latency p50 / p90 / p99, ms", "FPS", "scored by",
    )  # fmt: skip
    return _table(header, (_cells(row, primary, secondary) for row in report.rows), "lrrrrrrrl")


def _cells(row: Measured, primary: str, secondary: str) -> list[str]:
    times, fps = text.DASH, text.DASH
    if row.latency_ms is not None:
        mark = "~" if row.latency_origin.kind == "estimated" else ""
        parts = (row.latency_ms.p50, row.latency_ms.p90, row.latency_ms.p99)
        times = mark + " / ".join(text.milliseconds(p) for p in parts)
        fps = f"{mark}{row.latency_ms.fps:.1f}"
    return [
        row.name,
        text.score_long(row.metrics.get(primary)),
        text.score_long(row.metrics.get(secondary)),
        text.count(row.params),
        text.count(row.macs),
        text.size(row.size_bytes),
        times,
        fps,
        row.executor,
    ]


def _difference_table(report: Report) -> str:
    primary, secondary = report.primary_metric, report.secondary_metric
    labels = (text.metric_label(primary), text.metric_label(secondary))
    rows = []
    for pair in text.step_pairs(report):
        main = text.find_difference(report, pair, primary)
        second = text.find_difference(report, pair, secondary)
        note = text.remark(main, second, names=labels)
        rows.append([" → ".join(pair), text.difference(main), text.difference(second), note])
    header = ("step", *labels, "")
    return _table(header, rows, "lrrl")


def _subset_table(report: Report) -> str:
    names = text.subset_names(report)
    rows = []
    for row in report.rows:
        if row.metrics or row.subsets:
            scores = [row.metrics, *(row.subsets.get(name, {}) for name in names)]
            rows.append(
                [row.name, *(text.score_long(m.get(report.primary_metric)) for m in scores)]
            )
    counts = report.data.subset_counts
    heads = [f"{name} ({counts[name]:,})" if name in counts else name for name in names]
    return _table(("model", "all", *heads), rows, "l" + "r" * (len(names) + 1))


def _joints(row: Measured, metric: str) -> dict[str, float | None]:
    value = row.metrics.get(metric)
    return value.per_joint if value is not None else {}


def _joint_table(report: Report) -> str:
    rows = [row for row in report.rows if _joints(row, report.primary_metric)]
    names = dict.fromkeys(joint for row in rows for joint in _joints(row, report.primary_metric))
    lines = []
    for joint in names:
        values = [_joints(row, report.primary_metric).get(joint) for row in rows]
        lines.append(
            [joint.replace("_", " "), *(text.DASH if v is None else f"{v:.1f}" for v in values)]
        )
    return _table(("joint", *(row.name for row in rows)), lines, "l" + "r" * len(rows))


def _file_table(report: Report) -> str:
    rows = []
    for artifact in report.artifacts:
        twin = text.twin(report, artifact)
        if twin is not None:
            size_bytes = f"{sum(file.size_bytes for file in artifact.files):,}"
            rows.append([artifact.name, f"the same bytes as {twin}", size_bytes, "", ""])
            continue
        for file in text.file_lines(artifact):
            counted = "yes" if file.counted else "no"
            rows.append([artifact.name, file.path, f"{file.size_bytes:,}", counted, file.mark])
    if not rows:
        return ""
    return _table(("artifact", "file", "bytes", "counted", ""), rows, "llrll")


def _artifact_table(report: Report) -> str:
    rows = []
    for artifact in report.artifacts:
        shift = artifact.joint_shift_px
        share = artifact.integer_mac_share
        rows.append(
            [
                artifact.name,
                artifact.precision,
                f"{artifact.size_bytes:,}" if artifact.size_bytes is not None else text.DASH,
                f"{shift.p50:.3f} / {shift.p99:.3f}" if shift else text.DASH,
                f"{100 * share:.1f} %" if share is not None else text.DASH,
            ]
        )
    header = (
        "artifact", "precision", "counted bytes", "joint shift p50 / p99, px",
        "MACs in integer kernels",
    )  # fmt: skip
    return _table(header, rows, "llrrr")


def _variant_table(report: Report) -> str:
    rows = [row for artifact in report.artifacts for row in text.variant_rows(report, artifact)]
    return _table(text.variant_header(report), rows, "llrllrrrrl") if rows else ""
