"""Words and figures that every rendering of a report shares."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from edgepose.bench.record import LatencyMs, MetricValue, Origin
from edgepose.report.record import (
    ArtifactRecord,
    Difference,
    DropVerdict,
    FileRecord,
    Measured,
    Report,
    SizeVerdict,
)

DASH = "-"
PACKAGE_SUFFIX = ".mlpackage"

_LABELS = {
    "pckh": "PCKh", "oks_ap": "OKS AP", "pck": "PCK", "pck_box": "box-PCK",
    "pckh_head_segment": "segment-PCKh",
}  # fmt: skip


def legend(report: Report) -> str:
    """What the marks in the tables mean."""
    drawn = report.interval_over
    return f"~ estimated   - not measured   ± half the 95 % interval (bootstrap over {drawn})"


def metric_label(name: str) -> str:
    """ "pckh@0.5" -> "PCKh@0.5"."""
    base, at, threshold = name.partition("@")
    return _LABELS.get(base, base) + at + threshold


def score(metric: MetricValue | None, *, interval: bool = True) -> str:
    """ "85.3 ±1.1": the value and the wider half of its interval."""
    if metric is None:
        return DASH
    if metric.ci95 is None or not interval:
        return f"{metric.value:.1f}"
    half = max(metric.value - metric.ci95[0], metric.ci95[1] - metric.value, 0.0)
    return f"{metric.value:.1f} ±{half:.1f}"


def score_long(metric: MetricValue | None) -> str:
    """ "85.3 [84.1, 86.2]": the value and its interval."""
    if metric is None:
        return DASH
    if metric.ci95 is None:
        return f"{metric.value:.1f}"
    return f"{metric.value:.1f} [{metric.ci95[0]:.1f}, {metric.ci95[1]:.1f}]"


def count(number: int | None) -> str:
    """Parameters or MACs: "15.4 M", "1.02 G"."""
    if number is None:
        return DASH
    for unit, factor in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= factor:
            return f"{_three(number / factor)} {unit}"
    return str(number)


def size(size_bytes: int | None) -> str:
    """Bytes in units of 1000: "4.31 MB"."""
    if size_bytes is None:
        return DASH
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size_bytes >= factor:
            return f"{_three(size_bytes / factor)} {unit}"
    return f"{size_bytes} B"


def _three(value: float) -> str:
    """Three significant digits without an exponent: "4.31", "15.4", "187"."""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def milliseconds(value: float) -> str:
    """ "0.412", "12.3", "187": three significant digits."""
    return f"{value:.3f}" if value < 1 else _three(value)


def latency(latency_ms: LatencyMs | None, origin: Origin) -> str:
    """The median in ms, "~" before an estimate, "-" where there is none."""
    if latency_ms is None:
        return DASH
    mark = "~" if origin.kind == "estimated" else ""
    return mark + milliseconds(latency_ms.p50)


def latency_long(latency_ms: LatencyMs) -> str:
    """ "p50 12.3, p90 12.9, p99 14.0 ms (1024 calls after 50 to warm up, 2 threads, batch 1)"."""
    figures = ", ".join(
        f"{name} {milliseconds(getattr(latency_ms, name))}" for name in ("p50", "p90", "p99")
    )
    if latency_ms.max is not None:
        figures += f", max {milliseconds(latency_ms.max)}"
    if latency_ms.mean is not None and latency_ms.mean_ci95 is not None:
        low, high = (milliseconds(value) for value in latency_ms.mean_ci95)
        figures += f", mean {milliseconds(latency_ms.mean)} [{low}, {high}]"
    how = []
    if latency_ms.count is not None:
        warm = f" after {latency_ms.warmup} to warm up" if latency_ms.warmup is not None else ""
        how.append(f"{latency_ms.count} calls{warm}")
    if latency_ms.threads is not None:
        how.append(f"{latency_ms.threads} thread{'s' if latency_ms.threads != 1 else ''}")
    how.append(f"batch {latency_ms.batch}")
    return f"{figures} ms ({', '.join(how)})"


def executor_short(description: str) -> str:
    """ "ONNX Runtime 1.31.1 CPU AVX512-VNNI" -> "ORT CPU"; versions stay in the long list."""
    head = re.split(r"[,(;]", description)[0].replace("ONNX Runtime", "ORT")
    head = (
        head.replace("interpreter", "interp.").replace("PyTorch", "torch").removesuffix(" graph ")
    )
    words = [w for w in head.split() if not re.match(r"v?\d|AVX|AMX|SSE|NEON|I8MM|DOTPROD|FMA", w)]
    return " ".join(words)[:14] or description[:14]


def signed(value: float) -> str:
    """ "+0.3", "-1.8", "0.0"."""
    return f"{value:+.1f}" if round(value, 1) else "0.0"


def difference(item: Difference | None) -> str:
    """ "-1.8 [-2.4, -1.2]"."""
    if item is None:
        return DASH
    if item.ci95 is None:
        return signed(item.value)
    return f"{signed(item.value)} [{signed(item.ci95[0])}, {signed(item.ci95[1])}]"


def is_noise(item: Difference) -> bool | None:
    """Whether the interval of a difference holds zero; None without an interval."""
    return None if item.ci95 is None else item.ci95[0] <= 0 <= item.ci95[1]


def remark(main: Difference | None, second: Difference | None, *, names: tuple[str, str]) -> str:
    """What the intervals of a step's two differences say; names: of the two metrics, for the table."""
    noise = [None if item is None else is_noise(item) for item in (main, second)]
    if noise[0] and noise[1] is not False:
        return "within noise"
    if noise[0] and second is not None:
        return f"{names[1]} differs"
    return ""


