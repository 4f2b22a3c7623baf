"""`edgepose targets`: what can be exported to."""

from __future__ import annotations

import click

from edgepose.commands.shared import Command, json_option, print_json


@click.command(cls=Command, example="edgepose targets")
@json_option
def targets(as_json: bool) -> None:
    """List what can be exported for."""
    from edgepose.target import list_targets, load_target

    found = [load_target(name) for name in list_targets()]
    if as_json:
        print_json([target.model_dump(mode="json") for target in found])
        return
    for target in found:
        precisions = ", ".join(target.precisions)
        click.echo(f"{target.name:<18} {target.runtime:<12} {precisions:<12} {target.description}")
