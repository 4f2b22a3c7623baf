"""A tree of values -> a validated pydantic model, with every error in plain words at its place.

Types are strict: "5" is not a number, 1 is not true, 2.0 is not a whole number. Fields of type
`Path` (pydantic's FilePath and DirectoryPath, or ExistingPath) are looked up from the folder of
the file that names them, then from the current folder, and become absolute.
"""

from __future__ import annotations

import json
import os
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.types import PathType
from pydantic_core import ErrorDetails

from edgepose.errors import EdgeposeError
from edgepose.strict_yaml import Node, Place, Problems, did_you_mean, join, nearest, short, shown

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class _Exists:
    """Marks a path that may be a file or a folder, and must be there; with `or_url`, or a URL."""

    or_url: bool = False


ExistingPath = Annotated[Path, _Exists()]
"""A path to a file or folder that must exist; absolute once validated."""

ExistingPathOrUrl = Annotated[str, _Exists(or_url=True)]
"""The same as text, or a URL as it stands."""


def validate(node: Node, path: str, model: type[Model], *, problems: Problems) -> Model | None:
    """node as `model`, or None with the reasons added to problems. path: its key, for messages."""
    if not isinstance(node.value, dict):
        problems.add(
            node.place, f"{path}: expected a section of `key: value`, got {shown(node.value)}"
        )
        return None
    missing_paths: set[str] = set()
    resolved = _resolve(node, [_Type(model)], path, problems, missing_paths)
    try:
        return model.model_validate_json(json.dumps(resolved.plain()), strict=True)
    except ValidationError as error:
        errors = error.errors(include_url=False, include_input=False)
    except EdgeposeError as error:  # a Config that checks with edgepose's own functions
        problems.add(node.place, f"{path}: {error.problem} ({error.fix})")
        return None
    _explain(errors, node, path=path, model=model, problems=problems, missing=missing_paths)
    return None


def expected_section(node: Node) -> str:
    """What to say of a value that should have been a mapping."""
    return f"expected a section of `key: value`, got {shown(node.value)}"


# ---- paths ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Type:
    annotation: Any
    metadata: tuple[Any, ...] = ()


def _alternatives(given: _Type) -> Iterator[_Type]:
    """The members of unions, with Annotated unwrapped."""
    origin = get_origin(given.annotation)
    if origin is Annotated:
        inner, *metadata = get_args(given.annotation)
        yield from _alternatives(_Type(inner, (*given.metadata, *metadata)))
    elif origin in (Union, types.UnionType):
        for member in get_args(given.annotation):
            yield from _alternatives(_Type(member, given.metadata))
    else:
        yield given


def _children(given: Sequence[_Type], key: str | int) -> list[_Type]:
    """The types that the entry `key` of a value of one of these types may have."""
    found: list[_Type] = []
    for kind in given:
        annotation, arguments = kind.annotation, get_args(kind.annotation)
        origin = get_origin(annotation)
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            for name, field in annotation.model_fields.items():
                if key in (name, field.alias):
                    found += _alternatives(_Type(field.annotation, tuple(field.metadata)))
        elif isinstance(key, str) and len(arguments) == 2 and _is_kind(origin, Mapping):
            found += _alternatives(_Type(arguments[1]))
        elif isinstance(key, int) and origin is tuple and Ellipsis not in arguments:
            found += _alternatives(_Type(arguments[key])) if key < len(arguments) else []
        elif isinstance(key, int) and arguments and not _is_kind(origin, Mapping):
            found += _alternatives(_Type(arguments[0]))
    return found


def _is_path(kind: _Type) -> bool:
    return kind.annotation is Path or any(isinstance(m, _Exists) for m in kind.metadata)


def _is_kind(origin: Any, kind: type) -> bool:
    return isinstance(origin, type) and issubclass(origin, kind)