@dataclass(frozen=True)
class FileLine:
    """A file of an artifact, or a package (a folder that ships as one) with its bytes in all.

    mark: the first digits of a file's SHA-256, or how many files a package holds
    """

    path: str
    size_bytes: int
    counted: bool
    mark: str


def file_lines(artifact: ArtifactRecord) -> list[FileLine]:
    """An artifact's files in order, each .mlpackage as one line."""
    groups: dict[str, list[FileRecord]] = {}
    for file in artifact.files:
        parts = file.path.split("/")
        ends = [i + 1 for i, part in enumerate(parts) if part.endswith(PACKAGE_SUFFIX)]
        groups.setdefault("/".join(parts[: ends[0]] if ends else parts), []).append(file)
    return [
        FileLine(
            path=path,
            size_bytes=sum(file.size_bytes for file in files),
            counted=any(file.counted for file in files),
            mark=f"sha256 {files[0].sha256[:12]}"
            if path == files[0].path
            else f"package of {len(files)} files",
        )
        for path, files in groups.items()
    ]


def variant_header(report: Report) -> tuple[str, ...]:
    """Column heads of `variant_rows`."""
    labels = (metric_label(report.primary_metric), metric_label(report.secondary_metric))
    return (
        "artifact", "crop", "images", "gives", "file", "bytes", *labels,
        "joint shift p50 / p99, px", "scored by",
    )  # fmt: skip


def variant_rows(report: Report, artifact: ArtifactRecord) -> list[tuple[str, ...]]:
    """An artifact's variants beside its main file: other crop sizes, batches, whole-pose graphs."""
    rows: list[tuple[str, ...]] = []
    for v in artifact.variants:
        shift = v.joint_shift_px
        rows.append(
            (
                artifact.name,
                f"{v.input_hw[0]}x{v.input_hw[1]}",
                str(v.batch),
                v.gives,
                v.file.rpartition("/")[2],
                f"{v.size_bytes:,}",
                score_long(v.metrics.get(report.primary_metric)),
                score_long(v.metrics.get(report.secondary_metric)),
                f"{shift.p50:.3f} / {shift.p99:.3f}" if shift else DASH,
                v.executor,
            )
        )
    return rows


def twin(report: Report, artifact: ArtifactRecord) -> str | None:
    """The name of an earlier artifact that consists of the very same bytes; None where none does."""
    own = sorted(file.sha256 for file in artifact.files)
    for other in report.artifacts:
        if other is artifact or not own:
            return None
        if sorted(file.sha256 for file in other.files) == own:
            return other.name
    return None


def size_verdict(verdict: SizeVerdict) -> str:
    """One sentence: does it fit the budget?"""
    asked = f"{verdict.size_mb:g} MB"
    largest = f"{verdict.largest_file}: {verdict.largest_size_bytes:,} bytes"
    if verdict.met:
        return f"fits the budget of {asked} (largest counted file {largest})"
    over = verdict.largest_size_bytes - round(verdict.size_mb * 1e6)
    return f"does not fit the budget of {asked} ({largest}, {over:,} too many)"


def drop_verdict(verdict: DropVerdict) -> str:
    """One sentence: is the loss within what was allowed, and how sure is that?"""
    label = metric_label(verdict.metric)
    interval = ""
    if verdict.ci95 is not None:
        ends = verdict.ci95 if verdict.drop >= 0 else (-verdict.ci95[1], -verdict.ci95[0])
        interval = f" [{ends[0]:.1f}, {ends[1]:.1f}]"
    change = f"{abs(verdict.drop):.1f}{interval} {label} points"
    change += " below" if verdict.drop >= 0 else " above"
    within = "within" if verdict.met else "not within"
    sentence = f"{within} the allowed drop of {verdict.max_drop:g}: "
    sentence += f"{verdict.compared} is {change} {verdict.baseline}"
    if verdict.ci95 is not None:
        if verdict.met and verdict.ci95[1] > verdict.max_drop:
            sentence += "; the interval reaches past the limit"
        elif not verdict.met and verdict.ci95[0] <= verdict.max_drop:
            sentence += "; the interval reaches into the limit"
    return sentence


