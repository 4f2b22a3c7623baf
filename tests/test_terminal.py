"""Terminal manners: 80 columns, no colours in pipes, quiet and verbose, JSON, completion, the log."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from edgepose import run_log
from edgepose.cli import main
from edgepose.commands import shared
from edgepose.errors import EdgeposeError
from edgepose.progress import Lines, duration
from edgepose.stages import train as train_stage

RECIPE = """\
version: 1
name: tiny
data: {source: synthetic, train: 8, val: 4, calibration: 32, frame_px: 64}
student: {arch: "tests.networks:Short", input_hw: [32, 32]}
stages:
  train: {steps: 2, batch_size: 2, mixed_precision: "no"}
"""


def run(*words: object, **environment: str) -> Result:
    return CliRunner(env=environment).invoke(main, [str(word) for word in words])


def leaves(group: click.Group = main, *names: str) -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from leaves(command, *names, name)
        else:
            yield " ".join((*names, name)), command


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recipe")
    (folder / "tiny.yaml").write_text(RECIPE)
    return folder / "tiny.yaml"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPOSE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def test_every_command_that_prints_results_prints_json() -> None:
    without = {
        name for name, c in leaves() if "--json" not in {o for p in c.params for o in p.opts}
    }
    assert without == {"completion"}


@pytest.mark.parametrize("words", [["targets"], ["lint", "--rules"], ["cache", "list"]])
def test_tables_fit_80_columns(words: list[str]) -> None:
    result = run(*words)
    assert result.exit_code == 0
    assert max(len(line) for line in result.output.splitlines()) <= 80
    assert "…" not in result.output
    assert "\x1b" not in result.output


def test_the_bar_fits_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stage, step, time and time left, at six digits and an hour."""
    stream = io.StringIO()
    stream.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    with shared.progress_bars() as report:
        report("sensitivity of layers, prune", 99_999, 100_000)
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", stream.getvalue())
    lines = [line.rstrip() for line in re.split(r"[\r\n]+", text) if line.strip()]
    assert max(len(line) for line in lines) <= 80
    assert any("99999/100000" in line and "left" in line for line in lines), lines
    assert any(line.startswith("sensitivity of layers, prune") for line in lines)
    assert all("/100000" in line for line in lines)  # nothing runs into a second line


def test_lines_tell_beginning_time_left_and_end() -> None:
    said, now = [], 0.0
    lines = Lines(said.append, clock=lambda: now)
    for step in range(101):
        lines("prune", step, 100)
        now += 1
    lines("prune", 100, 100)
    lines("score", 0, 3)
    assert said == [
        "prune: 0 of 100",
        "prune: 15 of 100, 1:25 min left",
        "prune: 30 of 100, 1:10 min left",
        "prune: 45 of 100, 55 s left",
        "prune: 60 of 100, 40 s left",
        "prune: 75 of 100, 25 s left",
        "prune: 90 of 100, 10 s left",
        "prune: 100 of 100 after 1:40 min",
        "score: 0 of 3",
    ]
    assert [duration(s) for s in (0.4, 61, 3600)] == ["0 s", "1:01 min", "1:00:00 h"]


def test_colours_are_off_where_nobody_wants_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def stderr(color: bool, **environment: str) -> str:
        runner = CliRunner(env={"NO_COLOR": None, "TERM": "xterm", **environment})
        return runner.invoke(main, ["eval", "nowhere"], color=color).stderr

    assert "\x1b[31merror:" in stderr(True)
    assert "\x1b" not in stderr(True, NO_COLOR="1")
    assert "\x1b" not in stderr(True, TERM="dumb")
    assert "\x1b" not in stderr(False)
    assert "error: there is nothing at nowhere" in stderr(False)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_for_the_shell(shell: str) -> None:
    result = run("completion", shell)
    assert result.exit_code == 0
    assert f"_EDGEPOSE_COMPLETE={shell}_complete" in result.output


def test_completion_completes() -> None:
    """What the script asks for: commands and options."""

    def completed(words: str) -> set[str]:
        environment = {**os.environ, "_EDGEPOSE_COMPLETE": "bash_complete", "COMP_WORDS": words,
                       "COMP_CWORD": str(len(words.split()) - 1)}  # fmt: skip
        code = "from edgepose.cli import main; main(prog_name='edgepose')"
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        return {line.partition(",")[2] for line in done.stdout.splitlines()}

    assert completed("edgepose com") == {"completion", "compress"}
    assert "--recipe" in completed("edgepose compress --re")


