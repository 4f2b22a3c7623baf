"""Strict YAML: values keep their lines, limits hold, and only EdgeposeError comes out."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepose import strict_files
from edgepose.errors import EdgeposeError
from edgepose.strict_files import (
    Rules,
    builtin_folder,
    find_file,
    merge,
    override,
    read_file,
    read_layers,
)
from edgepose.strict_yaml import MAX_DEPTH, MAX_VALUES, Node, Place, Problems, parse

HERE = Place("x.yaml", 1, (Path(),))


def tree(text: str) -> Node:
    problems = Problems()
    node = parse(text, place=HERE, problems=problems)
    problems.raise_any("x.yaml", check="again")
    assert node is not None
    return node


def refused(text: str) -> str:
    with pytest.raises(EdgeposeError) as error:
        tree(text)
    return str(error.value)


def outcome(read: Callable[[Problems], Node | None]) -> Node | EdgeposeError | None:
    problems = Problems()
    try:
        node = read(problems)
        problems.raise_any("fuzz.yaml, x.yaml", check="again")
    except EdgeposeError as error:
        return error
    return node


def test_every_value_knows_its_line() -> None:
    node = tree("a: 1\nb:\n  c: [x,\n    y]\n  d: null\n")
    assert node.mapping["b"].mapping["c"].place.line == 3
    items = node.mapping["b"].mapping["c"].value
    assert isinstance(items, list)
    assert [item.place.line for item in items] == [3, 4]
    assert node.mapping["b"].mapping["d"].place.line == 5


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),  # text in YAML 1.1
        ("no", "no"),  # false in YAML 1.1
        ("on", "on"),
        ("010", 10),  # 8 in YAML 1.1
        ("12:30", "12:30"),  # 750 in YAML 1.1
        ("1_000", "1_000"),
        ("2026-11-21", "2026-11-21"),
        (".nan", ".nan"),
        ("0x1F", 31),
        ("-.5", -0.5),
        ("true", True),
        ("~", None),
        ("'5'", "5"),
        ("!!str 5", "5"),
    ],
)
def test_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    got = tree(f"a: {text}").plain()["a"]
    assert got == value
    assert type(got) is type(value)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(10**18), 10**18) | st.text(max_size=8)
        | st.floats(allow_nan=False, allow_infinity=False),
        lambda inner: st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5).filter(lambda k: k != "<<"), inner, max_size=3),
        max_leaves=12,
    )
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_json_reads_as_json_does(value: object) -> None:
    """JSON is YAML: json.dumps is a reference writer that we did not write."""
    assert tree(json.dumps({"a": value})).plain() == {"a": value}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\na: 2", "x.yaml:2: a: written twice (first on line 1)"),
        ("a:\n\tb: 1", "x.yaml:2: not valid YAML: a tab"),
        ("a: 1\n---\nb: 2", "x.yaml:2: not valid YAML: several documents"),
        ("a: !!python/name:os.system x", "x.yaml:1: a: the tag !!python/name:os.system"),
        ("a: !own {b: 1}", "x.yaml:1: a: the tag !own"),
        ("a: !!binary aGk=", "the tag !!binary"),
        ("a: !!int x", "the tag !!int"),
        ("a: &x {b: 1}\nc:\n  <<: *x", "x.yaml:3: c.<<: merge keys are not read"),
        ("a: 1\n? [b]\n: 1", "x.yaml:2: top level: a key must be plain text"),
        ("a: *b", "an alias (*name) without its anchor"),
        ("a: [1, 2\nb: 3", "x.yaml:1: not valid YAML: a bracket that is opened here"),
        ("a: 'b", "x.yaml:1: not valid YAML: a quote that is opened here"),
        ("a: 1e999", "x.yaml:1: a: the number 1e999 is too large"),
        ("a: " + "9" * 5000, "x.yaml:1: a: a number of 5,000 digits"),
        ('a: "\\ud800"', "x.yaml:1: a: the text holds half a character"),
        ('a: 1\nb: "\\U00110000"', "x.yaml:2: not valid YAML: an escape that is no character"),
        ("a: 1\nb: \x07", "x.yaml:2: not valid YAML: the character U+0007"),
        ("a: &a [*a]", f"x.yaml:1: aliases nest values more than {MAX_DEPTH} deep"),
        ("a: 1\nb: " + "[" * 5000, f"x.yaml:2: values are nested more than {MAX_DEPTH} deep"),
        ("a: " + "{b: " * 5000, f"values are nested more than {MAX_DEPTH} deep"),
        ("[" + "1," * MAX_VALUES + "1]", f"more than {MAX_VALUES:,} values"),
    ],
)
def test_refused_with_the_line(text: str, said: str) -> None:
    assert said in refused(text)


def test_small_anchors_work_and_bombs_do_not() -> None:
    assert tree("a: &x {b: 1}\nc: *x").plain() == {"a": {"b": 1}, "c": {"b": 1}}
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 20)
    )
    started = time.process_time()
    assert "aliases expand to more than 10,000 values" in refused(bomb)
    assert time.process_time() - started < 5  # CPU time: expanded, it would be 10^20 values


def test_all_problems_come_together_in_order_and_many_are_cut() -> None:
    text = refused("a: 1\nb: {c: !x 1,\n c: 2}\na: 2\n")
    assert [line.split(":")[1] for line in text.splitlines()[1:-1]] == ["2", "3", "4"]
    many = refused("\n".join(f"k{i}: !x 1" for i in range(100)))
    assert "has 100 errors" in many
    assert "... and 70 more" in many
    assert len(many.splitlines()) < 40


@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(lambda t: t.encode("utf-8"))))
@settings(max_examples=300, deadline=None)
def test_any_bytes_give_a_mapping_or_an_edgepose_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.yaml"
    path.write_bytes(data)
    result = outcome(lambda problems: read_file(path, problems=problems))
    if isinstance(result, EdgeposeError):
        assert result.fix
        assert "fuzz.yaml" in result.problem
    else:
        assert result is not None
        assert isinstance(result.value, dict)


@given(st.text(alphabet="ab:-[]{},&*!|>'\"#%@`?\\ \t\n~<0.e+xU\u2028\ufeff", max_size=60))
@settings(max_examples=500, deadline=None)
def test_yaml_like_text_gives_a_tree_or_an_edgepose_error(text: str) -> None:
    result = outcome(lambda problems: parse(text, place=HERE, problems=problems))
    if isinstance(result, EdgeposeError):
        assert "x.yaml" in result.problem
    else:
        json.dumps(result.plain() if result else None, allow_nan=False)


# ---- files, extends, --set --------------------------------------------------------------------


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def layers(path: Path, *settings: str, rules: Rules | None = None) -> dict[str, object]:
    problems, rules = Problems(), rules or Rules()
    node, _ = read_layers(path, kind="recipe", rules=rules, problems=problems)
    node = override(node, settings, rules=rules, problems=problems)
    problems.raise_any("x", check="again")
    plain = node.plain()
    assert isinstance(plain, dict)
    return plain


def test_extends_merges_removes_and_replaces(tmp_path: Path) -> None:
    write(tmp_path, "base/a.yaml", "version: 1\ns: {x: 1, y: {z: [1, 2]}, w: 2}\nt: 1\n")
    child = write(
        tmp_path, "b.yaml", "version: 1\nextends: base/a.yaml\ns: {y: {z: [3]}, w: null}\nu: 2\n"
    )
    assert layers(child) == {"s": {"x": 1, "y": {"z": [3]}}, "t": 1, "u": 2}
    assert layers(child, "s.x=[5]", "t=null", "u=null") == {"s": {"x": [5], "y": {"z": [3]}}}


def test_order_is_the_bases_with_pinned_keys_last_unless_all_are_named(tmp_path: Path) -> None:
    rules = Rules(last=("export",))
    write(tmp_path, "a.yaml", "version: 1\nstages: {distill: {}, prune: {}, export: {}}\n")
    head = "version: 1\nextends: a.yaml\n"
    added = write(tmp_path, "b.yaml", head + "stages: {qat: {}, prune: {k: 1}}\n")
    assert list(layers(added, rules=rules)["stages"]) == ["distill", "prune", "qat", "export"]  # type: ignore[call-overload]
    named = write(
        tmp_path, "c.yaml", head + "stages: {qat: {}, prune: {}, distill: {}, export: {}}\n"
    )
    assert list(layers(named, rules=rules)["stages"]) == ["qat", "prune", "distill", "export"]  # type: ignore[call-overload]


plain_trees = st.recursive(
    st.none() | st.integers(0, 3),
    lambda inner: st.dictionaries(st.sampled_from("abcd"), inner, max_size=4),
    max_leaves=10,
)


def as_node(value: object) -> Node:
    if isinstance(value, dict):
        return Node({key: as_node(inner) for key, inner in value.items()}, HERE)
    assert value is None or isinstance(value, int)
    return Node(value, HERE)


def json_merge_patch(target: object, patch: object) -> object:
    """RFC 7396's pseudo-code, which removes nulls inside new sections too."""
    if not isinstance(patch, dict):
        return patch
    target = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        else:
            target[key] = json_merge_patch(target.get(key), value)
    return target


