"""A recipe: what to compress, on which data, through which stages. YAML in, a frozen Recipe out.

    recipe = load_recipe("resnet18_5mb", overrides=["stages.prune.ratio=0.5"],
                         stage_configs=..., data_configs=..., archs=...)

Everything wrong is told at once, each with its file and line; see docs/adr/0003-strict-recipes.md.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel

from edgepose.device.coding import Coding
from edgepose.fetch import Source
from edgepose.recipe_sections import Budget, Head, Student, TeacherHead
from edgepose.recipe_text import to_yaml
from edgepose.strict_files import Rules, override, read_layers
from edgepose.strict_model import expected_section, validate
from edgepose.strict_yaml import (
    Node,
    Problems,
    did_you_mean,
    join,
    short,
    shown,
)

KNOWN_VERSIONS = (1,)
LAST_STAGE = "export"
SECTIONS = ("data", "teacher", "stages")  # checked with the Configs of their own rooms
FREE_ARCH = re.compile(
    r"hrnet_w[1-9]\d{0,3}|[A-Za-z_][\w.]*:[A-Za-z_]\w*"
)  # any width; import path


class Data(NamedTuple):
    """A data source's word and its Config."""

    source: str
    config: BaseModel


class Stage(NamedTuple):
    """A stage's word and its Config."""

    name: str
    config: BaseModel


@dataclass(frozen=True)
class Teacher:
    """The network to learn from: read from `checkpoint`, or `arch` trained with `train`."""

    arch: str | None
    checkpoint: str | None
    train: BaseModel | None
    sha256: str | None = None
    color: str = "RGB"
    coding: Coding | None = None

    @property
    def source(self) -> Source | None:
        return None if self.checkpoint is None else Source(self.checkpoint, self.sha256)


@dataclass(frozen=True)
class Recipe:
    """A checked recipe. `resolved` holds every key, defaults included, as plain JSON values."""

    name: str
    description: str
    seed: int
    data: Data
    student: Student
    teacher: Teacher | None
    metric: str
    flip_test: bool
    budget: Budget | None
    stages: tuple[Stage, ...]
    source_files: tuple[Path, ...] = field(compare=False)  # the named file, then what it extends
    resolved: dict[str, Any] = field(compare=False, repr=False)

    def stage(self, name: str) -> BaseModel | None:
        """The Config of one stage, None where the recipe does not have it."""
        return next((stage.config for stage in self.stages if stage.name == name), None)

    def dump(self) -> str:
        """YAML text that loads back to this recipe, every default written out."""
        return to_yaml(self.resolved)


def _replaces(path: str, base: Mapping[str, Node], child: Mapping[str, Node]) -> bool:
    """Another data source, or a teacher had another way, inherits none of the old one's keys."""
    if path == "data":
        old, new_source = base.get("source"), child.get("source")
        return bool(old and new_source and old.value != new_source.value)
    ways = {"checkpoint", "train"}
    new = {key for key in ways & child.keys() if child[key].value is not None}
    return path == "teacher" and bool(new) and not new & base.keys()


RULES = Rules(KNOWN_VERSIONS, own=("name",), last=(LAST_STAGE,), replaces=_replaces)


def load_recipe(
    name: str | Path,
    *,
    overrides: Sequence[str] = (),
    stage_configs: Mapping[str, type[BaseModel]],
    data_configs: Mapping[str, type[BaseModel]],
    archs: Sequence[str],
) -> Recipe:
    """The recipe in a file, or the built-in one of that name.

    overrides:     `--set` texts, "a.b.c=value"; null removes a key
    stage_configs: stage word -> its Config; only the words that the recipe uses are looked up
    data_configs:  data source -> its Config
    archs:         the architecture words that student and teacher may use
    Raises EdgeposeError, naming all that is wrong.
    """
    problems = Problems()
    tree, files = read_layers(name, kind="recipe", rules=RULES, problems=problems)
    tree = override(tree, overrides, rules=RULES, problems=problems)
    if "name" not in tree.mapping:
        stem = Node(files[0].stem, tree.place)
        tree = Node({"name": stem, **tree.mapping}, tree.place)
    check = f"edgepose compress --recipe {shlex.quote(str(name))} --dry-run"
    shown_name = tree.place.source
    recipe = _Checker(problems, stage_configs, data_configs, archs).recipe(tree, files)
    problems.raise_any(f"recipe {shown_name}", check=check)
    assert recipe is not None, "a recipe is None only with a problem told"
    return recipe


