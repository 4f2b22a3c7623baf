"""YAML text -> a tree of values that each know their file and line.

Safe loading within limits; files, `extends:` and `--set` are in `strict_files.py`, what the values
mean is checked in `strict_model.py`. Scalars follow YAML 1.2's core schema
(`1e-3` is a number, `no` and `on` are text), because YAML 1.1's surprises are not worth having.
See docs/adr/0003-strict-recipes.md.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import yaml

from edgepose.errors import EdgeposeError

MAX_BYTES = 250_000  # PyYAML reads the worst of it in a second or two
MAX_VALUES = 10_000
MAX_DEPTH = 32
MAX_NUMBER_CHARS = 40
MAX_PROBLEMS_SHOWN = 30

Scalar = str | int | float | bool | None
Value = Scalar | dict[str, "Node"] | list["Node"]

TAG = "tag:yaml.org,2002:"
# YAML 1.2 core schema, less infinities, NaN and octal, which no setting can use.
IMPLICIT_TYPES = (
    (TAG + "null", re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    (TAG + "bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")),
    (TAG + "int", re.compile(r"^(?:[-+]?[0-9]+|0x[0-9a-fA-F]+)$"), list("-+0123456789")),
    (
        TAG + "float",
        re.compile(r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$"),
        list("-+.0123456789"),
    ),
    (TAG + "merge", re.compile(r"^<<$"), ["<"]),
)


@dataclass(frozen=True)
class Place:
    """Where a value was written, and the folders that its relative paths start from."""

    source: str  # "recipes/x.yaml", or "--set a.b=c"
    line: int | None  # 1-based; None on the command line
    folders: tuple[Path, ...]
    order: int = 0  # among the sources: the named file, what it extends, the command line

    def __str__(self) -> str:
        return self.source if self.line is None else f"{self.source}:{self.line}"


@dataclass(frozen=True)
class Node:
    """A value and its place: the line of its key, or of itself where it has none."""

    value: Value
    place: Place

    @property
    def mapping(self) -> dict[str, Node]:
        """Its entries, {} where it is not a mapping."""
        return self.value if isinstance(self.value, dict) else {}

    def plain(self) -> Any:
        """The value without places: JSON-able."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value


class Problems:
    """Everything wrong with one document, to be told in one go."""

    def __init__(self) -> None:
        self._found: list[tuple[Place, str]] = []
        self._told: set[tuple[Place, str]] = set()

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, place: Place, text: str) -> None:
        """text: "a.key: what is wrong with it"; the first word on a key at a place counts."""
        key = (place, text.partition(": ")[0])
        if key not in self._told:
            self._told.add(key)
            self._found.append((place, text))

    def raise_any(self, what: str, *, check: str) -> None:
        """EdgeposeError with a line per problem. what: "recipe x.yaml"; check: a command to try."""
        if not self._found:
            return
        self._found.sort(key=lambda found: (found[0].order, found[0].line or 0))
        lines = [f"{place}: {text}" for place, text in self._found]
        if len(lines) > MAX_PROBLEMS_SHOWN:
            lines[MAX_PROBLEMS_SHOWN:] = [f"... and {len(lines) - MAX_PROBLEMS_SHOWN} more"]
        if len(lines) == 1:
            raise EdgeposeError(lines[0], fix=f"correct it, then try: {check}")
        text = "\n  ".join([f"{what} has {len(self._found)} errors", *lines])
        raise EdgeposeError(text, fix=f"correct them, then try: {check}")


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known name that `word` most likely meant."""
    by_lower = {name.lower(): name for name in known}
    match = difflib.get_close_matches(word[:80].lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[match[0]] if match else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """ " (did you mean 'x'?)", or the known names where none is near."""
    known = list(known)
    match = nearest(word, known)
    if match is not None:
        return f" (did you mean '{match}'?)"
    return f" (known: {', '.join(known)})" if known else ""


def shown(value: object) -> str:
    """A value as an error message shows it: short, in YAML's words."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a section" + (f" with {short(str(next(iter(value))))}: ..." if value else " {}")
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return f"the text {short(repr(value), 48)}" if isinstance(value, str) else short(str(value))


