"""The one closed loop: a policy acts in a world until a list of episodes is done."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sinew.core.types import NumpyObservation, Policy, RobotSpec, StepResult, VecEnv, map_arrays


@dataclass(frozen=True)
class Tick:
    """One tick of several episodes, all arrays with one row per running episode.

    Attributes:
        rows: rows of the environment that were stepped.
        episodes: for each of them the index into the list of state ids.
        obs: what the policy saw.
        actions: (B, A) what was sent to the world.
        result: what came of it.
    """

    rows: NDArray[np.int64]
    episodes: NDArray[np.int64]
    obs: NumpyObservation
    actions: NDArray[np.float32]
    result: StepResult


@dataclass(frozen=True)
class Outcome:
    """How one episode ended.

    Attributes:
        state_id: where it began.
        success: the instruction was fulfilled.
        ticks: its length.
        total_reward: its undiscounted return.
        note: what the world says of the ending.
        interventions: ticks in which a shield changed the action, by reason.
    """

    state_id: str
    success: bool
    ticks: int
    total_reward: float
    note: str
    interventions: Mapping[str, int] = field(default_factory=dict)


def run_episodes(
    env: VecEnv,
    policy: Policy,
    state_ids: Sequence[str],
    *,
    watch: Callable[[Tick], None] | None = None,
) -> tuple[Outcome, ...]:
    """Run one episode per state id and return how each ended, in that order.

    A row that finishes takes the next id at once, so batches stay full. The result depends on the
    world, the policy, the list and ``env.num_envs`` only.

    Args:
        env: the world; its rows are reset here.
        policy: acts on the running rows together.
        state_ids: where the episodes begin.
        watch: called after every tick.
    """
    outcomes: list[Outcome | None] = [None] * len(state_ids)
    num_rows = min(env.num_envs, len(state_ids))
    if num_rows == 0:
        return ()
    rows = np.arange(num_rows)
    episodes = np.arange(num_rows)
    waiting = num_rows
    ticks = np.zeros(num_rows, dtype=np.int64)
    total = np.zeros(num_rows)
    obs = after(env.reset(state_ids[:num_rows], rows), env.spec)
    policy.reset()
    while len(rows):
        actions = policy.select_action(obs, rows)
        result = env.step(actions, rows)
        if watch is not None:
            watch(Tick(rows, episodes[rows], obs, actions, result))
        ticks[rows] += 1
        total[rows] += result.reward
        obs = after(result.obs, env.spec, actions)
        ended = result.terminated | result.truncated
        if not ended.any():
            continue
        for position in np.flatnonzero(ended):
            row = rows[position]
            index = int(episodes[row])
            outcomes[index] = Outcome(
                state_ids[index],
                bool(result.success[position]),
                int(ticks[row]),
                float(total[row]),
                result.note[position],
            )
        finished = rows[ended]
        renewed = finished[: len(state_ids) - waiting]
        obs = take_rows(obs, ~ended)
        rows = rows[~ended]
        if len(renewed):
            episodes[renewed] = np.arange(waiting, waiting + len(renewed))
            waiting += len(renewed)
            ticks[renewed], total[renewed] = 0, 0.0
            policy.reset(renewed)
            fresh = after(env.reset([state_ids[int(index)] for index in episodes[renewed]], renewed), env.spec)
            obs = concat_rows((obs, fresh)) if len(rows) else fresh
            rows = np.concatenate([rows, renewed])
    return tuple(outcome for outcome in outcomes if outcome is not None)


def after(obs: NumpyObservation, spec: RobotSpec, actions: NDArray[np.float32] | None = None) -> NumpyObservation:
    """Return what is seen after these actions (B, A) were executed, with them; None where an episode begins."""
    if actions is None:
        actions = np.full((obs.num_rows, spec.action_size), np.nan, dtype=np.float32)
    return dataclasses.replace(obs, prev_actions=actions[:, None].astype(np.float32, copy=False))


def take_rows(obs: NumpyObservation, rows: NDArray[Any]) -> NumpyObservation:
    """Return some rows of an observation; ``rows`` is a mask or a list of numbers."""
    numbers = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
    picked = map_arrays(obs, lambda array: array[numbers])
    return dataclasses.replace(picked, instruction=tuple(obs.instruction[row] for row in numbers))


def concat_rows(parts: Sequence[NumpyObservation]) -> NumpyObservation:
    """Stack observations along the rows; all must hold the same fields."""
    first = parts[0]

    def join(name: str) -> Any:  # noqa: ANN401  (arrays, mappings of arrays or None)
        values = [getattr(part, name) for part in parts]
        if isinstance(values[0], Mapping):
            return {key: np.concatenate([value[key] for value in values]) for key in values[0]}
        return None if values[0] is None else np.concatenate(values)

    fields = {item.name: join(item.name) for item in dataclasses.fields(first) if item.name != "instruction"}
    return dataclasses.replace(first, instruction=sum((part.instruction for part in parts), ()), **fields)
