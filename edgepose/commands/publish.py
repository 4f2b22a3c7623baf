"""`edgepose publish`: a run's network as a checkpoint with a model card."""

from __future__ import annotations

from pathlib import Path

import click

from edgepose.commands.shared import Command, json_option, print_json, progress_bars


@click.command(
    short_help="Turn a run's float network into a checkpoint to hand on.",
    cls=Command,
    example="edgepose publish reports/train_resnet18_synthetic/latest --to resnet18_synthetic",
)
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--to", required=True, type=click.Path(path_type=Path), help="New folder for the checkpoint."
)
@click.option(
    "--photographs", multiple=True, metavar="coco:LABELS.json,IMAGES",
    help="Score it on these, too, for the card. Repeatable.",
)  # fmt: skip
@json_option
def publish(run: Path, to: Path, photographs: tuple[str, ...], as_json: bool) -> None:
    """Turn a run's float network into a checkpoint to hand on, with a model card."""
    from edgepose.publish import publish as write

    with progress_bars() as progress:
        folder = write(run, to, photographs=photographs, progress=progress)
    if as_json:
        print_json({"checkpoint": str(folder)})
    else:
        click.echo(str(folder))
