"""Episodes in groups that share their initial state, acted in chunks and remembered decision by decision."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sinew.core.errors import ConfigError
from sinew.core.history import History
from sinew.core.rollout import Outcome, after, concat_rows, take_rows
from sinew.core.types import NumpyObservation, RLBatch, StepResult, VecEnv

Array = NDArray[Any]


@dataclass(frozen=True)
class Draw:
    """What an actor decided for B rows.

    Attributes:
        obs: what to remember of the observations.
        chunk: (B, H, A) physical actions.
        trace: what scores the same draw again, (B, ...) by name.
        log_prob: (B, L).
    """

    obs: NumpyObservation
    chunk: NDArray[np.float32]
    trace: Mapping[str, Array]
    log_prob: NDArray[np.float32]


class Actor(Protocol):
    """Draws action chunks and says how likely they were."""

    def decide(self, obs: NumpyObservation) -> Draw:
        """Draw a chunk for each row of observations with full history; simulator truth must not be looked at."""
        ...

    def mask(self, execute: int, alive: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return which of the L units were executed, (B, L); ``alive`` (B, H) marks steps before the end."""
        ...


@dataclass(frozen=True)
class Rollouts:
    """What came of some episodes.

    Attributes:
        batch: every decision of every episode; ``ids`` is the episode's number, ``group`` that of its state.
        outcomes: how each episode ended; those of a group stand together.
    """

    batch: RLBatch[Array]
    outcomes: tuple[Outcome, ...]


