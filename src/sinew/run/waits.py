"""What a training waits for beside its updates, measured on a few episodes of an untrained policy."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, cast

import torch

from sinew.core.machine import num_cores
from sinew.core.rollout import run_episodes
from sinew.engine.forecast import Stop
from sinew.engine.preflight import Waits
from sinew.evaluate.plan import CONTROLS
from sinew.recipes.config import DaggerConfig
from sinew.run.offline import examine, exams
from sinew.run.recordings import data_of

if TYPE_CHECKING:
    from sinew.core.types import ChunkPolicy, Policy, Recipe
    from sinew.run import RunConfig
    from sinew.run.lessons import Lessons

EPISODES = 16
"""That are acted to measure a tick."""


def of_world(config: RunConfig, recipe: Recipe[Any], expert_ticks: float) -> Waits:
    """Return what a run that acts in its world waits for.

    An untrained policy runs an episode to its end, an expert does not; episodes are taken to last half-way between.

    Args:
        config: of the run.
        recipe: its policy acts; it is not used afterwards.
        expert_ticks: mean length of a demonstration; 0 when unknown.
    """
    tick_s, longest = acted(config, cast("Policy", recipe.acting()))
    ticks = (expert_ticks + longest) / 2 if expert_ticks else longest
    return of_acting(config, tick_s * ticks / (config.workers or num_cores()))


def of_acting(config: RunConfig, episode_s: float) -> Waits:
    """Return what a run waits for in which an episode takes that long, all processes together [s]."""
    updates, stops = config.loop.updates, list[Stop]()
    if isinstance(config.recipe, DaggerConfig):
        seconds = config.recipe.episodes * episode_s
        stops += [Stop(max(1, round(share * updates)), seconds, "rounds of DAgger") for share in config.recipe.rounds]
    world, settings = config.world.build(1), config.evaluate
    tasks = len(settings.tasks or world.tasks)
    stops += tryouts(config, tasks * settings.quick * episode_s)
    others = len([name for name in world.splits if name not in ("train", "seen")])
    controls = len(CONTROLS) if settings.controls else 0
    episodes = tasks * (settings.episodes + settings.extra * (others + controls))
    return Waits(tuple(stops), episodes * episode_s)


def of_recordings(config: RunConfig, recipe: Recipe[Any], known: Lessons) -> Waits:
    """Return what a run on recordings waits for: its policy is measured on held-out windows."""
    began = time.perf_counter()
    policy = cast("ChunkPolicy", recipe.acting())
    examine(policy, exams(known), tolerance=data_of(config).tolerance, seed=config.seed)
    seconds = time.perf_counter() - began
    return Waits(tuple(tryouts(config, seconds)), 2 * seconds)


def tryouts(config: RunConfig, seconds: float) -> list[Stop]:
    """Return the times at which a policy is tried out, each taking that long."""
    loop = config.loop
    due = {max(1, round(share * loop.updates)) for share in loop.eval_at}
    due |= set(range(loop.eval_every, loop.updates + 1, loop.eval_every)) if loop.eval_every else set()
    return [Stop(update, seconds, "tryouts") for update in sorted(due)]


def acted(config: RunConfig, policy: Policy) -> tuple[float, float]:
    """Let a policy act in some episodes, on one thread as workers do; return a tick's time [s] and their length."""
    world = config.world.build(EPISODES)
    each = -(-EPISODES // len(world.tasks))
    states = [name for task in world.tasks for name in world.states("train", task, each)][:EPISODES]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        run_episodes(world, policy, states[:1])  # reads what is read once
        began = time.perf_counter()
        outcomes = run_episodes(world, policy, states)
        seconds = time.perf_counter() - began
    finally:
        torch.set_num_threads(threads)
    ticks = sum(outcome.ticks for outcome in outcomes)
    return seconds / ticks, ticks / len(outcomes)
