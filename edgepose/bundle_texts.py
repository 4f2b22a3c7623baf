"""What a bundle says about itself: MODEL_CARD.md and LICENSES.md."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from edgepose.artifact import Artifact
from edgepose.data import synthetic
from edgepose.manifest import Manifest
from edgepose.report.record import ArtifactRecord, Report
from edgepose.report.text import metric_label, variant_header, variant_rows
from edgepose.target import list_targets, load_target

NOTICES = {synthetic.VERSION: "Pipeline demonstration on rendered people, not for products."}
"""What a card says first of a network that was trained on a domain."""
RUNTIMES = {
    "coreml": "Core ML is part of iOS and macOS, under Apple's licences",
    "onnx_mobile": "ONNX Runtime: MIT",
    "tensorrt": "TensorRT and CUDA: NVIDIA's licences (proprietary, part of JetPack); "
    "ONNX Runtime, where it runs instead: MIT",
}
TOOLS = {
    "coremltools": "BSD-3-Clause",
    "edgepose": "Apache-2.0",
    "onnx": "Apache-2.0",
    "onnxruntime": "MIT",
    "torch": "BSD-3-Clause",
    "torchao": "BSD-3-Clause",
}
NAMES = {"coreml": "Core ML", "onnx_mobile": "ONNX Runtime", "tensorrt": "TensorRT"}
SAMPLES = {
    "cpp": "nlohmann/json: MIT; OpenCV, for the camera: Apache-2.0",
    "kotlin": "AndroidX CameraX: Apache-2.0; JUnit, for the test: EPL-1.0",
    "python": "numpy: BSD-3-Clause; OpenCV: Apache-2.0, or Pillow: MIT-CMU",
    "swift": "nothing beyond Apple's frameworks",
}
RULES = {
    "argmax-quarter-pixel": "the peak, a quarter pixel towards the higher neighbour",
    "argmax-dark": "the peak, refined by its shape (DARK)",
    "argmax-dark-udp": "the peak, refined by its shape (DARK with UDP)",
}

_NOT_IN_CARD = ("artifact", "scored by")  # the same for all of them


def model_card(artifact: Artifact, report: Report, row: ArtifactRecord) -> str:
    """What the model is, how it came about, how good it is and on what that was measured."""
    manifest = artifact.manifest
    notice = NOTICES.get(manifest.provenance.domain)
    lines = [f"# {manifest.name} for {manifest.target}", ""]
    if notice:
        lines += [f"**{notice}**", ""]
    lines += [
        "Start with the README.md of a folder in `samples/`; `artifact.json` says for programs what this",
        "page says for people.",
        "",
    ]
    lines += ["## What it is", "", *_table(("", ""), _facts(artifact)), ""]
    lines += _table(
        ("file", "role", "bytes", "SHA-256", "counted"),
        [
            (
                f"`{f.path}`",
                f.role,
                f"{f.size_bytes:,}",
                f"`{f.sha256}`",
                "yes" if f.counted else "",
            )
            for f in manifest.files
        ],
    )
    lines += [
        "",
        "Counted: the files whose size and scores are given here. The others are the same network in other "
        "forms, and what goes with one.",
    ]
    variants = variant_rows(report, row)
    if variants:
        header = [head for head in variant_header(report) if head not in _NOT_IN_CARD]
        cells = [dict(zip(variant_header(report), one, strict=True)) for one in variants]
        lines += [
            "",
            "## Other sizes, batches and outputs",
            "",
            "The main file is described above; these are the same weights. The samples give each person "
            "the crop size that fits the box, and take joints where a file gives them.",
            "",
        ]
        lines += _table(header, [[cell[head] for head in header] for cell in cells])
    lines += ["", "## How it was made", "", *_table(("", ""), _provenance(manifest, report)), ""]
    lines += ["## How good it is", "", *_scores(report, row), ""]
    lines += [
        "## What it does not say",
        "",
        "- One person per crop: boxes come from the app.",
        f"- Scores hold for the counted files on {report.data.domain}; other pictures need scores of "
        "their own (`edgepose eval`).",
        "- No speed: it depends on the device; `edgepose bench` measures it there.",
        *(f"- {warning}" for warning in report.all_warnings),
    ]
    return "\n".join(lines) + "\n"


def licences(manifest: Manifest, report: Report, languages: Sequence[str]) -> str:
    """Whose terms apply to what: weights, samples, tools, runtime."""
    domain = manifest.provenance.domain
    notice = NOTICES.get(domain)
    lines = ["# Licences", "", "## The weights", ""]
    lines += [f"- {text}" for text in _sources(report)]
    if notice:
        lines.append(f"- {notice}")
    lines += [
        f"- Their terms are those of what they were trained on and started from: {domain}. Where that is",
        "  a public data set, ask its owners before you ship a product.",
        "",
        "## The code",
        "",
        "- `samples/` and edgepose, which wrote this folder: Apache-2.0, see LICENSE.",
        *(
            f"- Not part of this folder, used by `samples/{name}`: {SAMPLES[name]}."
            for name in languages
        ),
        f"- Not part of this folder, runs the model: {RUNTIMES[manifest.runtime]}.",
        "",
        "## The tools that made the files",
        "",
        *_table(
            ("tool", "version", "licence"),
            [
                (name, version, TOOLS.get(name, "see its own"))
                for name, version in sorted(manifest.provenance.versions.items())
            ],
        ),
    ]
    return "\n".join(lines) + "\n"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [
        "| " + " | ".join(head) + " |",
        "|" + "---|" * len(head),
        *("| " + " | ".join(row) + " |" for row in rows),
    ]


def _facts(artifact: Artifact) -> list[tuple[str, str]]:
    m = artifact.manifest
    height, width = artifact.input_hw
    whole = m.gives == "joints"
    scaling = "done inside the model" if m.preprocessing.where == "graph" else "done by the app"
    return [
        ("network", f"{m.provenance.arch}, {m.provenance.parameters:,} parameters, {m.precision}"),
        ("runs in", f"{NAMES[m.runtime]}: {_made_for(m)}"),
        ("input", f"`{m.input.name}`, {height} x {width} (height x width), {m.input.dtype}, "
                  f"{m.input.layout}, {m.input.color}"),
        ("crop", f"the box's longer side times {m.crop.padding:g}, {m.crop.resampling}, "
                 f"{m.crop.border} outside, aligned by {m.crop.alignment}"),
        ("scaling", f"(value / 255 - mean) / std, {scaling}: mean {_list(m.preprocessing.mean)}, "
                    f"std {_list(m.preprocessing.std)}"),
        ("output", f"`{m.output.name}`, " + (
            "x and y in the crop's pixels and a score for each joint" if whole
            else f"{len(m.skeleton.joints)} heatmaps of {' x '.join(map(str, m.output.shape[2:]))}")),
        ("decoding", f"{m.codec.rule}: {RULES[m.codec.rule]}; " + (
            "done inside the model" if whole
            else f"a heatmap pixel is {m.codec.stride} input pixels")),
        (f"skeleton {m.skeleton.name}", ", ".join(m.skeleton.joints)),
        ("counted size", f"{artifact.counted_size_bytes:,} bytes"),
        ("SHA-256 of the network", f"`{m.provenance.model_sha256}`"),
    ]  # fmt: skip


def _made_for(manifest: Manifest) -> str:
    """What the target's file says it is for; its name alone where that file is not here."""
    if manifest.target in list_targets():
        return load_target(manifest.target).description
    return f"target {manifest.target}"


