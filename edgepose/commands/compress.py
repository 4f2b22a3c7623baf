"""`edgepose compress, train`: a recipe from its first stage to its report."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from edgepose.commands.shared import (
    Command,
    bgr_option,
    coding_option,
    input_option,
    json_option,
    load_subject,
    out_option,
    print_json,
    progress_bars,
    recipe_option,
    set_option,
    sha256_option,
    skeleton_option,
    warn,
)
from edgepose.processes import is_first


def _compress(
    recipe: str, overrides: Sequence[str], out: Path, as_json: bool, *, brief: bool = False
) -> None:
    from edgepose import api
    from edgepose.report.schema import load_report
    from edgepose.report.terminal import report_text, wants_color

    with progress_bars(logged=True) as progress:
        run = api.compress(recipe, overrides=overrides, out=out, progress=progress, warn=warn)
    if not is_first():
        return
    report = load_report(run)
    if as_json:
        print_json(report.model_dump(mode="json"))
        return
    click.echo(report_text(report, color=wants_color(sys.stdout)))
    if brief:
        from edgepose.report.post_training import post_training_text

        click.echo(post_training_text(report, run))
        click.echo(f"recipe: {recipe}")
    click.echo(f"report: {run / 'report.html'}")


@click.command(
    cls=Command,
    example="edgepose compress --recipe resnet18_5mb --set stages.prune.round_to=16\n"
    "edgepose compress --checkpoint my.pth --input 256x192 --data coco:labels.json,images/ "
    "--post-training",
)
@click.option("--recipe", default=None, help="A recipe file, or a built-in recipe's name.")
@set_option
@out_option
@click.option("--dry-run", is_flag=True, help="Check everything and print the plan; train nothing.")
@click.option(
    "--post-training", is_flag=True,
    help="No recipe, no training: --checkpoint to INT8 files for every target, in minutes.",
)  # fmt: skip
@click.option("--checkpoint", default=None, help="Your network: a model folder, file or URL.")
@click.option(
    "--data", default=None,
    help="Labelled people, as for `edgepose eval`: a part calibrates, the other part is scored.",
)  # fmt: skip
@click.option(
    "--calibration", type=click.Path(path_type=Path), default=None,
    help="Calibrate on this folder of pictures instead.",
)  # fmt: skip
@click.option(
    "--targets", default=None, help="Comma-separated [default: every built-in INT8 target]."
)
@click.option("--max-drop", type=click.FloatRange(0), default=None,
              help="Leave layers in float until INT8 costs at most so many points.")  # fmt: skip
@skeleton_option
@input_option
@click.option(
    "--arch", default=None, help="Of a checkpoint file: a network of your own, pkg.mod:name."
)
@bgr_option
@coding_option
@sha256_option
@json_option
def compress(
    recipe: str | None,
    overrides: tuple[str, ...],
    out: Path,
    dry_run: bool,
    post_training: bool,
    as_json: bool,
    **network: Any,
) -> None:
    """Run a recipe: distil, prune, quantize, export, score.

    Finished stages are kept: a killed run continues when the same command is given again.
    Several GPUs or machines: accelerate launch -m edgepose compress --recipe ...
    """
    given = [key for key, value in network.items() if value]
    if post_training:
        if recipe is not None or not network["checkpoint"] or not network["data"]:
            raise click.UsageError("--post-training takes --checkpoint and --data, and no --recipe")
        recipe = str(_written_recipe(out=out, **network))
    elif given:
        raise click.UsageError(f"--{given[0].replace('_', '-')} belongs to --post-training")
    if recipe is None:
        raise click.UsageError("give --recipe, or --post-training with --checkpoint and --data")
    if not dry_run:
        _compress(recipe, overrides, out, as_json, brief=post_training)
        return
    from edgepose import api
    from edgepose.plan import make_plan, plan_text

    if not is_first():
        return
    plan = make_plan(api.read_recipe(recipe, overrides))
    if as_json:
        print_json(plan)
    else:
        click.echo(plan_text(plan))


def _written_recipe(
    *,
    out: Path,
    checkpoint: str,
    data: str,
    calibration: Path | None,
    targets: str | None,
    max_drop: float | None,
    skeleton: str | None,
    input_size: str | None,
    arch: str | None,
    bgr: bool,
    coding: str | None,
    sha256: str | None,
) -> Path:
    """The generated recipe's file, which any later `compress --recipe` takes."""
    from edgepose.post_training import Wish, write_recipe

    def load(joints: Any) -> Any:
        return load_subject(
            checkpoint, skeleton or joints, input_size, bgr, coding, sha256, arch=arch
        )

    wish = Wish(
        checkpoint=checkpoint,
        data=data,
        calibration=calibration,
        targets=None if targets is None else tuple(t for t in targets.split(",") if t),
        max_drop=max_drop,
        color="BGR" if bgr else "RGB",
        coding=coding,
        sha256=sha256,
    )
    return write_recipe(wish, load, out=out)


@click.command(
    short_help="Train a network and score it.",
    cls=Command,
    example="edgepose train --recipe train_resnet18_synthetic --set stages.train.steps=500",
)
@recipe_option
@set_option
@out_option
@json_option
def train(recipe: str, overrides: tuple[str, ...], out: Path, as_json: bool) -> None:
    """Train a network and score it; the run folder's model/ is a checkpoint for other recipes.

    Several GPUs or machines: accelerate launch -m edgepose train --recipe ...
    """
    _compress(recipe, overrides, out, as_json)