@given(plain_trees, plain_trees)
def test_merging_is_a_json_merge_patch_but_for_nulls_that_remove_nothing(
    base: object, child: object
) -> None:
    def without_nulls(value: object) -> object:
        if not isinstance(value, dict):
            return value
        return {k: without_nulls(v) for k, v in value.items() if v is not None}

    merged = merge(as_node(base), as_node(child), rules=Rules()).plain()
    patched = json_merge_patch(base, child)
    assert without_nulls(merged) == without_nulls(patched)


@given(plain_trees)
def test_merging_nothing_changes_nothing(base: object) -> None:
    if isinstance(base, dict):
        merged = merge(as_node(base), as_node({}), rules=Rules()).plain()
        assert merged == base
        assert list(merged) == list(base)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("seed", "--set seed: expected key=value"),
        ("=3", "--set =3: expected key=value"),
        ("a..b=3", "--set a..b=3: expected key=value"),
        ("a=", "--set a=: no value after '='"),
        ("a=[1", "--set a=[1: not valid YAML"),
        ("extends=x", "--set extends=x: extends cannot be overridden"),
        (".".join("a" * 50) + "=1", "a key of more than 32 parts"),
    ],
)
def test_bad_settings_name_themselves(tmp_path: Path, setting: str, said: str) -> None:
    path = write(tmp_path, "a.yaml", "version: 1\na: 1\n")
    with pytest.raises(EdgeposeError) as error:
        layers(path, setting)
    assert said in str(error.value)


