"""The command line; with commands/ the only place that prints results or sets an exit code."""

from __future__ import annotations

import os
import sys
import warnings
from typing import Any

import click

from edgepose import __version__
from edgepose.commands import (
    bench,
    bundle,
    cache,
    completion,
    compress,
    data,
    doctor,
    eval,
    lint,
    predict,
    publish,
    report,
    runner,
    sensitivity,
    targets,
)
from edgepose.commands.shared import CONTEXT, NORMAL, QUIET, VERBOSE, VERBOSITY
from edgepose.device.errors import DeviceError

EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130


class _Group(click.Group):
    """Turns an error that the user can mend into one message and exit code 2."""

    def invoke(self, ctx: click.Context) -> Any:
        if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
            ctx.color = False  # inherited by the commands' contexts
        try:
            return super().invoke(ctx)
        except DeviceError as error:
            click.secho(f"error: {error.problem}", fg="red", err=True)
            click.echo(f"  fix: {error.fix}", err=True)
            _say_notes(error)
            ctx.exit(EXIT_BAD_INPUT)
        except KeyboardInterrupt as error:
            click.echo("stopped; the same command continues where it was", err=True)
            _say_notes(error)
            ctx.exit(EXIT_INTERRUPTED)
        except OSError as error:
            if error.errno is None or (error.filename is None and error.errno != 28):
                raise
            click.secho(f"error: {error.strerror}: {error.filename or 'disk'}", fg="red", err=True)
            click.echo("  fix: check the path, its permissions and the free space", err=True)
            _say_notes(error)
            ctx.exit(EXIT_BAD_INPUT)


def _say_notes(error: BaseException) -> None:
    """Where the log of a run is, for instance."""
    for note in getattr(error, "__notes__", ()):
        click.echo(f"  {note}", err=True)


@click.group(cls=_Group, context_settings=CONTEXT)
@click.version_option(__version__, prog_name="edgepose")
@click.option("-v", "--verbose", is_flag=True, help="Every step and library warning as a line.")
@click.option("-q", "--quiet", is_flag=True, help="No progress, no warnings: results and errors.")
@click.pass_context
def main(context: click.Context, verbose: bool, quiet: bool) -> None:
    """Distil, prune, quantize, export and score human-pose networks.

    Start with:  edgepose compress --recipe smoke
    """
    if verbose and quiet:
        raise click.UsageError("-v and -q exclude each other")
    context.meta[VERBOSITY] = VERBOSE if verbose else QUIET if quiet else NORMAL
    if verbose:
        from edgepose.run_log import verbose as shown

        context.with_resource(shown(sys.stderr))
    if quiet:
        context.with_resource(warnings.catch_warnings())
        warnings.simplefilter("ignore")


for _command in (
    compress.compress,
    compress.train,
    publish.publish,
    report.report,
    bundle.bundle,
    eval.eval,
    bench.bench,
    runner.runner,
    predict.predict,
    lint.lint,
    sensitivity.sensitivity,
    targets.targets,
    data.data,
    cache.cache,
    doctor.doctor,
    completion.completion,
):
    main.add_command(_command)
