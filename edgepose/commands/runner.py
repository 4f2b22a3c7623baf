"""`edgepose runner`: the program for the device as one file."""

from __future__ import annotations

from pathlib import Path

import click

from edgepose.commands.shared import Command


@click.command(cls=Command, example="edgepose runner edgepose-device.pyz")
@click.argument("file", type=click.Path(path_type=Path))
def runner(file: Path) -> None:
    """Write what `bench --device` sends, for a board that only you reach.

    It needs Python 3.8 and numpy there: python3 FILE info, or FILE run --artifact DIR.
    """
    from edgepose.bench.runner_file import runner_bytes
    from edgepose.device.files import write_atomic

    write_atomic(file, runner_bytes())
    click.echo(f"wrote {file}")
