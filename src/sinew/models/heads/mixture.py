"""The mixture head: several whole chunks with their odds, for tasks with more than one right way."""

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

WIDE = 2.0
"""Where deviations begin between the least (minus infinity) and the most (infinity): wide, as nothing is known yet."""


class MixtureHead(nn.Module):
    """A mixture of K normal distributions over whole chunks (mixture density network, Bishop 1994).

    Unlike the single Gaussian it is fitted by likelihood, means and odds alike: a component takes up
    one way, and the mean between two ways is no component's. As in robomimic's GMM policies
    (Mandlekar 2021, arXiv:2108.03298) deviations have a floor, without which likelihood has no bound;
    we differ in that a component holds the whole chunk, so a draw never changes its mind halfway.

    Under reinforcement learning a unit is a step of the chunk given the steps before it, which is
    exact: log p(1..h) - log p(1..h-1), each summed over the components.

    Args:
        config: hidden widths, loss weight, number of components and range of the deviations.
        width: D of the features.
        horizon: H.
        spec: whose A actions.
        layout: what the features hold.
    """

    def __init__(
        self, config: GaussianHeadConfig, width: int, horizon: int, spec: RobotSpec, layout: FeatureLayout
    ) -> None:
        super().__init__()
        self.config, self.shape, self.count = config, (horizon, spec.action_size), config.mixture or 1
        self.summary = Summary(width, layout)
        self.actions = ActionLoss(spec, config.binary_weight)
        self.squash = Squash(spec.action_size, on=bool(config.tanh))
        sizes = [width, *config.hidden]
        layers: list[nn.Module] = []
        for size_in, size_out in pairwise(sizes):
            layers += [nn.Linear(size_in, size_out), nn.GELU()]
        flat = horizon * spec.action_size
        self.trunk = nn.Sequential(*layers)
        self.means = nn.Linear(sizes[-1], self.count * flat)
        nn.init.normal_(self.means.bias)  # components that begin alike would stay alike
        self.widths = nn.Linear(sizes[-1], self.count * flat) if config.std == "features" else None
        self.width = nn.Parameter(torch.full((self.count, *self.shape), WIDE))
        self.odds = nn.Linear(sizes[-1], self.count)
        self.logits = nn.Linear(sizes[-1], flat)

    def fit_range(self, low: Tensor, high: Tensor) -> None:
        """Take the bounds (A,) of actions at unit scale."""
        self.squash.fit(low, high)

    def forward(self, features: Features) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return log odds (B, K), free means and deviations (B, K, H, A), and two-valued logits (B, H, A)."""
        hidden = self.trunk(self.summary(features))
        shape = (self.count, *self.shape)
        place = self.width.expand(len(hidden), *shape)
        if self.widths is not None:
            place = place + self.widths(hidden).unflatten(-1, shape)
        least, most = math.log(self.config.least_std), math.log(self.config.most_std)
        std = (least + (most - least) * place.sigmoid()).exp()  # a clamp would hold on to those beyond it
        logits = self.logits(hidden).unflatten(-1, self.shape)
        return self.odds(hidden).log_softmax(dim=-1), self.means(hidden).unflatten(-1, shape), std, logits

    def loss(self, features: Features, batch: Batch[Tensor]) -> Tensor:
        """Return the loss per row, (B,): minus the log-likelihood a value, and the two-valued cross-entropy."""
        odds, mean, std, logits = self(features)
        free = self.squash.back(batch.actions)[:, None]
        counts = ~batch.is_pad[:, :, None] & ~self.actions.binary
        if batch.action_mask is not None:
            counts = counts & batch.action_mask[:, None]
        each = normal_log_prob(free, mean, std).masked_fill(~counts[:, None], 0.0).sum(dim=(2, 3))
        surprise = -(odds + each).logsumexp(dim=1) / counts.sum(dim=(1, 2)).clamp(min=1)
        return self.actions.reduce(surprise[:, None, None].expand_as(logits), logits, batch)

    def sample(self, features: Features, noise: Tensor | None = None) -> Tensor:
        """Return chunks (B, H, A) at unit scale: of the likeliest component, moved by ``noise`` deviations if given."""
        odds, mean, std, logits = self(features)
        free = _pick(mean, odds.argmax(dim=1))
        if noise is not None:
            free = free + noise * _pick(std, odds.argmax(dim=1))
        return self.actions.decide(torch.where(self.actions.binary, logits, self.squash(free)))

    # ---------------------------------------------------------------------- reinforcement learning

    def rollout(self, features: Features) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Draw chunks (B, H, A) at unit scale; the trace is the draw before any squashing, two-valued ones 0 and 1."""
        odds, mean, std, logits = self(features)
        chosen = torch.multinomial(odds.exp(), 1)[:, 0]
        mean, std = _pick(mean, chosen), _pick(std, chosen)
        free, bits = mean + torch.randn_like(mean) * std, torch.bernoulli(logits.sigmoid())
        chunk = self.actions.decide_bits(torch.where(self.actions.binary, bits, self.squash(free)))
        return chunk, {"drawn": torch.where(self.actions.binary, bits, free)}

    def log_prob(self, features: Features, trace: Mapping[str, Tensor]) -> Tensor:
        """Return (B, H): a unit is one step of the chunk given those before it."""
        (odds, mean, std, logits), drawn = self(features), trace["drawn"]
        binary = self.actions.binary
        each = normal_log_prob(drawn[:, None], mean, std).masked_fill(binary, 0.0).sum(dim=-1)
        so_far = (odds[..., None] + each.cumsum(dim=-1)).logsumexp(dim=1)
        moved = torch.cat([so_far[:, :1], so_far.diff(dim=1)], dim=1)
        slope = self.squash.log_slope(drawn).expand_as(drawn).masked_fill(binary, 0.0).sum(dim=-1)
        bits = bits_log_prob(logits, drawn).masked_fill(~binary, 0.0).sum(dim=-1)
        return moved - slope + bits

    def mask(self, execute: int, alive: Tensor) -> Tensor:
        """Return the steps that were executed before the end, (B, H) bool."""
        return alive & (torch.arange(self.shape[0], device=alive.device) < execute)


def _pick(parts: Tensor, chosen: Tensor) -> Tensor:
    """Return (B, H, A) of parts (B, K, H, A), the chosen (B,) of each row."""
    index = chosen[:, None, None, None].expand(-1, 1, *parts.shape[2:])
    return parts.gather(1, index)[:, 0]
