"""A run's network as a checkpoint to hand on: half the bytes, scored as written, with a model card."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgepose import api, registry
from edgepose.bundle_texts import NOTICES
from edgepose.data.base import PoseDataset
from edgepose.device.files import replace_folder, sha256_file, write_atomic
from edgepose.errors import EdgeposeError
from edgepose.models.pose_model import PoseModel
from edgepose.progress import Progress
from edgepose.report.record import Report, StageRecord
from edgepose.report.schema import load_report
from edgepose.report.scores import scores_text
from edgepose.report.text import metric_label
from edgepose.strict_files import builtin_folder

CARD = "MODEL_CARD.md"
MADE, BEFORE = "## How it was made", "## How its starting weights were made"


def publish(run: Path, to: Path, *, photographs: Sequence[str], progress: Progress) -> Path:
    """Write the float network of a finished run into `to`, with MODEL_CARD.md beside it.

    Weights are kept as float16, and what the card says was scored on the written files: on the run's
    own validation set, and on every data set of `photographs` ("coco:LABELS.json,IMAGES").
    Raises EdgeposeError where the run is not finished, its network is quantized, or `to` exists.
    """
    report, model = load_report(run), PoseModel.load(run / "model")
    if model.spec.quant is not None:
        raise EdgeposeError(
            f"{run}/model is a quantized network; its artifacts are what to hand on",
            fix="publish a run that ends before qat and quantize, such as one of `edgepose train`",
        )
    if to.exists():
        raise EdgeposeError(
            f"{to} is there already", fix="remove it first, or name another folder with --to"
        )
    flip_test = bool(report.recipe.resolved.get("flip_test"))
    data = [(text, api.open_data(text)) for text in photographs]
    source = registry.sources().module(report.data.source)
    settings = {k: v for k, v in report.recipe.resolved["data"].items() if k != "source"}
    val = source.open_split(source.Config.model_validate(settings), "val")
    to.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".tmp-", dir=to.parent) as scratch:
        folder = Path(scratch) / "checkpoint"
        model.save(folder, half=True)

        def score(dataset: PoseDataset) -> dict[str, Any]:
            return api.evaluate(
                folder, data=dataset, flip_test=flip_test, work=Path(scratch), progress=progress
            )

        card = card_text(
            report,
            PoseModel.load(folder),
            weights=folder / "model.safetensors",
            scores=score(val),
            photographs=[(text, score(people)) for text, people in data],
        )
        write_atomic(folder / CARD, card.encode())
        replace_folder(folder, to)
    return to


def card_text(
    report: Report,
    model: PoseModel,
    *,
    weights: Path,
    scores: Mapping[str, Any],
    photographs: Sequence[tuple[str, Mapping[str, Any]]],
) -> str:
    """The model card: what it is, how it came about, how good it is and on what that was measured."""
    spec, run = model.spec, report
    notice = NOTICES.get(spec.domain)
    lines = [f"# {spec.arch}, {spec.num_joints} joints, trained on {spec.domain}", ""]
    if notice:
        lines += [f"**{notice}**", ""]
    lines += ["## What it is", "", *_table(("", ""), _facts(model, weights)), ""]
    lines += [MADE, "", *_table(("", ""), _provenance(run)), "", *_before(run)]
    lines += [
        "## How good it is",
        "",
        f"These files, executed by {scores['executor']}, on {scores['persons']} people of "
        f"{scores['domain']} (validation split), percent; 95 % intervals by bootstrap over persons.",
        "",
        *_table(*_joint_table(scores["metrics"])),
        "",
    ]
    before = {row.name: row for row in run.stages}[run.stages[-1].name].metrics
    for name, metric in scores["metrics"].items():
        if name in before:
            lines.append(
                f"- {metric_label(name)} in float32, before rounding to float16: "
                f"{before[name].value:.2f}; these files: {metric['value']:.2f}"
            )
    for text, result in photographs:
        words = scores_text(os.path.basename(text.partition(":")[2].split(",")[0]), result)
        lines += [
            "",
            "## On photographs, which it was not trained for",
            "",
            "```",
            words.rstrip(),
            "```",
        ]
    return "\n".join(lines) + "\n"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [
        "| " + " | ".join(head) + " |",
        "|" + "---|" * len(head),
        *("| " + " | ".join(row) + " |" for row in rows),
    ]


def _facts(model: PoseModel, file: Path) -> list[tuple[str, str]]:
    spec = model.spec
    return [
        ("network", f"{spec.arch}, {model.num_params:,} parameters"),
        (
            "input",
            f"{spec.input_hw[0]} x {spec.input_hw[1]} (height x width), RGB crop of one person",
        ),
        (
            "output",
            f"{spec.num_joints} heatmaps, skeleton {spec.skeleton}, {spec.codec.coding} coding",
        ),
        ("weights", f"float16, {file.stat().st_size:,} bytes"),
        ("SHA-256 of model.safetensors", f"`{sha256_file(file)}`"),
        ("SHA-256 that reports name", f"`{model.sha256}`"),
    ]


def _provenance(run: Report) -> list[tuple[str, str]]:
    trained = [row for row in run.stages if isinstance(row, StageRecord) and row.history]
    images = sum(row.history.images or 0 for row in trained if row.history)
    steps = sum(row.history.steps for row in trained if row.history)
    hours = sum(row.duration_s or 0.0 for row in trained) / 3600
    start = run.student.starting_weights if run.student else "random"
    digest = run.student.starting_weights_sha256 if run.student else None
    return [
        ("recipe", f"{run.recipe.path or run.recipe.name}, SHA-256 `{run.recipe.sha256[:16]}`"),
        ("command", f"`{run.commands[0]}`" if run.commands else "-"),
        ("starting weights", f"{start}, `{digest[:16]}`" if digest else start),
        ("seed", str(run.seed)),
        ("training data", f"{run.data.domain}, {run.data.counts.get('train', 0):,} pictures"),
        ("images seen", f"{images:,} augmented crops in {steps:,} steps"),
        ("training time", f"{hours:.2f} h"),
        ("hardware", run.host.name),
        ("edgepose", " ".join(v for k, v in run.versions.items() if k.startswith("edgepose"))),
        ("torch", run.versions.get("torch", "-")),
    ]


def _before(run: Report) -> list[str]:
    """How the starting weights were made, where they are those of a folder with a card of its own."""
    checkpoint = run.recipe.resolved["student"].get("checkpoint")
    card = builtin_folder("recipes") / (checkpoint or "") / CARD  # as run_report.portable tells it
    if checkpoint is None or not card.is_file():
        return []
    _, found, rest = card.read_text().partition(f"{MADE}\n")
    if not found or run.student is None:
        return []
    sections = re.split(r"\n(?=## )", rest)
    made = [sections[0], *(text for text in sections[1:] if text.startswith(BEFORE))]
    made[1:] = [text.partition("\n")[2] for text in made[1:]]
    return [line for text in made for line in (BEFORE, "", text.strip(), "")]


def _joint_table(
    metrics: Mapping[str, Mapping[str, Any]],
) -> tuple[list[str], list[list[str]]]:
    """Head and rows: the mean with its interval, then every joint, one column per metric."""
    names = list(metrics)
    rows = [["mean"]]
    for name in names:
        low, high = metrics[name]["ci95"]
        rows[0].append(f"{metrics[name]['value']:.1f} [{low:.1f}, {high:.1f}]")
    for joint in metrics[names[0]]["per_joint"]:
        values = [metrics[name]["per_joint"][joint] for name in names]
        rows.append([joint.replace("_", " "), *("-" if v is None else f"{v:.1f}" for v in values)])
    return ["joint", *(metric_label(name) for name in names)], rows
