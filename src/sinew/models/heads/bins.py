"""The bins head: every value of the chunk is one of 256 classes, all said at once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sinew.models.action_tokens import ValueTokens, soft_labels
from sinew.models.actions import ActionLoss, bits_log_prob
from sinew.models.fields import feed_forward
from sinew.models.summary import Summary

if TYPE_CHECKING:
    from sinew.core.types import Batch, Features, RobotSpec
    from sinew.models.heads.config import BinsHeadConfig, FeatureLayout


class BinsHead(nn.Module):
    """Classes of equal width over the range of the data (RT-1, Brohan 2022, arXiv:2212.06817), decoded in parallel.

    As OpenVLA-OFT (Kim 2025, arXiv:2502.19645) does, each of the H x A values has a place of its own
    that reads the features, and one pass fills all of them. Differs in that the places are a layer
    behind the summary instead of tokens in the language model, in soft labels, and in the two-valued
    actions, which are classified with two classes. All values are independent given the features: a
    draw may begin to the left and end to the right.

    Args:
        config: bins and widths.
        width: D of the features.
        horizon: H.
        spec: whose A actions.
        layout: what the features hold.
    """

    def __init__(
        self, config: BinsHeadConfig, width: int, horizon: int, spec: RobotSpec, layout: FeatureLayout
    ) -> None:
        super().__init__()
        self.config, self.shape = config, (horizon, spec.action_size)
        self.summary = Summary(width, layout)
        self.actions = ActionLoss(spec, config.binary_weight)
        chosen = [number for number, binary in enumerate(spec.binary_mask) if not binary]
        self.tokens = ValueTokens(config.bins, horizon, chosen, spec.action_size)
        flat = horizon * spec.action_size
        self.trunk = nn.Sequential(nn.Linear(width, config.hidden), feed_forward(config.hidden, 2), nn.GELU())
        self.places = nn.Linear(config.hidden, self.tokens.length * config.width)
        self.read = nn.Sequential(nn.GELU(), nn.Linear(config.width, config.bins))
        self.logits = nn.Linear(config.hidden, flat)

    def fit_range(self, low: Tensor, high: Tensor) -> None:
        """Take the bounds (A,) of actions at unit scale."""
        self.tokens.range.fit(low, high)

    def forward(self, features: Features) -> tuple[Tensor, Tensor]:
        """Return log-probabilities (B, N, V) of the N continuous values, and logits (B, H, A) of two-valued ones."""
        hidden = self.trunk(self.summary(features))
        places = self.places(hidden).unflatten(-1, (self.tokens.length, self.config.width))
        return self.read(places).log_softmax(dim=-1), self.logits(hidden).unflatten(-1, self.shape)

    def loss(self, features: Features, batch: Batch[Tensor]) -> Tensor:
        """Return the loss per row, (B,): cross-entropy, where a guess costs 1."""
        said, logits = self(features)
        labels = soft_labels(self.tokens.places(batch.actions), self.config.bins, self.config.smooth)
        surprise = -(labels * said).sum(dim=-1).unflatten(1, (self.shape[0], -1)) / math.log(self.config.bins)
        error = torch.zeros_like(batch.actions).scatter(2, self.tokens.chosen.expand_as(surprise), surprise)
        return self.actions.reduce(error, logits, batch)

    def sample(self, features: Features, noise: Tensor | None = None) -> Tensor:
        """Return chunks (B, H, A) at unit scale: the likeliest bins, so ``noise`` is not used."""
        del noise
        said, logits = self(features)
        return self._finish(said.argmax(dim=-1), logits)

    # ---------------------------------------------------------------------- reinforcement learning

    def rollout(self, features: Features) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Draw chunks (B, H, A) at unit scale; the trace is the bins (B, N) and two-valued actions' bits."""
        said, logits = self(features)
        ids = torch.multinomial(said.flatten(0, 1).exp(), 1).view(said.shape[:2])
        bits = torch.bernoulli(logits.sigmoid())
        return self._finish(ids, bits - 0.5), {"tokens": ids, "bits": bits}

    def log_prob(self, features: Features, trace: Mapping[str, Tensor]) -> Tensor:
        """Return (B, H): a unit is one step of the chunk."""
        said, logits = self(features)
        chosen = said.gather(2, trace["tokens"][..., None])[..., 0].unflatten(1, (self.shape[0], -1)).sum(dim=-1)
        bits = bits_log_prob(logits, trace["bits"]).masked_fill(~self.actions.binary, 0.0).sum(dim=-1)
        return chosen + bits

    def mask(self, execute: int, alive: Tensor) -> Tensor:
        """Return the steps that were executed before the end, (B, H) bool."""
        return alive & (torch.arange(self.shape[0], device=alive.device) < execute)

    def _finish(self, ids: Tensor, logits: Tensor) -> Tensor:
        return self.actions.decide(torch.where(self.actions.binary, logits, self.tokens.decode(ids)))