def test_extends_in_a_circle_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml", "version: 1\nextends: b.yaml\n")
    path = write(tmp_path, "b.yaml", "version: 1\nextends: ../" + tmp_path.name + "/a.yaml\n")
    with pytest.raises(EdgeposeError, match=r"extends: a circle: .*b.yaml -> .*a.yaml -> .*b.yaml"):
        layers(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("version: 2\n", "version: 2 is not known; this edgepose reads recipe version 1"),
        ("version: true\n", "version: true is not known"),
        ("version: 1.0\n", "version: 1.0 is not known"),
        ("a: 1\n", "version: missing"),
        ("version: 1\nextends: [a]\n", "extends: expected a file's name, got a list of 1"),
        ("version: 1\nextends: .\n", "extends: recipe . is a folder"),
        ("version: 1\nextends: bse.yaml\n", "did you mean base.yaml?"),
        ("", "is empty"),
        ("# only a comment\n", "is empty"),
        ("- a\n", "the top level is a list of 1"),
        ("text\n", "the top level is the text 'text'"),
    ],
)
def test_files_that_cannot_be_recipes(tmp_path: Path, text: str, said: str) -> None:
    write(tmp_path, "base.yaml", "version: 1\n")
    with pytest.raises(EdgeposeError) as error:
        layers(write(tmp_path, "x.yaml", text))
    assert said in str(error.value)


def test_files_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "recipes/mine.yaml", "version: 1\n")
    for name, said in {
        "recipes/mien.yaml": "did you mean recipes/mine.yaml?",
        "mien": "did you mean mine?",
        "recipes": "recipe recipes is a folder, not a file\n  fix: name a YAML file",
        "/dev/null": "not an ordinary file",
        "": "no recipe is named",
        "a\0b.yaml": "no recipe 'a\\x00b.yaml'",
        "x" * 5000: "no recipe 'xxx",
    }.items():
        with pytest.raises(EdgeposeError) as error:
            find_file(name, kind="recipe")
        assert said in str(error.value)
    for data, said in {
        b"version: 1\na: \xff\n": "bad.yaml:2: not UTF-8 text (byte 0xff)",
        b"#" * 250_001: "bad.yaml is larger than 250 kB",
        b"\xff\xfev\x00": "bad.yaml:1: not UTF-8 text",
    }.items():
        (tmp_path / "bad.yaml").write_bytes(data)
        with pytest.raises(EdgeposeError) as error:
            layers(Path("bad.yaml"))
        assert said in str(error.value)
    (tmp_path / "bom.yaml").write_bytes(b"\xef\xbb\xbfversion: 1\r\na: 1\r\n")
    assert layers(Path("bom.yaml")) == {"a": 1}


def test_names_are_found_here_before_built_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_file("host", kind="target") == builtin_folder("targets") / "host.yaml"
    own = write(tmp_path, "targets/host.yaml", "version: 1\n")
    assert find_file("host", kind="target").resolve() == own
    assert yaml.safe_load((builtin_folder("targets") / "host.yaml").read_text())["version"] == 1


def test_built_in_files_are_packaged_or_beside_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strict_files, "__file__", str(tmp_path / "edgepose" / "strict_files.py"))
    (tmp_path / "recipes").mkdir(parents=True)  # another project's, beside an installed package
    with pytest.raises(EdgeposeError, match="has no built-in recipes"):
        builtin_folder("recipes")
    (tmp_path / "targets").mkdir()
    assert builtin_folder("recipes") == tmp_path / "recipes"
    (tmp_path / "edgepose/_builtin/recipes").mkdir(parents=True)
    assert builtin_folder("recipes") == tmp_path / "edgepose/_builtin/recipes"


def test_numbers_survive_as_written() -> None:
    assert tree("a: 0.1").plain()["a"] == 0.1
    assert math.copysign(1, tree("a: -0.0").plain()["a"]) < 0
