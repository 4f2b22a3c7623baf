"""Recipe and target files: where they are found, `extends:`, and `--set`."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgepose.errors import EdgeposeError
from edgepose.strict_yaml import (
    MAX_BYTES,
    MAX_DEPTH,
    Node,
    Place,
    Problems,
    is_text,
    join,
    nearest,
    parse,
    short,
    shown,
    shown_path,
)

NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""A recipe's or a target's name: it also names a folder, so it is never a path."""


def builtin_folder(name: str) -> Path:
    """The built-in "recipes" or "targets": inside an installed package, beside it in a clone."""
    package = Path(__file__).resolve().parent
    candidates = [package / "_builtin" / name]
    if all((package.parent / folder).is_dir() for folder in ("recipes", "targets")):
        candidates.append(package.parent / name)
    for folder in candidates:
        if folder.is_dir():
            return folder
    raise EdgeposeError(
        f"this installation of edgepose has no built-in {name} ({candidates[0]} is missing)",
        fix="install it again: pip install --force-reinstall edgepose",
    )


def find_file(name: str | Path, *, kind: str, beside: Path | None = None) -> Path:
    """The file that a recipe's or target's name or path means.

    kind: "recipe" or "target". A bare name is looked up in `beside` (an extending file's folder),
    in ./<kind>s, then among the built-in ones; a path starts from `beside`, or the current folder.
    """
    text = str(name)
    if not text.strip():
        raise EdgeposeError(
            f"no {kind} is named", fix=f"name one, or give the path of a {kind} file"
        )
    bare = not ("/" in text or os.sep in text or text.endswith((".yaml", ".yml")))
    builtin = builtin_folder(kind + "s")
    path = (beside or Path()) / os.path.expanduser(text)
    folders = [*([beside] if beside else []), Path(kind + "s"), builtin] if bare else []
    for candidate in [*(folder / f"{text}.yaml" for folder in folders), path]:
        if os.path.isfile(candidate):
            return candidate
    if os.path.isdir(path):
        raise EdgeposeError(
            f"{kind} {short(text, 120)} is a folder, not a file",
            fix=f"name a YAML file, such as {os.path.join(text, 'name.yaml')}",
        )
    if os.path.exists(path):
        raise EdgeposeError(f"{kind} {short(text, 120)} is not an ordinary file", fix="name a file")
    near = {file.stem: file for file in _yaml_files(path.parent)}
    match = nearest(path.stem, near)
    if match is not None and not bare:
        fix = f"did you mean {os.path.join(os.path.dirname(text), near[match].name)}?"
    else:
        known = {file.stem for folder in (folders or [builtin]) for file in _yaml_files(folder)}
        match = nearest(path.stem, known)
        fix = f"use one of {', '.join(sorted(known)[:20])}, or the path of a file"
        fix = f"did you mean {match}?" if match else fix if known else "give the path of a file"
    raise EdgeposeError(f"no {kind} '{short(text, 120)}'", fix=fix)


def _yaml_files(folder: Path) -> list[Path]:
    try:
        return sorted(folder.glob("*.yaml"))[:1000]
    except (OSError, ValueError):
        return []


