"""Every edgepose command in the README is one that the command line takes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from edgepose.cli import main

ROOT = Path(__file__).resolve().parents[1]
LINES = sorted(
    {
        line.split("  #")[0].strip()
        for line in re.findall(
            r"^    (edgepose .*)$", (ROOT / "README.md").read_text(), re.MULTILINE
        )
    }
)


@pytest.mark.parametrize("line", LINES)
def test_command_parses(line: str) -> None:
    words = shlex.split(line)[1:]
    command: click.Command = main
    while isinstance(command, click.Group):
        found = command.get_command(click.Context(command), words.pop(0))
        assert found is not None, line
        command = found
    whole = click.Context(
        main, **main.context_settings
    )  # click keeps the help option it meets first
    context = command.make_context(command.name, words, parent=whole)
    assert context.params


def test_the_readme_shows_every_command() -> None:
    shown = {shlex.split(line)[1] for line in LINES}
    assert shown == set(main.commands)


def test_files_that_the_readme_names_exist() -> None:
    text = (ROOT / "README.md").read_text()
    for name in [*re.findall(r"\]\(([a-zA-Z/._]+)\)", text), "calib_data/README.md"]:
        assert (ROOT / name).exists(), name
