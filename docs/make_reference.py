"""Reference pages, written from the code whenever the site is built: `mkdocs build`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from edgepose import registry
from edgepose.backends.lint.findings import RULES
from edgepose.bench.record import BenchRecord
from edgepose.cli import main
from edgepose.manifest import Manifest
from edgepose.models import ARCHITECTURES
from edgepose.recipe_sections import Budget, Head, Student, TeacherHead
from edgepose.report.record import Report
from edgepose.strict_files import builtin_folder
from edgepose.target import Target, list_targets, load_target

Models = dict[str, type[BaseModel]]


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """mkdocs's hook: every decision in docs/adr is in the navigation."""
    decisions: list[Any] = []
    for file in sorted((Path(config.docs_dir) / "adr").glob("*.md")):
        title = file.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
        decisions.append({title: f"adr/{file.name}"})
    assert config.nav is not None, "mkdocs.yml has one"
    config.nav.append({"Decisions": decisions})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """mkdocs's hook: the pages as if they lay in docs/reference."""
    for name, page in PAGES.items():
        files.append(File.generated(config, f"reference/{name}.md", content=page()))
    return files


def meanings(model: type[BaseModel]) -> dict[str, str]:
    """{key: what its class's docstring says of it}, base classes included.

    House style: "key: text" or "key, key: text", separated by ";", "." or a line's end.
    """
    fields = "|".join(model.model_fields)
    key = re.compile(rf"(?:^|(?<=[;.,:] )|(?<=\n))((?:(?:{fields}), )*(?:{fields})):\s")
    found: dict[str, str] = {}
    for cls in model.__mro__:
        text = cls.__dict__.get("__doc__") or ""
        text = re.sub(r"\n[ \t]+", "\n", text)
        marks = list(key.finditer(text))
        ends = [mark.start() for mark in marks[1:]] + [len(text)]
        for mark, end in zip(marks, ends, strict=False):
            said = text[mark.end() : end]
            said = " ".join(said.split("\n\n")[0].split()).rstrip(" ;,.")
            for name in mark[1].split(", "):
                found.setdefault(name, said)
    return found


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def _type(schema: Mapping[str, Any]) -> str:
    """A JSON schema's type in words; names of other sections link to them."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_type(option) for option in schema["anyOf"]))
    if "allOf" in schema:
        return _type(schema["allOf"][0])
    kind = schema.get("type")
    if kind == "array":
        if "prefixItems" in schema:
            return "[" + ", ".join(_type(item) for item in schema["prefixItems"]) + "]"
        return f"list of {_type(schema.get('items', {}))}"
    words = {"integer": "whole number", "number": "number", "string": "text", "null": "null",
             "boolean": "true or false", "object": "mapping", None: "any"}  # fmt: skip
    text = "path" if schema.get("format", "").endswith("path") else words[kind]
    signs = (
        ("minimum", "≥"),
        ("exclusiveMinimum", ">"),
        ("maximum", "≤"),
        ("exclusiveMaximum", "<"),
    )
    limits = [f"{sign} {schema[name]:.12g}" for name, sign in signs if name in schema]
    return " ".join([text, ", ".join(limits)]).strip()


def _default(value: Any) -> str:
    if value is PydanticUndefined:
        return "**required**"
    if isinstance(value, BaseModel):
        return "its own defaults"
    return f"`{json.dumps(value, default=str)}`"


def _nested(model: type[BaseModel], seen: Models) -> None:
    """Every model that a field of `model` holds, by name."""

    def inside(annotation: Any) -> Iterator[type[BaseModel]]:
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield annotation
        for argument in get_args(annotation):
            yield from inside(argument)

    for field in model.model_fields.values():
        for other in inside(field.annotation):
            if other.__name__ not in seen:
                seen[other.__name__] = other
                _nested(other, seen)


def table(
    model: type[BaseModel], *, skip: tuple[str, ...] = (), defaults: Mapping[str, str] | None = None
) -> str:
    """Every key of a section: type, default, meaning. defaults: where the model does not know them."""
    properties = model.model_json_schema()["properties"]
    said = meanings(model)
    hidden = {k for k, v in properties.items() if "const" in v}  # says itself what it is
    rows = ["| key | what it takes | default | meaning |", "|---|---|---|---|"]
    for name, field in model.model_fields.items():
        if name not in skip and name not in hidden:
            default = field.get_default(call_default_factory=True, validated_data={})
            shown = (defaults or {}).get(name) or _default(default)
            cells = (f"`{name}`", _type(properties[name]), shown, said.get(name, ""))
            rows.append("| " + " | ".join(_cell(cell) for cell in cells) + " |")
    return "\n".join(rows)


def _summary(model: type[BaseModel]) -> str:
    """The docstring's first sentence, where that is not already about a key."""
    text = " ".join((model.__dict__.get("__doc__") or "").split("\n\n")[0].split())
    first = re.split(r"(?<=\.) ", text)[0]
    keys = "|".join(model.model_fields)
    return "" if re.match(rf"((?:{keys}), )*(?:{keys}):", first) or ":" in first else first


