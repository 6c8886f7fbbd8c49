"""A round: who acts, who labels, and that the pool changes nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recipes.line_world import WORLD, demonstrations, small_policy
from sinew.core.types import NumpyObservation
from sinew.data.episode import Episode
from sinew.engine.workers import start_workers
from sinew.models.policy import VLAPolicy
from sinew.recipes.config import DaggerConfig
from sinew.recipes.expert_rounds import TAKE_OVER_TICKS, Assisted, ExpertRounds

CONFIG = DaggerConfig(episodes=7, take_over=0.1, label_horizon=2, mix={"left": 1.0, "right": 2.0})


@pytest.fixture
def policy(tmp_path: Path) -> VLAPolicy:
    return small_policy(demonstrations(tmp_path / "demonstrations"))


def content(episodes: list[Episode]) -> list[tuple[str, bytes, bytes]]:
    return [(episode.id, episode.executed.tobytes(), episode.action.tobytes()) for episode in episodes]


def test_labels_are_the_experts_and_good_for_two_steps(policy: VLAPolicy, tmp_path: Path) -> None:
    episodes = ExpertRounds(WORLD, replace(CONFIG, take_over=0.0), tmp_path / "data", seed=0)(0, policy)
    assert len(episodes) == 7
    assert sorted(episode.task for episode in episodes) == ["left"] * 2 + ["right"] * 5
    expert = WORLD.expert()
    for episode in episodes:
        goal = np.repeat(episode.targets["goal"][:, None], 1, axis=1)[:, 0]
        obs = NumpyObservation(
            {}, episode.state[:, None], (episode.instruction,) * len(goal), privileged={"goal": goal}
        )
        assert np.allclose(episode.action, expert.select_action(obs))
        assert not np.allclose(episode.executed, episode.action)
        assert episode.label_horizon == 2
    assert list((tmp_path / "data").iterdir()) == []


def test_the_pool_changes_nothing(policy: VLAPolicy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sinew.recipes.expert_rounds.GROUP", 4)
    here = ExpertRounds(WORLD, CONFIG, tmp_path / "here", seed=0)(1, policy)
    with start_workers(1) as pool:
        there = ExpertRounds(WORLD, CONFIG, tmp_path / "there", seed=0, pool=pool)(1, policy)
    assert content(here) == content(there)


def test_rounds_and_seeds_meet_different_states(policy: VLAPolicy, tmp_path: Path) -> None:
    ids = [
        {
            name
            for job in ExpertRounds(WORLD, CONFIG, tmp_path, seed=seed).jobs(number, tmp_path)
            for name in job.state_ids
        }
        for seed, number in ((0, 0), (0, 1), (0, 2))
    ]
    assert all(not one & two for one, two in ((ids[0], ids[1]), (ids[1], ids[2]), (ids[0], ids[2])))
    assert all(int(name.split("/")[2]) >= 1_000_000 for name in ids[0])


class Constant:
    """Always says the same."""

    spec = WORLD.spec

    def __init__(self, value: float) -> None:
        self.value = value

    def reset(self, rows: object = None) -> None:
        """Nothing to forget."""

    def select_action(self, obs: NumpyObservation, rows: object = None) -> np.ndarray:
        return np.full((obs.num_rows, 2), self.value, dtype=np.float32)


def test_the_expert_takes_over_for_a_few_ticks_in_single_rows() -> None:
    actor = Assisted(Constant(0.0), Constant(1.0), 0.02, seed=0)
    env = WORLD.build(4)
    obs = env.reset(env.states("train", "left", 4))
    helped = np.stack([actor.select_action(obs)[:, 0] for _ in range(3000)])
    edges = np.diff(np.concatenate([np.zeros((1, 4)), helped, np.zeros((1, 4))]), axis=0)
    lengths = np.concatenate([np.flatnonzero(edges[:, r] < 0) - np.flatnonzero(edges[:, r] > 0) for r in range(4)])
    assert lengths.min() == TAKE_OVER_TICKS[0]
    # A second take-over may follow at once, now and then.
    assert np.mean(lengths <= TAKE_OVER_TICKS[1]) > 0.9
    assert np.mean(helped) == pytest.approx(0.02 * 5 / (1 + 0.02 * 5), rel=0.25)
    actor.left = dict.fromkeys(range(4), 5)
    actor.reset(np.array([1, 2]))
    assert set(actor.left) == {0, 3}
