"""Recipes: a checked Recipe, or one EdgeposeError that names every line that is wrong."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import (
    BaseModel,
    ConfigDict,
    DirectoryPath,
    Field,
    FilePath,
    field_validator,
    model_validator,
)

from edgepose.errors import EdgeposeError
from edgepose.recipe import Recipe, load_recipe
from edgepose.strict_model import ExistingPath


class Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Synthetic(Strict):
    images: Annotated[int, Field(ge=1)] = 1000


class Folder(Strict):
    root: DirectoryPath
    annotations: FilePath | None = None
    extra: tuple[ExistingPath, ...] = ()
    cache: Path | None = None


class Optimiser(Strict):
    name: Literal["adamw", "sgd"] = "adamw"
    lr: Annotated[float, Field(gt=0)] = 1e-3


class Train(Strict):
    steps: Annotated[int, Field(ge=0)] = 100
    flip: bool = True
    optimiser: Optimiser = Optimiser()
    observer: str = Field(default="histogram", pattern="^(histogram|minmax)$")

    @field_validator("steps")
    @classmethod
    def not_thirteen(cls, value: int) -> int:
        if value == 13:
            raise EdgeposeError("13 steps bring bad luck", fix="use 14")
        return value


class Prune(Strict):
    ratio: Annotated[float, Field(ge=0, lt=1)] | Literal["auto"] = "auto"
    keep: tuple[str, ...] = ()
    layer_ratios: dict[str, float] = {}
    fine_tune: Train = Train()

    @model_validator(mode="after")
    def keeps_something(self) -> Prune:
        if self.keep == ("nothing",):
            raise ValueError("keep cannot be nothing")
        return self


class Export(Strict):
    targets: Annotated[tuple[str, ...], Field(min_length=1)]


STAGES: dict[str, type[BaseModel]] = {
    "train": Train, "distill": Train, "prune": Prune, "qat": Train, "export": Export,
}  # fmt: skip
DATA: dict[str, type[BaseModel]] = {"synthetic": Synthetic, "folder": Folder}
ARCHS = ("resnet18", "resnet34", "resnet50", "hrnet_w48")

GOOD = """\
version: 1
name: good
description: "no: surprises"
data: {source: synthetic, images: 500}
student: {arch: resnet18, input_hw: [128, 96]}
teacher: {arch: hrnet_w48, train: {steps: 10, optimiser: {lr: 1e-3}}}
budget: {size_mb: 5, max_drop: 1.0}
stages:
  distill: {steps: 20}
  prune:
    ratio: 0.5
  export:
    targets: [jetson-xavier, host]
