"""The Gaussian head: a chunk in one pass that reinforcement learning can draw from and score."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sinew.models.actions import ActionLoss, bits_log_prob, normal_log_prob
from sinew.models.squash import Squash
from sinew.models.summary import Summary

if TYPE_CHECKING:
    from sinew.core.types import Batch, Features, RobotSpec
    from sinew.models.heads.config import FeatureLayout, GaussianHeadConfig


class GaussianHead(nn.Module):
    """An MLP that predicts a normal distribution over continuous actions and the odds of two-valued ones.

    All H x A values are independent given the features; the log standard deviations depend on the
    step and the action and, with ``std = "features"``, on what is seen. Imitation fits the mean by L1
    as ``MlpHead`` does, not by likelihood: squared errors are ruled by the few frames where two ways
    are right, and the mean between two ways is wrong for a chunk that is executed. The deviations are
    fitted by likelihood to what the mean misses, without pulling on it. An error counts there as at
    least ``least_std`` and at most ``most_std``, so the estimate stays between the two: it is the
    width of exploration, and a policy that misses much must not explore blindly.

    With ``tanh`` draws stay within reach of the data; see ``Squash``. Deviations are of the values
    before it.

    Args:
        config: hidden widths, loss weight, form and range of the deviations.
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
        self.seen_std = nn.Linear(width, flat) if config.std == "features" else None
        self.squash = Squash(spec.action_size, on=bool(config.tanh))

    def fit_range(self, low: Tensor, high: Tensor) -> None:
        """Take the bounds (A,) of actions at unit scale."""
        self.squash.fit(low, high)

    def forward(self, features: Features) -> tuple[Tensor, Tensor]:
        """Return free means, logits where two-valued, (B, H, A), and log standard deviations, (H, A) or (B, H, A)."""
        context = self.summary(features)
        log_std = self.log_std
        if self.seen_std is not None:
            log_std = log_std + self.seen_std(context.detach())
        return self.net(context).unflatten(-1, self.shape), log_std.unflatten(-1, self.shape)

    @property
    def std(self) -> Tensor:
        """The deviations (H, A) that do not depend on the features, at unit scale; meaningless where two-valued."""
        return self._bounded(self.log_std.view(self.shape))

    def loss(self, features: Features, batch: Batch[Tensor]) -> Tensor:
        """Return the loss per row, (B,); what fits the deviations adds to its gradient, not to its value."""
        raw, log_std = self(features)
        error = (self.squash(raw) - batch.actions).abs()
        misses = error.detach() if self.squash.range is None else (raw - self.squash.back(batch.actions)).detach().abs()
        misses = misses.clamp(self.config.least_std, self.config.most_std)
        surprise = log_std + 0.5 * (misses / log_std.exp()).square()
        return self.actions.reduce(error + (surprise - surprise.detach()), raw, batch)

    def sample(self, features: Features, noise: Tensor | None = None) -> Tensor:
        """Return chunks (B, H, A) at unit scale: the likeliest, or moved by ``noise`` standard deviations."""
        raw, log_std = self(features)
        moved = raw if noise is None else raw + noise * self._bounded(log_std)
        return self.actions.decide(torch.where(self.actions.binary, raw, self.squash(moved)))

    # ---------------------------------------------------------------------- reinforcement learning

    def rollout(self, features: Features) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Draw chunks (B, H, A) at unit scale; the trace is the draw before any squashing, two-valued ones 0 and 1."""
        raw, log_std = self(features)
        bits = torch.bernoulli(raw.sigmoid())
        free = raw + torch.randn_like(raw) * self._bounded(log_std)
        chunk = self.actions.decide_bits(torch.where(self.actions.binary, bits, self.squash(free)))
        return chunk, {"drawn": torch.where(self.actions.binary, bits, free)}

    def log_prob(self, features: Features, trace: Mapping[str, Tensor]) -> Tensor:
        """Return (B, H): a unit is one step of the chunk."""
        (raw, log_std), drawn = self(features), trace["drawn"]
        moved = normal_log_prob(drawn, raw, self._bounded(log_std)) - self.squash.log_slope(drawn)
        return torch.where(self.actions.binary, bits_log_prob(raw, drawn), moved).sum(dim=-1)

    def mask(self, execute: int, alive: Tensor) -> Tensor:
        """Return the steps that were executed before the end, (B, H) bool."""
        return alive & (torch.arange(self.shape[0], device=alive.device) < execute)

    def _bounded(self, log_std: Tensor) -> Tensor:
        return log_std.clamp(min=math.log(self.config.least_std)).exp()