def _list(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _sources(report: Report) -> list[str]:
    """What the weights come from, one line each."""
    student, teacher = report.student, report.teacher
    lines = [f"Trained on {report.data.domain} ({report.data.source})."]
    if student is not None and student.starting_weights_sha256 is not None:
        lines.append(
            f"Started from a {student.arch} checkpoint, SHA-256 `{student.starting_weights_sha256}`."
        )
    elif student is not None:
        lines.append(f"Started from {student.starting_weights} weights.")
    if teacher is not None:
        lines.append(f"Taught by {teacher.arch} ({teacher.source}).")
    if report.data.calibration is not None:
        calibration = report.data.calibration
        lines.append(f"INT8 ranges from {calibration.images} pictures of {calibration.source}.")
    return lines


def _provenance(manifest: Manifest, report: Report) -> list[tuple[str, str]]:
    rows = [("weights", " ".join(_sources(report)))]
    if manifest.recipe is not None:
        rows.append(("recipe", f"{manifest.recipe.name}, SHA-256 `{manifest.recipe.sha256}`"))
        if manifest.recipe.command:
            rows.append(("command", f"`{manifest.recipe.command}`"))
        rows.append(("seed", str(manifest.recipe.seed)))
    rows.append(("stages", ", ".join(stage.name for stage in report.stages)))
    if manifest.provenance.quantization:
        facts = manifest.provenance.quantization.items()
        rows.append(("quantization", ", ".join(f"{key} {value}" for key, value in facts)))
    versions = sorted(manifest.provenance.versions.items())
    rows.append(("tools", ", ".join(f"{name} {version}" for name, version in versions)))
    return rows


def _scores(report: Report, row: ArtifactRecord) -> list[str]:
    """Scores of these files with intervals, per joint, and who computed them on what."""
    names = list(row.metrics)
    persons = next((m.persons for m in row.metrics.values() if m.persons is not None), None)
    people = "" if persons is None else f"{persons} people of "
    lines = [
        f"The counted files, executed on {row.host} by {row.executor}. {people}{report.data.domain}, "
        f"validation split; percent, 95 % intervals by bootstrap over {report.interval_over}.",
        "",
    ]
    mean = ["mean"]
    for name in names:
        metric = row.metrics[name]
        low_high = "" if metric.ci95 is None else f" [{metric.ci95[0]:.1f}, {metric.ci95[1]:.1f}]"
        mean.append(f"{metric.value:.1f}{low_high}")
    rows = [mean]
    for joint in row.metrics[names[0]].per_joint if names else ():
        values = [row.metrics[name].per_joint.get(joint) for name in names]
        rows.append([joint.replace("_", " "), *("-" if v is None else f"{v:.1f}" for v in values)])
    lines += _table(("joint", *(metric_label(name) for name in names)), rows)
    if row.joint_shift_px is not None:
        shift = row.joint_shift_px
        lines += [
            "",
            f"Joints against the model before export: {shift.p50:.3f} px off in the median, "
            f"{shift.p99:.3f} px in the 99th percentile.",
        ]
    return lines
