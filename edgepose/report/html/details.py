"""The parts of the page that a reader looks things up in: layers, files, conditions."""

from __future__ import annotations

from edgepose.report import text
from edgepose.report.html.blocks import (
    Block,
    Bullets,
    Cell,
    Folded,
    Prose,
    Section,
    Table,
    section,
)
from edgepose.report.html.gather import Extras
from edgepose.report.record import Report


def layers(extras: Extras) -> Section | None:
    if not extras.layers:
        return None
    total = sum(layer.macs for layer in extras.layers)
    most = max(layer.macs for layer in extras.layers)
    rows = []
    for layer in extras.layers:
        channels, height, width = layer.output
        kept = text.DASH
        if layer.before:
            kept = f"{channels} of {layer.before}"
        rows.append(
            (layer.name, f"{channels} x {height} x {width}", kept, f"{layer.weights:,}",
             text.count(layer.macs), Cell(f"{100 * layer.macs / total:.1f} %",
                                          bar=100 * layer.macs / most), layer.precision)
        )  # fmt: skip
    header = ("layer", "output C x H x W", "kept channels", "weights", "MACs", "share", "precision")
    return section(
        "layers",
        "Layer by layer",
        [
            Table("Every convolution of the final network", header, "llrrrbl", rows),
            Prose(f"{len(rows)} convolutions, {text.count(total)} multiply-adds for one crop. Kept "
                  "channels: of the architecture as published, in the form that ships (a "
                  "deconvolution's four phases are channels)."),
        ],
    )  # fmt: skip


def files(report: Report) -> Section | None:
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
    variants = [row for artifact in report.artifacts for row in text.variant_rows(report, artifact)]
    if variants:
        header = text.variant_header(report)
        blocks.append(
            Table(
                "Other sizes, batches and outputs, each executed and scored",
                header,
                "llrltrrrrt",
                variants,
            )
        )
    return section("files", "Artifacts", blocks)


def conditions(report: Report) -> Section | None:
    host = report.host
    facts = list(text.facts(report))
    if host.load_average is not None:
        facts.append(("load", f"load average {host.load_average[0]:.2f} at the end of the run"))
    facts.append(("recipe sha256", report.recipe.sha256))
    facts += [(f"{split} data", mark) for split, mark in report.data.fingerprints.items()]
    facts += [(f"weights of {row.name}", row.weights_sha256)
              for row in report.stages if row.weights_sha256]  # fmt: skip
    versions = [(name, version) for name, version in report.versions.items()]
    return section(
        "conditions",
        "Conditions and provenance",
        [
            Table("This run", ("what", "value"), "lt", facts),
            Bullets(text.origins(report)),
            *([Folded("Versions", Table("Versions", ("package", "version"), "ll", versions))]
              if versions else []),
        ],
    )  # fmt: skip