def verdicts(report: Report) -> list[tuple[bool | None, str]]:
    """(met, sentence) pairs for the top of a report; None where nothing was asked."""
    lines: list[tuple[bool | None, str]] = []
    if report.budget.size is not None:
        lines.append((report.budget.size.met, size_verdict(report.budget.size)))
    if report.budget.drop is not None:
        lines.append((report.budget.drop.met, drop_verdict(report.budget.drop)))
    if not lines:
        lines.append((None, "the recipe sets no budget, so there is nothing to meet"))
    scored = sum(1 for a in report.artifacts if a.metrics)
    if report.artifacts:
        everything = scored == len(report.artifacts)
        lines.append(
            (everything, f"{scored} of {len(report.artifacts)} artifacts were run and scored")
        )
    return lines


def step_pairs(report: Report) -> list[tuple[str, str]]:
    """The (before, after) pairs that differences were computed for, in the report's order."""
    return list(dict.fromkeys((d.before, d.after) for d in report.differences))


def find_difference(report: Report, pair: tuple[str, str], metric: str) -> Difference | None:
    """The difference of one pair in one metric; None where it was not computed."""
    for item in report.differences:
        if (item.before, item.after) == pair and item.metric == metric:
            return item
    return None


def subset_names(report: Report) -> list[str]:
    """Names of the subsets that any row was scored on."""
    return list(dict.fromkeys(name for row in report.rows for name in row.subsets))


def row_notes(report: Report) -> list[str]:
    """What a stage or an export had to say for itself."""
    return [f"{row.name}: {note}" for row in report.rows for note in row.notes]


def origins(report: Report) -> list[str]:
    """Sentences that say, for every row, what computed its scores and its latency."""
    lines = []
    accuracy: dict[tuple[str, str, str], list[str]] = {}
    for row in report.rows:
        key = (str(row.metrics_origin), row.executor, row.host)
        accuracy.setdefault(key, []).append(row.name)
    for (origin, executor, host), names in accuracy.items():
        where = f" ({host})" if host else ""
        lines.append(f"accuracy of {listed(names)}: {origin}{where}, run by {executor}")
    silent: dict[str, list[str]] = {}
    for row in report.rows:
        if row.latency_ms is None:
            silent.setdefault(row.latency_note or "no reason given", []).append(row.name)
        else:
            lines.append(f"latency of {row.name}: {row.latency_origin}, {_latency_line(row)}")
    for note, names in silent.items():
        said = note if "not measured" in note else f"not measured: {note}"
        lines.append(f"latency of {listed(names)}: {said}")
    return lines


def _latency_line(row: Measured) -> str:
    latency_ms = row.latency_ms
    assert latency_ms is not None
    note = f"; {row.latency_note}" if row.latency_note else ""
    return f"{latency_long(latency_ms)}, {latency_ms.fps:.1f} FPS{note}"


def listed(names: Sequence[str]) -> str:
    """ "a, b and c"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def facts(report: Report) -> list[tuple[str, str]]:
    """(word, sentence) pairs: what was run, on what, with what."""
    rows = [("recipe", f"{report.recipe.name} (sha256 {report.recipe.sha256[:12]})")]
    rows.append(("run", f"{report.run_id}, seed {report.seed}, edgepose {report.edgepose_version}"))
    if report.duration_s is not None:
        rows[-1] = ("run", f"{rows[-1][1]}, {report.duration_s / 60:.1f} min")
    if report.teacher is not None:
        t = report.teacher
        note = f"; {t.note}" if t.note else ""
        main = t.score.get(report.primary_metric)
        scored = f", {metric_label(report.primary_metric)} {score_long(main)}" if main else ""
        rows.append(("teacher", f"{t.name} ({t.arch}, {t.source}){scored}{note}"))
    if report.student is not None:
        s = report.student
        sha = s.starting_weights_sha256
        start = s.starting_weights + (f" (sha256 {sha[:12]})" if sha else "")
        rows.append(("student", f"{s.arch}, {s.input_hw[0]}x{s.input_hw[1]}, from {start}"))
    d = report.data
    counts = ", ".join(f"{n:,} {split}" for split, n in d.counts.items())
    rows.append(("data", f"{d.domain} ({d.source}; {counts}; fingerprint {d.fingerprint[:12]})"))
    if d.calibration is not None:
        c = d.calibration
        rows.append(("calibration", f"{c.images:,} images, {c.domain} ({c.source})"))
    if report.metric_convention:
        rows.append(
            ("metric", f"{metric_label(report.primary_metric)}: {report.metric_convention}")
        )
    rows.append(("host", f"{report.host.name}, {report.host.os}"))
    return rows