"""


def load(path: str | Path, *overrides: str) -> Recipe:
    return load_recipe(
        path, overrides=overrides, stage_configs=STAGES, data_configs=DATA, archs=ARCHS
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipes").mkdir()
    return tmp_path


def write(folder: Path, text: str, name: str = "recipes/x.yaml") -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return name


def load_or_error(path: str | Path, *overrides: str) -> Recipe | EdgeposeError:
    try:
        return load(path, *overrides)
    except EdgeposeError as error:
        return error


def errors(path: str, *overrides: str) -> list[str]:
    """The lines of the one error, without its heading and its fix."""
    with pytest.raises(EdgeposeError) as error:
        load(path, *overrides)
    lines = error.value.problem.splitlines()
    assert error.value.fix
    return [line.strip() for line in lines[1:]] if len(lines) > 1 else lines


@pytest.mark.parametrize("written", ["1.2e9", "1200000000", "1.2 GMAC", "1200MMACs", '"1.2 GMAC"'])
def test_macs_are_written_plainly(folder: Path, written: str) -> None:
    budget = f"{{macs: {written}, latency_ms: 3, latency_on: host}}"
    recipe = load(write(folder, GOOD.replace("{size_mb: 5, max_drop: 1.0}", budget)))
    assert recipe.budget is not None
    assert (recipe.budget.macs, recipe.budget.latency_on) == (1.2e9, "host")
    assert load(write(folder, recipe.dump())).budget == recipe.budget


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        ("{macs: 1.2 GFLOP}", "budget.macs: expected a number"),
        ("{macs: 0}", "budget.macs: must be more than 0"),
        ("{latency_ms: 3}", "latency_ms needs latency_on"),
        ("{latency_on: host}", "no latency_ms is asked"),
        ("{latency_ms: 3, latency_on: hots}", "unknown target 'hots' (did you mean 'host'?)"),
    ],
)
def test_a_budget_that_means_nothing_is_refused(folder: Path, budget: str, words: str) -> None:
    (line,) = errors(write(folder, GOOD.replace("{size_mb: 5, max_drop: 1.0}", budget)))
    assert words in line


def test_a_good_recipe_is_read_whole(folder: Path) -> None:
    recipe = load(write(folder, GOOD))
    assert recipe.name == "good"
    assert recipe.seed == 0
    assert recipe.metric == "pckh"
    assert recipe.data == ("synthetic", Synthetic(images=500))
    assert recipe.student.input_hw == (128, 96)
    assert recipe.student.checkpoint is None
    assert recipe.teacher is not None
    assert recipe.teacher.train == Train(steps=10)
    assert recipe.budget is not None
    assert recipe.budget.size_mb == 5.0
    assert [stage.name for stage in recipe.stages] == ["distill", "prune", "export"]
    assert recipe.stage("prune") == Prune(ratio=0.5)
    assert recipe.stage("qat") is None
    assert recipe.source_files == (folder.resolve() / "recipes/x.yaml",)
    assert recipe.resolved["stages"]["distill"]["optimiser"] == {"name": "adamw", "lr": 0.001}
    assert json.loads(json.dumps(recipe.resolved)) == recipe.resolved
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe.seed = 1  # type: ignore[misc]


def test_names_come_from_the_file_and_are_not_inherited(folder: Path) -> None:
    write(folder, GOOD)
    child = write(folder, "version: 1\nextends: x.yaml\nseed: 3\n", "recipes/child.yaml")
    assert (load("child").name, load(child).seed, load(child).description) == (
        "child", 3, "no: surprises",
    )  # fmt: skip
    awkward = write(folder, GOOD.replace("name: good\n", ""), "recipes/my own.yaml")
    assert errors(awkward) == [
        "recipes/my own.yaml:1: name: the text 'my own' cannot name the report's folder; "
        "use at most 100 letters, digits, '.', '_' and '-'"
    ]


def test_all_errors_of_all_sections_come_at_once(folder: Path) -> None:
    text = """\
version: 1
name: ../../etc
sed: 1
prune: {ratio: 0.5}
data: {source: synthetic, imagse: 500}
student: {arch: resnet81, input_hw: [100, 128], skeleton: mpi16}
teacher: {arch: hrnet_w48, train: {steps: ten}}
metric: pkch
budget: {size_mb: -5}
stages:
  distil: {steps: 20}
  export: {targets: [host]}
  prune:
    ratoi: 0.5
    fine_tune:
      flip: yes
      optimiser: {name: adam, lr: "1e-3"}
