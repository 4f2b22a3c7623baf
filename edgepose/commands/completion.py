"""`edgepose completion`: completion of commands and options for a shell."""

from __future__ import annotations

import sys

import click

from edgepose.commands.shared import Command

WHERE = {
    "bash": "~/.local/share/bash-completion/completions/edgepose",
    "zsh": "a folder of $fpath, as _edgepose",
    "fish": "~/.config/fish/completions/edgepose.fish",
}


@click.command(
    short_help="Print a shell's completion script.",
    cls=Command,
    example="edgepose completion bash > ~/.local/share/bash-completion/completions/edgepose\n"
    "edgepose completion fish > ~/.config/fish/completions/edgepose.fish\n"
    'eval "$(edgepose completion zsh)"',
)
@click.argument("shell", type=click.Choice(sorted(WHERE)))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that completes edgepose's commands and options in a shell."""
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None, "click has each of these shells"
    program = context.find_root().command
    click.echo(found(program, {}, "edgepose", "_EDGEPOSE_COMPLETE").source())
    if sys.stdout.isatty():
        click.echo(f"write this to {WHERE[shell]}", err=True)
