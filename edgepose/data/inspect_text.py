"""An inspection as text for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_LISTED = 10


def inspection_text(result: Mapping[str, Any]) -> str:
    """A paragraph per split, joints with their counts side by side, then what splits share."""
    splits: Mapping[str, Any] = result["splits"]
    lines: list[str] = []
    for name, facts in splits.items():
        lines += [*_split(name, facts), ""]
    lines += _joints(splits)
    if len(splits) > 1:
        lines += ["", "Pictures in two splits (same file, or they look the same, mirrored or not):"]
        for pair, kinds in result["shared"].items():
            found = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
            lines.append(f"  {pair}: {found or 'none'}")
        count = result["leak_count"]
        if count:
            lines.append(f"LEAKS: {count} validation pictures are in another split, e.g.")
            for leak in result["leaks"][:_LISTED]:
                (a, x), (b, y) = [(k, v) for k, v in leak.items() if k != "kind"]
                lines.append(f"  {leak['kind']}: {a} {x} - {b} {y}")
        else:
            lines.append("No validation picture is in another split.")
    return "\n".join(lines)


def _split(name: str, facts: Mapping[str, Any]) -> list[str]:
    head = f"{name}: {facts['people']} people ({facts['skeleton']}, {facts['domain']})"
    if facts["looked_at"] < facts["people"]:
        head += f"; the first {facts['looked_at']} were looked at"
    lines = [head]
    for what, counts in (("left out", facts["skipped"]), ("UNUSABLE", facts["unusable"]["counts"])):
        if counts:
            lines.append(f"  {what}: " + ", ".join(f"{n} {reason}" for reason, n in counts.items()))
    for reason, names in facts["unusable"]["examples"].items():
        lines.append(f"    {reason}: {', '.join(names)}")
    if not facts["images"]:
        return lines
    per = facts["people_per_image"]
    lines.append(
        f"  images: {facts['images']}, people per image {per['mean']:.2f} (most {per['max']})"
    )
    for key, label in (
        ("image_longer_side_px", "image, longer side px"),
        ("box_longer_side_px", "box, longer side px"),
        ("box_share_of_image", "box, share of image"),
        ("joints_per_person", "joints per person"),
    ):
        values = facts[key]
        shown = "  ".join(f"{at} {values[at]:.4g}" for at in ("min", "p5", "p50", "p95", "max"))
        lines.append(f"  {label + ':':<24}{shown}")
    lines.append(
        f"  boxes under 32 px: {facts['boxes_under_32_px']}, cut by the image: "
        f"{facts['boxes_cut_by_the_image']}"
    )
    lines.append(
        f"  joints outside the image: "
        f"{facts['joints_outside_the_image']}, outside the crop: {facts['joints_outside_the_crop']}"
    )
    tags = ", ".join(f"{count} {tag}" for tag, count in facts["tags"].items())
    lines.append(f"  head size known: {facts['with_head_size']}; tags: {tags or 'none'}")
    return lines


def _joints(splits: Mapping[str, Any]) -> list[str]:
    """How many people have each joint annotated, in percent of each split."""
    shown = {name: facts for name, facts in splits.items() if facts["images"]}
    if not shown:
        return []
    names = list(dict.fromkeys(j for facts in shown.values() for j in facts["annotated_joints"]))
    wide = max(len(name) for name in names)
    columns = [max(len(name), 6) for name in shown]
    heads = "  ".join(f"{n:>{w}}" for n, w in zip(shown, columns, strict=True))
    lines = [f"{'annotated, %':<{wide}}  {heads}"]
    for joint in names:
        cells = []
        for facts, width in zip(shown.values(), columns, strict=True):
            count = facts["annotated_joints"].get(joint)
            text = "-" if count is None else f"{100 * count / facts['looked_at']:.1f}"
            cells.append(f"{text:>{width}}")
        lines.append(f"{joint:<{wide}}  {'  '.join(cells)}")
    return lines
