"""Stills: many more initial states, each seen for one tick, with what the expert would do there.

An episode of twenty ticks shows one scene twenty times. What the words mean is learned from scenes, so a
few seconds spent on frames of their own teach it better than more episodes.
"""

from __future__ import annotations

import os
import pickle
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future
from pathlib import Path

import numpy as np

from sinew.core.errors import SinewError
from sinew.core.rollout import Tick
from sinew.core.types import EnvConfig, Policy, StepResult, VecEnv
from sinew.data.collect import ROWS, open_world
from sinew.data.episode import Episode
from sinew.data.record import Recorder
from sinew.data.store import Store

FIRST_STATE = 2_000_000
"""Number of the first initial state of each task; demonstrations and DAgger begin far below."""
GROUP = 400
"""States per job; changes no result."""
State = tuple[str, str]
"""A task and the id of one of its initial states."""


def collect_stills(
    path: Path,
    env: EnvConfig,
    count: int,
    *,
    pool: Executor | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Store:
    """Record the first tick of that many initial states, tasks taking turns, or go on where a killed call stopped.

    Each is an episode of one frame whose label is good for one step (``Episode.label_horizon``).

    Args:
        path: the store's directory.
        env: the world; ids come from its ``train`` split.
        count: how many.
        pool: where they are looked at; None means here. Changes no result.
        on_progress: called with frames kept and wanted, after every group.

    Raises:
        DataError: another process writes here.
        SinewError: the disk is full, or a worker died; what was kept so far stays.
    """
    world = env.build(1)
    each = -(-count // len(world.tasks))
    lists = [[(task, name) for name in world.states("train", task, each, FIRST_STATE)] for task in world.tasks]
    states = [state for turn in zip(*lists, strict=True) for state in turn][:count]
    store = Store.open_or_create(path, world.spec, world.target_names)
    store.lock()
    try:
        _fill(store, env, states, pool, on_progress)
    finally:
        store.unlock()
    return store


def look(env: EnvConfig, states: Sequence[State]) -> list[Episode]:
    """Return one-frame episodes of these states, in their order."""
    world, expert = open_world(pickle.dumps(env))
    return [
        episode
        for first in range(0, len(states), ROWS)
        for episode in _look(world, expert, states[first : first + ROWS])
    ]


def _look(world: VecEnv, expert: Policy, states: Sequence[State]) -> list[Episode]:
    tasks, ids = zip(*states, strict=True)
    rows = np.arange(len(states))
    obs = world.reset(ids, rows)
    no, yes = np.zeros(len(rows), dtype=np.bool_), np.ones(len(rows), dtype=np.bool_)
    result = StepResult(obs, np.zeros(len(rows), np.float32), no, yes, no, ("",) * len(rows))
    recorder = Recorder(world, expert, ids, tasks, label_horizon=1, source="stills")
    recorder(Tick(rows, rows, obs, expert.select_action(obs, rows), result))
    return recorder.episodes()


def _fill(
    store: Store,
    env: EnvConfig,
    states: Sequence[State],
    pool: Executor | None,
    tell: Callable[[int, int], None] | None,
) -> None:
    """Append what is missing; state k is episode k, so their number says where to go on."""
    groups = [states[first : first + GROUP] for first in range(store.num_episodes, len(states), GROUP)]
    waiting: deque[Future[list[Episode]]] = deque()
    ahead = 2 * (os.cpu_count() or 1) + 2 if pool else 0
    try:
        for number, group in enumerate(groups):
            while pool and len(waiting) < min(ahead, len(groups) - number):
                waiting.append(pool.submit(look, env, groups[number + len(waiting)]))
            store.append(waiting.popleft().result() if pool else look(env, group))
            if tell:
                tell(store.num_episodes, len(states))
    except BrokenExecutor as error:
        raise SinewError(
            "a worker process died while recording stills (out of memory?). "
            "What was recorded is safe; run the same command again, with fewer workers if it repeats."
        ) from error
