"""The documentation: built without a warning, complete, and its commands and examples are real."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import click
import pytest
from click.testing import CliRunner
from pydantic import BaseModel

from edgepose import registry
from edgepose.cli import main
from edgepose.target import list_targets, load_target

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(path for path in DOCS.glob("*.md"))


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_reference", DOCS / "make_reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def section(page: str, title: str) -> str:
    found = re.search(
        rf"^##+ {re.escape(title)}\n(.*?)(?=^##+ |\Z)", page, re.MULTILINE | re.DOTALL
    )
    assert found, f"no section {title}"
    return found[1]


def test_the_recipe_reference_has_every_key_with_its_meaning(reference: ModuleType) -> None:
    page = reference.recipes()
    for room, words in (("data", registry.sources()), ("stages", registry.stages())):
        for word in words:
            text = section(page, f"{room}.{word}")
            for key in words[word].model_fields:
                (row,) = re.findall(rf"^\| `{key}` \|.*$", text, re.MULTILINE)
                assert not row.endswith("|  |"), f"{room}.{word}.{key}: its docstring does not say"
    for title in ("The whole recipe", "student", "teacher", "budget"):
        for row in re.findall(r"^\| `.*$", section(page, title), re.MULTILINE):
            assert not row.endswith("|  |"), row
    for file in (ROOT / "recipes").glob("*.yaml"):
        assert f"| `{file.stem}` |" in page


def test_meanings_are_read_off_docstrings(reference: ModuleType) -> None:
    class Base(BaseModel):
        """A thing. width, height: in pixels; depth: 0 is flat,
        never below."""

        width: int
        height: int
        depth: int = 0

    class Other(Base):
        """depth: deeper
        name: what
            it is called

        Not this: at all.
        """

        name: str = ""

    assert reference.meanings(Other) == {
        "width": "in pixels", "height": "in pixels", "depth": "deeper", "name": "what it is called",
    }  # fmt: skip


def test_the_target_reference_has_every_target(reference: ModuleType) -> None:
    page = reference.targets()
    for name in list_targets():
        text, target = section(page, name), load_target(name)
        assert target.description in text
        assert f"`{target.runtime}`" in text
        for part in (*target.notes, *target.needs.device):
            assert part in text


def test_the_command_reference_has_every_option(reference: ModuleType) -> None:
    page = reference.commands()
    for name, command in reference._leaves(main):
        text = section(page, name)
        for parameter in command.params:
            if isinstance(parameter, click.Option) and not parameter.hidden:
                assert parameter.opts[-1] in text, f"{name} {parameter.opts}"


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    """Every link, anchor and page; and a page asks for nothing from elsewhere."""
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(tmp_path / "site")],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "WARNING" not in said, said
    pages = list((tmp_path / "site").rglob("*.html"))
    names = {page.relative_to(tmp_path / "site").as_posix() for page in pages}
    assert {"tutorial.html", "reference/recipes.html", "adr/0001-rooms-and-one-way.html"} <= names
    assert not list((tmp_path / "site").rglob("*.py"))
    loads = re.compile(r"<(?:script|img|link|iframe)[^>]*(?:src|href)=[\"']?(https?:[^\"' >]+)")
    for page in pages:
        assert loads.findall(page.read_text()) == [], page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_on_a_page_are_real(page: Path) -> None:
    """Lines of code and inline commands that name their options; the tutorial's are also run."""
    blocks = re.findall(r"^```bash.*?\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    lines += re.findall(r"^    (edgepose .*)$", page.read_text(), re.MULTILINE)
    if page.stem == "claims":
        return  # its table has commands with `...` for paths
    for line in lines:
        if not line.startswith("edgepose "):
            continue
        words = shlex.split(line.split("  #")[0])[1:]
        command: click.Command = main
        while isinstance(command, click.Group):
            found = command.get_command(click.Context(command), words.pop(0))
            assert found is not None, line
            command = found
        parent = click.Context(main, **main.context_settings)
        assert command.make_context(command.name, words, parent=parent).params
    for name in re.findall(r"`edgepose (?:-[vq] )?([a-z]+)", page.read_text()):
        assert name in main.commands, name


def blocks(page: str) -> dict[str, str]:
    """{title: text} of a page's code blocks that have one."""
    found = re.findall(r'^```\w+ title="([^"]*)"\n(.*?)^```$', (DOCS / page).read_text(),
                       re.MULTILINE | re.DOTALL)  # fmt: skip
    return dict(found)


def test_the_examples_of_extending_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The own target loads and is listed; the own network goes through a dry run."""
    monkeypatch.chdir(tmp_path)
    for name, text in blocks("extending.md").items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert "my-board" in list_targets()
    assert load_target("my-board").runtime == "tensorrt"
    assert load_target("my-board").size_limit_mb == 4.0
    result = CliRunner().invoke(main, ["compress", "--recipe", "own.yaml", "--dry-run", "--json"])
    assert result.exit_code == 0, result.output
    assert "my_nets:small" in result.output


def test_the_readme_shows_the_picture_and_leads_to_the_pages() -> None:
    text = (ROOT / "README.md").read_text()
    assert (DOCS / "images" / "report.png").stat().st_size < 150_000
    for page in ("concepts", "tutorial", "troubleshooting", "runner", "extending", "claims"):
        assert f"](docs/{page}.md)" in text, page
