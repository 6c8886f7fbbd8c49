"""The Gaussian head: a chunk in one pass that reinforcement learning can draw from and score."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sinew.models.actions import ActionLoss, bits_log_prob, normal_log_prob
from sinew.models.summary import Summary

if TYPE_CHECKING:
    from sinew.core.types import Batch, Features, RobotSpec
    from sinew.models.heads.config import FeatureLayout, GaussianHeadConfig


class GaussianHead(nn.Module):
    """An MLP that predicts a normal distribution over continuous actions and the odds of two-valued ones.

    All H x A values are independent given the features; the log standard deviations depend on the
    step and the action, not on what is seen. Imitation fits the mean by L1 as ``MlpHead`` does, not by
    likelihood: squared errors are ruled by the few frames where two ways are right, and the mean
    between two ways is wrong for a chunk that is executed. The deviations are fitted by likelihood to
    what the mean misses, without pulling on it. An error counts there as at least ``least_std`` and at
    most ``most_std``, so the estimate stays between the two: it is the width of exploration, and a
    policy that misses much must not explore blindly.

    Args:
        config: hidden widths, loss weight and the range of the deviations.
        width: D of the features.
        horizon: H.
        spec: whose A actions.
        layout: what the features hold.
    """

    def __init__(
        self, config: GaussianHeadConfig, width: int, horizon: int, spec: RobotSpec, layout: FeatureLayout
    ) -> None:
        super().__init__()
        self.summary = Summary(width, layout)
        self.config, self.shape = config, (horizon, spec.action_size)
        self.actions = ActionLoss(spec, config.binary_weight)
        sizes = [width, *config.hidden]
        layers: list[nn.Module] = []
        for size_in, size_out in pairwise(sizes):
            layers += [nn.Linear(size_in, size_out), nn.GELU()]
        flat = horizon * spec.action_size
        self.net = nn.Sequential(*layers, nn.Linear(sizes[-1], flat))
        self.log_std = nn.Parameter(torch.full((flat,), math.log(config.most_std)))

    def forward(self, features: Features) -> Tensor:
        """Return raw chunks (B, H, A): means, and logits where two-valued."""
        return self.net(self.summary(features)).unflatten(-1, self.shape)

    @property
    def std(self) -> Tensor:
        """The standard deviations (H, A) at unit scale, at least ``least_std``; without meaning where two-valued."""
        return self.log_std.clamp(min=math.log(self.config.least_std)).exp().view(self.shape)

    def loss(self, features: Features, batch: Batch[Tensor]) -> Tensor:
        """Return the loss per row, (B,); what fits the deviations adds to its gradient, not to its value."""
        raw = self(features)
        error = (raw - batch.actions).abs()
        misses = error.detach().clamp(self.config.least_std, self.config.most_std)
        log_std = self.log_std.view(self.shape)
        surprise = log_std + 0.5 * (misses / log_std.exp()).square()
        return self.actions.reduce(error + (surprise - surprise.detach()), raw, batch)

    def sample(self, features: Features, noise: Tensor | None = None) -> Tensor:
        """Return chunks (B, H, A) at unit scale: the likeliest, or moved by ``noise`` standard deviations."""
        raw = self(features)
        if noise is not None:
            raw = torch.where(self.actions.binary, raw, raw + noise * self.std)
        return self.actions.decide(raw)

    # ---------------------------------------------------------------------- reinforcement learning

    def rollout(self, features: Features) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Draw chunks (B, H, A) at unit scale; the draw itself is the trace, two-valued actions in it as 0 and 1."""
        raw = self(features)
        drawn = torch.where(self.actions.binary, torch.bernoulli(raw.sigmoid()), raw + torch.randn_like(raw) * self.std)
        return self.actions.decide_bits(drawn), {"drawn": drawn}

    def log_prob(self, features: Features, trace: Mapping[str, Tensor]) -> Tensor:
        """Return (B, H): a unit is one step of the chunk."""
        raw, drawn = self(features), trace["drawn"]
        chosen = bits_log_prob(raw, drawn)
        return torch.where(self.actions.binary, chosen, normal_log_prob(drawn, raw, self.std)).sum(dim=-1)

    def mask(self, execute: int, alive: Tensor) -> Tensor:
        """Return the steps that were executed before the end, (B, H) bool."""
        return alive & (torch.arange(self.shape[0], device=alive.device) < execute)
