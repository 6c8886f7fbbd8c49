"""Groups of episodes: the same episodes as one by one, every decision credited, every member from the same start."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from sinew.core.errors import ConfigError
from sinew.core.history import ChunkQueue
from sinew.core.rollout import run_episodes
from sinew.core.types import NumpyObservation, RobotSpec, Rows, StepResult
from sinew.envs.rollout import Draw, Rollouts, merge, roll_out
from toy import STEP, ToyConfig, ToyVecEnv

HORIZON = 3
WORLD = ToyConfig(size=4)


class Walker:
    """Walks to the goal in chunks of three steps and honks at the last step of a chunk that ends there."""

    def __init__(self, execute: int = HORIZON) -> None:
        self.spec: RobotSpec = WORLD.spec
        self.queue = ChunkQueue(execute)
        self.seen: list[NumpyObservation] = []

    def chunk(self, obs: NumpyObservation) -> NDArray[np.float32]:
        gap = obs.privileged["goal"][:, 0] - obs.state[:, -1, 0]
        moves = np.stack([np.clip(gap - np.sign(gap) * STEP * step, -STEP, STEP) for step in range(HORIZON)], axis=1)
        moves[np.sign(moves) != np.sign(gap)[:, None]] = 0.0
        left = gap[:, None] - moves.cumsum(axis=1)
        return np.stack([moves, np.abs(left) < 0.05], axis=2).astype(np.float32)

    def reset(self, rows: Rows = None) -> None:
        self.queue.reset(rows)

    def select_action(self, obs: NumpyObservation, rows: Rows = None) -> NDArray[np.float32]:
        index = np.arange(obs.num_rows) if rows is None else np.asarray(rows)
        wanting = self.queue.wanting(index)
        if wanting.any():
            self.queue.put(index[wanting], self.chunk(obs)[wanting])
        return self.queue.take(index)

    def decide(self, obs: NumpyObservation) -> Draw:
        self.seen.append(obs)
        chunk = self.chunk(obs)
        return Draw(obs.public(), chunk, {"chunk": chunk}, np.zeros((obs.num_rows, HORIZON), np.float32))

    def mask(self, execute: int, alive: NDArray[np.bool_]) -> NDArray[np.bool_]:
        return alive & (np.arange(HORIZON) < execute)


class Watched(ToyVecEnv):
    """The line world, which remembers when it was asked for pictures."""

    def __init__(self, config: ToyConfig, num_envs: int) -> None:
        super().__init__(config, num_envs)
        self.pictures: list[bool] = []

    def step(self, actions: NDArray[np.float32], rows: Rows = None, *, render: bool = True) -> StepResult:
        self.pictures.append(render)
        return super().step(actions, rows, render=render)


class Drifting(ToyVecEnv):
    """A world that never begins twice at the same place."""

    def reset(self, state_ids: Sequence[str], rows: Rows = None) -> NumpyObservation:
        obs = super().reset(state_ids, rows)
        return dataclasses.replace(obs, state=obs.state + np.random.default_rng().random(obs.state.shape, np.float32))


def states(count: int) -> tuple[str, ...]:
    env = WORLD.build(1)
    return tuple(name for task in env.tasks for name in env.states("train", task, count))


def rolled(num_envs: int, *, execute: int = HORIZON, group: int = 2) -> Rollouts:
    return roll_out(WORLD.build(num_envs), Walker(), states(3), group=group, execute=execute)


@pytest.mark.parametrize("num_envs", [1, 5, 32])
@pytest.mark.parametrize("execute", [1, 2, HORIZON])
def test_the_episodes_are_those_that_run_one_by_one(num_envs: int, execute: int) -> None:
    names = [name for name in states(3) for _ in range(2)]
    straight = run_episodes(WORLD.build(1), Walker(execute), names)
    found = rolled(num_envs, execute=execute)
    assert found.outcomes == straight
    assert any(outcome.success for outcome in straight)


def test_every_tick_and_every_reward_is_credited_to_one_decision() -> None:
    found = rolled(5)
    batch = found.batch
    assert batch.ids is not None
    for episode, outcome in enumerate(found.outcomes):
        own = batch.ids == episode
        assert batch.mask[own].sum() == outcome.ticks
        assert batch.reward[own].sum() == outcome.total_reward
        assert (batch.terminated | batch.truncated)[own].tolist() == [False] * (own.sum() - 1) + [True]
    assert batch.mask[:, 0].all()


def test_members_of_a_group_stand_together_and_begin_at_one_state() -> None:
    found = rolled(5, group=4)
    assert [outcome.state_id for outcome in found.outcomes] == [name for name in states(3) for _ in range(4)]
    batch = found.batch
    assert batch.ids is not None
    assert batch.group is not None
    for group in range(6):
        firsts = [int(np.flatnonzero(batch.ids == episode)[0]) for episode in range(4 * group, 4 * group + 4)]
        assert (batch.group[firsts] == group).all()
        assert len(np.unique(batch.obs.state[firsts, 0, 0])) == 1


def test_pictures_are_drawn_at_decisions_only_unless_history_shows_them() -> None:
    for history, wanted in ((1, [False, False, True]), (2, [True, True, True])):
        env = Watched(WORLD, 4)
        roll_out(env, Walker(), states(2)[:1], group=4, execute=3, history=history)
        assert env.pictures[:3] == wanted


def test_the_actor_sees_its_history_as_it_does_when_it_acts_alone() -> None:
    actor = Walker()
    roll_out(WORLD.build(2), actor, states(2)[:1], group=2, execute=2, history=2)
    first, second = actor.seen[:2]
    assert first.history_is_pad is not None
    assert second.history_is_pad is not None
    assert first.history_is_pad.tolist() == [[True, False]] * 2
    assert not second.history_is_pad.any()
    assert (second.state[:, 1, 1] == second.state[:, 1, 0] - second.state[:, 0, 0]).all()
    assert (second.images["front"][:, 0, 1, 0, 0] == 1).all()
    assert (second.images["front"][:, 1, 1, 0, 0] == 2).all()


def test_simulator_truth_is_not_remembered() -> None:
    assert not rolled(4).batch.obs.privileged


def test_a_world_that_cannot_return_to_a_state_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'train/left/0' differ in state"):
        roll_out(Drifting(WORLD, 4), Walker(), states(1), group=4, execute=2)


def test_merged_rollouts_number_their_episodes_and_groups_through() -> None:
    one, two = rolled(5), roll_out(WORLD.build(4), Walker(), states(1)[1:], group=2, execute=3)
    both = merge([one, two])
    assert both.outcomes == one.outcomes + two.outcomes
    assert both.batch.ids is not None
    assert both.batch.group is not None
    assert sorted(set(both.batch.ids.tolist())) == list(range(14))
    assert both.batch.group[both.batch.ids >= 12].tolist() == [6] * int((both.batch.ids >= 12).sum())
    assert both.batch.num_rows == one.batch.num_rows + two.batch.num_rows
    assert len(both.batch.obs.instruction) == both.batch.num_rows


@pytest.mark.parametrize("history", [1, 2])
def test_an_actor_is_shown_what_was_executed_in_its_own_episode(history: int) -> None:
    walker = Walker()
    batch = roll_out(WORLD.build(2), walker, states(3), group=2, execute=2, history=history, previous=3).batch
    assert batch.ids is not None
    for episode in range(12):
        own = np.flatnonzero(batch.ids == episode)
        executed = np.full((3, 2), np.nan, np.float32)
        for row in own:
            assert batch.obs.prev_actions is not None
            np.testing.assert_array_equal(batch.obs.prev_actions[row], executed[-3:])
            executed = np.concatenate([executed, batch.chunk[row][:2]])
