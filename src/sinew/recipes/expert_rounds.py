"""Episodes in which a policy acts and an expert labels every tick: what DAgger gathers."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import BrokenExecutor, Executor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sinew.core.errors import TrainingError
from sinew.core.files import new_directory
from sinew.core.rollout import run_episodes
from sinew.core.types import EnvConfig, NumpyObservation, Policy, RobotSpec, Rows, VecEnv
from sinew.data.collect import shares
from sinew.data.episode import Episode
from sinew.data.record import Recorder
from sinew.engine import rng
from sinew.engine.checkpoint import Pretrained
from sinew.engine.distributed import world
from sinew.recipes.config import DaggerConfig

ROWS = 16
"""Episodes stepped together in a worker."""
GROUP = 40
"""Episodes of one job; part of what a round gathers."""
TAKE_OVER_TICKS = (3, 7)
"""Shortest and longest time the expert keeps the controls [ticks]."""
FIRST_STATE = 1_000_000
"""Number of the first initial state of round 0, beyond any that demonstrations begin at."""


@dataclass(frozen=True)
class DaggerJob:
    """One group of a round's episodes, for a worker process.

    Attributes:
        policy: directory written by ``save_pretrained``.
        tasks: the task of each state id.
        seed: of take-overs and of what the policy draws.
        take_over, label_horizon: see ``DaggerConfig``.
    """

    policy: Path
    env: EnvConfig
    state_ids: tuple[str, ...]
    tasks: tuple[str, ...]
    seed: int
    take_over: float
    label_horizon: int


@dataclass(frozen=True)
class ExpertRounds:
    """The ``gather`` of a Dagger recipe: rolls the policy out in a world and has its expert label every tick.

    What a round returns follows from the policy, the round and these settings; the pool changes nothing. Ranks that
    train together each run a share, and rank 0 gets all of it.

    Attributes:
        env: the world; initial states are those of its ``train`` split that no demonstration begins at.
        config: how many episodes, of which tasks, with how much help.
        directory: where the policy is put for the workers; gone afterwards.
        seed: of the run.
        pool: where groups run; None means here.
        note: told how each round went.
    """

    env: EnvConfig
    config: DaggerConfig
    directory: Path
    seed: int
    pool: Executor | None = None
    note: Callable[[str], None] | None = None

    def __call__(self, number: int, acting: nn.Module) -> list[Episode]:
        """Return the episodes of round ``number``, from 0; none but on rank 0.

        Raises:
            TrainingError: a worker process died.
        """
        ranks, place = world(), self.directory / f"round_{number}"
        if ranks.is_main:
            self._put(place, acting)
        ranks.barrier()
        try:
            mine = ranks.waves(self.jobs(number, place), self._run)
            told = (group for wave in mine for group in ranks.collect(wave))
            episodes = [episode for group in told if group is not None for episode in group]
        except BrokenExecutor as error:
            raise TrainingError(
                "a worker process died while the policy was rolled out (out of memory?). "
                "Run the same command again to go on from the last checkpoint, with fewer workers if it repeats."
            ) from error
        finally:
            if ranks.is_main:
                shutil.rmtree(place, ignore_errors=True)
        if self.note is not None:
            won = sum(episode.success for episode in episodes)
            frames = sum(episode.num_frames for episode in episodes)
            self.note(
                f"Round {number + 1}: {frames} frames labelled, {won} of {len(episodes)} episodes succeeded with help."
            )
        return episodes

    def _put(self, place: Path, acting: nn.Module) -> None:
        for leftover in self.directory.glob(".round_*"):  # of a killed process
            shutil.rmtree(leftover, ignore_errors=True)
        with new_directory(place) as temporary:
            cast("Pretrained", acting).save_pretrained(temporary)

    def _run(self, jobs: Sequence[DaggerJob]) -> Iterable[list[Episode]]:
        return map(dagger_group, jobs) if self.pool is None else self.pool.map(dagger_group, jobs)

    def jobs(self, number: int, policy: Path) -> list[DaggerJob]:
        """Return the groups of a round, tasks mixed in each."""
        world = self.env.build(1)
        quotas = shares(world.tasks, self.config.mix, self.config.episodes)
        first = FIRST_STATE + number * self.config.episodes
        pairs = [(name, task) for task, quota in quotas.items() for name in world.states("train", task, quota, first)]
        order = np.random.default_rng((self.seed, number)).permutation(len(pairs))
        groups = [[pairs[index] for index in order[begin : begin + GROUP]] for begin in range(0, len(pairs), GROUP)]
        return [
            DaggerJob(
                policy=policy,
                env=self.env,
                state_ids=tuple(name for name, _ in group),
                tasks=tuple(task for _, task in group),
                seed=rng.mix(self.seed, number, index),
                take_over=self.config.take_over,
                label_horizon=self.config.label_horizon,
            )
            for index, group in enumerate(groups)
        ]


class Assisted:
    """A learner who acts while an expert now and then takes over for a few ticks.

    Args:
        learner: acts; sees no simulator truth.
        expert: stateless.
        chance: of a take-over, per tick and row.
        seed: of the take-overs.
    """

    def __init__(self, learner: Policy, expert: Policy, chance: float, seed: int) -> None:
        self.learner, self.expert, self.chance = learner, expert, chance
        self.random = np.random.default_rng(seed)
        self.left: dict[int, int] = {}

    @property
    def spec(self) -> RobotSpec:
        """The learner's robot."""
        return self.learner.spec

    def reset(self, rows: Rows = None) -> None:
        """Give these rows back to the learner."""
        self.learner.reset(rows)
        for row in list(self.left) if rows is None else rows:
            self.left.pop(int(row), None)

    def select_action(self, obs: NumpyObservation, rows: Rows = None) -> NDArray[np.float32]:
        """Return the learner's actions (B, A), in some rows the expert's."""
        own = self.learner.select_action(obs.public(), rows)
        shown = self.expert.select_action(obs, rows)
        index = [int(row) for row in (range(obs.num_rows) if rows is None else rows)]
        begins = self.random.random(len(index)) < self.chance
        lengths = self.random.integers(TAKE_OVER_TICKS[0], TAKE_OVER_TICKS[1] + 1, len(index))
        for row, begin, length in zip(index, begins, lengths, strict=True):
            left = self.left.get(row, 0) - 1
            self.left[row] = int(length) if left <= 0 and begin else max(left, 0)
        helped = np.array([self.left[row] > 0 for row in index])
        return np.where(helped[:, None], shown, own)


