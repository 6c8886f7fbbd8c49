from __future__ import annotations

import numpy as np
import pytest

from sinew.core.errors import ConfigError
from sinew.core.history import History
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
        prev_actions=column[:, None, None] - 1,
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
    assert stacked.prev_actions is not None
    assert stacked.prev_actions[0, :, 0].tolist() == [1, 2, 3]
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
