"""Chunks are those of training episodes, whole, and none crosses from one episode into the next."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sinew.data.chunks import training_chunks
from sinew.data.store import Store
from toy_data import SPEC, random_episode


def test_chunks_are_those_of_the_training_episodes(tmp_path: Path) -> None:
    episodes = [random_episode(0, 6), random_episode(1, 7, held_out=True), random_episode(2, 2)]
    store = Store.create(tmp_path / "store", SPEC, tuple(episodes[0].targets))
    store.append(episodes)
    found = training_chunks([store], 4)
    first, last = episodes[0].action, episodes[2].action
    assert found.shape == (4, 4, SPEC.action_size)
    assert all(np.array_equal(found[start], first[start : start + 4]) for start in range(3))
    assert np.array_equal(found[3], last[[0, 1, 1, 1]])
    assert np.array_equal(training_chunks([store], 4, most=2), found[[0, 3]])
