"""`edgepose runner`: the program for the device as one file, or the native one as a project to build."""

from __future__ import annotations

from pathlib import Path

import click

from edgepose.commands.shared import Command, json_option, print_json


@click.command(
    short_help="Write what bench --device sends, for a board by hand.",
    cls=Command,
    example="edgepose runner edgepose-device.pyz\nedgepose runner --native android-runner",
)
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option(
    "--native", "folder", type=click.Path(path_type=Path), default=None, metavar="DIR",
    help="Write the C++ project for devices without Python there; its README.md builds it.",
)  # fmt: skip
@json_option
def runner(file: Path | None, folder: Path | None, as_json: bool) -> None:
    """Write what `bench --device` sends, for a board that only you reach.

    It needs Python 3.8 and numpy there: python3 FILE info, or FILE run --artifact DIR.
    """
    from edgepose.bench.native import write_sources
    from edgepose.bench.runner_file import runner_bytes
    from edgepose.device.files import write_atomic

    if (file is None) == (folder is None):
        raise click.UsageError("give FILE, or --native DIR")
    if folder is not None:
        write_sources(folder)
        text = f"wrote {folder}; {folder / 'README.md'} says how to build it"
    if file is not None:
        write_atomic(file, runner_bytes())
        text = f"wrote {file}"
    if as_json:
        print_json({"written": str(folder or file)})
    else:
        click.echo(text)
