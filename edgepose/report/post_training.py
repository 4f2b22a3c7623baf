"""What INT8 cost somebody's network, in a few lines under the report."""

from __future__ import annotations

import textwrap
from pathlib import Path

from edgepose.report import text
from edgepose.report.record import Report


def post_training_text(report: Report, run: Path) -> str:
    """Cost with its interval, the layers to blame, how the data was divided, where the files are."""
    label = text.metric_label(report.primary_metric)
    before, after = report.stages[0], report.stages[-1]
    change = text.find_difference(report, (before.name, after.name), report.primary_metric)
    values = [
        text.score(row.metrics.get(report.primary_metric), interval=False)
        for row in (before, after)
    ]
    counts, calibration = report.data.counts, report.data.calibration
    sentences = [
        f"INT8 without training: {text.difference(change)} {label} points, "
        f"{values[0]} in float, {values[1]} in INT8"
    ]
    if report.budget.drop is not None:
        sentences.append(f"the files: {text.drop_verdict(report.budget.drop)}")
    if calibration is not None:
        sentences.append(
            f"data: {calibration.images} pictures chose the INT8 ranges ({calibration.source}); of the "
            f"labelled people, {counts['train']} may decide about layers and {counts['val']} others are "
            "scored"
        )
    sentences += [note for note in after.notes if "INT8 alone" in note or "float" in note]
    if report.duration_s is not None:
        sentences.append(f"it took {report.duration_s / 60:.1f} minutes")
    lines = [line for s in sentences for line in textwrap.wrap(s, 78, subsequent_indent="  ")]
    for artifact in report.artifacts:
        score = text.score(artifact.metrics.get(report.primary_metric), interval=False)
        size = text.size(artifact.size_bytes)
        lines.append(f"{artifact.name}: {label} {score}, {size}")
        lines.append(f"  {run / (artifact.file or '')}")
    return "\n".join(lines)
