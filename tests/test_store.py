"""Finished work is kept; unfinished work is continued; nothing half-made looks finished."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgepose.errors import EdgeposeError
from edgepose.store import Store, digest, read_kept


def test_an_item_is_made_once(tmp_path: Path) -> None:
    store, calls = Store(tmp_path), []

    def make(work: Path, out: Path) -> None:
        calls.append(1)
        (out / "result").write_text("42")

    first = store.item("a", {"x": 1}, make)
    assert store.item("a", {"x": 1}, make) == first
    assert (first / "result").read_text() == "42"
    assert calls == [1]
    assert store.item("a", {"x": 2}, make) != first


def test_an_interrupted_item_continues_in_its_work_folder(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def dies(work: Path, out: Path) -> None:
        (work / "checkpoint").write_text("half")
        (out / "partial").write_text("never seen")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.item("a", {}, dies)
    assert not store.has("a", {})

    def continues(work: Path, out: Path) -> None:
        assert (work / "checkpoint").read_text() == "half"
        assert not list(out.iterdir())
        (out / "result").write_text("whole")

    folder = store.item("a", {}, continues)
    assert sorted(p.name for p in folder.iterdir()) == ["files.json", "inputs.json", "result"]
    assert not list(tmp_path.glob("*.work"))


def test_the_key_does_not_depend_on_the_order_of_keys() -> None:
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})


def test_two_runs_cannot_share_a_store(tmp_path: Path) -> None:
    with (
        Store(tmp_path).lock(),
        pytest.raises(EdgeposeError, match="another"),
        Store(tmp_path).lock(),
    ):
        pytest.fail("the lock was given twice")
    with Store(tmp_path).lock():
        pass


def test_an_unwritable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EdgeposeError, match="cannot write"):
        Store(tmp_path / "file" / "below").item("a", {}, lambda work, out: None)


def test_what_a_kill_left_behind_a_finished_item_is_cleared(tmp_path: Path) -> None:
    store = Store(tmp_path)
    folder = store.item("a", {}, lambda work, out: None)
    work = folder.with_name(folder.name + ".work")  # the kill came after the rename
    work.mkdir()
    (work / "checkpoint").write_text("half")
    assert store.item("a", {}, lambda work, out: pytest.fail("made again")) == folder
    assert not work.exists()


def test_an_item_that_lost_a_file_is_made_again(tmp_path: Path) -> None:
    made = []

    def make(work: Path, out: Path) -> None:
        made.append(1)
        (out / "value").write_text("whole")

    store = Store(tmp_path)
    item = store.item("a", {"x": 1}, make)
    store.item("a", {"x": 1}, make)
    assert len(made) == 1
    (item / "value").write_text("cut")
    assert (store.item("a", {"x": 1}, make) / "value").read_text() == "whole"
    (item / "value").unlink()
    assert (store.item("a", {"x": 1}, make) / "value").read_text() == "whole"
    assert len(made) == 3


def test_an_item_of_an_older_edgepose_is_refused_by_name(tmp_path: Path) -> None:
    def older(work: Path, out: Path) -> None:
        (out / "facts.json").write_text('{"host": {"shift": {"p50": 0.1}}, "duration_s": 3}')

    folder = Store(tmp_path).item("export", {}, older)
    facts = read_kept(folder / "facts.json")
    assert facts["host"]["shift"] == {"p50": 0.1}
    assert facts.get("alike", ()) == ()
    with pytest.raises(EdgeposeError, match="does not say 'variants'") as caught:
        facts["host"]["variants"]
    assert f"remove {folder}" in caught.value.fix