def dagger_group(job: DaggerJob) -> list[Episode]:
    """Run one group and return its labelled episodes, successful or not, in the order of the ids.

    Runs on one CPU thread, so that every process computes the same bits.
    """
    env, expert = _world(pickle.dumps(job.env))
    learner = _learner(job.policy, job.policy.stat().st_mtime_ns)
    recorder = Recorder(env, expert, job.state_ids, job.tasks, label_horizon=job.label_horizon, source="dagger")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with rng.kept():
            torch.manual_seed(job.seed)
            run_episodes(env, Assisted(learner, expert, job.take_over, job.seed), job.state_ids, watch=recorder)
    finally:
        torch.set_num_threads(threads)
    return recorder.episodes()


@lru_cache(maxsize=1)
def _world(pickled: bytes) -> tuple[VecEnv, Policy]:
    """Build a world and its expert once per process; keyed by bytes, as settings need not be hashable."""
    config: EnvConfig = pickle.loads(pickled)
    return config.build(ROWS), config.expert()


@lru_cache(maxsize=1)
def _learner(policy: Path, written_ns: int) -> Policy:
    """Read a policy once per process; keyed by its time too, should a directory's name come again."""
    from sinew.models.policy import VLAPolicy

    return VLAPolicy.from_pretrained(policy)