def roll_out(
    env: VecEnv,
    actor: Actor,
    state_ids: Sequence[str],
    *,
    group: int,
    execute: int,
    history: int = 1,
    previous: int = 0,
) -> Rollouts:
    """Run ``group`` episodes from each initial state and return all decisions.

    All rows decide at the same ticks, so that a world without history to show draws its pictures then
    only; a row that finishes takes the next episode at the next of these ticks. What is returned
    depends on the arguments, ``env.num_envs`` and what the actor draws.

    Args:
        env: the world; its rows are reset here.
        actor: draws for all running rows together.
        state_ids: the initial states.
        group: episodes from each.
        execute: steps of a chunk that are run before the next decision; at most H.
        history: T, ticks of observation that the actor sees.
        previous: P, executed actions that it sees.

    Raises:
        ConfigError: the world does not begin twice at the same state.
    """
    names = [name for name in state_ids for _ in range(group)]
    run = _Run(env, names, execute, History(history, previous=previous, actions=env.spec.action_size))
    while len(run.rows):
        run.play(actor.decide(run.seen), actor)
    batch = join(run.batches)
    assert batch.ids is not None
    outcomes = tuple(outcome for outcome in run.outcomes if outcome is not None)
    return Rollouts(dataclasses.replace(batch, group=batch.ids // group), outcomes)


class _Run:
    """The episodes under way: which row runs which, what it sees and what became of the others."""

    def __init__(self, env: VecEnv, names: Sequence[str], execute: int, history: History) -> None:
        self.env, self.names, self.execute, self.history = env, names, execute, history
        self.outcomes: list[Outcome | None] = [None] * len(names)
        self.batches: list[RLBatch[Array]] = []
        self.starts: dict[str, NumpyObservation] = {}
        count = min(env.num_envs, len(names))
        self.rows = np.arange(count)
        self.episodes = np.arange(count)
        self.waiting = count
        self.ticks = np.zeros(count, dtype=np.int64)
        self.totals = np.zeros(count)
        self.seen = self._begin(self.rows)

    def play(self, draw: Draw, actor: Actor) -> None:
        """Run the beginning of everyone's chunk, remember the decisions, and begin new episodes where one ended."""
        count, horizon = draw.chunk.shape[:2]
        alive = np.zeros((count, horizon), dtype=np.bool_)
        reward = np.zeros(count, dtype=np.float32)
        terminated, truncated = np.zeros(count, dtype=np.bool_), np.zeros(count, dtype=np.bool_)
        for step in range(self.execute):
            active = np.flatnonzero(~(terminated | truncated))
            if not len(active):
                break
            last = step == self.execute - 1
            rows = self.rows[active]
            result = self.env.step(draw.chunk[active, step], rows, render=last or self.history.ticks > 1)
            alive[active, step] = True
            reward[active] += result.reward
            terminated[active], truncated[active] = result.terminated, result.truncated
            self.ticks[rows] += 1
            self.totals[rows] += result.reward
            self._note_endings(rows, result)
            self.seen = self.history.push(after(result.obs, self.env.spec, draw.chunk[active, step]), rows)
            ended = result.terminated | result.truncated
            if ended.any():
                self.seen = take_rows(self.seen, ~ended)
        self.batches.append(
            RLBatch(
                obs=draw.obs,
                chunk=draw.chunk,
                trace=draw.trace,
                log_prob=draw.log_prob,
                mask=actor.mask(self.execute, alive),
                reward=reward,
                discount=np.ones(count, dtype=np.float32),
                terminated=terminated,
                truncated=truncated,
                ids=self.episodes[self.rows].copy(),
            )
        )
        self._refill(terminated | truncated)

    def _note_endings(self, rows: NDArray[np.int64], result: StepResult) -> None:
        for position in np.flatnonzero(result.terminated | result.truncated):
            row = rows[position]
            episode = int(self.episodes[row])
            self.outcomes[episode] = Outcome(
                self.names[episode],
                bool(result.success[position]),
                int(self.ticks[row]),
                float(self.totals[row]),
                result.note[position],
            )

    def _refill(self, ended: NDArray[np.bool_]) -> None:
        renewed = self.rows[ended][: len(self.names) - self.waiting]
        self.rows = self.rows[~ended]
        if not len(renewed):
            return
        self.episodes[renewed] = np.arange(self.waiting, self.waiting + len(renewed))
        self.waiting += len(renewed)
        self.ticks[renewed], self.totals[renewed] = 0, 0.0
        fresh = self._begin(renewed)
        self.seen = concat_rows((self.seen, fresh)) if len(self.rows) else fresh
        self.rows = np.concatenate([self.rows, renewed])

    def _begin(self, rows: NDArray[np.int64]) -> NumpyObservation:
        names = [self.names[int(episode)] for episode in self.episodes[rows]]
        obs = self.env.reset(names, rows)
        for position, name in enumerate(names):
            self._check_start(name, take_rows(obs, np.array([position])))
        self.history.reset(rows)
        return self.history.push(obs, rows)

    def _check_start(self, name: str, obs: NumpyObservation) -> None:
        """Refuse a world in which the members of a group do not begin alike."""
        first = self.starts.setdefault(name, obs)
        unlike = [camera for camera, image in obs.images.items() if not np.array_equal(image, first.images[camera])]
        if not np.array_equal(obs.state, first.state):
            unlike.insert(0, "state")
        if obs.instruction != first.instruction:
            unlike.insert(0, "instruction")
        if unlike:
            raise ConfigError(
                f"two resets to the initial state {name!r} differ in {', '.join(unlike)}. "
                "A group compares episodes from one and the same start, so its world must be able to return to it: "
                "let reset(state_ids) draw from nothing but the id, or use a recipe without groups."
            )


def join(parts: Sequence[RLBatch[Array]]) -> RLBatch[Array]:
    """Stack decisions along the rows; all must hold the same fields."""
    first = parts[0]
    values: dict[str, Any] = {"obs": concat_rows([part.obs for part in parts])}
    for item in dataclasses.fields(first):
        column = [getattr(part, item.name) for part in parts]
        if isinstance(column[0], Mapping):
            values[item.name] = {name: np.concatenate([entry[name] for entry in column]) for name in column[0]}
        elif isinstance(column[0], np.ndarray):
            values[item.name] = np.concatenate(column)
    return dataclasses.replace(first, **values)


def merge(parts: Sequence[Rollouts]) -> Rollouts:
    """Return several rollouts as one; episodes and groups are numbered through."""
    batches: list[RLBatch[Array]] = []
    episodes, groups = 0, 0
    for part in parts:
        assert part.batch.ids is not None
        assert part.batch.group is not None
        batches.append(dataclasses.replace(part.batch, ids=part.batch.ids + episodes, group=part.batch.group + groups))
        episodes += len(part.outcomes)
        groups += int(part.batch.group.max()) + 1
    return Rollouts(join(batches), tuple(outcome for part in parts for outcome in part.outcomes))