def read_file(path: Path, *, problems: Problems, order: int = 0) -> Node:
    """The tree in one file, the order-th of a document; its top level is a mapping.

    EdgeposeError where it cannot be read.
    """
    shown_as = shown_path(path)
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        reason = error.strerror or str(error)
        raise EdgeposeError(
            f"{shown_as} cannot be read: {reason}", fix="check its permissions"
        ) from None
    if len(data) > MAX_BYTES:
        raise EdgeposeError(
            f"{shown_as} is larger than {MAX_BYTES // 1000} kB",
            fix="name a recipe or target file",
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise EdgeposeError(
            f"{shown_as}:{line}: not UTF-8 text (byte 0x{data[error.start]:02x})",
            fix="save the file as UTF-8",
        ) from None
    folders = tuple(Path(os.path.abspath(folder)) for folder in (path.parent, Path()))
    node = parse(text, place=Place(shown_as, 1, folders, order), problems=problems)
    if node is None or node.value is None:
        raise EdgeposeError(f"{shown_as} is empty", fix="begin it with `version: 1`")
    if not isinstance(node.value, dict):
        raise EdgeposeError(
            f"{node.place}: the top level is {shown(node.value)}, not `key: value` lines",
            fix="begin it with `version: 1`",
        )
    return node


@dataclass(frozen=True)
class Rules:
    """What merging needs to know of the document.

    known_versions: what `version:` may say
    own: top-level keys that a file does not inherit
    last: keys that stay last in their mapping when new ones are appended
    replaces(path, base, child): true where the child's mapping replaces the base's as a whole
    """

    known_versions: tuple[int, ...] = (1,)
    own: tuple[str, ...] = ()
    last: tuple[str, ...] = ()
    replaces: Callable[[str, Mapping[str, Node], Mapping[str, Node]], bool] = lambda *_: False


def read_layers(
    name: str | Path, *, kind: str, rules: Rules, problems: Problems
) -> tuple[Node, tuple[Path, ...]]:
    """A file merged over the files that it extends, and their paths, the named one first.

    The `version` and `extends` keys are checked and taken out.
    """
    path = find_file(name, kind=kind)
    layers: list[Node] = []
    files: list[Path] = []
    while True:
        files.append(Path(os.path.realpath(path)))
        node = read_file(path, problems=problems, order=len(layers))
        entries = dict(node.mapping)
        version = entries.pop("version", None)
        if version is None:
            problems.add(
                node.place, f"version: missing (begin with `version: {rules.known_versions[-1]}`)"
            )
        else:
            _check_version(version, kind=kind, rules=rules)
        base = entries.pop("extends", None)
        if layers:
            entries = {key: value for key, value in entries.items() if key not in rules.own}
        layers.append(Node(entries, node.place))
        if base is None:
            break
        if not isinstance(base.value, str):
            raise EdgeposeError(
                f"{base.place}: extends: expected a file's name, got {shown(base.value)}",
                fix="write, for instance, `extends: other.yaml`",
            )
        try:
            path = find_file(base.value, kind=kind, beside=path.parent)
        except EdgeposeError as error:
            raise EdgeposeError(f"{base.place}: extends: {error.problem}", fix=error.fix) from None
        if Path(os.path.realpath(path)) in files:
            circle = " -> ".join(shown_path(p) for p in [*files, path])
            raise EdgeposeError(
                f"{base.place}: extends: a circle: {circle}", fix="remove one `extends:`"
            )
    merged = layers.pop()
    while layers:
        merged = merge(merged, layers.pop(), rules=rules)
    return merged, tuple(files)


def _check_version(version: Node, *, kind: str, rules: Rules) -> None:
    known = " or ".join(map(str, rules.known_versions))
    if type(version.value) is not int or version.value not in rules.known_versions:
        raise EdgeposeError(
            f"{version.place}: version: {shown(version.value)} is not known; "
            f"this edgepose reads {kind} version {known}",
            fix=f"write `version: {rules.known_versions[-1]}`, or update edgepose",
        )


def merge(base: Node, child: Node, *, rules: Rules, path: str = "") -> Node:
    """child over base: mappings merge deeply, null removes an inherited key, the rest replaces.

    Order: the base's, then new keys (before a key of `rules.last`); a child that names all of the
    base's keys sets the order itself.
    """
    if not isinstance(base.value, dict) or not isinstance(child.value, dict):
        return child
    if rules.replaces(path, base.value, child.value):
        return child
    out: dict[str, Node] = dict(base.value)
    for key, node in child.value.items():
        if key not in out:
            out[key] = node
        elif node.value is None:
            del out[key]
        else:
            out[key] = merge(out[key], node, rules=rules, path=join(path, key))
    if base.value.keys() <= child.value.keys():
        out = {key: out[key] for key in child.value if key in out}
    else:
        pinned = [key for key in rules.last if key in base.value and key in out]
        out = {k: v for k, v in out.items() if k not in pinned} | {k: out[k] for k in pinned}
    return Node(out, base.place if child.place.line is None else child.place)


def override(tree: Node, settings: Sequence[str], *, rules: Rules, problems: Problems) -> Node:
    """tree with `--set a.b.c=value` laid over it, in order. value: a YAML scalar or flow value."""
    folders = tuple(dict.fromkeys(reversed(tree.place.folders)))  # the current folder first
    for order, setting in enumerate(settings, start=1000):
        key, equals, text = setting.partition("=")
        place = Place(f"--set {short(setting, 80)}", None, folders, order)
        parts = key.strip().split(".")
        if not equals or not all(parts):
            problems.add(place, "expected key=value, as in --set stages.prune.ratio=0.5")
        elif len(parts) > MAX_DEPTH:
            problems.add(place, f"a key of more than {MAX_DEPTH} parts")
        elif parts[0] in ("extends", "version"):
            problems.add(place, f"{parts[0]} cannot be overridden; write it in a file")
        elif not text.strip():
            problems.add(place, "no value after '='; null removes an inherited key")
        elif not is_text(key):
            problems.add(place, "the key is not text")
        else:
            node = parse(text, place=place, problems=problems, path=key.strip())
            node = node or Node(None, place)
            for part in reversed(parts):
                node = Node({part: node}, place)
            tree = merge(tree, node, rules=rules)
    return tree