@dataclass(frozen=True)
class _Checker:
    problems: Problems
    stage_configs: Mapping[str, type[BaseModel]]
    data_configs: Mapping[str, type[BaseModel]]
    archs: Sequence[str]

    def recipe(self, tree: Node, files: tuple[Path, ...]) -> Recipe | None:
        entries = dict(tree.mapping)
        known = [*Head.model_fields, *SECTIONS]
        for key in [key for key in entries if key not in known]:
            node = entries.pop(key)
            hint = did_you_mean(key, [*known, "version", "extends"])
            if key in self.stage_configs:
                hint = f" (a stage: move it under `stages:` as stages.{key})"
            self.problems.add(node.place, f"{short(key)}: unknown key{hint}")
        data = self.data(entries.pop("data", None), tree)
        teacher = self.teacher(entries.pop("teacher", None))
        stages = self.stages(entries.pop("stages", None), tree)
        head = validate(Node(entries, tree.place), "", Head, problems=self.problems)
        student = tree.mapping.get("student")
        if student is not None:
            self.arch(student.mapping.get("arch"), "student.arch")
        if head is None or data is None or self.problems:
            return None
        fields = {key: getattr(head, key) for key in Head.model_fields}
        resolved: dict[str, Any] = {"version": KNOWN_VERSIONS[-1], **_plain(head)}
        resolved["data"] = {"source": data.source, **_plain(data.config)}
        resolved["teacher"] = None
        if teacher is not None:
            ways = {
                "arch": teacher.arch,
                "checkpoint": teacher.checkpoint,
                "sha256": teacher.sha256,
                "color": teacher.color if teacher.checkpoint else None,
                "coding": teacher.coding,
                "train": _plain(teacher.train) if teacher.train else None,
            }
            resolved["teacher"] = {key: value for key, value in ways.items() if value is not None}
        resolved["stages"] = {stage.name: _plain(stage.config) for stage in stages}
        return Recipe(
            **fields,
            data=data,
            teacher=teacher,
            stages=stages,
            source_files=files,
            resolved=resolved,
        )

    def arch(self, node: Node | None, path: str) -> None:
        if node is None or not isinstance(node.value, str) or FREE_ARCH.fullmatch(node.value):
            return
        if node.value not in self.archs:
            self.problems.add(
                node.place,
                f"{path}: unknown architecture '{short(node.value)}'"
                f"{did_you_mean(node.value, self.archs)}",
            )

    def section(self, node: Node | None, path: str, parent: Node) -> dict[str, Node] | None:
        if node is None:
            self.problems.add(parent.place, f"{path}: missing")
        elif not isinstance(node.value, dict):
            self.problems.add(node.place, f"{path}: {expected_section(node)}")
        else:
            return dict(node.value)
        return None

    def data(self, node: Node | None, tree: Node) -> Data | None:
        entries = self.section(node, "data", tree)
        if node is None or entries is None:
            return None
        source = entries.pop("source", None)
        words = ", ".join(self.data_configs)
        if source is None:
            self.problems.add(node.place, f"data.source: missing (known: {words})")
        elif not isinstance(source.value, str):
            self.problems.add(
                source.place, f"data.source: expected one of {words}, got {shown(source.value)}"
            )
        elif source.value not in self.data_configs:
            hint = did_you_mean(source.value, self.data_configs)
            text = f"data.source: unknown data source '{short(source.value)}'{hint}"
            self.problems.add(source.place, text)
        else:
            rest, model = Node(entries, node.place), self.data_configs[source.value]
            config = validate(rest, "data", model, problems=self.problems)
            return None if config is None else Data(source.value, config)
        return None

    def teacher(self, node: Node | None) -> Teacher | None:
        if node is None or node.value is None:
            return None
        entries = self.section(node, "teacher", node)
        if entries is None:
            return None
        self.arch(entries.get("arch"), "teacher.arch")
        train_node = entries.pop("train", None)
        rest = Node(entries, node.place)
        for key in [key for key in entries if key not in TeacherHead.model_fields]:
            hint = did_you_mean(key, [*TeacherHead.model_fields, "train"])
            self.problems.add(entries.pop(key).place, f"teacher.{short(key)}: unknown key{hint}")
        head = validate(rest, "teacher", TeacherHead, problems=self.problems)
        train: BaseModel | None = None
        if train_node is not None and train_node.value is not None:
            if "train" in self.stage_configs:
                model = self.stage_configs["train"]
                train = validate(train_node, "teacher.train", model, problems=self.problems)
            else:
                text = "teacher.train: no stage `train` is installed; give teacher.checkpoint"
                self.problems.add(train_node.place, text)
        has_train = train_node is not None and train_node.value is not None
        has_checkpoint = "checkpoint" in entries and entries["checkpoint"].value is not None
        if has_train == has_checkpoint:
            what = "both are there" if has_train else "neither is there"
            text = f"teacher: expected either `checkpoint` or `arch` with `train`; {what}"
            self.problems.add(node.place, text)
        elif has_train and "arch" not in entries:
            self.problems.add(node.place, "teacher.arch: missing (which network to train)")
        if head is None:
            return None
        return Teacher(head.arch, head.checkpoint, train, head.sha256, head.color, head.coding)

    def stages(self, node: Node | None, tree: Node) -> tuple[Stage, ...]:
        entries = self.section(node, "stages", tree)
        if node is None or entries is None:
            return ()
        if not entries:
            words = ", ".join(self.stage_configs)
            self.problems.add(node.place, f"stages: empty; name at least one of {words}")
        names = list(entries)
        if LAST_STAGE in names and names[-1] != LAST_STAGE:
            after = ", ".join(f"'{short(n)}'" for n in names[names.index(LAST_STAGE) + 1 :][:5])
            text = f"stages.{LAST_STAGE}: must be the last stage; move {after} above it"
            self.problems.add(entries[LAST_STAGE].place, text)
        found: list[Stage] = []
        for name, stage in entries.items():
            path = join("stages", name)
            if name not in self.stage_configs:
                hint = did_you_mean(name, self.stage_configs)
                self.problems.add(stage.place, f"{path}: unknown stage{hint}")
            elif stage.value is None:
                where = (
                    "there is no such stage to remove"
                    if stage.place.line is None
                    else ("empty; write `{}` for its defaults")
                )
                self.problems.add(stage.place, f"{path}: {where}")
            else:
                config = validate(stage, path, self.stage_configs[name], problems=self.problems)
                found += [] if config is None else [Stage(name, config)]
        return tuple(found)


def _plain(config: BaseModel) -> dict[str, Any]:
    return config.model_dump(mode="json", by_alias=True)