def recipes() -> str:
    """reference/recipes.md"""
    shared: Models = {}
    parts = [
        "# Recipes\n\nWritten from the code of this version. A recipe is YAML, read strictly: an unknown "
        "key is an error with its line, and all errors come at once "
        "([decision 3](../adr/0003-strict-recipes.md)). `--set a.b.c=value` overrides any key, "
        "`extends: other.yaml` inherits another recipe, `null` removes a key.\n\n```yaml\n"
        + (builtin_folder("recipes") / "smoke.yaml").read_text()
        + "```\n",
        "## The whole recipe\n\n`version` is `1`. `data`, `teacher` and `stages` are below.\n\n"
        + table(Head, skip=("student", "budget"), defaults={"name": "the file's name"}),
        "## student\n\n`arch` is one of "
        + ", ".join(f"`{name}`" for name in ARCHITECTURES)
        + ", `hrnet_wN` of any width, or `package.module:name` of your own.\n\n"
        + table(Student),
        "## teacher\n\nEither a `checkpoint`, or `arch` with `train`: the keys of "
        "[the train stage](#stagestrain). `teacher: null` learns from labels alone.\n\n"
        + table(TeacherHead),
        "## budget\n\n" + table(Budget),
    ]
    for title, words in (("data", registry.sources()), ("stages", registry.stages())):
        for word in words:
            model = words[word]
            _nested(model, shared)
            key = f"`data: {{source: {word}, ...}}`" if title == "data" else f"`stages.{word}`"
            parts.append(f"## {title}.{word}\n\n{key}. {_summary(model)}\n\n{table(model)}")
    for name, model in sorted(shared.items()):
        parts.append(f"## {name}\n\n{_summary(model)}\n\n{table(model)}")
    built_in = sorted(builtin_folder("recipes").glob("*.yaml"))
    lines = [f"| `{file.stem}` | {_cell(_described(file))} |" for file in built_in]
    parts.append("## Built-in recipes\n\n| name | what it is |\n|---|---|\n" + "\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _described(file: Path) -> str:
    found = re.search(r"^description: (.*)$", file.read_text(), re.MULTILINE)
    return found[1].strip("\"'") if found else ""


def targets() -> str:
    """reference/targets.md"""
    parts = [
        "# Targets\n\nWritten from `targets/*.yaml` of this version. A device on a runtime that exists is "
        "one more such file; see [Extending it](../extending.md#a-new-target)."
    ]
    for name in list_targets():
        target = load_target(name)
        rows = [
            ("runtime", f"`{target.runtime}`"),
            ("precisions", ", ".join(target.precisions) + "; the first one's file is counted"),
            ("highest ONNX opset", str(target.opset) if target.opset else "no ONNX"),
            ("system", target.minimum_os or "-"),
            ("device at hand", f"`{target.device}`" if target.device else "none; `--device` names one"),
            ("channels are padded to", f"INT8 {target.channel_multiple.int8}, "
             f"FP16 {target.channel_multiple.fp16}"),
            ("on the device", "; ".join(target.needs.device) or "-"),
            ("tools here", "; ".join(f"`{t.command}` for {t.purpose}" for t in target.needs.tools) or "-"),
            ("latency estimate", f"roofline, {target.hardware.source}" if target.hardware else "none"),
        ]  # fmt: skip
        lines = [f"| {_cell(key)} | {_cell(value)} |" for key, value in rows]
        notes = "\n".join(f"- {note}" for note in target.notes)
        parts.append(
            f"## {name}\n\n{target.description}.\n\n| | |\n|---|---|\n" + "\n".join(lines)
            + f"\n\n{notes}"
        )  # fmt: skip
    shared: Models = {}
    _nested(Target, shared)
    parts.append("## Keys of a target file\n\n" + table(Target))
    parts += [f"### {name}\n\n{_summary(m)}\n\n{table(m)}" for name, m in sorted(shared.items())]
    return "\n\n".join(parts) + "\n"


def _leaves(group: click.Group, *names: str) -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from _leaves(command, *names, name)
        else:
            yield " ".join((*names, name)), command


def commands() -> str:
    """reference/commands.md"""
    parts = [
        "# Commands\n\nWhat `-h` prints, of this version. `edgepose -v COMMAND` shows every step and what "
        "libraries say, `edgepose -q COMMAND` results and errors only. Exit codes: 0 done; 1 a condition "
        "failed (`lint`, `doctor`, `bench --fail-if`); 2 bad input, with one message and its fix; "
        "130 stopped."
    ]
    root = click.Context(main, info_name="edgepose", **main.context_settings)
    for name, command in _leaves(main):
        context = click.Context(command, info_name=name, parent=root, terminal_width=88)
        parts.append(f"## {name}\n\n```text\n{command.get_help(context)}\n```")
    return "\n\n".join(parts) + "\n"


def files() -> str:
    """reference/files.md"""
    parts = [
        "# Fields of the JSON files\n\nWritten from the code of this version; see "
        "[Files and formats](../formats.md). Sections that several files share come last."
    ]
    shared: Models = {}
    for name, model in (
        ("artifact.json", Manifest),
        ("report.json", Report),
        ("record.json", BenchRecord),
    ):
        _nested(model, shared)
        parts.append(f"## {name}\n\n{_summary(model)}\n\n{table(model)}")
    parts += [f"## {name}\n\n{_summary(m)}\n\n{table(m)}" for name, m in sorted(shared.items())]
    return "\n\n".join(parts) + "\n"


def lint() -> str:
    """reference/lint.md"""
    rows = [
        f"| `{name}` | {r.level} | {_cell(r.what)} | {_cell(r.fix)} |" for name, r in RULES.items()
    ]
    return (
        "# Lint rules\n\nWhat `edgepose lint` finds, of this version. Errors fail an export unless "
        "`stages.export.allow_lint` names the rule ([decision 11](../adr/0011-lint.md)).\n\n"
        "| rule | level | what it finds | the usual fix |\n|---|---|---|---|\n"
        + "\n".join(rows)
        + "\n"
    )


PAGES: dict[str, Callable[[], str]] = {
    "recipes": recipes,
    "targets": targets,
    "commands": commands,
    "files": files,
    "lint": lint,
}
