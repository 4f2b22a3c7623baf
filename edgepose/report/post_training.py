"""What INT8 cost somebody's network, in a few lines under the report."""

from __future__ import annotations

from pathlib import Path

from edgepose.report import text
from edgepose.report.record import Report


def post_training_text(report: Report, run: Path) -> str:
    """Cost with its interval, the layers to blame, how the data was divided, where the files are."""
    label = text.metric_label(report.primary_metric)
    before, after = report.stages[0], report.stages[-1]
    change = text.find_difference(report, (before.name, after.name), report.primary_metric)
    scores = [
        text.score(row.metrics.get(report.primary_metric), interval=False)
        for row in (before, after)
    ]
    counts = report.data.counts
    calibration = report.data.calibration
    images = (
        "" if calibration is None else f"{calibration.images} of {calibration.source} calibrated"
    )
    minutes = "" if report.duration_s is None else f", {report.duration_s / 60:.1f} minutes"
    lines = [
        "",
        f"INT8 without training: {text.difference(change)} {label} points against float "
        f"({scores[0]} -> {scores[1]}){minutes}",
        f"data: {counts['train']} people to calibrate and decide ({images}), {counts['val']} others scored",
    ]
    lines += [f"{note}" for note in after.notes if "layers" in note or "in float" in note]
    for artifact in report.artifacts:
        score = text.score(artifact.metrics.get(report.primary_metric), interval=False)
        lines.append(
            f"  {artifact.name:<16} {label} {score:>5}  {text.size(artifact.size_bytes):>8}  "
            f"{run / (artifact.file or '')}"
        )
    return "\n".join(lines)
