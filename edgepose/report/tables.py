"""The scores of a prediction file as text for a terminal of 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

from edgepose.report.text import metric_label

_CONVENTIONS = {
    "hrnet": "error <= threshold counts; the mean is weighted by joint counts",
    "pytorch-pose": "error < threshold counts; the mean is over joints, unweighted",
    "mmpose": "error < threshold counts; the mean is weighted by joint counts",
}
_CURVE_AT = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)


def tables_text(result: Mapping[str, Any]) -> str:
    """What was compared, then a table per threshold with one line per convention."""
    lines = [f"{result['predictions']} against {result['ground_truth']}", _base(result)]
    if "coco" in result:
        return "\n".join([*lines, "", *_coco(result)])
    lines.insert(
        1,
        f"{result['persons']:,} people, {result['scored_joints']:,} labelled joints counted "
        f"({result['skeleton']}); no model was run",
    )
    found = result["conventions"]
    first = next(iter(found.values()))
    scores = [name for name in first if "@" in name]
    for name in scores:
        lines += ["", *_groups(name, found)] if first[name]["groups"] else []
    if not first[scores[0]]["groups"]:
        lines += ["", *_joints(scores, found)]
    printed = {name: v["printed_as_0.1"] for name, v in found.items() if "printed_as_0.1" in v}
    lines += ["", "what its own code prints as @0.1"] if printed else []
    for name, value in printed.items():
        lines.append(f"{name:<14}{_cell(value['mean'])}  threshold {value['threshold']:.2f}")
    lines += ["", *_curve(found), ""]
    lines += [f"{name:<14}{_CONVENTIONS[name]}" for name in found]
    size = f"thresholds are parts of {result['size']}; pelvis and thorax stay out of every mean"
    return "\n".join([*lines, *textwrap.wrap(size, 80)])


def _base(result: Mapping[str, Any]) -> str:
    base = result["coordinate_base"]
    added = base["added_px"]
    how = "nothing added" if not added else f"{added:+d} px added to the predictions"
    return (
        f"predictions are {base['predictions']}-based, ground truth is "
        f"{base['ground_truth']}-based: {how}"
    )


def _cell(value: float | None) -> str:
    return f"{'-':>8}" if value is None else f"{value:8.3f}"


def _groups(name: str, found: Mapping[str, Any]) -> list[str]:
    groups = list(next(iter(found.values()))[name]["groups"])
    lines = [f"{metric_label(name):<14}" + "".join(f"{g:>8}" for g in (*groups, "Mean"))]
    for convention, values in found.items():
        row = values[name]
        cells = [*(row["groups"][g] for g in groups), row["mean"]]
        lines.append(f"{convention:<14}" + "".join(map(_cell, cells)))
    return lines


def _joints(scores: list[str], found: Mapping[str, Any]) -> list[str]:
    """Joints that form no groups, one line each; the last line is the mean."""
    heads = [(convention, name) for convention in found for name in scores]
    width = max(len(metric_label(name)) for name in scores)
    lines = []
    for start in range(0, len(heads), 4):
        part = heads[start : start + 4]
        cell = max(width, *(len(c) for c, _ in part)) + 2
        lines += [f"{'':<16}" + "".join(f"{c:>{cell}}" for c, _ in part),
                  f"{'joint':<16}" + "".join(f"{metric_label(n):>{cell}}" for _, n in part)]  # fmt: skip
        rows = [found[c][n] for c, n in part]
        for joint in rows[0]["per_joint"]:
            cells = [_cell(row["per_joint"][joint]).strip() for row in rows]
            lines.append(f"{joint[:15]:<16}" + "".join(f"{v:>{cell}}" for v in cells))
        cells = [_cell(row["mean"]).strip() for row in rows]
        lines += [f"{'mean':<16}" + "".join(f"{v:>{cell}}" for v in cells), ""]
    return lines[:-1]


def _curve(found: Mapping[str, Any]) -> list[str]:
    lines = [f"{'mean at':<14}" + "".join(f"{t:>8.2f}" for t in _CURVE_AT)]
    for convention, values in found.items():
        curve = dict(zip(values["curve"]["thresholds"], values["curve"]["mean"], strict=True))
        lines.append(f"{convention:<14}" + "".join(_cell(curve[t]) for t in _CURVE_AT))
    return [*lines, "(--json has the curve at 0, 0.01, ..., 0.50, of each group too)"]


def _coco(result: Mapping[str, Any]) -> list[str]:
    lines = [
        f"{result['persons']:,} people on {result['images']:,} images, "
        f"{result['detections']:,} predictions; no model was run",
        "",
    ]
    for name, value in result["coco"].items():
        ends = result["ci95"].get(name)
        interval = f"   95 % interval {ends[0]:.2f} to {ends[1]:.2f}" if ends else ""
        lines.append(f"{name:<12}{_cell(value)}{interval}")
    return [*lines, "", "OKS .50:.05:.95, at most 20 people an image, by pycocotools;",
            "intervals by bootstrap over images"]  # fmt: skip
