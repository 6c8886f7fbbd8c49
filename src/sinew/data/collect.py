"""Recording demonstrations from a world's scripted expert, in parallel, resumable, always the same bytes.

The plan is made in rounds. A round lists, task by task, as many initial states as successes are still missing; they
are cut into groups, groups run anywhere, and are appended in their listed order. What the next round lists
follows from what this one kept. So the store is a function of world, settings and seed, and a store that
was left half-way says by its last episode where to go on.
"""

from __future__ import annotations

import dataclasses
import os
import pickle
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future
from dataclasses import dataclass
from functools import lru_cache
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from sinew.core.config import to_dict
from sinew.core.errors import ConfigError, DataError, SinewError
from sinew.core.files import read_json, require_free, write_json
from sinew.core.rollout import run_episodes
from sinew.core.types import EnvConfig, Policy, VecEnv
from sinew.data.config import CollectConfig
from sinew.data.episode import Episode
from sinew.data.record import NoisyPolicy, Recorder, number_of
from sinew.data.store import Store

ROWS = 16
"""Episodes stepped together in a worker; changes no result."""
LEAST_SUCCESS = 0.1
"""Success rate of an expert below which collecting gives up."""


@dataclass(frozen=True)
class Job:
    """One group of demonstrations of one task, for a worker process."""

    env: EnvConfig
    task: str
    state_ids: tuple[str, ...]
    config: CollectConfig
    seed: int


def demonstrate_group(job: Job) -> list[Episode]:
    """Let the noisy expert run a group and return the successful episodes, in the order of the ids."""
    env, expert = open_world(pickle.dumps(job.env))
    tasks = [job.task] * len(job.state_ids)
    recorder = Recorder(env, expert, job.state_ids, tasks, source="demonstrations")
    policy = NoisyPolicy(expert, job.config, job.state_ids, seed=job.seed)
    run_episodes(env, policy, job.state_ids, watch=recorder)
    return [episode for episode in recorder.episodes() if episode.success]


@lru_cache(maxsize=1)
def open_world(pickled: bytes) -> tuple[VecEnv, Policy]:
    """Build a world and its expert once per process; keyed by bytes, as settings need not be hashable."""
    config: EnvConfig = pickle.loads(pickled)
    return config.build(ROWS), config.expert()


