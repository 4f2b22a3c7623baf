"""`edgepose doctor`: what is installed, what each target needs, what is missing."""

from __future__ import annotations

import sys

import click

from edgepose.commands.shared import Command, json_option, print_json


@click.command(
    short_help="Show what is installed, and what each target needs.",
    cls=Command,
    example="edgepose doctor\nedgepose doctor --target onnx-android --json",
)
@click.option(
    "--target", "names", multiple=True, help="Only this one [default: every target]. Repeatable."
)
@json_option
@click.pass_context
def doctor(context: click.Context, names: tuple[str, ...], as_json: bool) -> None:
    """Look at this computer: packages, tools, and what each target needs.

    Exit code 0: edgepose works, warnings or not; 1: a package is missing, broken or too old.
    """
    from dataclasses import asdict

    try:
        from edgepose.doctor import diagnose
        from edgepose.report.doctor import doctor_text
        from edgepose.report.terminal import wants_color
        from edgepose.target import list_targets, load_target
    except ImportError as error:  # what doctor itself is made of
        click.secho(f"error: a core package is missing or broken: {error}", fg="red", err=True)
        click.echo("  fix: pip install -c constraints.txt -e . in edgepose's folder", err=True)
        context.exit(1)

    found = diagnose([load_target(name) for name in names or list_targets()])
    if as_json:
        print_json({"healthy": found.healthy, **asdict(found)})
    else:
        click.echo(doctor_text(found, color=wants_color(sys.stdout)), nl=False)
    context.exit(0 if found.healthy else 1)
