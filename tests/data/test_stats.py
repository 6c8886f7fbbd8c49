from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sinew.core.errors import DataError
from sinew.core.types import Statistics
from sinew.data.episode import Episode
from sinew.data.moments import Moments, merge
from sinew.data.stats import body_of, chunk_statistics, statistics, statistics_by_body
from sinew.data.store import Store
from sinew.data.windows import Windows
from toy_data import SPEC, random_episode


def store_of(path: Path, episodes: list[Episode]) -> Store:
    store = Store.create(path, SPEC, tuple(episodes[0].targets))
    store.append(episodes)
    return store


def assert_describes(found: Statistics, rows: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> None:
    assert found.count == len(rows)
    for name, wanted in (
        ("mean", rows.mean(axis=0)),
        ("std", rows.std(axis=0)),
        ("low", rows.min(axis=0)),
        ("high", rows.max(axis=0)),
        ("q01", np.quantile(rows, 0.01, axis=0)),
        ("q99", np.quantile(rows, 0.99, axis=0)),
    ):
        values = getattr(found, name)
        assert values.dtype == np.float32
        np.testing.assert_allclose(values, wanted, rtol=1e-6, atol=1e-12, err_msg=name)


def test_statistics_equal_numpy_over_the_training_frames_of_all_stores(tmp_path: Path) -> None:
    episodes = [random_episode(number, 5, held_out=number in (2, 9)) for number in range(12)]
    stores = [store_of(tmp_path / "a", episodes[:7]), store_of(tmp_path / "b", episodes[7:])]
    training = [episode for episode in episodes if not episode.held_out]
    found = statistics(stores)
    assert list(found) == ["state", "action", "targets.goal"]
    assert_describes(found["state"], np.concatenate([episode.state for episode in training]).astype(np.float64))
    assert_describes(found["action"], np.concatenate([episode.action for episode in training]).astype(np.float64))
    goals = np.concatenate([episode.targets["goal"] for episode in training])
    assert_describes(found["targets.goal"], goals.astype(np.float64))


def test_statistics_of_relative_actions_are_over_all_steps_of_all_chunks(tmp_path: Path) -> None:
    spec = replace(SPEC, kind="absolute", state=("move", "last_move"))
    stores = [Store.create(tmp_path / name, spec) for name in "ab"]
    episodes = [random_episode(number, 5, spec=spec, targets={}, held_out=number == 2) for number in range(6)]
    stores[0].append(episodes[:4])
    stores[1].append(episodes[4:])
    rows = [
        [one.action[step, 0] - one.state[tick, 0], one.action[step, 1]]
        for one in episodes
        if not one.held_out
        for tick in range(5)
        for step in range(tick, min(tick + 3, 5))
    ]
    assert_describes(chunk_statistics(Windows(stores, history=1, horizon=3, kind="relative")), np.array(rows, float))


def test_a_large_offset_does_not_eat_the_spread(tmp_path: Path) -> None:
    state = np.full((1000, 2), 1e4, np.float32)
    state[::2] += 0.125
    actions = np.zeros((1000, 2), np.float32)
    images = {"front": np.zeros((1000, 3, 4, 4), np.uint8)}
    episode = random_episode(0, state=state, action=actions, executed=actions, images=images, targets={})
    found = statistics([store_of(tmp_path / "s", [episode])])
    np.testing.assert_array_equal(found["state"].std, np.float32(0.0625))
    np.testing.assert_array_equal(found["state"].mean, np.float32(1e4 + 0.0625))


def test_rows_without_a_target_are_left_out(tmp_path: Path) -> None:
    goal = np.array([[1, 2], [np.nan, np.nan], [3, 6]], np.float32)
    found = statistics([store_of(tmp_path / "s", [random_episode(0, targets={"goal": goal})])])["targets.goal"]
    assert_describes(found, goal[[0, 2]].astype(np.float64))


def test_a_column_without_any_value_is_an_error_that_names_it(tmp_path: Path) -> None:
    episode = random_episode(0, targets={"goal": np.full((3, 1), np.nan, np.float32)})
    with pytest.raises(DataError, match=r"targets\.goal has no value in any training frame of .*s"):
        statistics([store_of(tmp_path / "s", [episode])])
    with pytest.raises(DataError, match="state has no value"):
        statistics([store_of(tmp_path / "held out", [replace(random_episode(0), held_out=True)])])


def test_statistics_are_kept_by_body_and_quantiles_are_those_of_all_rows(tmp_path: Path) -> None:
    wide = replace(SPEC, embodiment="wide")
    parts = [
        [random_episode(0, 5), random_episode(1, 90)],
        [random_episode(2, 3)],
        [random_episode(3, 4, spec=wide)],
    ]
    stores: list[Store] = []
    for number, part in enumerate(parts):
        stores.append(Store.create(tmp_path / str(number), part[0].spec, ("goal",)))
        stores[-1].append(part)
    found = statistics_by_body(stores, targets=())
    assert [str(body) for body in found] == ["toy/delta@10Hz", "wide/delta@10Hz"]
    rows = np.concatenate([stores[0].column("state"), stores[1].column("state")]).astype(np.float64)
    pooled = found[body_of(SPEC)]["state"]
    np.testing.assert_allclose(pooled.q99, np.quantile(rows, 0.99, axis=0), rtol=1e-6)
    averaged = np.mean([np.quantile(store.column("state"), 0.99, axis=0) for store in stores[:2]], axis=0)
    assert not np.allclose(pooled.q99, averaged, rtol=0.01)
    moments = merge(*(Moments.of(store.column("state")) for store in stores[:2]))
    np.testing.assert_allclose(pooled.std, moments.std, rtol=1e-6)
    np.testing.assert_array_equal(found[body_of(wide)]["action"].mean, statistics([stores[2]])["action"].mean)


def test_one_body_with_two_meanings_is_refused(tmp_path: Path) -> None:
    other = replace(SPEC, state_units=("mm", "mm"))
    stores = [Store.create(tmp_path / str(number), spec) for number, spec in enumerate((SPEC, other))]
    with pytest.raises(DataError, match=r"both name the body .* but their state_units are"):
        statistics_by_body(stores)
