"""How recorded episodes are understood without touching what is written."""

from __future__ import annotations

from pathlib import Path

from sinew.data.reading import Reading
from sinew.data.store import Store
from toy_data import SPEC, random_episode


def recorded(path: Path) -> Store:
    store = Store.create(path / "store", SPEC, ("goal",))
    store.append([random_episode(0), random_episode(1, instruction=""), random_episode(2, held_out=True)])
    return store


def test_a_reading_holds_out_and_speaks_for_the_silent(tmp_path: Path) -> None:
    store = recorded(tmp_path)
    store.read_as(Reading(frozenset({0}), "go somewhere"))
    assert [record.held_out for record in store.records] == [True, False, False]
    assert [record.instruction for record in store.records] == ["go 0", "go somewhere", "go 2"]
    store.reload()
    assert store.records[0].held_out
    assert not store.episode(2).held_out


def test_a_reading_changes_nothing_on_disk(tmp_path: Path) -> None:
    store = recorded(tmp_path)
    before = (store.path / "episodes.jsonl").read_bytes()
    store.read_as(Reading(frozenset({0}), "go somewhere"))
    store.append([random_episode(3)])
    assert (store.path / "episodes.jsonl").read_bytes().startswith(before)
    assert [record.held_out for record in Store.open(store.path).records] == [False, False, True, False]


def test_without_numbers_the_log_decides(tmp_path: Path) -> None:
    store = recorded(tmp_path)
    store.read_as(Reading(instruction="go somewhere"))
    assert [record.held_out for record in store.records] == [False, False, True]
