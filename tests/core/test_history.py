from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from sinew.core.errors import ConfigError
from sinew.core.history import ChunkQueue, History, next_actions
from sinew.core.types import NumpyObservation


def tick(*values: int) -> NumpyObservation:
    """One tick of several rows; every array holds the row's value."""
    column = np.array(values, dtype=np.float32)
    return NumpyObservation(
        images={
            "front": np.broadcast_to(column[:, None, None, None, None], (len(values), 1, 3, 2, 2)).astype(np.uint8)
        },
        state=column[:, None, None],
        instruction=tuple(str(value) for value in values),
        sensors={"force": column[:, None, None] + 100},
        privileged={"truth": column[:, None]},
    )


def test_one_tick_is_passed_through() -> None:
    obs = tick(1, 2)
    assert History(1).push(obs) is obs


def test_first_observation_fills_the_history_and_is_marked() -> None:
    stacked = History(3).push(tick(5))
    assert stacked.state[0, :, 0].tolist() == [5, 5, 5]
    assert stacked.history_is_pad is not None
    assert stacked.history_is_pad.tolist() == [[True, True, False]]


def test_oldest_comes_first_and_the_oldest_falls_out() -> None:
    history = History(3)
    for value in (1, 2, 3, 4):
        stacked = history.push(tick(value))
    assert stacked.state[0, :, 0].tolist() == [2, 3, 4]
    assert stacked.images["front"][0, :, 0, 0, 0].tolist() == [2, 3, 4]
    assert stacked.sensors["force"][0, :, 0].tolist() == [102, 103, 104]
    assert stacked.privileged["truth"].tolist() == [[4]]
    assert stacked.history_is_pad is not None
    assert not stacked.history_is_pad.any()


def test_rows_remember_apart_and_in_any_order() -> None:
    history = History(2)
    history.push(tick(10, 20, 30), [0, 1, 2])
    stacked = history.push(tick(31, 11), [2, 0])
    assert stacked.state[:, :, 0].tolist() == [[30, 31], [10, 11]]
    assert history.push(tick(21), np.array([1])).state[0, :, 0].tolist() == [20, 21]


def test_reset_forgets_only_the_rows_named() -> None:
    history = History(2)
    history.push(tick(1, 2))
    history.reset([1, 7])
    stacked = history.push(tick(3, 4))
    assert stacked.state[:, :, 0].tolist() == [[1, 3], [4, 4]]
    assert stacked.history_is_pad is not None
    assert stacked.history_is_pad.tolist() == [[False, False], [True, False]]
    history.reset()
    assert history.push(tick(5)).state[0, :, 0].tolist() == [5, 5]


def test_rows_grow_on_demand_without_losing_memory() -> None:
    history = History(2)
    history.push(tick(1))
    stacked = history.push(tick(2, 9), [0, 5])
    assert stacked.state[:, :, 0].tolist() == [[1, 2], [9, 9]]


def test_what_was_returned_does_not_change_later() -> None:
    history = History(2)
    first = history.push(tick(1))
    history.push(tick(2))
    assert first.state[0, :, 0].tolist() == [1, 1]


def test_no_rows_are_no_error() -> None:
    assert History(2).push(tick()).state.shape == (0, 2, 1)


def test_less_than_one_tick_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 1 tick"):
        History(0)


def executed(obs: NumpyObservation) -> list[list[float]]:
    """The executed actions of every row; -1 stands for none."""
    assert obs.prev_actions is not None
    return np.nan_to_num(obs.prev_actions[..., 0], nan=-1).tolist()


def test_what_was_answered_counts_as_executed_where_nobody_says_otherwise() -> None:
    history, queue = History(1, previous=3, actions=1), ChunkQueue(2)
    seen: list[list[list[float]]] = []

    def predict(obs: NumpyObservation) -> np.ndarray:
        seen.append(executed(obs))
        return obs.state + np.array([[[0.25], [0.5]]], dtype=np.float32)

    for value in (1, 2, 3, 4):
        next_actions(tick(value), None, history, queue, predict)
    assert seen == [[[-1, -1, -1]], [[-1, 1.25, 1.5]]]


def test_what_the_world_says_was_executed_counts_for_more() -> None:
    history, rows = History(2, previous=2, actions=1), np.array([0])
    history.push(tick(1))
    history.acted(np.array([[7.0]], dtype=np.float32), rows)
    told = dataclasses.replace(tick(2), prev_actions=np.array([[[5.0]]], dtype=np.float32))
    assert executed(history.push(told)) == [[-1, 5]]
    history.acted(np.array([[8.0]], dtype=np.float32), rows)
    assert executed(history.push(tick(3))) == [[5, 8]]


def test_a_reset_forgets_what_was_executed_even_where_the_world_still_says_it() -> None:
    history = History(1, previous=2, actions=1)
    told = dataclasses.replace(tick(1, 2), prev_actions=np.array([[[5.0]], [[6.0]]], dtype=np.float32))
    history.push(told)
    assert executed(history.push(told)) == [[-1, 5], [-1, 6]]
    history.reset([1])
    assert executed(history.push(told)) == [[5, 5], [-1, -1]]
    assert executed(history.push(told)) == [[5, 5], [-1, 6]]


def test_without_previous_actions_none_are_handed_on() -> None:
    told = dataclasses.replace(tick(1), prev_actions=np.array([[[5.0]]], dtype=np.float32))
    assert History(1).push(told).prev_actions is None
    assert History(2).push(told).prev_actions is None
