"""`edgepose compress, train`: a recipe from its first stage to its report."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from edgepose.commands.shared import (
    Command,
    json_option,
    out_option,
    print_json,
    progress_bars,
    recipe_option,
    set_option,
    warn,
)
from edgepose.processes import is_first


def _compress(recipe: str, overrides: Sequence[str], out: Path, as_json: bool) -> None:
    from edgepose import api
    from edgepose.report.schema import load_report
    from edgepose.report.terminal import report_text, wants_color

    with progress_bars() as progress:
        run = api.compress(recipe, overrides=overrides, out=out, progress=progress, warn=warn)
    if not is_first():
        return
    report = load_report(run)
    if as_json:
        print_json(report.model_dump(mode="json"))
        return
    click.echo(report_text(report, color=wants_color(sys.stdout)))
    click.echo(f"report: {run / 'report.html'}")


@click.command(
    cls=Command,
    example="edgepose compress --recipe resnet18_5mb --set stages.prune.round_to=16",
)
@recipe_option
@set_option
@out_option
@click.option("--dry-run", is_flag=True, help="Check everything and print the plan; train nothing.")
@json_option
def compress(
    recipe: str, overrides: tuple[str, ...], out: Path, dry_run: bool, as_json: bool
) -> None:
    """Run a recipe: distil, prune, quantize, export, score.

    Finished stages are kept: a killed run continues when the same command is given again.
    Several GPUs or machines: accelerate launch -m edgepose compress --recipe ...
    """
    if not dry_run:
        _compress(recipe, overrides, out, as_json)
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


@click.command(
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
