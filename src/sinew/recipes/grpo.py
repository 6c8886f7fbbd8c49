"""GRPO: a policy acts in groups from the same start, and does more of what beat its group."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import count
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from sinew.core.types import Cursor, Metrics, RLBatch, StochasticTrainable
from sinew.engine import rng
from sinew.engine.config import OptimConfig
from sinew.engine.distributed import world
from sinew.engine.optim import Ema, Optim
from sinew.envs.rollout import Rollouts
from sinew.losses.rl import clipped_loss, even_weight, group_advantage, is_clipped, kl_k3, masked_mean
from sinew.recipes.config import GrpoConfig


class Improvable(StochasticTrainable, Protocol):
    """A policy whose head can learn alone."""

    @property
    def head(self) -> nn.Module:
        """The part that draws."""
        ...


class Grpo:
    """Group-relative policy optimisation (Shao 2024, arXiv:2402.03300) of a policy that acts in chunks.

    One decision is one executed chunk; its return is its episode's, without discount. We differ: the
    clip is asymmetric and groups without spread are dropped, both after DAPO (Yu 2025, arXiv:2503.14476);
    the divergence from the first policy is off by default, as in SimpleVLA-RL (Li 2025, arXiv:2509.09674).

    Batch k depends on the seed, k and the weights of then, so a resumed run repeats what an uninterrupted one does.

    Args:
        policy: a module that implements ``Improvable``; already on ``device``.
        gather: given the update and the policy, runs the groups; must depend on these two only.
        config: settings. optim: of its optimiser.
        updates: length of the run; the schedule counts the optimiser steps in it.
        seed: of the order of minibatches.
        device: where batches go.
    """

    def __init__(
        self,
        policy: nn.Module,
        gather: Callable[[int, nn.Module], Rollouts],
        config: GrpoConfig,
        optim: OptimConfig,
        *,
        updates: int,
        seed: int,
        device: torch.device | str = "cpu",
    ) -> None:
        self.policy, self.gather, self.config, self.seed = policy.eval(), gather, config, seed
        self.device = torch.device(device)
        self.reference = copy.deepcopy(policy).requires_grad_(requires_grad=False) if config.kl > 0 else None
        policy.requires_grad_(requires_grad=config.train == "all")
        self._policy.head.requires_grad_(requires_grad=True)
        self.ranks = world()
        self.optim = Optim(policy, optim, updates * config.epochs * config.minibatches)
        self.ema = Ema(policy, optim.ema, self.optim.sharing) if optim.ema > 0 else None
        self.generator = torch.Generator()
        self.num_updates = 0

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """The policy."""
        return {"policy": self.policy}

    @property
    def optims(self) -> Mapping[str, Optim]:
        """Its optimiser."""
        return {"policy": self.optim}

    def acting(self) -> nn.Module:
        """Return the averaged policy, or the policy itself where there is none."""
        return self.optim.acting() if self.ema is None else self.ema.module()

    def batches(self, start: Cursor) -> Iterator[RLBatch[Tensor]]:
        """Yield, for each update, all decisions of its episodes with their advantages."""
        for number in count(start.update):
            found = self.gather(number, self.optim.acting())
            returns = torch.tensor([outcome.total_reward for outcome in found.outcomes])
            if self.config.shuffle:
                returns = returns[self._order(len(returns), number)]
            advantage = group_advantage(returns.view(-1, self.config.group)).flatten()
            batch = found.batch.map(torch.from_numpy)
            ids = cast("Tensor", batch.ids)
            weight = even_weight(batch.mask.sum(dim=1), ids)
            batch = dataclasses.replace(batch, advantage=weight * advantage[ids], version=torch.full_like(ids, number))
            yield batch  # it stays in main memory: the rows of a step alone go to the device

    def update(self, batch: RLBatch[Tensor]) -> Metrics:
        """Take ``epochs x minibatches`` steps on the decisions of the groups that show a difference."""
        assert batch.advantage is not None
        assert batch.ids is not None
        rows = batch.advantage.nonzero()[:, 0]
        steps: list[dict[str, Tensor]] = []
        for epoch in range(self.config.epochs):
            order = rows[self._order(len(rows), self.num_updates, epoch)]
            steps += [
                self._step(take(batch, part)) for part in order.tensor_split(self.config.minibatches) if len(part)
            ]
        self.num_updates += 1
        if self.ema is not None:
            self.ema.update()
        steps = steps or [dict.fromkeys(("loss", "clipped", "moved", "grad_norm"), torch.zeros(()))]
        means = {name: torch.stack([step[name] for step in steps]).mean() for name in steps[0]}
        returned = batch.reward.sum() / (batch.ids.max() + 1)
        return {**means, "return": returned, "kept": len(rows) / batch.num_rows}

    def _step(self, batch: RLBatch[Tensor]) -> dict[str, Tensor]:
        """Take one optimiser step, piece by piece; each counts by its share of what was decided."""
        found: list[dict[str, Tensor]] = []
        batch = self._mine(batch)
        total = self.ranks.mean(batch.mask.sum().float()).clamp(min=1e-6)
        parts = [take(batch, rows) for rows in torch.arange(batch.num_rows).tensor_split(self.optim.pieces)]
        norm = self.optim.step([partial(self._loss, part, part.mask.sum() / total, found) for part in parts])
        return {**{name: torch.stack([part[name] for part in found]).sum() for name in found[0]}, "grad_norm": norm}

    def _mine(self, batch: RLBatch[Tensor]) -> RLBatch[Tensor]:
        """Return this rank's part, on every rank of as many rows; those that are added to make it so count nothing."""
        if self.ranks.alone:
            return batch
        most = -(-batch.num_rows // self.ranks.size)
        rows = torch.arange(batch.num_rows).tensor_split(self.ranks.size)[self.ranks.rank]
        wanted = max(most, self.optim.pieces)
        mine = take(batch, torch.cat([rows, torch.zeros(wanted - len(rows), dtype=rows.dtype)]))
        return dataclasses.replace(mine, mask=mine.mask & (torch.arange(wanted) < len(rows))[:, None])

    def _loss(self, batch: RLBatch[Tensor], share: Tensor, found: list[dict[str, Tensor]]) -> Tensor:
        """Return the loss of some rows times their share, and note what is known of them."""
        batch = batch.map(lambda array: array.to(self.device))
        assert batch.advantage is not None
        clip = {"low": self.config.clip_low, "high": self.config.clip_high}
        log_prob = cast("Tensor", self.optim.call("log_prob", batch.obs, batch.trace))
        loss = masked_mean(clipped_loss(log_prob, batch.log_prob, batch.advantage, **clip), batch.mask)
        if self.reference is not None:
            with torch.no_grad():
                first = cast("Improvable", self.reference).log_prob(batch.obs, batch.trace)
            loss = loss + self.config.kl * masked_mean(kl_k3(log_prob, first), batch.mask)
        log_prob = log_prob.detach()
        clipped = is_clipped(log_prob, batch.log_prob, batch.advantage, **clip).to(log_prob.dtype)
        seen = {
            "loss": loss.detach(),
            "clipped": masked_mean(clipped, batch.mask),
            "moved": masked_mean(kl_k3(batch.log_prob, log_prob), batch.mask),
        }
        share = share.to(self.device)
        found.append({name: value * share for name, value in seen.items()})
        return loss * share

    def state_dict(self) -> dict[str, Any]:
        """Return weights, averages, the first policy where it is held on to, optimiser and position."""
        return {
            "num_updates": self.num_updates,
            "policy": self.optim.weights(),
            "optim": self.optim.state_dict(),
            "ema": None if self.ema is None else self.ema.state_dict(),
            "reference": None if self.reference is None else self.reference.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Take them back."""
        self.num_updates = state["num_updates"]
        self.optim.load_weights(state["policy"])
        self.optim.load_state_dict(state["optim"])
        if self.ema is not None:
            self.ema.load_state_dict(state["ema"])
        if self.reference is not None:
            self.reference.load_state_dict(state["reference"])

    @property
    def _policy(self) -> Improvable:
        return cast("Improvable", self.policy)

    def _order(self, size: int, *place: int) -> Tensor:
        """Return a random order that depends on the seed and the place in the run only."""
        return torch.randperm(size, generator=self.generator.manual_seed(rng.mix(self.seed, *place)))


def take(batch: RLBatch[Tensor], rows: Tensor) -> RLBatch[Tensor]:
    """Return some decisions."""
    picked = batch.map(lambda array: array[rows])
    words = tuple(batch.obs.instruction[row] for row in rows.tolist())
    return dataclasses.replace(picked, obs=dataclasses.replace(picked.obs, instruction=words))