def _resolve(
    node: Node, given: Sequence[_Type], path: str, problems: Problems, missing: set[str]
) -> Node:
    """node with every path in it made absolute; `missing` gathers the keys of those not there."""
    if isinstance(node.value, dict):
        entries = {
            key: _resolve(child, _children(given, key), join(path, key), problems, missing)
            for key, child in node.value.items()
        }
        return Node(entries, node.place)
    if isinstance(node.value, list):
        items = [
            _resolve(child, _children(given, i), f"{path}[{i}]", problems, missing)
            for i, child in enumerate(node.value)
        ]
        return Node(items, node.place)
    paths = [kind for kind in given if _is_path(kind)]
    if not isinstance(node.value, str) or not paths:
        return node
    text, metadata = node.value, paths[0].metadata
    if "://" in text and _Exists(or_url=True) in metadata:
        return node
    wanted = next((m.path_type for m in metadata if isinstance(m, PathType)), None)
    for folder in node.place.folders:
        candidate = os.path.abspath(folder / os.path.expanduser(text))
        if text and os.path.exists(candidate):
            break
    else:
        required = wanted in ("file", "dir") or any(isinstance(m, _Exists) for m in metadata)
        if not required or any(kind.annotation is str for kind in given if kind not in paths):
            return node
        problems.add(node.place, f"{path}: {_not_found(text, wanted, node.place)}")
        missing.add(path)
        return Node("", node.place)
    return Node(candidate, node.place)


def _not_found(text: str, wanted: str | None, place: Place) -> str:
    what = {"file": "file", "dir": "folder"}.get(wanted or "", "file or folder")
    if not text:
        return f"expected a {what}'s path, got an empty text"
    for folder in place.folders:
        parent, name = os.path.split(os.path.abspath(folder / os.path.expanduser(text)))
        try:
            match = nearest(name, sorted(os.listdir(parent))[:1000])
        except (OSError, ValueError):
            continue
        if match is not None:
            near = os.path.join(os.path.dirname(text), match)
            return f"no such {what}: {short(text, 120)} (did you mean '{near}'?)"
    looked = " and in ".join(dict.fromkeys(str(folder) for folder in place.folders))
    where = "" if os.path.isabs(text) else f" (looked in {looked})"
    return f"no such {what}: {short(text, 120)}{where}"


# ---- words ------------------------------------------------------------------------------------