"""
    got = errors(write(folder, text))
    assert got == [
        f"recipes/x.yaml:{line}"
        for line in [
            "2: name: the text '../../etc' cannot name the report's folder; "
            "use at most 100 letters, digits, '.', '_' and '-'",
            "3: sed: unknown key (did you mean 'seed'?)",
            "4: prune: unknown key (a stage: move it under `stages:` as stages.prune)",
            "5: data.imagse: unknown key (did you mean 'images'?)",
            "6: student.input_hw: height and width must be multiples of 32, got 100 (nearest: 96)",
            "6: student.skeleton: unknown skeleton 'mpi16' (did you mean 'mpii16'?)",
            "6: student.arch: unknown architecture 'resnet81' (did you mean 'resnet18'?)",
            "7: teacher.train.steps: expected a whole number, got the text 'ten'",
            "8: metric: expected one of 'pckh', 'oks_ap', 'pck', 'pckh_head_segment', 'pck_box', "
            "got the text 'pkch' (did you mean 'pckh'?)",
            "9: budget.size_mb: must be more than 0, got -5",
            "11: stages.distil: unknown stage (did you mean 'distill'?)",
            "12: stages.export: must be the last stage; move 'prune' above it",
            "14: stages.prune.ratoi: unknown key (did you mean 'ratio'?)",
            "16: stages.prune.fine_tune.flip: expected true or false, got the text 'yes'",
            "17: stages.prune.fine_tune.optimiser.name: expected one of 'adamw', 'sgd', "
            "got the text 'adam' (did you mean 'adamw'?)",
            "17: stages.prune.fine_tune.optimiser.lr: expected a number, got the text '1e-3'",
        ]
    ]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("ratio: 0.5", "ratio: half", "11: stages.prune.ratio: expected a number or 'auto', got"),
        ("ratio: 0.5", "ratio: 1", "11: stages.prune.ratio: must be less than 1, got 1"),
        ("ratio: 0.5", "keep: [a, 3]", "11: stages.prune.keep[1]: expected text, got 3"),
        ("ratio: 0.5", "layer_ratios: {a: b}", "11: stages.prune.layer_ratios.a: expected a num"),
        ("ratio: 0.5", "keep: [nothing]", "10: stages.prune: keep cannot be nothing"),
        ("steps: 20", "steps: 2.0", "9: stages.distill.steps: expected a whole number, got 2.0"),
        ("steps: 20", "steps: true", "9: stages.distill.steps: expected a whole number, got true"),
        ("steps: 20", "steps:", "9: stages.distill.steps: expected a whole number, got nothing"),
        ("steps: 20", "observer: minmx", "expected one of 'histogram', 'minmax', got the text"),
        ("steps: 20", "steps: 13", "9: stages.distill: 13 steps bring bad luck (use 14)"),
        ("{steps: 20}", "", "9: stages.distill: empty; write `{}` for its defaults"),
        ("{steps: 20}", "[a]", "9: stages.distill: expected a section of `key: value`, got a list"),
        ("[128, 96]", "[128]", "5: student.input_hw: expected 2 values, got 1"),
        ("[128, 96]", "[32, 32, 32]", "5: student.input_hw: expected 2 values, got 3"),
        ("[128, 96]", "128", "5: student.input_hw: expected a list, got 128"),
        ("[128, 96]", "[0, 32]", "5: student.input_hw: height and width must be multiples of 32"),
        (", input_hw: [128, 96]", "", "5: student.input_hw: missing"),
        ("[jetson-xavier, host]", "host", "13: stages.export.targets: expected a list, got the"),
        ("[jetson-xavier, host]", "[]", "13: stages.export.targets: expected at least 1 values"),
        ("source: synthetic, ", "", "4: data.source: missing (known: synthetic, folder)"),
        ("source: synthetic", "source: 3", "4: data.source: expected one of synthetic, folder"),
        ("source: synthetic", "source: sinthetic", "4: data.source: unknown data source"),
        ("arch: hrnet_w48, train", "train", "6: teacher.arch: missing (which network to train)"),
        (", train: {steps: 10, optimiser: {lr: 1e-3}}", "", "neither is there"),
        ("train: {", "checkpoint: recipes/x.yaml, train: {", "both are there"),
        ("train: {", "trian: {}, train: {", "6: teacher.trian: unknown key (did you mean 'train'?"),
        ("input_hw", "num_joints: 17, skeleton: mpii16, input_hw", "mpii16 has 16 joints, not 17"),
        ("name: good", "seed: -1", "2: seed: must be at least 0, got -1"),
    ],
)
def test_each_mistake_is_named_in_plain_words(folder: Path, old: str, new: str, said: str) -> None:
    assert old in GOOD
    got = errors(write(folder, GOOD.replace(old, new, 1)))
    assert len(got) == 1
    assert said in got[0]


def test_errors_name_the_file_that_holds_them_or_the_option(folder: Path) -> None:
    write(folder, GOOD.replace("ratio", "ratoi"), "recipes/base.yaml")
    child = write(folder, "version: 1\nextends: base.yaml\nstages: {qat: {stepz: 3}}\n")
    assert errors(
        child, "stages.distill.steps=x", "stages.train=null", "stages.prune.keeep=[]"
    ) == [
        "recipes/x.yaml:3: stages.qat.stepz: unknown key (did you mean 'steps'?)",
        "recipes/base.yaml:11: stages.prune.ratoi: unknown key (did you mean 'ratio'?)",
        "--set stages.distill.steps=x: stages.distill.steps: expected a whole number, "
        "got the text 'x'",
        "--set stages.train=null: stages.train: there is no such stage to remove",
        "--set stages.prune.keeep=[]: stages.prune.keeep: unknown key (did you mean 'keep'?)",
    ]


def test_overrides_set_add_and_remove(folder: Path) -> None:
    path = write(folder, GOOD)
    recipe = load(
        path, "stages.prune.ratio=0.25", "stages.distill=null", "stages.qat.steps=7", "teacher=null"
    )
    assert recipe.stages == (
        ("prune", Prune(ratio=0.25)),
        ("qat", Train(steps=7)),
        ("export", Export(targets=("jetson-xavier", "host"))),
    )
    assert recipe.teacher is None
    swapped = load(path, "data.source=folder", "data.root=recipes", "teacher.checkpoint=" + path)
    assert isinstance(swapped.data.config, Folder)  # without the old source's `images`
    assert swapped.teacher is not None
    assert swapped.teacher.train is None


def test_paths_start_at_the_file_that_names_them_then_here(folder: Path) -> None:
    for name in ("base/near", "near", "here"):
        (folder / name).mkdir(parents=True)
    (folder / "base/notes.json").write_text("{}")
    data = "{source: folder, root: near, extra: [notes.json, ../here], cache: not/there}"
    write(folder, GOOD.replace("{source: synthetic, images: 500}", data), "base/b.yaml")
    child = write(folder, "version: 1\nextends: ../base/b.yaml\n")
    config = load(child).data.config
    assert isinstance(config, Folder)
    assert config.root == folder / "base/near"
    assert config.extra == (folder / "base/notes.json", folder / "here")
    assert config.cache == Path("not/there")
    overridden = load(child, "data.root=near").data.config  # on the command line: from here
    assert isinstance(overridden, Folder)
    assert overridden.root == folder / "near"


def test_missing_paths_are_named(folder: Path) -> None:
    (folder / "photos").mkdir()
    data = "{source: folder, root: photo, annotations: photos, extra: [a, '']}"
    text = GOOD.replace("{source: synthetic, images: 500}", data)
    text = text.replace("arch: resnet18", "arch: resnet18, checkpoint: 'a\\0b'".replace("'", '"'))
    got = errors(write(folder, text), "data.cache=3")
    assert got == [
        "recipes/x.yaml:4: data.root: no such folder: photo (did you mean 'photos'?)",
        f"recipes/x.yaml:4: data.extra[0]: no such file or folder: a "
        f"(looked in {folder}/recipes and in {folder})",
        "recipes/x.yaml:4: data.extra[1]: expected a file or folder's path, got an empty text",
        "recipes/x.yaml:4: data.annotations: expected a file, got a folder: photos",
        "recipes/x.yaml:5: student.checkpoint: no such file or folder: a\\x00b "
        f"(looked in {folder}/recipes and in {folder})",
        "--set data.cache=3: data.cache: expected a path, got 3",
    ]
    longest = "x" * 5000
    got = errors(write(folder, text.replace("root: photo", f"root: {longest}")))
    assert "data.root: no such folder: xxx" in got[0]
    assert len(got[0]) < 400


# ---- round trip and fuzz ----------------------------------------------------------------------

texts = st.text(max_size=12)
values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts
    | st.sampled_from(["resnet18", "auto", "export", "1e-3", "synthetic", "x.yaml", "/", "."]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)  # fmt: skip
AWKWARD = ["1e-3", "no", "08", "0x1F", "~", "", "<<", "12:30", "2026-11-21", "a: b", "\u2028", "\0"]


def awkward_examples(test: Any) -> Any:
    for text in AWKWARD:
        test = example(description=text, keep=[text], ratios={text: 0.1}, ratio=5e-324)(test)
    return test


@awkward_examples
@given(
    description=st.text(),
    keep=st.lists(texts, max_size=4),
    ratios=st.dictionaries(texts, st.floats(allow_nan=False, allow_infinity=False), max_size=4),
    ratio=st.floats(0, 1, exclude_max=True) | st.just("auto"),
)
@settings(max_examples=80, deadline=None)
def test_dump_loads_back_to_the_same_recipe(
    tmp_path_factory: pytest.TempPathFactory,
    description: str,
    keep: list[str],
    ratios: dict[str, float],
    ratio: float | Literal["auto"],
) -> None:
    path = tmp_path_factory.getbasetemp() / "round.yaml"
    tree = yaml.safe_load(GOOD)
    tree["description"] = description
    tree["stages"]["prune"] = {"keep": keep, "ratio": ratio, "layer_ratios": ratios}
    tree["stages"]["distill"] = tree["stages"]["distill"] | {"optimiser": {"lr": 1e-7}}
    tree["student"]["checkpoint"] = str(tmp_path_factory.getbasetemp())
    tree["teacher"]["train"]["optimiser"]["lr"] = 0.001
    path.write_text(json.dumps(tree), encoding="utf-8")
    recipe = load(path)
    assert recipe.description == description
    assert recipe.stage("prune") == Prune(keep=tuple(keep), ratio=ratio, layer_ratios=ratios)
    again_path = path.with_name("again.yaml")
    again_path.write_text(recipe.dump(), encoding="utf-8", newline="")
    again = load(again_path)
    assert again == recipe
    assert again.resolved == recipe.resolved
    assert again.dump() == recipe.dump()


def spots(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    items = tree.items() if isinstance(tree, dict) else []
    for key, value in enumerate(tree) if isinstance(tree, list) else items:
        found += spots(value, (*path, key))
    return found


@given(st.data())
@settings(max_examples=250, deadline=None)
def test_a_mutated_recipe_gives_a_recipe_or_an_edgepose_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "mutated.yaml"
    tree = yaml.safe_load(GOOD)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.sampled_from(spots(tree)))
        parent = tree
        for key in at[:-1]:
            parent = parent[key]
        change = data.draw(st.sampled_from(["drop", "replace", "rename"]))
        if change == "replace" or isinstance(parent, list):
            parent[at[-1]] = data.draw(values)
        elif change == "rename":
            parent[data.draw(texts)] = parent.pop(at[-1])
        else:
            del parent[at[-1]]
        if not tree:
            break
    text = yaml.safe_dump(tree, sort_keys=False, allow_unicode=data.draw(st.booleans()))
    if data.draw(st.booleans()):  # and a scratch in the text itself
        cut = data.draw(st.integers(0, len(text)))
        text = text[:cut] + data.draw(st.text(max_size=3)) + text[cut + 1 :]
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    setting = data.draw(
        st.one_of(st.text(max_size=20), st.builds("stages.prune.{}={}".format, texts, texts))
    )
    result = load_or_error(path, *data.draw(st.sampled_from([(), (setting,)])))
    if isinstance(result, EdgeposeError):
        assert all((result.problem, result.fix, result.problem.encode("utf-8")))  # printable
        assert len(result.problem) < 20_000
    else:
        assert result.stages
        assert result.resolved["version"] == 1


def test_reading_recipes_imports_nothing_heavy() -> None:
    code = (
        "import sys, edgepose.recipe, edgepose.target;"
        "print(sorted({'torch', 'onnx', 'onnxruntime', 'coremltools', 'cv2', 'numpy'}"
        " & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
