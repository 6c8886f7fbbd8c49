"""DAgger (Ross 2011, arXiv:1011.0686) on one page: any supervised recipe inside, an expert that sees the truth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from proof.bc import Frames
from sinew.core.rollout import Tick, run_episodes
from sinew.core.types import Batch, Cursor, Metrics, NumpyObservation, Policy, Recipe, RobotSpec, Rows, Stateful, VecEnv


class Mixture:
    """Acts as the policy or, with probability ``beta`` per tick, as the expert."""

    def __init__(self, policy: Policy, expert: Policy, beta: float, seed: int) -> None:
        self.policy, self.expert, self.beta = policy, expert, beta
        self.rng = np.random.default_rng(seed)

    @property
    def spec(self) -> RobotSpec:
        """The robot of both."""
        return self.policy.spec

    def reset(self, rows: Rows = None) -> None:
        """Reset both."""
        self.policy.reset(rows)
        self.expert.reset(rows)

    def select_action(self, obs: NumpyObservation, rows: Rows = None) -> NDArray[np.float32]:
        """Choose per row."""
        chosen = self.rng.random(obs.num_rows) < self.beta
        own, shown = self.policy.select_action(obs.public(), rows), self.expert.select_action(obs, rows)
        return np.where(chosen[:, None], shown, own)


class Dagger:
    """Every ``every`` updates the policy acts, the expert labels what it met, and the inner recipe learns on.

    Args:
        inner: learns from ``frames``.
        frames: shared with ``inner``; grows by each round.
        env: where the policy acts. expert: labels; reads ``privileged``.
    """

    def __init__(
        self, inner: Recipe[Batch[Tensor]], frames: Frames, env: VecEnv, expert: Policy, *, every: int, episodes: int
    ) -> None:
        self.inner, self.frames, self.env, self.expert = inner, frames, env, expert
        self.every, self.episodes, self.rounds = every, episodes, 0

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """What the inner recipe trains."""
        return self.inner.modules

    @property
    def optims(self) -> Mapping[str, Stateful]:
        """The inner recipe's."""
        return self.inner.optims

    def acting(self) -> nn.Module:
        """The inner recipe's."""
        return self.inner.acting()

    def collect(self) -> None:
        """Run one round; the first one follows the expert, beta = 1 (Ross 2011, algorithm 3.1)."""
        share = self.episodes // len(self.env.tasks)
        start = self.rounds * share
        ids = [name for task in self.env.tasks for name in self.env.states("train", task, share, start)]
        policy = cast(Policy, self.inner.acting())
        actor = Mixture(policy, self.expert, beta=0.5**self.rounds, seed=self.rounds)
        run_episodes(self.env, actor, ids, watch=self.label)
        self.rounds += 1

    def label(self, tick: Tick) -> None:
        """Keep what was met with what the expert would have done."""
        self.frames.add(tick, self.expert.select_action(tick.obs, tick.rows))

    def batches(self, start: Cursor) -> Iterator[Batch[Tensor]]:
        """Yield the inner recipe's batches; a round comes before the update at which it is due."""
        update = start.update
        stream = self.inner.batches(start)
        while True:
            while update >= self.rounds * self.every:
                self.collect()
            yield next(stream)
            update += 1

    def update(self, batch: Batch[Tensor]) -> Metrics:
        """As the inner recipe does."""
        return {**self.inner.update(batch), "frames": float(len(self.frames.actions))}

    def state_dict(self) -> dict[str, Any]:
        """Return the inner state and how far the data goes."""
        return {"inner": self.inner.state_dict(), "rounds": self.rounds}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Take it back; the frames are on disk in a real one."""
        self.inner.load_state_dict(state["inner"])
        self.rounds = int(state["rounds"])
