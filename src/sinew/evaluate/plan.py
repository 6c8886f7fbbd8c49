"""Chooses the initial states of an evaluation and of its controls."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sinew.core.errors import ConfigError, DataError
from sinew.core.types import VecEnv
from sinew.evaluate.config import EvaluateConfig

CONTROLS: dict[str, str] = {
    "expert": "the scripted expert: the ceiling",
    "other": "the same scene, another goal named, judged on what was named: must succeed",
    "wrong": "the same scene, another goal named, judged on the first: must fail",
    "silent": "no instruction: must fail",
    "blank": "grey images: must fail",
    "random": "random actions: measured chance",
}
"""What each control is, in the order of the table."""

VARIANTS = ("other", "wrong", "silent")
PATIENCE = 20
"""States looked at for each one wanted with a variant, before giving up."""

QUICK_START = 10_000
"""First state tried during training: ``best`` is chosen by these, so the final table has others."""


@dataclass(frozen=True)
class Listing:
    """Initial states that will make one cell of the table.

    Attributes:
        split: where they come from. task: what is to be done there.
        control: "none" or a key of ``CONTROLS``.
        state_ids: where the episodes begin.
        skipped: states passed over because they have no such variant.
    """

    split: str
    task: str
    control: str
    state_ids: tuple[str, ...]
    skipped: int = 0


def plan(env: VecEnv, config: EvaluateConfig) -> tuple[Listing, ...]:
    """List the states of the whole table: every split but "train", and the controls on "seen".

    Controls start from the first ``extra`` seen states of each task; where a variant does not exist,
    later seen states take the place. A control that the world has nowhere is left out.

    Args:
        env: the world; only asked for states.
        config: how many.

    Raises:
        DataError: the world has no states where it must have some.
        ConfigError: a task that is asked for does not exist.
    """
    listings: list[Listing] = []
    tasks = _tasks(env, config)
    for split in ("seen", *(name for name in env.splits if name not in ("train", "seen"))):
        count = config.episodes if split == "seen" else config.extra
        listings += [Listing(split, task, "none", _states(env, split, task, count)) for task in tasks]
    if config.controls and config.extra > 0:
        for control in CONTROLS:
            listings += [_control(env, control, task, config.extra) for task in tasks]
    return tuple(listing for listing in listings if listing.state_ids)


def plan_quick(env: VecEnv, config: EvaluateConfig) -> tuple[Listing, ...]:
    """List the states on which a policy is tried out during training: seen ones, but none of ``plan``'s.

    Raises:
        DataError: the world has no states there.
    """
    return tuple(
        Listing("seen", task, "none", _states(env, "seen", task, config.quick, QUICK_START))
        for task in _tasks(env, config)
    )


def _tasks(env: VecEnv, config: EvaluateConfig) -> tuple[str, ...]:
    if config.tasks is None:
        return tuple(env.tasks)
    unknown = [name for name in config.tasks if name not in env.tasks]
    if unknown:
        raise ConfigError(f"--tasks {' '.join(unknown)}: there is no such task. There are: {', '.join(env.tasks)}.")
    return tuple(task for task in env.tasks if task in config.tasks)


def _states(env: VecEnv, split: str, task: str, count: int, start: int = 0) -> tuple[str, ...]:
    states = env.states(split, task, count, start)
    if len(states) < count:
        raise DataError(
            f"the world lists {len(states)} initial states of {task} ({split}) from number {start}, "
            f"{count} were asked for. Ask for fewer episodes."
        )
    return states


def _control(env: VecEnv, control: str, task: str, count: int) -> Listing:
    if control not in VARIANTS:
        return Listing("seen", task, control, _states(env, "seen", task, count))
    found: list[str] = []
    skipped = 0
    for state_id in _candidates(env, task, count):
        variant = env.variant(state_id, control)
        if variant is None:
            skipped += 1
        else:
            found.append(variant)
        if len(found) == count:
            break
    return Listing("seen", task, control, tuple(found), skipped)


def _candidates(env: VecEnv, task: str, count: int) -> Iterator[str]:
    """Yield seen states, asking the world for ``count`` at a time."""
    for start in range(0, PATIENCE * count, count):
        states = env.states("seen", task, count, start)
        yield from states
        if len(states) < count:
            return
