"""Behaviour cloning on one page, written against ``core/types.py`` alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from proof.net import ToyPolicy
from sinew.core.rollout import Tick, concat_rows, take_rows
from sinew.core.types import Batch, Cursor, Metrics, NumpyBatch, NumpyObservation, Stateful


class Frames:
    """Labelled frames in memory; it only grows."""

    def __init__(self) -> None:
        self.obs: list[NumpyObservation] = []
        self.actions: list[NDArray[np.float32]] = []

    def add(self, tick: Tick, labels: NDArray[np.float32]) -> None:
        """Keep every row of a tick with its label, (B, A)."""
        self.obs += [take_rows(tick.obs, np.array([row])).public() for row in range(len(labels))]
        self.actions += list(labels)

    def draw(self, rows: NDArray[np.int64], horizon: int) -> NumpyBatch:
        """Return windows of which only the first step is known."""
        actions = np.stack([self.actions[row] for row in rows])[:, None].repeat(horizon, axis=1)
        is_pad = np.arange(horizon)[None] > np.zeros((len(rows), 1))
        return Batch(concat_rows([self.obs[row] for row in rows]), actions, is_pad, np.ones(len(rows), np.float32))


class Bc:
    """Minimise the policy's own losses on recorded windows."""

    def __init__(self, policy: ToyPolicy, frames: Frames, *, seed: int = 0, batch: int = 64) -> None:
        self.policy, self.frames, self.seed, self.batch = policy, frames, seed, batch
        self.optim = torch.optim.Adam(policy.parameters(), lr=3e-3)

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """The policy."""
        return {"policy": self.policy}

    @property
    def optims(self) -> Mapping[str, Stateful]:
        """Its optimiser."""
        return {"policy": self.optim}

    def acting(self) -> ToyPolicy:
        """The policy itself: there are no averaged weights."""
        return self.policy

    def batches(self, start: Cursor) -> Iterator[Batch[Tensor]]:
        """Yield batch k from (seed, k) and the frames there are by then."""
        update = start.update
        while True:
            rows = np.random.default_rng((self.seed, update)).integers(len(self.frames.actions), size=self.batch)
            yield self.frames.draw(rows, self.policy.head.shape[0]).map(torch.from_numpy)
            update += 1

    def update(self, batch: Batch[Tensor]) -> Metrics:
        """One step on the weighted mean of the loss terms."""
        terms = self.policy.losses(batch)
        loss = torch.stack([(term * batch.weight).mean() for term in terms.values()]).sum()
        self.optim.zero_grad()
        loss.backward()
        self.optim.step()
        return {"loss": loss.detach()}

    def state_dict(self) -> dict[str, Any]:
        """Return weights and optimiser."""
        return {"policy": self.policy.state_dict(), "optim": self.optim.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Take them back."""
        self.policy.load_state_dict(state["policy"])
        self.optim.load_state_dict(state["optim"])
