"""`edgepose targets`: what can be exported to."""

from __future__ import annotations

import click

from edgepose.commands.shared import Command, json_option, print_json, print_table


@click.command(cls=Command, example="edgepose targets")
@json_option
def targets(as_json: bool) -> None:
    """List what can be exported for."""
    from edgepose.target import list_targets, load_target

    found = [load_target(name) for name in list_targets()]
    if as_json:
        print_json([target.model_dump(mode="json") for target in found])
        return
    print_table(
        ("target", "runtime", "precisions", "what it is"),
        [(t.name, t.runtime, ", ".join(t.precisions), t.description) for t in found],
    )
