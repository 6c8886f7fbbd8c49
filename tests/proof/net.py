"""The smallest policy with every face of ``core/types.py``: Policy, ChunkPolicy, Trainable; its head is Gaussian."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sinew.core.types import Batch, Features, NumpyObservation, Observation, RobotSpec, Rows


class GaussianHead(nn.Module):
    """Independent normal distributions over a normalised chunk; a unit to score is one step, so L = H."""

    def __init__(self, width: int, horizon: int, action_size: int) -> None:
        super().__init__()
        self.shape = (horizon, action_size)
        self.mean = nn.Linear(width, horizon * action_size)
        self.log_std = nn.Parameter(torch.full(self.shape, -1.2))

    def loss(self, features: Features, batch: Batch[Tensor]) -> Tensor:
        """Return the squared error per row, (B,)."""
        known = (~batch.is_pad).float()
        error = (self.sample(features) - batch.actions).square().mean(-1)
        return (error * known).sum(-1) / known.sum(-1).clamp(min=1.0)

    def sample(self, features: Features, noise: Tensor | None = None) -> Tensor:
        """Return the mean, plus ``noise`` in units of the standard deviation."""
        mean = self.mean(features.tokens.mean(1)).unflatten(-1, self.shape)
        return mean if noise is None else mean + noise * self.log_std.exp()

    def rollout(self, features: Features) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Draw chunks; the draw itself is the trace, since a chunk that went to the robot and back is rounded."""
        chunk = self.sample(features, torch.randn(len(features.tokens), *self.shape)).detach()
        return chunk, {"chunk": chunk}

    def log_prob(self, features: Features, trace: Mapping[str, Tensor]) -> Tensor:
        """Return (B, H)."""
        z = (trace["chunk"] - self.sample(features)) / self.log_std.exp()
        return (-0.5 * z.square() - self.log_std - 0.5 * math.log(2 * math.pi)).sum(-1)

    def mask(self, execute: int, alive: Tensor) -> Tensor:
        """Return the steps that were executed before the end."""
        return alive & (torch.arange(self.shape[0]) < execute)


class ToyPolicy(nn.Module):
    """State and two words in, a chunk out. Actions are normalised to -1 .. 1 inside."""

    low: Tensor
    high: Tensor

    def __init__(self, spec: RobotSpec, horizon: int = 2, width: int = 32) -> None:
        super().__init__()
        self.spec = spec
        self.encoder = nn.Sequential(
            nn.Linear(spec.state_size + 2, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh()
        )
        self.head = GaussianHead(width, horizon, spec.action_size)
        self.register_buffer("low", torch.tensor(spec.low))
        self.register_buffer("high", torch.tensor(spec.high))

    def encode(self, obs: Observation[Tensor]) -> Features:
        """Return one token per row."""
        words = torch.tensor([["left" in text, "right" in text] for text in obs.instruction], dtype=torch.float32)
        return Features(self.encoder(torch.cat([obs.state[:, -1], words], dim=-1))[:, None])

    def physical(self, chunk: Tensor) -> Tensor:
        """Return actions in their units."""
        return self.low + (chunk.clamp(-1, 1) + 1) / 2 * (self.high - self.low)

    def reset(self, rows: Rows = None) -> None:
        """Nothing to forget: every tick is planned afresh."""

    def select_action(self, obs: NumpyObservation, rows: Rows = None) -> NDArray[np.float32]:
        """Return the first action of the mean chunk."""
        return self.predict_action_chunk(obs)[:, 0]

    @torch.no_grad()
    def predict_action_chunk(self, obs: NumpyObservation) -> NDArray[np.float32]:
        """Return the mean chunk."""
        seen = obs.public().map(torch.from_numpy)
        return self.physical(self.head.sample(self.encode(seen))).numpy()

    def losses(self, batch: Batch[Tensor]) -> Mapping[str, Tensor]:
        """Return the head's loss on normalised actions."""
        normalised = (batch.actions - self.low) / (self.high - self.low) * 2 - 1
        return {"action": self.head.loss(self.encode(batch.obs), dataclasses.replace(batch, actions=normalised))}

    def rollout(self, obs: Observation[Tensor]) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Draw physical chunks with the normalised trace."""
        chunk, trace = self.head.rollout(self.encode(obs))
        return self.physical(chunk), trace

    def log_prob(self, obs: Observation[Tensor], trace: Mapping[str, Tensor]) -> Tensor:
        """Return (B, H)."""
        return self.head.log_prob(self.encode(obs), trace)
