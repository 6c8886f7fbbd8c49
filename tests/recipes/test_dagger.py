"""DAgger grows its data at the right moment, keeps what counts, and survives kill -9."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import pytest
from torch import nn

import sinew.core
from recipes.line_world import build_recipe, cloning, demonstrations
from sinew.core.errors import DataError
from sinew.core.types import Cursor
from sinew.data.episode import Episode
from sinew.data.store import Store
from sinew.recipes.dagger import Dagger


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return demonstrations(tmp_path / "demonstrations")


class Rounds:
    """Hands out two recorded episodes a round and remembers when it was asked."""

    def __init__(self, source: Store) -> None:
        self.source = source
        self.asked: list[int] = []

    def __call__(self, number: int, acting: nn.Module) -> Sequence[Episode]:
        self.asked.append(number)
        return [self.source.episode(2 * number + index) for index in range(2)]


def build(store: Store, path: Path) -> tuple[Dagger, Rounds]:
    own = Store.open_or_create(path, store.spec, tuple(store.target_sizes))
    rounds = Rounds(store)
    return Dagger(cloning([store, own], 10), own, rounds, rounds=(2, 5)), rounds


def test_rounds_come_before_their_updates(store: Store, tmp_path: Path) -> None:
    recipe, rounds = build(store, tmp_path / "own")
    stream = recipe.batches(Cursor(0))
    asked = []
    for _ in range(7):
        recipe.update(next(stream))
        asked.append(len(rounds.asked))
    assert asked == [0, 0, 1, 1, 1, 2, 2]
    first, second = (sum(store.episode(2 * n + i).num_frames for i in range(2)) for n in range(2))
    frames = store.num_frames
    assert recipe.inner.segments == [(0, frames), (2, frames + first), (5, frames + first + second)]


def test_what_a_killed_round_left_is_cut_off(store: Store, tmp_path: Path) -> None:
    recipe, _ = build(store, tmp_path / "own")
    straight = [batch.ids.tolist() for batch in islice(recipe.batches(Cursor(0)), 4)]
    recipe.store.unlock()
    # Nothing was saved, so the two episodes of round 0 count for nothing, and the round is repeated.
    again, rounds = build(store, tmp_path / "own")
    assert again.store.num_episodes == 2
    assert [batch.ids.tolist() for batch in islice(again.batches(Cursor(0)), 4)] == straight
    assert rounds.asked == [0]
    assert again.store.num_episodes == 2


def test_a_finished_round_is_not_repeated(store: Store, tmp_path: Path) -> None:
    recipe, _ = build(store, tmp_path / "own")
    list(islice(recipe.batches(Cursor(0)), 4))
    recipe.store.unlock()
    again, rounds = build(store, tmp_path / "own")
    again.load_state_dict(recipe.state_dict())
    list(islice(again.batches(Cursor(4)), 1))
    assert rounds.asked == []
    assert again.num_episodes == 2


def test_a_store_that_lost_episodes_is_refused(store: Store, tmp_path: Path) -> None:
    recipe, _ = build(store, tmp_path / "own")
    list(islice(recipe.batches(Cursor(0)), 4))
    recipe.store.truncate(1)
    recipe.store.unlock()
    again, _ = build(store, tmp_path / "own")
    again.load_state_dict(recipe.state_dict())
    with pytest.raises(DataError, match="1 episodes, the saved state counts 2"):
        next(again.batches(Cursor(4)))


def test_the_policy_changes_what_is_gathered(tmp_path: Path) -> None:
    """The real rounds: an untrained policy and a trained one meet different states."""
    recipe = build_recipe("dagger", tmp_path, 20)
    untrained = recipe.gather(0, recipe.acting())
    repeated = recipe.gather(0, recipe.acting())
    assert [e.executed.tobytes() for e in untrained] == [e.executed.tobytes() for e in repeated]
    stream = recipe.batches(Cursor(0))
    for _ in range(4):
        recipe.update(next(stream))
    assert [e.executed.tobytes() for e in recipe.gather(0, recipe.acting())] != [
        e.executed.tobytes() for e in untrained
    ]


def test_killed_anywhere_even_within_a_round_the_run_ends_the_same(tmp_path: Path) -> None:
    script = Path(__file__).parent / "killed_dagger.py"
    environment = {**os.environ, "PYTHONPATH": str(Path(sinew.core.__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script), str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
