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
from typing import Annotated, Any, Literal, NamedTuple, Self

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from edgepose.device.coding import Coding
from edgepose.errors import EdgeposeError
from edgepose.fetch import Source, check_source
from edgepose.skeleton import SKELETONS
from edgepose.strict_files import Rules, override, read_layers
from edgepose.strict_model import ExistingPathOrUrl, expected_section, validate
from edgepose.strict_yaml import (
    IMPLICIT_TYPES,
    Node,
    Problems,
    did_you_mean,
    join,
    short,
    shown,
)
from edgepose.target import TargetName

KNOWN_VERSIONS = (1,)
LAST_STAGE = "export"
NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")  # it names the report's folder
MACS_PATTERN = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([kMGT])MACs?")
MACS_UNITS = {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
SECTIONS = ("data", "teacher", "stages")  # checked with the Configs of their own rooms
FREE_ARCH = re.compile(
    r"hrnet_w[1-9]\d{0,3}|[A-Za-z_][\w.]*:[A-Za-z_]\w*"
)  # any width; import path


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Weights(_Strict):
    """checkpoint: a model folder, a checkpoint file, or its URL, null: random weights; sha256: of the
    file, 64 hex digits; color: channel order of the pictures that a file was trained on; coding: how
    joints stand in heatmaps, null: a model folder's own, else standard."""

    checkpoint: ExistingPathOrUrl | None = None
    sha256: str | None = None
    color: Literal["RGB", "BGR"] = "RGB"
    coding: Coding | None = None

    @property
    def source(self) -> Source | None:
        return None if self.checkpoint is None else Source(self.checkpoint, self.sha256)

    @model_validator(mode="after")
    def _can_be_trusted(self) -> Self:
        if self.source is not None:
            try:
                check_source(self.source)
            except EdgeposeError as error:
                raise ValueError(f"{error.problem}; {error.fix}") from error
        elif self.sha256 is not None or self.color != "RGB":
            raise ValueError("sha256 and color are of a checkpoint, and none is named")
        return self


class Student(_Weights):
    """The network to make small. arch: its name; input_hw: (height, width) of the crop that it sees,
    pixels, multiples of 32; num_joints, skeleton: null: the data set's."""

    arch: str
    input_hw: tuple[int, int]
    num_joints: Annotated[int, Field(ge=1, le=1000)] | None = None
    skeleton: str | None = None

    @field_validator("input_hw")
    @classmethod
    def _multiples_of_32(cls, value: tuple[int, int]) -> tuple[int, int]:
        for side in value:
            if not 32 <= side <= 4096 or side % 32:
                near = min(max(round(side / 32) * 32, 32), 4096) if abs(side) < 10**9 else 256
                raise ValueError(
                    f"height and width must be multiples of 32, got {side} (nearest: {near})"
                )
        return value

    @field_validator("skeleton")
    @classmethod
    def _known_skeleton(cls, value: str | None) -> str | None:
        if value is not None and value not in SKELETONS:
            raise ValueError(f"unknown skeleton '{value}'{did_you_mean(value, SKELETONS)}")
        return value

    @model_validator(mode="after")
    def _joints_agree(self) -> Student:
        if self.skeleton is not None and self.num_joints is not None:
            joints = SKELETONS[self.skeleton].num_joints
            if joints != self.num_joints:
                raise ValueError(f"{self.skeleton} has {joints} joints, not {self.num_joints}")
        return self


def _macs(value: object) -> object:
    """ "1.2 GMAC" as a number."""
    found = MACS_PATTERN.fullmatch(value) if isinstance(value, str) else None
    return value if found is None else float(found[1]) * MACS_UNITS[found[2]]


class Budget(_Strict):
    """Limits of the result; those that are named hold together. size_mb: largest counted file, 10^6
    bytes; macs: multiply-accumulates of one image, 1.2e9 or "1.2 GMAC"; latency_ms: of one image on the
    target `latency_on`, by the cost model; latency_on: that target's name; max_drop: points of the
    metric."""

    size_mb: Annotated[float, Field(gt=0)] | None = None
    macs: Annotated[float, Field(gt=0), BeforeValidator(_macs)] | None = None
    latency_ms: Annotated[float, Field(gt=0)] | None = None
    latency_on: TargetName | None = None
    max_drop: Annotated[float, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _latency_is_of_a_target(self) -> Self:
        if self.latency_ms is not None and self.latency_on is None:
            raise ValueError("latency_ms needs latency_on, the target that it is of")
        if self.latency_on is not None and self.latency_ms is None:
            raise ValueError("latency_on names a target, and no latency_ms is asked of it")
        return self

    @property
    def limits_width(self) -> bool:
        """Whether anything here says how large the network may be."""
        return any(value is not None for value in (self.size_mb, self.macs, self.latency_ms))


class _Head(_Strict):
    """The keys whose meaning does not depend on a stage or a data source. name: of the report's folder;
    description: one line for people; seed: of weights, batches and
    augmentation; metric: what budgets, drops and tables are in; flip_test: score models in
    torch with the heatmaps of the mirrored crop averaged in; artifacts are scored as devices run them."""

    name: str
    description: str = ""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    student: Student
    metric: Literal["pckh", "oks_ap", "pck", "pckh_head_segment", "pck_box"] = "pckh"
    flip_test: bool = False
    budget: Budget | None = None

    @field_validator("name")
    @classmethod
    def _names_a_folder(cls, value: str) -> str:
        if not NAME_PATTERN.fullmatch(value):
            raise ValueError(
                f"{shown(value)} cannot name the report's folder; "
                "use at most 100 letters, digits, '.', '_' and '-'"
            )
        return value


class _TeacherHead(_Weights):
    """arch: of the network to train here; of a checkpoint file it is read off the tensors."""

    arch: str | None = None

    @model_validator(mode="after")
    def _trained_here_has_the_students_coding(self) -> Self:
        if self.coding is not None and self.checkpoint is None:
            raise ValueError("coding is of a checkpoint; a teacher trained here has the student's")
        return self


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


def to_yaml(values: Mapping[str, Any]) -> str:
    """Text that the recipe reader takes for these values."""
    return yaml.dump(
        dict(values),
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=None,
        width=100,
    )


class _Dumper(yaml.SafeDumper):
    """Quotes every text that either YAML 1.1 or our reader would take for something else."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_str(self, data: str) -> yaml.ScalarNode:
        """Anything unprintable, line breaks too, is escaped: plain styles lose some of it."""
        style = None if data.isprintable() else '"'
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_Dumper.add_representer(str, _Dumper.represent_str)


for _tag, _pattern, _first in IMPLICIT_TYPES:
    _Dumper.add_implicit_resolver(_tag, _pattern, _first)


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
        known = [*_Head.model_fields, *SECTIONS]
        for key in [key for key in entries if key not in known]:
            node = entries.pop(key)
            hint = did_you_mean(key, [*known, "version", "extends"])
            if key in self.stage_configs:
                hint = f" (a stage: move it under `stages:` as stages.{key})"
            self.problems.add(node.place, f"{short(key)}: unknown key{hint}")
        data = self.data(entries.pop("data", None), tree)
        teacher = self.teacher(entries.pop("teacher", None))
        stages = self.stages(entries.pop("stages", None), tree)
        head = validate(Node(entries, tree.place), "", _Head, problems=self.problems)
        student = tree.mapping.get("student")
        if student is not None:
            self.arch(student.mapping.get("arch"), "student.arch")
        if head is None or data is None or self.problems:
            return None
        fields = {key: getattr(head, key) for key in _Head.model_fields}
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
        for key in [key for key in entries if key not in _TeacherHead.model_fields]:
            hint = did_you_mean(key, [*_TeacherHead.model_fields, "train"])
            self.problems.add(entries.pop(key).place, f"teacher.{short(key)}: unknown key{hint}")
        head = validate(rest, "teacher", _TeacherHead, problems=self.problems)
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
