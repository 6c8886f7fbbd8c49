"""Measures how often a policy does what it is told, closed loop, on listed initial states."""

from __future__ import annotations

import pickle
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from sinew.core.errors import CheckpointError, SinewError
from sinew.core.rollout import Outcome, run_episodes
from sinew.core.spec import check_spec
from sinew.core.types import EnvConfig, Policy, VecEnv
from sinew.evaluate.intervals import wilson
from sinew.evaluate.isolate import number, own_torch
from sinew.evaluate.plan import Listing
from sinew.evaluate.policies import Blank, Drawing, RandomPolicy
from sinew.evaluate.shielded import Shielded, run_shielded
from sinew.evaluate.unlit import unlit

ROUNDS = 2
"""Episodes of a job for every row that steps them: enough to keep the rows busy, few enough to share among workers."""

Actor = Literal["policy", "blank", "random", "expert"]


@dataclass(frozen=True)
class Job:
    """Episodes that one process runs; what comes of them depends on nothing but these fields.

    Attributes:
        policy: "expert", "random", a policy's directory, a policy itself (pickled for a pool), or either shielded.
        env: the world's settings.
        state_ids: where the episodes begin; tasks and splits may be mixed.
        rows: environments stepped together.
        blank: the policy sees grey images.
        seed: of whatever the policy draws.
    """

    policy: str | Policy | Shielded
    env: EnvConfig
    state_ids: tuple[str, ...]
    rows: int
    blank: bool = False
    seed: int = 0


@dataclass(frozen=True)
class Cell:
    """One cell of the table: the episodes of one task under one condition.

    Attributes:
        split: where the initial states come from.
        task: what was to be done.
        control: "none" for the plain measurement, or what was changed (``plan.CONTROLS``).
        outcomes: how each episode ended.
        skipped: initial states passed over because they have no such variant.
    """

    split: str
    task: str
    control: str
    outcomes: tuple[Outcome, ...]
    skipped: int = 0

    @property
    def n(self) -> int:
        """Episodes run."""
        return len(self.outcomes)

    @property
    def successes(self) -> int:
        """Episodes that succeeded."""
        return sum(outcome.success for outcome in self.outcomes)

    @property
    def rate(self) -> float:
        """Success rate."""
        return self.successes / self.n

    @property
    def low(self) -> float:
        """Lower end of Wilson's 95 % interval."""
        return wilson(self.successes, self.n)[0]

    @property
    def high(self) -> float:
        """Upper end of Wilson's 95 % interval."""
        return wilson(self.successes, self.n)[1]


def measure(
    policy: str | Policy | Shielded,
    env: EnvConfig,
    listings: Sequence[Listing],
    *,
    rows: int,
    pool: Executor | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Cell, ...]:
    """Run every listed episode and return one cell per listing, in their order.

    Episodes that the same actor runs are cut into jobs across cells, so that batches stay full; the
    cut depends on ``listings`` and ``rows`` only, so the number of workers changes no result.

    Args:
        policy: the measured policy's directory, or the policy itself (on any device when ``pool`` is
            None; in evaluation mode), or either of them behind a shield.
        env: the world's settings.
        listings: what to run, from ``plan``.
        rows: environments stepped together in one process.
        pool: processes that run the jobs; None runs them here.
        seed: of whatever the policies draw.
        progress: called with (episodes done, episodes in all) after every job.

    Raises:
        SpecError: the policy was made for another robot.
        CheckpointError: the directory is no policy.
        SinewError: a worker process died.
    """
    states: dict[Actor, list[str]] = {}
    for listing in listings:
        states.setdefault(_actor(listing.control), []).extend(listing.state_ids)
    jobs = [
        Job(actor if actor in ("random", "expert") else policy, env, part, rows, blank=actor == "blank", seed=seed)
        for actor, ids in states.items()
        for part in _cut(ids, ROUNDS * rows)
    ]
    outcomes = _run(jobs, pool, progress)
    streams = {actor: [next(outcomes) for _ in ids] for actor, ids in states.items()}
    taken = dict.fromkeys(streams, 0)
    cells: list[Cell] = []
    for listing in listings:
        actor = _actor(listing.control)
        start, taken[actor] = taken[actor], taken[actor] + len(listing.state_ids)
        part = tuple(streams[actor][start : taken[actor]])
        cells.append(Cell(listing.split, listing.task, listing.control, part, listing.skipped))
    return tuple(cells)


def run_job(job: Job) -> tuple[Outcome, ...]:
    """Run one job's episodes in this process; the world and the policy are kept for the next job.

    Raises:
        SpecError: the policy was made for another robot.
        CheckpointError: the directory is no policy.
    """
    content = pickle.dumps(job.env)
    env = _world(content, job.rows)
    stream = (job.seed, zlib.crc32("\n".join(job.state_ids).encode()))
    with own_torch(stream, threads=1):
        policy = _policy(job, content, env, stream)
        check_spec(policy.spec, env.spec)
        if isinstance(job.policy, Shielded):
            return run_shielded(env, policy, job.policy.limits, job.state_ids)
        looks = not job.blank and job.policy not in ("random", "expert")
        return run_episodes(env if looks else unlit(env), Blank(policy) if job.blank else policy, job.state_ids)


def _run(jobs: Sequence[Job], pool: Executor | None, progress: Callable[[int, int], None] | None) -> Iterator[Outcome]:
    total, done = sum(len(job.state_ids) for job in jobs), 0
    try:
        for part in map(run_job, jobs) if pool is None else pool.map(run_job, jobs):
            done += len(part)
            if progress is not None:
                progress(done, total)
            yield from part
    except BrokenExecutor as error:
        raise SinewError(
            f"a worker process died after {done} of {total} episodes. It may have run out of memory: "
            "try fewer workers or fewer rows."
        ) from error


def _actor(control: str) -> Actor:
    return control if control in ("blank", "random", "expert") else "policy"


def _cut(ids: Sequence[str], size: int) -> Iterator[tuple[str, ...]]:
    """Cut into parts of at most ``size`` that differ by one at most."""
    parts = -(-len(ids) // size)
    for part in range(parts):
        yield tuple(ids[part * len(ids) // parts : (part + 1) * len(ids) // parts])


def _policy(job: Job, env_content: bytes, env: VecEnv, stream: tuple[int, int]) -> Policy:
    policy = job.policy.policy if isinstance(job.policy, Shielded) else job.policy
    if not isinstance(policy, str):
        if isinstance(policy, Drawing):
            policy.seed(number(stream))
        return policy
    if policy == "random":
        return RandomPolicy(env.spec, seed=number(stream))
    if policy == "expert":
        return _expert(env_content)
    directory = Path(policy).resolve()
    try:
        changed = max(path.stat().st_mtime_ns for path in (directory, *directory.iterdir()))
    except OSError as error:
        raise CheckpointError(
            f"{policy}: no policy can be read there ({error.strerror}). Give a checkpoint's directory."
        ) from error
    return _load(str(directory), changed)


@lru_cache(maxsize=1)
def _load(directory: str, _changed: int) -> Policy:
    from sinew.models.policy import VLAPolicy

    return VLAPolicy.from_pretrained(directory, device="cpu")


@lru_cache(maxsize=1)
def _expert(content: bytes) -> Policy:
    config: EnvConfig = pickle.loads(content)  # our own bytes, made a line above
    return config.expert()


@lru_cache(maxsize=1)
def _world(content: bytes, rows: int) -> VecEnv:
    config: EnvConfig = pickle.loads(content)
    return config.build(rows)
