"""`edgepose bundle`: an artifact with card, licences and samples, for an app's developer."""

from __future__ import annotations

from pathlib import Path

import click

from edgepose.commands.shared import Command, json_option, print_json


@click.command(
    short_help="Write an artifact for an app: model, samples, model card.",
    cls=Command,
    example="edgepose bundle reports/resnet18_5mb/latest/artifacts/coreml-ios17 --to pose.zip",
)
@click.argument("artifact", type=click.Path(path_type=Path))
@click.option(
    "--to", required=True, type=click.Path(path_type=Path), help="New folder, or NAME.zip."
)
@click.option(
    "--run", default=None, type=click.Path(path_type=Path),
    help="The finished run that scored it [default: the one that it lies in].",
)  # fmt: skip
@json_option
def bundle(artifact: Path, to: Path, run: Path | None, as_json: bool) -> None:
    """Write an artifact for an app: model, scores, model card, licences and sample code."""
    from edgepose.bundle import bundle as write

    written = write(artifact, to, run=run)
    if as_json:
        print_json({"bundle": str(written)})
    else:
        click.echo(str(written))
