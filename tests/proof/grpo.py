"""GRPO (Shao 2024, arXiv:2402.03300) on one page: groups from the same initial state, no critic."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from proof.net import ToyPolicy
from sinew.core.rollout import Tick, run_episodes, take_rows
from sinew.core.types import Cursor, Metrics, NumpyObservation, Observation, RLBatch, Rows, Stateful, VecEnv


@dataclass
class Decision:
    """One chunk of one episode and what came of it so far; the arrays have one row."""

    obs: Observation[Tensor]
    chunk: Tensor
    trace: Mapping[str, Tensor]
    log_prob: Tensor
    episode: int = -1
    steps: int = 0
    reward: float = 0.0
    terminated: bool = False
    truncated: bool = False


class Explorer:
    """Acts by drawing chunks, runs ``execute`` steps of each, and remembers every decision."""

    def __init__(self, policy: ToyPolicy, execute: int) -> None:
        self.policy, self.spec, self.execute = policy, policy.spec, execute
        self.current: dict[int, Decision] = {}
        self.decisions: list[Decision] = []

    def reset(self, rows: Rows = None) -> None:
        """Drop the rest of the rows' chunks."""
        for row in list(self.current) if rows is None else rows:
            self.current.pop(int(row), None)

    @torch.no_grad()
    def select_action(self, obs: NumpyObservation, rows: Rows = None) -> NDArray[np.float32]:
        """Draw for rows without a chunk; act with the next step of each."""
        names = range(obs.num_rows) if rows is None else [int(row) for row in rows]
        for position, row in enumerate(names):
            if row in self.current and self.current[row].steps < self.execute:
                continue
            seen = take_rows(obs, np.array([position])).public().map(torch.from_numpy)
            chunk, trace = self.policy.rollout(seen)
            self.current[row] = Decision(seen, chunk, trace, self.policy.log_prob(seen, trace))
            self.decisions.append(self.current[row])
        return np.stack([self.current[row].chunk[0, self.current[row].steps].numpy() for row in names])

    def watch(self, tick: Tick) -> None:
        """Credit the tick to the decision it belongs to."""
        for position, row in enumerate(tick.rows):
            decision = self.current[int(row)]
            decision.episode = int(tick.episodes[position])
            decision.steps += 1
            decision.reward += float(tick.result.reward[position])
            decision.terminated = bool(tick.result.terminated[position])
            decision.truncated = bool(tick.result.truncated[position])


def group_advantage(returns: Tensor) -> Tensor:
    """Return (r - mean) / (std + 1e-6) within each row of (groups, members), std with ddof = 1."""
    return (returns - returns.mean(1, keepdim=True)) / (returns.std(1, correction=1, keepdim=True) + 1e-6)


class Grpo:
    """Clipped policy gradient on group-relative advantages; a decision is one executed chunk."""

    def __init__(self, policy: ToyPolicy, env: VecEnv, *, scenes: int, group: int, execute: int, seed: int = 0) -> None:
        self.policy, self.env, self.seed = policy, env, seed
        self.scenes, self.group, self.execute = scenes, group, execute
        self.optim = torch.optim.Adam(policy.parameters(), lr=1e-2)

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """The policy."""
        return {"policy": self.policy}

    @property
    def optims(self) -> Mapping[str, Stateful]:
        """Its optimiser."""
        return {"policy": self.optim}

    def acting(self) -> ToyPolicy:
        """The policy itself."""
        return self.policy

    def batches(self, start: Cursor) -> Iterator[RLBatch[Tensor]]:
        """Yield one round of episodes per update; its initial states and its noise depend on (seed, update) only."""
        update = start.update
        while True:
            with torch.random.fork_rng():
                torch.manual_seed(self.seed * 1_000_003 + update)
                batch = self.roll_out(update)
            yield batch
            update += 1

    def roll_out(self, update: int) -> RLBatch[Tensor]:
        """Run ``group`` episodes from each of ``scenes`` listed states and return all decisions."""
        task = self.env.tasks[update % len(self.env.tasks)]
        scenes = self.env.states("train", task, self.scenes, update * self.scenes)
        explorer = Explorer(self.policy, self.execute)
        outcomes = run_episodes(
            self.env, explorer, [name for name in scenes for _ in range(self.group)], watch=explorer.watch
        )
        returns = torch.tensor([outcome.total_reward for outcome in outcomes]).view(self.scenes, self.group)
        advantage = group_advantage(returns).flatten()
        return self.to_batch(explorer.decisions, advantage, update)

    def to_batch(self, decisions: Sequence[Decision], advantage: Tensor, version: int) -> RLBatch[Tensor]:
        """Stack decisions; those of one initial state share a group."""
        episode = torch.tensor([item.episode for item in decisions])
        chunk = torch.cat([item.chunk for item in decisions])
        alive = torch.arange(chunk.shape[1]) < torch.tensor([[item.steps] for item in decisions])
        return RLBatch(
            obs=concat([item.obs for item in decisions]),
            chunk=chunk,
            trace=join([item.trace for item in decisions]),
            log_prob=torch.cat([item.log_prob for item in decisions]),
            mask=self.policy.head.mask(self.execute, alive),
            reward=torch.tensor([item.reward for item in decisions]),
            discount=torch.ones(len(decisions)),
            terminated=torch.tensor([item.terminated for item in decisions]),
            truncated=torch.tensor([item.truncated for item in decisions]),
            advantage=advantage[episode],
            group=episode // self.group,
            version=torch.full((len(decisions),), version),
        )

    def update(self, batch: RLBatch[Tensor]) -> Metrics:
        """Two epochs of the clipped objective, averaged over executed units; clip-higher of Yu 2025."""
        assert batch.advantage is not None
        advantage = batch.advantage[:, None]
        for _ in range(2):
            ratio = (self.policy.log_prob(batch.obs, batch.trace) - batch.log_prob).exp()
            gain = torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.28) * advantage)
            loss = -(gain * batch.mask).sum() / batch.mask.sum()
            self.optim.zero_grad()
            loss.backward()
            self.optim.step()
        return {"reward": batch.reward.sum() / (self.scenes * self.group)}

    def state_dict(self) -> dict[str, Any]:
        """Return weights and optimiser."""
        return {"policy": self.policy.state_dict(), "optim": self.optim.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Take them back."""
        self.policy.load_state_dict(state["policy"])
        self.optim.load_state_dict(state["optim"])


def join(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Concatenate mappings of tensors along the rows."""
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def concat(parts: Sequence[Observation[Tensor]]) -> Observation[Tensor]:
    """Concatenate observations along the rows; optional arrays are all there or all missing."""
    first, values = parts[0], dict[str, Any]()
    for item in fields(first):
        column = [getattr(part, item.name) for part in parts]
        if isinstance(column[0], tuple):
            values[item.name] = tuple(text for texts in column for text in texts)
        elif isinstance(column[0], Mapping):
            values[item.name] = join(column)
        else:
            values[item.name] = None if column[0] is None else torch.cat(column)
    return Observation(**values)