def collect(
    path: Path,
    env: EnvConfig,
    config: CollectConfig,
    *,
    seed: int,
    pool: Executor | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Store:
    """Record successful demonstrations until ``config.episodes`` are kept, or go on where a killed call stopped.

    Args:
        path: the store's directory; ``collect.json`` in it keeps world, settings and seed.
        env: the world; ids come from its ``train`` split.
        config: how many, of what, how noisy.
        seed: of noise and of the choice of held-out episodes.
        pool: where groups run; None means here. Changes no result.
        on_progress: called with episodes kept and wanted, at the start and after every group.

    Raises:
        ConfigError: settings are wrong, or the directory was collected with others.
        DataError: another process writes here, or the expert fails nearly always.
        SinewError: the disk is full, or a worker died; what was kept so far stays.
    """
    world = env.build(1)
    quotas = shares(world.tasks, config.mix, config.episodes)
    _check(config)
    store = Store.open_or_create(path, world.spec, world.target_names)
    store.lock()
    try:
        _check_origin(store, env, config, seed)
        _fill(store, _Plan(world, env, config, seed, quotas), pool, on_progress or (lambda _done, _wanted: None))
    finally:
        store.unlock()
    return store


def shares(tasks: Sequence[str], mix: Mapping[str, float] | None, total: int) -> dict[str, int]:
    """Split a number of episodes over tasks by largest remainders.

    Args:
        tasks: all tasks of the world.
        mix: share of each task in any unit, missing ones get none; None or empty means equal shares.
        total: episodes in all.

    Raises:
        ConfigError: a share is negative, all are 0, or a name is not a task.
    """
    weights = {task: float((mix or dict.fromkeys(tasks, 1.0)).get(task, 0.0)) for task in tasks}
    unknown = sorted(set(mix or ()) - set(tasks))
    if unknown or min(weights.values()) < 0 or sum(weights.values()) <= 0:
        raise ConfigError(f"mix is {mix}: names must be among {', '.join(tasks)} and shares not negative, not all 0.")
    exact = {task: total * weight / sum(weights.values()) for task, weight in weights.items()}
    counts = {task: int(value) for task, value in exact.items()}
    largest = sorted(tasks, key=lambda task: counts[task] - exact[task])
    for task in largest[: total - sum(counts.values())]:
        counts[task] += 1
    return counts


@dataclass(frozen=True)
class _Plan:
    """Which jobs there are, and which of the kept episodes are held out."""

    world: VecEnv
    env: EnvConfig
    config: CollectConfig
    seed: int
    quotas: Mapping[str, int]

    def round(self, begun: Mapping[str, int], missing: Mapping[str, int]) -> list[Job]:
        """List the groups of one round, tasks taking turns."""
        lists: list[list[Job]] = []
        for task, count in missing.items():
            ids = self.world.states("train", task, count, begun[task])
            if len(ids) < count:
                raise DataError(
                    f"task {task} has only {begun[task] + len(ids)} initial states. Ask for fewer episodes."
                )
            size = self.config.group
            groups = [ids[first : first + size] for first in range(0, count, size)]
            lists.append([Job(self.env, task, group, self.config, self.seed) for group in groups])
        return [job for turn in zip_longest(*lists) for job in turn if job is not None]

    def held_out(self, task: str) -> frozenset[int]:
        """Return which of a task's kept episodes, counted from 0, are held out: a fixed share of each task."""
        quota = self.quotas[task]
        count = min(int(np.ceil(self.config.held_out * quota)), max(quota - 1, 0))
        order = np.random.default_rng(number_of(self.seed, "held out", task)).permutation(quota)
        return frozenset(order[:count].tolist())


def _fill(store: Store, plan: _Plan, pool: Executor | None, on_progress: Callable[[int, int], None]) -> None:
    wanted = sum(plan.quotas.values())
    stored = {record.id for record in store.records}
    last = store.records[-1].id if store.records else None
    held_out = {task: plan.held_out(task) for task in plan.quotas}
    kept, begun = dict.fromkeys(plan.quotas, 0), dict.fromkeys(plan.quotas, 0)
    on_progress(store.num_episodes, wanted)
    if store.num_episodes == wanted:
        return
    while missing := {task: quota - kept[task] for task, quota in plan.quotas.items() if kept[task] < quota}:
        jobs = plan.round(begun, missing)
        # Jobs before the one that holds the last stored episode were appended in full; that one perhaps in part.
        reached = [number for number, job in enumerate(jobs) if last in job.state_ids]
        num_done = 0 if last is None else reached[0] if reached else len(jobs)
        for job in jobs[:num_done]:
            kept[job.task] += len(stored.intersection(job.state_ids))
        for job, episodes in _in_order(jobs[num_done:], pool):
            marked = [
                dataclasses.replace(episode, held_out=kept[job.task] + number in held_out[job.task])
                for number, episode in enumerate(episodes)
            ]
            _append(store, [episode for episode in marked if episode.id not in stored], wanted)
            kept[job.task] += len(marked)
            on_progress(store.num_episodes, wanted)
        if num_done < len(jobs):
            last = None
        for task, count in missing.items():
            begun[task] += count
            _check_expert(task, kept[task], begun[task])


def _append(store: Store, episodes: Sequence[Episode], wanted: int) -> None:
    first = store.num_episodes == 0
    store.append(episodes)
    if first and store.num_episodes:
        per_episode = (
            store.num_frames * sum(column.frame_bytes for column in store.columns.values()) / store.num_episodes
        )
        remaining = wanted - store.num_episodes
        require_free(store.path, int(per_episode * remaining), f"recording {remaining} more episodes")


def _in_order(jobs: Sequence[Job], pool: Executor | None) -> Iterator[tuple[Job, list[Episode]]]:
    """Yield what became of the jobs in their order; only so many run ahead that memory stays bounded."""
    if pool is None:
        for job in jobs:
            yield job, demonstrate_group(job)
        return
    ahead = 2 * (os.cpu_count() or 1) + 2
    running: deque[tuple[Job, Future[list[Episode]]]] = deque()
    try:
        for job in jobs:
            running.append((job, pool.submit(demonstrate_group, job)))
            if len(running) == ahead:
                first, future = running.popleft()
                yield first, future.result()
        while running:
            first, future = running.popleft()
            yield first, future.result()
    except BrokenExecutor as error:
        raise SinewError(
            "a worker process died while collecting (out of memory?). "
            "What was recorded is safe; run the same command again, with fewer workers if it repeats."
        ) from error


def _check(config: CollectConfig) -> None:
    if config.episodes < 1 or config.group < 1 or not config.noise or not 0 <= config.held_out < 1:
        raise ConfigError(
            f"collect: episodes {config.episodes} and group {config.group} must be at least 1, "
            f"noise {config.noise} needs a level (0 for none), held_out {config.held_out} must lie in 0 .. 1."
        )


def _check_expert(task: str, kept: int, tried: int) -> None:
    if tried >= 20 and kept < LEAST_SUCCESS * tried:
        raise DataError(
            f"the expert succeeded in {kept} of {tried} episodes of task {task}. "
            "Lower collect.noise, or mend the expert."
        )


def _check_origin(store: Store, env: EnvConfig, config: CollectConfig, seed: int) -> None:
    """Refuse to go on with a store that other settings began."""
    wanted: dict[str, Any] = {"env": to_dict(env), "collect": to_dict(config), "seed": seed}
    file = store.path / "collect.json"
    if store.num_episodes == 0:
        write_json(file, wanted)
        return
    found = read_json(file)
    if found != wanted:
        one, two = _flat(found), _flat(wanted)
        names = [name for name in sorted(one | two) if one.get(name) != two.get(name)]
        lines = [f"  {name}: {one.get(name)} there, {two.get(name)} wanted" for name in names]
        raise ConfigError(
            "\n".join([f"{store.path}: was collected with other settings; choose another place or remove it.", *lines])
        )


def _flat(content: Any, prefix: str = "") -> dict[str, Any]:  # noqa: ANN401  (any JSON value)
    if not isinstance(content, dict):
        return {prefix.rstrip("."): content}
    return {name: value for key, item in content.items() for name, value in _flat(item, f"{prefix}{key}.").items()}
