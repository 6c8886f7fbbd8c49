from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from sinew.core.rollout import run_episodes
from sinew.core.types import NumpyObservation, Rows
from sinew.data.config import CollectConfig
from sinew.data.episode import Episode
from sinew.data.record import NoisyPolicy, Recorder
from toy import STEP, ToyConfig

CONFIG = ToyConfig(stuck=4)
EXPERT = CONFIG.expert()
IDS = tuple(f"train/{task}/{number}" for number in range(5) for task in ("left", "right"))
TASKS = tuple(name.split("/")[1] for name in IDS)
NOISY = CollectConfig(noise=(0.0, 0.3), burst=0.1, flip=0.05)


def record(config: CollectConfig = NOISY, *, rows: int = 3, ids: tuple[str, ...] = IDS, seed: int = 0) -> list[Episode]:
    env = CONFIG.build(rows)
    recorder = Recorder(env, EXPERT, ids, [name.split("/")[1] for name in ids], label_horizon=2, source="here")
    run_episodes(env, NoisyPolicy(EXPERT, config, ids, seed=seed), ids, watch=recorder)
    return recorder.episodes()


def same(one: Episode, two: Episode) -> bool:
    arrays = ("state", "action", "executed")
    return one.id == two.id and all(np.array_equal(getattr(one, name), getattr(two, name)) for name in arrays)


def test_episodes_are_whole_and_in_the_order_of_the_list() -> None:
    episodes = record()
    assert tuple(episode.id for episode in episodes) == IDS
    for episode, task in zip(episodes, TASKS, strict=True):
        episode.check()
        assert (episode.task, episode.instruction) == (task, f"go {task}")
        assert (episode.label_horizon, episode.source, episode.held_out) == (2, "here", False)
        assert episode.success is (int(episode.id.split("/")[-1]) % 4 != 0)
        assert episode.images["front"][:, 1, 0, 0].tolist() == list(range(episode.num_frames))  # the toy paints ticks
        assert set(episode.targets["goal"].ravel().tolist()) == {-1.0 if task == "left" else 1.0}


def test_labels_are_clean_and_executed_is_what_moved_the_world() -> None:
    for episode in record():
        gap = episode.targets["goal"][:, 0] - episode.state[:, 0]
        np.testing.assert_array_equal(episode.action[:, 0], np.clip(gap, -STEP, STEP))
        if episode.success:
            np.testing.assert_allclose(episode.executed[:-1, 0], episode.state[1:, 1], rtol=1e-6)
    assert any(not np.array_equal(episode.action, episode.executed) for episode in record())


def test_results_do_not_depend_on_rows_or_grouping() -> None:
    together = record(rows=4)
    apart = [episode for first in range(0, 10, 3) for episode in record(rows=2, ids=IDS[first : first + 3])]
    assert all(same(one, two) for one, two in zip(together, apart, strict=True))


def test_the_seed_changes_the_noise() -> None:
    assert not all(same(one, two) for one, two in zip(record(), record(seed=1), strict=True))


def test_without_noise_the_expert_acts_cleanly() -> None:
    for episode in record(CollectConfig(noise=(0.0,), burst=0.0, flip=0.0)):
        np.testing.assert_array_equal(episode.action, episode.executed)


class Still:
    """An expert that never does anything; its noise is all there is."""

    spec = CONFIG.spec

    def reset(self, rows: Rows = None) -> None:
        pass

    def select_action(self, obs: NumpyObservation, rows: Rows = None) -> NDArray[np.float32]:
        return np.zeros((obs.num_rows, 2), np.float32)


def noise_of(config: CollectConfig, ticks: int = 400) -> NDArray[np.float32]:
    """Actions (ticks, rows, 2) of the still expert under noise."""
    obs = CONFIG.build(20).reset([f"train/left/{number}" for number in range(20)])
    policy = NoisyPolicy(Still(), config, [str(number) for number in range(20)], seed=0)
    return np.stack([policy.select_action(obs) for _ in range(ticks)])


def test_noise_is_in_halves_of_the_action_range_and_leaves_two_valued_actions_alone() -> None:
    actions = noise_of(CollectConfig(noise=(0.2,), burst=0.0, flip=0.0))
    assert actions[..., 0].std() == pytest.approx(0.2 * STEP, rel=0.03)
    assert abs(actions[..., 0].mean()) < 0.01 * STEP
    assert not actions[..., 1].any()


def test_each_episode_draws_one_level() -> None:
    levels = noise_of(CollectConfig(noise=(0.0, 0.3), burst=0.0, flip=0.0))[..., 0].std(axis=0) / STEP
    assert set(np.round(levels, 1)) == {np.float32(0.0), np.float32(0.3)}


def test_flips_come_at_their_rate_and_actions_stay_within_bounds() -> None:
    actions = noise_of(CollectConfig(noise=(2.0,), burst=0.1, flip=0.25))
    assert actions[..., 1].mean() == pytest.approx(0.25, abs=0.02)
    assert set(np.unique(actions[..., 1])) == {0.0, 1.0}
    assert actions[..., 0].min() == np.float32(-STEP)
    assert actions[..., 0].max() == np.float32(STEP)


def test_a_burst_pushes_the_same_way_for_a_few_ticks() -> None:
    actions = noise_of(CollectConfig(noise=(0.0,), burst=0.02, flip=0.0))[..., 0].T
    lengths: list[int] = []
    for row in actions:
        starts = np.flatnonzero(np.diff(row, prepend=0.0) != 0)
        for begin, end in itertools.pairwise(starts):
            if row[begin]:
                lengths.append(int(end - begin))
    assert len(lengths) > 50
    assert set(lengths) == {3, 4, 5, 6}
