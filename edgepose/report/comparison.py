"""A comparison of two benchmarks, and the verdicts of a release check, as text of 80 columns."""

from __future__ import annotations

from collections.abc import Sequence

from edgepose.bench.comparison import Comparison, DifferenceValue, RatioValue
from edgepose.bench.fail_if import Verdict
from edgepose.report import text

PHASES = {"model": "model only", "end_to_end": "end to end"}


def comparison_text(found: Comparison) -> str:
    """Ratios with their intervals, differences of scores, sizes, and what to know about them."""
    lines = [f"first   {found.first}", f"second  {found.second}"]
    for phase, ratio in found.ratios.items():
        lines += [f"{PHASES[phase]}, {ratio_verdict(ratio)}", f"  {ratio_how(ratio)}"]
    lines += [score_words(name, score) for name, score in found.scores.items()]
    before, after = found.size_bytes
    lines.append(f"size: {before:,} and {after:,} bytes, {after / before:.3f} x")
    if found.unlike:
        lines.append("compared anyway, though these differ:")
        lines += [f"  {line}" for line in found.unlike]
    lines += [f"note: {note}" for note in found.notes]
    return "\n".join(lines)


def score_words(name: str, score: DifferenceValue) -> str:
    """ "PCKh@0.5: second - first -0.30 points, paired 95 % [-0.90, +0.30], within noise"."""
    line = f"{text.metric_label(name)}: second - first {score.value:+.2f} points"
    if score.ci95 is not None:
        low, high = score.ci95
        line += f", paired 95 % [{low:+.2f}, {high:+.2f}]"
        line += ", within noise" if low <= 0 <= high else ""
    return line


def verdict_lines(verdicts: Sequence[Verdict], found: Comparison) -> list[str]:
    """One line per condition; a ratio of latencies also says whether its interval crosses the limit."""
    lines = []
    for verdict in verdicts:
        condition = verdict.condition
        shown = {"ratio": f"{verdict.figure:.3f}x", "change": f"{verdict.figure:+.3f}"}
        figure = shown.get(condition.kind, f"{verdict.figure:g}")
        word = "FAIL" if verdict.fired else "ok"
        line = f"{word:<4}  {condition.text}: {figure}"
        if condition.kind != "value":
            line += f" ({verdict.baseline:g} to {verdict.now:g})"
        interval = _interval(verdict, found)
        if interval is not None:
            low, high = interval
            line += f", [{low:.3f}, {high:.3f}]"
            if low <= condition.limit <= high:
                line += " reaches across the limit"
        lines.append(line)
    return lines


def _interval(verdict: Verdict, found: Comparison) -> tuple[float, float] | None:
    """The interval of the figure where the comparison has one."""
    condition = verdict.condition
    phase = "end_to_end" if condition.name.startswith("end_to_end_") else "model"
    ratio, name = found.ratios.get(phase), condition.name.removeprefix("end_to_end_")
    if condition.kind == "ratio" and ratio is not None and name in ("fps_p50", "p50_ms"):
        return (ratio.low, ratio.high) if name == "p50_ms" else (1 / ratio.high, 1 / ratio.low)
    scores = {key: score for key, score in found.scores.items()
              if condition.name in (key, key.partition("@")[0])}  # fmt: skip
    if condition.kind == "change" and scores:
        return next(iter(scores.values())).ci95
    return None


def ratio_verdict(ratio: RatioValue) -> str:
    """ "p50: second / first 1.101, 99% [1.090, 1.112]: the second is 10.1% slower"."""
    verdict = "no difference that can be told"
    if ratio.differs:
        share = abs(ratio.value - 1)
        words = f"{share:.1%} {'slower' if ratio.value > 1 else 'faster'}"
        verdict = (
            f"the second was {words}, in one run each" if ratio.once else f"the second is {words}"
        )
    return (
        f"p50: second / first {ratio.value:.3f}, {ratio.level:.0%} "
        f"[{ratio.low:.3f}, {ratio.high:.3f}]: {verdict}"
    )


def ratio_how(ratio: RatioValue) -> str:
    return f"measured {ratio.how}, bootstrap over {ratio.units} {ratio.unit}"
