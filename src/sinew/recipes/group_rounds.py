"""Runs the groups of episodes that GRPO learns from, in worker processes."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import BrokenExecutor, Executor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sinew.core.errors import ConfigError, TrainingError
from sinew.core.files import new_directory
from sinew.core.types import EnvConfig, NumpyObservation, VecEnv
from sinew.data.collect import shares
from sinew.engine import rng
from sinew.engine.checkpoint import Pretrained
from sinew.engine.distributed import world
from sinew.envs.rollout import Draw, Rollouts, merge, roll_out
from sinew.recipes.config import GrpoConfig

if TYPE_CHECKING:
    from sinew.models.policy import VLAPolicy

ROWS = 64
"""Episodes stepped together in a worker, and episodes of one job; part of what a round gathers."""
FIRST_STATE = 4_000_000
"""Number of the first initial state of round 0, beyond any that demonstrations, stills or DAgger begin at."""


@dataclass(frozen=True)
class GroupJob:
    """Some groups of a round, for a worker process.

    Attributes:
        policy: directory written by ``save_pretrained``.
        env: the world.
        state_ids: one a group.
        config: how they are run.
        execute: actions of a chunk that are run before the next decision.
        seed: of what the policy draws.
    """

    policy: Path
    env: EnvConfig
    state_ids: tuple[str, ...]
    config: GrpoConfig
    execute: int
    seed: int


@dataclass(frozen=True)
class GroupRounds:
    """The ``gather`` of GRPO: each round has its own initial states, of the ``train`` split.

    What a round returns follows from the policy, the round and these settings; the pool changes nothing. Ranks that
    train together each run a share, and every one gets all of it.

    Attributes:
        env: the world; it must be able to return to a listed state.
        config: how many groups of how many episodes, of which tasks.
        execute: actions of a chunk that are run before the next decision.
        directory: where the policy is put for the workers; gone afterwards.
        seed: of the run.
        pool: where jobs run; None means here.
        note: told how each round went.
    """

    env: EnvConfig
    config: GrpoConfig
    execute: int
    directory: Path
    seed: int
    pool: Executor | None = None
    note: Callable[[str], None] | None = None

    def __call__(self, number: int, policy: nn.Module) -> Rollouts:
        """Return the episodes of round ``number``, from 0.

        Raises:
            ConfigError: the world has too few initial states, or cannot return to one.
            TrainingError: a worker process died.
        """
        ranks, place = world(), self.directory / f"round_{number}"
        if ranks.is_main:
            self._put(place, policy)
        ranks.barrier()
        try:
            mine = ranks.waves(self.jobs(number, place), self._run)
            told = (part for wave in mine for part in ranks.gather(wave))
            found = merge([part for part in told if part is not None])
        except BrokenExecutor as error:
            raise TrainingError(
                "a worker process died while the policy acted (out of memory?). "
                "Run the same command again to go on from the last checkpoint, with fewer workers if it repeats."
            ) from error
        finally:
            if ranks.is_main:
                shutil.rmtree(place, ignore_errors=True)
        if self.note is not None:
            won = sum(outcome.success for outcome in found.outcomes)
            self.note(f"Round {number + 1}: {won} of {len(found.outcomes)} episodes succeeded.")
        return found

    def _put(self, place: Path, policy: nn.Module) -> None:
        for leftover in self.directory.glob(".round_*"):  # of a killed process
            shutil.rmtree(leftover, ignore_errors=True)
        with new_directory(place) as temporary:
            cast("Pretrained", policy).save_pretrained(temporary)

    def _run(self, jobs: Sequence[GroupJob]) -> Iterable[Rollouts]:
        return map(group_job, jobs) if self.pool is None else self.pool.map(group_job, jobs)

    def jobs(self, number: int, policy: Path) -> list[GroupJob]:
        """Return the jobs of a round, tasks mixed in each."""
        world = self.env.build(1)
        names: list[str] = []
        for task, quota in shares(world.tasks, self.config.mix, self.config.scenes).items():
            found = world.states("train", task, quota, FIRST_STATE + number * self.config.scenes)
            if len(found) < quota:
                raise ConfigError(
                    f"{self.env.kind}: {quota} initial states of {task} were wanted for round {number + 1}, it lists "
                    f"{len(found)}. Groups need states that the world can return to; lower --recipe.scenes."
                )
            names += found
        order = np.random.default_rng((self.seed, number)).permutation(len(names))
        size = max(1, ROWS // self.config.group)
        parts = [order[begin : begin + size] for begin in range(0, len(order), size)]
        return [
            GroupJob(
                policy=policy,
                env=self.env,
                state_ids=tuple(names[place] for place in part),
                config=self.config,
                execute=self.execute,
                seed=rng.mix(self.seed, number, index),
            )
            for index, part in enumerate(parts)
        ]


class Explorer:
    """A policy that draws its chunks and says how likely they were.

    Args:
        policy: draws; in evaluation mode, on the CPU.
        condensed: remember what the network made of the observations, in place of these.
    """

    def __init__(self, policy: VLAPolicy, *, condensed: bool) -> None:
        self.policy, self.condensed = policy, condensed

    @torch.no_grad()
    def decide(self, obs: NumpyObservation) -> Draw:
        """Draw a chunk for each row."""
        full = obs.public().map(torch.from_numpy)
        seen = self.policy.condense(full)
        chunk, trace = self.policy.rollout(seen)
        log_prob = self.policy.log_prob(seen, trace)
        kept = (seen if self.condensed else full).map(lambda value: value.numpy())
        return Draw(kept, chunk.numpy(), {name: value.numpy() for name, value in trace.items()}, log_prob.numpy())

    def mask(self, execute: int, alive: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return which units were executed."""
        return self.policy.executed(execute, torch.from_numpy(alive)).numpy()


def group_job(job: GroupJob) -> Rollouts:
    """Run one job; on one CPU thread, so that every process computes the same bits."""
    env, policy = _world(pickle.dumps(job.env)), _policy(job.policy, job.policy.stat().st_mtime_ns)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with rng.kept():
            torch.manual_seed(job.seed)
            actor = Explorer(policy, condensed=job.config.train == "head")
            return roll_out(
                env,
                actor,
                job.state_ids,
                group=job.config.group,
                execute=job.execute,
                history=policy.config.history,
                previous=policy.config.num_previous,
            )
    finally:
        torch.set_num_threads(threads)


@lru_cache(maxsize=1)
def _world(pickled: bytes) -> VecEnv:
    """Build a world once per process; keyed by bytes, as settings need not be hashable."""
    config: EnvConfig = pickle.loads(pickled)
    return config.build(ROWS)


@lru_cache(maxsize=1)
def _policy(directory: Path, written_ns: int) -> VLAPolicy:
    """Read a policy once per process; keyed by its time too, should a directory's name come again."""
    from sinew.models.policy import VLAPolicy

    return VLAPolicy.from_pretrained(directory)