def short(text: str, limit: int = 60) -> str:
    """text, printable and at most `limit` characters long."""
    text = text if text.isprintable() else repr(text)[1:-1]
    return text if len(text) <= limit else text[: limit - 3] + "..."


def shown_path(path: Path) -> str:
    """path as a user would type it: relative where it lies under the current folder."""
    absolute, here = os.path.abspath(path), os.getcwd()
    return os.path.relpath(absolute, here) if absolute.startswith(here + os.sep) else absolute


# ---- text -> tree -----------------------------------------------------------------------------


class _TooMuch(Exception):
    """A limit was passed on a line (0-based)."""

    def __init__(self, line: int, text: str) -> None:
        super().__init__(text)
        self.line = line


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[Any, Any] = {}  # noqa: RUF012  (PyYAML's own class attribute)
    depth = 0
    nodes = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.depth += 1
        self.nodes += 1
        if self.depth > MAX_DEPTH:
            raise _TooMuch(self.line, f"values are nested more than {MAX_DEPTH} deep")
        if self.nodes > MAX_VALUES:
            raise _TooMuch(self.line, f"more than {MAX_VALUES:,} values")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


for _tag, _pattern, _first in IMPLICIT_TYPES:
    _Loader.add_implicit_resolver(_tag, _pattern, _first)

PLAIN_WORDS = (
    ("found character '\\t'", "a tab: indent with spaces"),
    ("mapping values are not allowed", "a ':' too many: put text that holds ': ' in quotes"),
    ("could not find expected ':'", "no ':' after a key, here or on the line before"),
    ("expected <block end>", "the indentation does not fit the lines above"),
    ("found unexpected end of stream", "a quote that is opened here is never closed"),
    (
        "expected ',' or",
        "a bracket that is opened here is not closed, or a ',' is missing after it",
    ),
    ("found undefined alias", "an alias (*name) without its anchor (&name)"),
    ("found duplicate anchor", "the same anchor (&name) twice"),
    ("but found another document", "several documents ('---'): keep one"),
)


def _in_plain_words(problem: str) -> str:
    return next((words for part, words in PLAIN_WORDS if part in problem), problem)


