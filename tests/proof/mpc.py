"""A recurrent state-space model (PlaNet, Hafner 2019, arXiv:1811.04551) that plans with CEM: a Policy on one page."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from sinew.core.types import Metrics, NumpyObservation, RobotSpec, Rows, SequenceBatch


class Latent(NamedTuple):
    """What the model believes: deterministic memory (B, D) and a stochastic part (B, Z)."""

    memory: Tensor
    chance: Tensor

    def rows(self, index: Tensor) -> Latent:
        """Return some rows."""
        return Latent(self.memory[index], self.chance[index])


class Rssm(nn.Module):
    """Memory by a GRU; the next latent is predicted from it (prior) and corrected by what is seen (posterior)."""

    def __init__(self, state_size: int, action_size: int, width: int = 24, chance: int = 4) -> None:
        super().__init__()
        self.width, self.chance = width, chance
        self.cell = nn.GRUCell(chance + action_size, width)
        self.prior = nn.Linear(width, 2 * chance)
        self.posterior = nn.Linear(width + state_size, 2 * chance)
        self.state = nn.Linear(width + chance, state_size)
        self.reward = nn.Sequential(nn.Linear(width + chance, width), nn.ELU(), nn.Linear(width, 1))

    def start(self, num_rows: int) -> Latent:
        """Return the belief before anything was seen."""
        return Latent(torch.zeros(num_rows, self.width), torch.zeros(num_rows, self.chance))

    def step(self, latent: Latent, action: Tensor, state: Tensor | None) -> tuple[Latent, Normal, Normal]:
        """Return the next belief (means), the prior and the posterior, which without a state is the prior."""
        memory = self.cell(torch.cat([latent.chance, action], -1), latent.memory)
        prior = normal(self.prior(memory))
        posterior = prior if state is None else normal(self.posterior(torch.cat([memory, state], -1)))
        return Latent(memory, posterior.mean), prior, posterior

    def loss(self, batch: SequenceBatch[Tensor]) -> Tensor:
        """Return state and reward error plus KL per row, (B,); the belief starts anew where ``is_first``."""
        latent, total = self.start(batch.num_rows), torch.zeros(batch.num_rows)
        action = torch.zeros_like(batch.actions[:, 0])
        for tick in range(batch.actions.shape[1]):
            keep = (~batch.is_first[:, tick, None]).float()
            state = batch.obs.state[:, tick]
            latent, prior, posterior = self.step(Latent(*(part * keep for part in latent)), action * keep, state)
            latent = latent._replace(chance=posterior.rsample())
            seen = torch.cat(latent, -1)
            error = (self.state(seen) - state).square().sum(-1)
            surprise = kl_divergence(posterior, prior).sum(-1).clamp(min=0.1)
            action = batch.actions[:, tick]
            total = total + (error + surprise) * batch.mask[:, tick]
            # The reward of a tick depends on the action taken in it: predicted one step on, as PlaNet does.
            if tick + 1 < batch.actions.shape[1]:
                ahead, _, _ = self.step(latent, action, None)
                missed = self.reward(torch.cat(ahead, -1))[:, 0] - batch.reward[:, tick]
                total = total + missed.square() * batch.mask[:, tick]
        return total

    def imagine(self, latent: Latent, actions: Tensor) -> Tensor:
        """Return the summed reward (B,) of action sequences (B, H, A) from a belief."""
        total = torch.zeros(len(actions))
        for action in actions.unbind(1):
            latent, _, _ = self.step(latent, action, None)
            total = total + self.reward(torch.cat(latent, -1))[:, 0]
        return total


def normal(parameters: Tensor) -> Normal:
    """Return a normal distribution whose standard deviation is at least 0.1."""
    mean, spread = parameters.chunk(2, -1)
    return Normal(mean, nn.functional.softplus(spread) + 0.1)


class MpcPolicy:
    """Plans every tick with the cross-entropy method; belief and last action are kept per row.

    Args:
        model: predicts rewards of action sequences.
        spec: bounds the actions.
        horizon: H, ticks planned ahead.
    """

    def __init__(self, model: Rssm, spec: RobotSpec, *, horizon: int = 5, samples: int = 64, rounds: int = 4) -> None:
        self.model, self.spec, self.rounds, self.elites = model, spec, rounds, samples // 8
        self.low, self.high = torch.tensor(spec.low), torch.tensor(spec.high)
        self.noise = torch.randn(samples, horizon, spec.action_size, generator=torch.Generator().manual_seed(0))
        self.latent, self.action = model.start(0), torch.zeros(0, spec.action_size)

    def reset(self, rows: Rows = None) -> None:
        """Forget the belief of these rows."""
        index = range(len(self.action)) if rows is None else [int(row) for row in rows if row < len(self.action)]
        for part in (*self.latent, self.action):
            part[list(index)] = 0.0

    @torch.no_grad()
    def select_action(self, obs: NumpyObservation, rows: Rows = None) -> NDArray[np.float32]:
        """Correct the belief of these rows with what is seen, then plan."""
        index = torch.arange(obs.num_rows) if rows is None else torch.tensor([int(row) for row in rows])
        self.grow(int(index.max()) + 1)
        seen = torch.from_numpy(obs.state[:, -1])
        belief, _, _ = self.model.step(self.latent.rows(index), self.action[index], seen)
        action = torch.stack([self.plan(belief.rows(torch.tensor([row]))) for row in range(len(index))])
        for part, value in zip((*self.latent, self.action), (*belief, action), strict=True):
            part[index] = value
        return action.numpy()

    def plan(self, belief: Latent) -> Tensor:
        """Return the best first action (A,) for one row."""
        many = Latent(*(part.expand(len(self.noise), -1) for part in belief))
        mean, std = (self.low + self.high).div(2).expand(self.noise.shape[1:]), (self.high - self.low).div(2)
        for _ in range(self.rounds):
            actions = (mean + std * self.noise).clamp(self.low, self.high)
            best = actions[self.model.imagine(many, actions).topk(self.elites).indices]
            mean, std = best.mean(0), best.std(0)
        return mean[0]

    def grow(self, num_rows: int) -> None:
        """Make room for more rows."""
        missing = num_rows - len(self.action)
        if missing > 0:
            fresh = self.model.start(missing)
            self.latent = Latent(*(torch.cat(pair) for pair in zip(self.latent, fresh, strict=True)))
            self.action = torch.cat([self.action, torch.zeros(missing, self.spec.action_size)])


def learn(model: Rssm, optim: torch.optim.Optimizer, batch: SequenceBatch[Tensor]) -> Metrics:
    """One step on recorded stretches."""
    loss = model.loss(batch).mean()
    optim.zero_grad()
    loss.backward()
    optim.step()
    return {"loss": loss.detach()}
