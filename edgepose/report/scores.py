"""The result of `edgepose eval` as text for a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgepose.report.text import metric_label


def _interval(metric: Mapping[str, Any]) -> str:
    low, high = metric["ci95"]
    return f"{metric['value']:6.2f}   95 % interval {low:.2f} to {high:.2f}"


def _oks_lines(result: Mapping[str, Any]) -> list[str]:
    """OKS and AP with what they are over; a dash where nobody has a known area."""
    people = f"over {result['oks_persons']} people with a known area, boxes given"
    oks, ap = result["mean_oks"], result["oks_ap"]
    return [
        f"Over the {len(result['joints'])} joints that model and data name alike, each person in "
        "the given box:",
        "not COCO's AP, which needs a detector and 17 joints.",
        "",
        f"{'mean OKS':<12} {'-' if oks is None else f'{oks:6.3f}'}   {people}",
        f"{'OKS AP':<12} {'-' if ap is None else f'{ap:6.2f}'}   {people}",
    ]


def scores_text(subject: str, result: Mapping[str, Any]) -> str:
    """Scores with their intervals, per joint, and who computed them on what."""
    lines = [
        subject,
        f"{result['persons']} people ({result['domain']}), measured on this host",
        f"run by {result['executor']}",
        "",
    ]
    found = result.get("metrics") or result["pck"]
    if "mean_oks" in result:
        lines += _oks_lines(result)
    width = max(12, *(len(metric_label(name)) for name in found))
    lines += [f"{metric_label(name):<{width}} {_interval(m)}" for name, m in found.items()]
    for name, subset in result.get("subsets", {}).items():
        scores = "  ".join(
            f"{metric_label(key)} {value:.2f}" for key, value in subset.items() if key != "persons"
        )
        lines.append(f"  {name:<16} {scores}  ({subset['persons']:.0f} people)")
    if "convention" in result:
        lines += ["", result["convention"]]
    first, second = list(found)[:2]
    if found[first]["per_joint"]:
        heads = metric_label(first), metric_label(second)
        widths = [max(9, len(head)) for head in heads]
        lines += ["", f"{'joint':<16} {heads[0]:>{widths[0]}} {heads[1]:>{widths[1]}}"]
        for joint, value in found[first]["per_joint"].items():
            other = found[second]["per_joint"][joint]
            cells = ["-" if v is None else f"{v:.1f}" for v in (value, other)]
            lines.append(f"{joint:<16} {cells[0]:>{widths[0]}} {cells[1]:>{widths[1]}}")
    return "\n".join(lines)