class _Reader:
    """Turns composed YAML nodes into Nodes: counts, checks keys and tags, makes scalars."""

    def __init__(self, place: Place, problems: Problems) -> None:
        self.place, self.problems, self.count = place, problems, 0

    def at(self, yaml_node: yaml.Node) -> Place:
        if self.place.line is None:
            return self.place
        return replace(self.place, line=yaml_node.start_mark.line + 1)

    def read(self, node: yaml.Node, *, place: Place, path: str, depth: int = 1) -> Node:
        self.count += 1  # aliases are counted each time they are used: no expansion bombs
        if self.count > MAX_VALUES:
            raise _TooMuch(
                node.start_mark.line, f"aliases expand to more than {MAX_VALUES:,} values"
            )
        if depth > MAX_DEPTH:
            raise _TooMuch(node.start_mark.line, f"aliases nest values more than {MAX_DEPTH} deep")
        if isinstance(node, yaml.MappingNode) and node.tag == TAG + "map":
            return Node(self._mapping(node, path, depth), place)
        if isinstance(node, yaml.SequenceNode) and node.tag == TAG + "seq":
            items = [
                self.read(item, place=self.at(item), path=f"{path}[{i}]", depth=depth + 1)
                for i, item in enumerate(node.value)
            ]
            return Node(items, place)
        if isinstance(node, yaml.ScalarNode):
            return Node(self._scalar(node, place, path), place)
        self._bad_tag(node, place, path)
        return Node(None, place)

    def _mapping(self, node: yaml.MappingNode, path: str, depth: int) -> dict[str, Node]:
        entries: dict[str, Node] = {}
        for key_node, value_node in node.value:
            place = self.at(key_node)
            if not isinstance(key_node, yaml.ScalarNode):
                self.problems.add(place, f"{path or 'top level'}: a key must be plain text")
                continue
            key = _whole(key_node.value)
            here = join(path, key)
            if not is_text(key):
                self.problems.add(place, f"{here}: the key is not text (half a character)")
                continue
            if key_node.tag == TAG + "merge":
                self.problems.add(place, f"{here}: merge keys are not read; use `extends:`")
                continue
            if key in entries:
                self.problems.add(
                    place, f"{here}: written twice (first on line {entries[key].place.line})"
                )
                continue
            entries[key] = self.read(value_node, place=place, path=here, depth=depth + 1)
        return entries

    def _scalar(self, node: yaml.ScalarNode, place: Place, path: str) -> Scalar:
        kind, text = node.tag.removeprefix(TAG), _whole(node.value)
        if kind in ("int", "float") and len(text) > MAX_NUMBER_CHARS:
            self.problems.add(place, f"{path}: a number of {len(text):,} digits")
        elif kind == "null":
            return None
        elif kind == "bool" and text.lower() in ("true", "false"):
            return bool(text.lower() == "true")
        elif kind == "int" and IMPLICIT_TYPES[2][1].match(text):
            return int(text, 16 if text.startswith("0x") else 10)
        elif kind == "float" and IMPLICIT_TYPES[3][1].match(text):
            number = float(text)
            if abs(number) != float("inf"):
                return number
            self.problems.add(place, f"{path}: the number {text} is too large")
        elif kind in ("str", "merge"):
            if is_text(text):
                return text
            self.problems.add(place, f"{path}: the text holds half a character (a lone surrogate)")
        else:
            self._bad_tag(node, place, path)
        return None

    def _bad_tag(self, node: yaml.Node, place: Place, path: str) -> None:
        tag = short(node.tag.replace(TAG, "!!"))
        self.problems.add(place, f"{path or 'top level'}: the tag {tag} is not read; remove it")


def is_text(text: str) -> bool:
    """False for text with lone surrogates, which no file can hold."""
    return not any("\ud800" <= char <= "\udfff" for char in text)


def _whole(text: str) -> str:
    """text with the surrogate pairs of JSON's escapes joined; lone surrogates stay."""
    if is_text(text):
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


def join(path: str, key: str) -> str:
    """ "stages" + "qat" -> "stages.qat", with keys cut to a printable length."""
    return f"{path}.{short(key)}" if path else short(key)


def parse(text: str, *, place: Place, problems: Problems, path: str = "") -> Node | None:
    """The tree of one YAML document, None where it is empty. EdgeposeError where it is not YAML."""

    def refuse(line: int | None, why: str) -> NoReturn:
        where = place if place.line is None else replace(place, line=line)
        lines = text.splitlines()
        excerpt = ""
        if place.line is not None and line is not None and 0 < line <= len(lines):
            excerpt = f"\n  {line} | {short(lines[line - 1].replace(chr(9), '<tab>'), 80)}"
        raise EdgeposeError(f"{where}: not valid YAML: {why}{excerpt}", fix="correct this line")

    loader = None
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        reader = _Reader(place, problems)
        return None if root is None else reader.read(root, place=reader.at(root), path=path)
    except yaml.MarkedYAMLError as error:
        mark, why = error.problem_mark, _in_plain_words(error.problem or "it cannot be read")
        if "end of stream" in str(error.problem) or "a flow" in str(error.context):
            mark = error.context_mark  # where it was opened says more than where the file ends
        refuse(mark.line + 1 if mark else None, why)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        refuse(line, f"the character U+{ord(text[error.position]):04X} is not allowed")
    except (ValueError, OverflowError):  # PyYAML on "\\U00110000" in double quotes
        refuse(loader.line + 1 if loader else None, "an escape that is no character")
    except _TooMuch as error:
        where = place if place.line is None else replace(place, line=error.line + 1)
        raise EdgeposeError(
            f"{where}: {error}", fix="make it smaller: a recipe or target is a page of text"
        ) from None
