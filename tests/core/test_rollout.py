from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from sinew.core.rollout import Tick, concat_rows, run_episodes, take_rows
from sinew.core.types import NumpyObservation, Rows
from toy import ToyConfig

CONFIG = ToyConfig(stuck=5)
IDS = tuple(
    name
    for pair in zip(*(CONFIG.build(1).states("train", task, 6) for task in ("left", "right")), strict=True)
    for name in pair
)


class Remembering:
    """An expert that counts the ticks of every row since its reset."""

    def __init__(self) -> None:
        self.inner = CONFIG.expert()
        self.spec = self.inner.spec
        self.ticks: dict[int, int] = {}
        self.ages: list[tuple[int, int]] = []

    def reset(self, rows: Rows = None) -> None:
        for row in list(self.ticks) if rows is None else rows:
            self.ticks[int(row)] = 0

    def select_action(self, obs: NumpyObservation, rows: Rows = None) -> NDArray[np.float32]:
        assert rows is not None
        for row in rows:
            self.ticks[int(row)] = self.ticks.get(int(row), 0) + 1
            self.ages.append((int(row), self.ticks[int(row)]))
        return self.inner.select_action(obs, rows)


def test_outcomes_come_in_the_order_of_the_list_with_success_length_and_note() -> None:
    outcomes = run_episodes(CONFIG.build(3), CONFIG.expert(), IDS)
    assert tuple(outcome.state_id for outcome in outcomes) == IDS
    for outcome in outcomes:
        stuck = int(outcome.state_id.split("/")[-1]) % CONFIG.stuck == 0
        assert outcome.success is not stuck
        assert outcome.note == ("out of time" if stuck else "arrived")
        assert outcome.total_reward == float(not stuck)
        assert outcome.ticks == CONFIG.max_ticks if stuck else outcome.ticks < CONFIG.max_ticks


@pytest.mark.parametrize("num_envs", [1, 2, 5, 12, 40])
def test_outcomes_do_not_depend_on_the_number_of_rows(num_envs: int) -> None:
    assert run_episodes(CONFIG.build(num_envs), CONFIG.expert(), IDS) == run_episodes(
        CONFIG.build(4), CONFIG.expert(), IDS
    )


def test_every_tick_of_every_episode_is_watched_once_and_in_order() -> None:
    ticks: list[Tick] = []
    outcomes = run_episodes(CONFIG.build(3), CONFIG.expert(), IDS, watch=ticks.append)
    counts = np.zeros(len(IDS), dtype=int)
    for tick in ticks:
        assert len(tick.rows) == len(tick.episodes) == tick.obs.num_rows == len(tick.actions)
        assert tick.obs.instruction == tuple(f"go {IDS[number].split('/')[1]}" for number in tick.episodes)
        # The toy paints the tick's number into a pixel.
        assert tick.obs.images["front"][:, 0, 1, 0, 0].tolist() == counts[tick.episodes].tolist()
        counts[tick.episodes] += 1
    assert counts.tolist() == [outcome.ticks for outcome in outcomes]


def test_batches_stay_full_until_the_list_runs_out() -> None:
    sizes: list[int] = []
    run_episodes(CONFIG.build(3), CONFIG.expert(), IDS, watch=lambda tick: sizes.append(len(tick.rows)))
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == 3


def test_a_policy_is_reset_for_the_rows_that_begin_and_no_others() -> None:
    policy = Remembering()
    outcomes = run_episodes(CONFIG.build(3), policy, IDS)
    assert sum(age == 1 for _, age in policy.ages) == len(IDS)
    assert sorted(age for _, age in policy.ages) == sorted(
        age for outcome in outcomes for age in range(1, outcome.ticks + 1)
    )


def test_no_episodes_are_no_error() -> None:
    assert run_episodes(CONFIG.build(2), CONFIG.expert(), ()) == ()


def test_taking_and_joining_rows_are_inverse() -> None:
    obs = CONFIG.build(4).reset(IDS[:4])
    mask = np.array([True, False, True, False])
    joined = concat_rows((take_rows(obs, mask), take_rows(obs, ~mask)))
    order = np.array([0, 2, 1, 3])
    assert joined.instruction == tuple(obs.instruction[row] for row in order)
    np.testing.assert_array_equal(joined.state, obs.state[order])
    np.testing.assert_array_equal(joined.images["front"], obs.images["front"][order])
    np.testing.assert_array_equal(take_rows(obs, order).privileged["goal"], obs.privileged["goal"][order])
    assert joined.history_is_pad is None
