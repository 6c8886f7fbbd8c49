"""Turning a running loop into episodes, and making an expert's demonstrations less perfect than its labels."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sinew.core.rollout import Tick
from sinew.core.types import NumpyObservation, Policy, Rows, VecEnv
from sinew.data.config import CollectConfig
from sinew.data.episode import Episode

BURST_TICKS = (3, 6)
"""Shortest and longest burst [ticks]."""
BURST_STD = 0.7
"""Standard deviation of a burst's constant push, as a share of half the action range."""


@dataclass(frozen=True)
class _Frame:
    """One row of a tick, kept until its episode ends."""

    obs: NumpyObservation
    position: int
    label: NDArray[np.float32]
    action: NDArray[np.float32]


class Recorder:
    """A ``watch`` of ``run_episodes`` that assembles episodes with the labeller's actions as labels.

    Keeps references to the observations of running episodes; worlds hand out fresh arrays every tick.

    Args:
        env: the world that runs; names spec and targets.
        labeller: a stateless expert; asked what it would do at every observation.
        state_ids: the list given to ``run_episodes``.
        tasks: the task of each of them.
        label_horizon: see ``Episode``; None for demonstrations, small where a learner acts.
        source: name of the data set.
    """

    def __init__(
        self,
        env: VecEnv,
        labeller: Policy,
        state_ids: Sequence[str],
        tasks: Sequence[str],
        *,
        label_horizon: int | None = None,
        source: str = "",
    ) -> None:
        self.spec, self.target_names, self.labeller = env.spec, tuple(env.target_names), labeller
        self.state_ids, self.tasks = tuple(state_ids), tuple(tasks)
        self.label_horizon, self.source = label_horizon, source
        self._running: dict[int, list[_Frame]] = {}
        self._finished: dict[int, Episode] = {}

    def __call__(self, tick: Tick) -> None:
        """Take one tick."""
        labels = self.labeller.select_action(tick.obs, tick.rows)
        ended = tick.result.terminated | tick.result.truncated
        for position, number in enumerate(tick.episodes.tolist()):
            frames = self._running.setdefault(number, [])
            frames.append(_Frame(tick.obs, position, labels[position], tick.actions[position]))
            if ended[position]:
                self._finished[number] = self._episode(number, success=bool(tick.result.success[position]))
                del self._running[number]

    def episodes(self) -> list[Episode]:
        """Return the finished episodes in the order of ``state_ids``."""
        return [self._finished[number] for number in sorted(self._finished)]

    def _episode(self, number: int, *, success: bool) -> Episode:
        frames = self._running[number]

        def target(frame: _Frame, name: str) -> NDArray[Any]:
            return np.reshape(frame.obs.privileged[name][frame.position], -1)

        return Episode(
            spec=self.spec,
            images={
                name: np.stack([frame.obs.images[name][frame.position, -1] for frame in frames])
                for name in self.spec.cameras
            },
            state=_stack([frame.obs.state[frame.position, -1] for frame in frames]),
            action=_stack([frame.label for frame in frames]),
            executed=_stack([frame.action for frame in frames]),
            instruction=frames[0].obs.instruction[frames[0].position],
            task=self.tasks[number],
            success=success,
            targets={name: _stack([target(frame, name) for frame in frames]) for name in self.target_names},
            label_horizon=self.label_horizon,
            source=self.source,
            id=self.state_ids[number],
            sensors={
                name: np.stack([frame.obs.sensors[name][frame.position, -1] for frame in frames])
                for name in self.spec.sensors
            },
        )


class NoisyPolicy:
    """An expert whose actions are disturbed, so that its labels show how to come back.

    Per episode a noise level is drawn, per tick Gaussian noise of that level; now and then a burst pushes
    the same way for a few ticks, or a two-valued action flips. Like DART (Laskey 2017, arXiv:1703.09327),
    but with fixed levels instead of ones fitted to a learner's error. Draws depend on the seed and the
    state id only. Actions stay within their bounds.

    Args:
        expert: acts cleanly; stateless.
        config: levels and chances.
        state_ids: the list given to ``run_episodes``; rows take ids from it in the order they come up.
        seed: of the draws.
    """

    def __init__(self, expert: Policy, config: CollectConfig, state_ids: Sequence[str], *, seed: int) -> None:
        self.spec, self.expert, self.config, self.seed = expert.spec, expert, config, seed
        self._ids = iter(state_ids)
        self._draws: dict[int, Iterator[tuple[NDArray[np.float64], NDArray[np.bool_]]]] = {}

    def reset(self, rows: Rows = None) -> None:
        """Let these rows take the next state ids when they act."""
        self.expert.reset(rows)
        for row in list(self._draws) if rows is None else rows:
            self._draws.pop(int(row), None)

    def select_action(self, obs: NumpyObservation, rows: Rows = None) -> NDArray[np.float32]:
        """Return the disturbed actions (B, A)."""
        clean = self.expert.select_action(obs, rows)
        draws = [next(self._row(int(row))) for row in (range(obs.num_rows) if rows is None else rows)]
        low, high = np.asarray(self.spec.low), np.asarray(self.spec.high)
        noise = np.stack([draw[0] for draw in draws]) * (high - low) / 2
        flipped = np.where(np.stack([draw[1] for draw in draws]), low + high - clean, clean)
        disturbed = np.where(np.asarray(self.spec.binary_mask), flipped, clean + noise)
        return np.clip(disturbed, low, high).astype(np.float32)

    def _row(self, row: int) -> Iterator[tuple[NDArray[np.float64], NDArray[np.bool_]]]:
        if row not in self._draws:
            self._draws[row] = _disturbances(self.config, next(self._ids), self.seed, self.spec.action_size)
        return self._draws[row]


def _disturbances(
    config: CollectConfig, state_id: str, seed: int, size: int
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.bool_]]]:
    """Yield per tick the noise (A,) in halves of the action range, and which two-valued actions flip (A,)."""
    rng = np.random.default_rng(number_of(seed, state_id))
    level = float(rng.choice(config.noise))
    push, left = np.zeros(size), 0
    while True:
        if left == 0 and rng.random() < config.burst:
            push, left = rng.normal(0.0, BURST_STD, size), int(rng.integers(BURST_TICKS[0], BURST_TICKS[1] + 1))
        noise = level * rng.standard_normal(size) + (push if left else 0.0)
        left = max(left - 1, 0)
        yield noise, rng.random(size) < config.flip


def number_of(*parts: int | str) -> int:
    """Return a 64-bit number that is the same for the same parts on every machine; for seeding."""
    return int.from_bytes(hashlib.sha256("/".join(map(str, parts)).encode()).digest()[:8], "big")


def _stack(rows: list[NDArray[Any]]) -> NDArray[np.float32]:
    return np.stack(rows).astype(np.float32, copy=False)
