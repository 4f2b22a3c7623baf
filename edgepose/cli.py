"""The command line; with commands/ the only place that prints results or sets an exit code."""

from __future__ import annotations

from typing import Any

import click

from edgepose import __version__
from edgepose.commands import (
    bench,
    bundle,
    cache,
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
from edgepose.commands.shared import CONTEXT
from edgepose.device.errors import DeviceError

EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130


class _Group(click.Group):
    """Turns an error that the user can mend into one message and exit code 2."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except DeviceError as error:
            click.secho(f"error: {error.problem}", fg="red", err=True)
            click.echo(f"  fix: {error.fix}", err=True)
            ctx.exit(EXIT_BAD_INPUT)
        except KeyboardInterrupt:
            click.echo("stopped; the same command continues where it was", err=True)
            ctx.exit(EXIT_INTERRUPTED)
        except OSError as error:
            if error.errno is None or (error.filename is None and error.errno != 28):
                raise
            click.secho(f"error: {error.strerror}: {error.filename or 'disk'}", fg="red", err=True)
            click.echo("  fix: check the path, its permissions and the free space", err=True)
            ctx.exit(EXIT_BAD_INPUT)


@click.group(cls=_Group, context_settings=CONTEXT)
@click.version_option(__version__, prog_name="edgepose")
def main() -> None:
    """Distil, prune, quantize, export and score human-pose networks.

    Start with:  edgepose compress --recipe smoke
    """


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
):
    main.add_command(_command)