@dataclass(frozen=True)
class Story:
    """A run that crashed, was refused, and then finished; what each call and the log said."""

    out: Path
    crashed: Result
    crash_log: str
    refused: Result
    finished: Result

    @property
    def log(self) -> str:
        return (self.out / "tiny" / "latest" / "run.log").read_text()


@pytest.fixture(scope="module")
def story(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Story:
    out, real = tmp_path_factory.mktemp("out"), train_stage.run
    words = ("train", "--recipe", recipe, "--out", out)

    def crash(*values: object) -> None:
        raise RuntimeError("something nobody foresaw")

    def refuse(*values: object) -> None:
        raise EdgeposeError("no good", fix="another")

    def noisy(*values: object) -> object:
        warnings.warn("a library's own warning", UserWarning, stacklevel=1)
        logging.getLogger("somebody").warning("a library's log line")
        values[2].warn("ours")  # type: ignore[attr-defined]
        return real(*values)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_stage, "run", crash)
        crashed = run(*words)
        crash_log = (out / "tiny" / "run.log").read_text()
        patch.setattr(train_stage, "run", refuse)
        refused = run(*words)
        patch.setattr(train_stage, "run", noisy)
        finished = run(*words)
    return Story(out, crashed, crash_log, refused, finished)


def test_a_run_leaves_its_log(story: Story) -> None:
    assert story.finished.exit_code == 0, story.finished.output
    assert "warning: ours" in story.finished.stderr
    for part in (
        "torch 2.", "Python 3", "train: begins", "train: 1 of 2", "train: 2 of 2 after",
        "UserWarning: a library's own warning", "somebody: a library's log line", "edgepose: ours",
        "train: done in", "score train: 4 of 4", "train: pckh@0.5", "INFO    edgepose: done in",
    ):  # fmt: skip
        assert part in story.log, part
    assert not (story.out / "tiny" / "run.log").exists()
    assert not [h for h in logging.getLogger().handlers if isinstance(h, run_log._File)]


def test_a_crash_leaves_its_traceback_and_the_next_run_goes_on_there(story: Story) -> None:
    path = story.out / "tiny" / "run.log"
    assert isinstance(story.crashed.exception, RuntimeError)
    assert story.crashed.exception.__notes__ == [f"log: {path}"]
    assert "Traceback" in story.crash_log
    assert "RuntimeError: something nobody foresaw" in story.crash_log
    assert story.refused.exit_code == 2
    assert f"fix: another\n  log: {path}" in story.refused.stderr
    assert story.log.count("INFO    edgepose: begins: ") == 3
    assert "something nobody foresaw" in story.log


def test_quiet_says_results_only(story: Story, recipe: Path) -> None:
    result = run("-q", "train", "--recipe", recipe, "--out", story.out)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    assert "report: " in result.stdout
    assert run("-q", "-v", "targets").exit_code == 2
    assert "error: there is nothing at nowhere" in run("-q", "eval", "nowhere").stderr
    with click.Context(main) as context:
        context.meta[shared.VERBOSITY] = shared.QUIET
        shared.warn("not heard")


def test_verbose_shows_lines_once_and_json_stays_json(story: Story, recipe: Path) -> None:
    result = run("-v", "train", "--recipe", recipe, "--out", story.out, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["recipe"]["name"] == "tiny"
    lines = [line for line in result.stderr.splitlines() if "train: kept from before" in line]
    assert len(lines) == 1
    assert re.match(r"\d\d:\d\d:\d\d ", lines[0])


def test_verbose_tells_progress_where_nothing_is_logged(capsys: pytest.CaptureFixture[str]) -> None:
    with click.Context(main) as context:
        context.meta[shared.VERBOSITY] = shared.VERBOSE
        with shared.progress_bars() as report:
            report("score", 1, 2)
            report("score", 2, 2)
    assert capsys.readouterr().err.splitlines() == ["score: 1 of 2", "score: 2 of 2 after 0 s"]


def test_a_log_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(EdgeposeError, match="cannot write"),
        run_log.run_log(tmp_path / "there is no such folder"),
    ):
        raise AssertionError("the body does not run")