EXPECTED = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text",
    "string_sub_type": "text",
    "path_type": "a path",
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "frozen_set_type": "a list",
    "dict_type": "a section of `key: value`",
    "mapping_type": "a section of `key: value`",
    "model_type": "a section of `key: value`",
    "model_attributes_type": "a section of `key: value`",
    "dataclass_type": "a section of `key: value`",
    "none_required": "nothing (null)",
}
COMPARED = {
    "greater_than": ("more than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
    "multiple_of": ("a multiple of", "multiple_of"),
}


@dataclass(frozen=True)
class _Spot:
    """Where in the tree an error is: the value, its key, the types that it and its parent have."""

    node: Node
    where: str
    types: Sequence[_Type]
    parent: Sequence[_Type]
    absent: str | int | None  # the key that is not there, for a missing one


def _locate(loc: Sequence[str | int], node: Node, path: str, model: type[BaseModel]) -> _Spot:
    """pydantic's location, less the names that it adds for the members of a union."""
    spot = _Spot(node, path, [_Type(model)], [], None)
    for part in loc:
        value = spot.node.value
        if isinstance(value, dict) and isinstance(part, str) and part in value:
            child, where = value[part], join(spot.where, part)
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            child, where = value[part], f"{spot.where}[{part}]"
        else:
            continue
        spot = _Spot(child, where, _children(spot.types, part), spot.types, None)
    last = loc[-1] if loc else None
    return spot if spot.where.endswith(str(last)) else replace(spot, absent=last)


def _explain(
    errors: Sequence[ErrorDetails],
    node: Node,
    *,
    path: str,
    model: type[BaseModel],
    problems: Problems,
    missing: set[str],
) -> None:
    """Adds a line for each value that is wrong; the members of a union share one line."""
    expected: dict[str, tuple[Node, list[str]]] = {}
    told = set(missing)
    for error in errors:
        spot = _locate(error["loc"], node, path, model)
        kind, context = error["type"], error.get("ctx", {})
        if spot.where in missing:
            continue
        if kind in EXPECTED or kind in ("literal_error", "enum"):
            words = EXPECTED.get(kind) or _one_of(_choices(context))
            if kind == "string_type" and any(_is_path(t) for t in spot.types):
                words = EXPECTED["path_type"]
            expected.setdefault(spot.where, (spot.node, []))[1].append(words)
            continue
        told.add(spot.where)
        if kind == "missing" and isinstance(spot.absent, str):
            problems.add(spot.node.place, f"{join(spot.where, spot.absent)}: missing")
        elif kind == "extra_forbidden":
            key = str(error["loc"][-1])
            hint = did_you_mean(key, _field_names(spot.parent))
            problems.add(spot.node.place, f"{spot.where}: unknown key{hint}")
        else:
            text = _sentence(kind, context, error["msg"], spot)
            problems.add(spot.node.place, f"{spot.where}: {text}" if spot.where else text)
    for where, (at, alternatives) in expected.items():
        if where not in told:
            words = " or ".join(dict.fromkeys(alternatives))
            hint = _hint(at.value, re.findall("'([^']*)'", words))
            problems.add(at.place, f"{where}: expected {words}, got {shown(at.value)}{hint}")


def _hint(value: object, choices: Sequence[str]) -> str:
    match = nearest(str(value), choices)
    return f" (did you mean '{match}'?)" if match else ""


def _choices(context: Mapping[str, Any]) -> list[str]:
    return re.findall("'([^']*)'", str(context.get("expected", "")))


def _one_of(words: Sequence[str]) -> str:
    quoted = ", ".join(f"'{word}'" for word in words)
    return quoted if len(words) == 1 else f"one of {quoted}"


def _field_names(given: Sequence[_Type]) -> list[str]:
    return [
        field.alias or name
        for kind in given
        if isinstance(kind.annotation, type) and issubclass(kind.annotation, BaseModel)
        for name, field in kind.annotation.model_fields.items()
    ]


def _sentence(kind: str, context: Mapping[str, Any], message: str, spot: _Spot) -> str:
    """One error in plain words, in units of what the user wrote."""
    value = spot.node.value
    count = len(value) if isinstance(value, list | dict | str) else 0
    if kind in COMPARED:
        words, key = COMPARED[kind]
        return f"must be {words} {context[key]:g}, got {shown(value)}"
    if kind in ("too_short", "too_long", "missing"):
        fixed = [len(get_args(t.annotation)) for t in spot.types if _is_fixed(t)]
        if fixed:
            return f"expected {fixed[0]} values, got {count}"
        at_least = kind == "too_short"
        limit = context["min_length" if at_least else "max_length"]
        return f"expected at {'least' if at_least else 'most'} {limit} values, got {count}"
    if kind == "string_too_short":
        return f"expected text of at least {context['min_length']} characters, got {shown(value)}"
    if kind == "string_too_long":
        return f"expected text of at most {context['max_length']} characters, got {count}"
    if kind == "string_pattern_mismatch":
        either = re.fullmatch(r"\^\(([\w|-]+)\)\$", str(context["pattern"]))
        if either:
            choices = either[1].split("|")
            return f"expected {_one_of(choices)}, got {shown(value)}{_hint(value, choices)}"
        return f"{shown(value)} does not fit the pattern {context['pattern']}"
    if kind == "path_not_file":
        return f"expected a file, got a folder: {short(str(value), 120)}"
    if kind == "path_not_directory":
        return f"expected a folder, got a file: {short(str(value), 120)}"
    if kind in ("value_error", "assertion_error") and "error" in context:
        return str(context["error"]) or f"{shown(value)} is refused"
    return message[:1].lower() + message[1:]


def _is_fixed(kind: _Type) -> bool:
    """Whether a type is a tuple of a given length."""
    return get_origin(kind.annotation) is tuple and Ellipsis not in get_args(kind.annotation)
