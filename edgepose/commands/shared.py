"""What the commands share: options, the bar, how results and warnings are printed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from edgepose.processes import is_first

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 88}


class Command(click.Command):
    """A command that ends its help with an example."""

    def __init__(self, *args: Any, example: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.example = example

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if self.example:
            with formatter.section("Example"):
                for line in self.example.splitlines():
                    formatter.write(f"{'':>{formatter.current_indent}}{line}\n")


QUIET, NORMAL, VERBOSE = -1, 0, 1
VERBOSITY = "edgepose.verbosity"  # in the context's meta, which all commands of one call share


def verbosity() -> int:
    """QUIET, NORMAL or VERBOSE, as -q and -v said."""
    context = click.get_current_context(silent=True)
    return NORMAL if context is None else int(context.meta.get(VERBOSITY, NORMAL))


@contextmanager
def progress_bars(*, logged: bool = False) -> Iterator[Callable[[str, int, int], None]]:
    """What is done, how far, and the time left: a bar on a terminal, lines with -v, else nothing.

    logged: whether the work logs its progress by itself, which -v then shows
    """
    if verbosity() == VERBOSE and is_first() and not logged:
        from edgepose.progress import Lines

        yield Lines(lambda line: click.echo(line, err=True))
        return
    if verbosity() != NORMAL or not sys.stderr.isatty() or not is_first():
        yield lambda what, done, total: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.table import Column

    columns = (  # 80 columns at 100,000 steps
        TextColumn("{task.description}", table_column=Column(max_width=28, no_wrap=True)),
        BarColumn(bar_width=12),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bars:
        tasks: dict[str, Any] = {}

        def report(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done, total=total)

        yield report


def warn(message: str) -> None:
    """Tell it on standard error, unless -q asks for silence."""
    if verbosity() == QUIET:
        return
    click.secho(f"warning: {message.removeprefix('WARNING: ')}", fg="yellow", err=True)


def print_json(values: Any) -> None:
    click.echo(json.dumps(values, indent=1))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Rows in 80 columns: the last column is folded where it is too long."""
    from rich import box
    from rich.table import Table

    from edgepose.report.terminal import finish, new_console

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), show_edge=False)
    for name in columns:
        last = name == columns[-1]
        table.add_column(name, no_wrap=not last, overflow="fold")
    for row in rows:
        table.add_row(*row)
    console = new_console(80, False)
    console.print(table)
    click.echo(finish(console), nl=False)


recipe_option = click.option(
    "--recipe", required=True, help="A recipe file, or a built-in recipe's name."
)
set_option = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE",
    help="Override a recipe key, e.g. --set stages.prune.ratio=0.4 (null removes a key). Repeatable.",
)  # fmt: skip
out_option = click.option(
    "--out", default="reports", show_default=True, type=click.Path(path_type=Path),
    help="Folder that holds the runs.",
)  # fmt: skip
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
threads_option = click.option(
    "--threads", type=click.IntRange(1), default=None, help="CPU threads [default: all cores]."
)


skeleton_option = click.option(
    "--skeleton", default=None, help="The joints of a checkpoint file, e.g. mpii16 or coco17."
)
input_option = click.option(
    "--input", "input_size", default=None, metavar="HxW",
    help="The crop size of a checkpoint file, height x width.",
)  # fmt: skip
bgr_option = click.option(
    "--bgr", is_flag=True, help="A checkpoint file that was trained on BGR pictures."
)
coding_option = click.option(
    "--coding", default=None, type=click.Choice(["standard", "dark", "udp"]),
    help="The heatmap coding of a checkpoint file [default: standard].",
)  # fmt: skip
sha256_option = click.option("--sha256", default=None, help="Of a checkpoint file, 64 hex digits.")


size_option = click.option(
    "--size", default=None, metavar="HxW",
    help="Of an artifact with several crop sizes, that one [default: its main file's].",
)  # fmt: skip
output_option = click.option(
    "--output", "gives", default=None, type=click.Choice(["heatmaps", "joints"]),
    help="Of an artifact with whole-pose graphs, the file that gives these [default: its main file].",
)  # fmt: skip


def parse_size(text: str, option: str) -> tuple[int, int]:
    """ "256x192": (height, width); EdgeposeError for anything else."""
    from edgepose.errors import EdgeposeError

    sides = text.lower().split("x")
    if len(sides) != 2 or not all(side.isdecimal() for side in sides):
        raise EdgeposeError(
            f"not a size: {text!r}", fix=f"write {option} height x width, as in 256x192"
        )
    return int(sides[0]), int(sides[1])


def load_subject(
    subject: str,
    skeleton: Any,
    input_size: str | None,
    bgr: bool,
    coding: str | None,
    sha256: str | None,
    *,
    arch: str | None = None,
) -> Any:
    """An artifact, a model folder, a checkpoint file or the URL of one."""
    from edgepose import api

    size = None if input_size is None else parse_size(input_size, "--input")
    with progress_bars() as progress:
        return api.load(
            subject, skeleton=skeleton, input_hw=size, arch=arch, color="BGR" if bgr else "RGB",
            coding=coding, sha256=sha256, progress=progress, warn=warn,
        )  # fmt: skip
