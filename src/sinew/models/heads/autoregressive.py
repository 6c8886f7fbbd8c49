"""The autoregressive head: a chunk as tokens, each drawn in the light of those before it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from sinew.core.errors import ConfigError
from sinew.models.action_tokens import FastTokens, ValueTokens, soft_labels
from sinew.models.actions import ActionLoss, bits_log_prob, settled
from sinew.models.decoder import LanguageDecoder, SmallDecoder
from sinew.models.summary import Summary

if TYPE_CHECKING:
    from sinew.core.types import Batch, Features, RobotSpec
    from sinew.models.heads.config import AutoregressiveHeadConfig, FeatureLayout


class AutoregressiveHead(nn.Module):
    """Action tokens decoded causally, as language models speak (RT-2, Brohan 2023, arXiv:2307.15818; pi0-FAST).

    Tokens are bins of single values in the order of the steps, or FAST's; see ``action_tokens``. They
    follow the features in a small decoder of our own, or in the policy's language model. Differs from
    both papers in the two-valued actions, which are classified from the features beside the tokens,
    in soft labels for bins, and in that a token's position says how much of the chunk stands before it.

    Under reinforcement learning a unit is a step of the chunk, whose tokens share their ratio. FAST's
    tokens belong to no step: a unit is the whole chunk there, and it must be executed as a whole.

    Args:
        config: tokens and decoder.
        width: D of the features.
        horizon: H.
        spec: whose A actions.
        layout: what the features hold.
    """

    def __init__(
        self, config: AutoregressiveHeadConfig, width: int, horizon: int, spec: RobotSpec, layout: FeatureLayout
    ) -> None:
        super().__init__()
        self.config, self.horizon, self.size = config, horizon, spec.action_size
        self.fast = config.tokens == "fast"
        self.summary = Summary(width, layout)
        self.actions = ActionLoss(spec, config.binary_weight)
        chosen = [number for number, binary in enumerate(spec.binary_mask) if not binary]
        if self.fast:
            self.tokens: FastTokens | ValueTokens = FastTokens(
                config.vocabulary, config.scale, horizon, chosen, self.size
            )
        else:
            self.tokens = ValueTokens(config.bins, horizon, chosen, self.size, top=bool(config.top))
        if config.decoder == "lm" and not layout.decodes:
            raise ConfigError(
                "--policy.head.decoder lm goes on with the language model that the images pass through, and this "
                "policy has none. Set --policy.fusion.kind lm, or take --policy.head.decoder own."
            )
        own = config.decoder == "own"
        self.decoder = SmallDecoder(width, config.width, config.layers, config.heads) if own else LanguageDecoder(width)
        inner, count = self.decoder.width, self.tokens.length
        self.embed = nn.Embedding(self.tokens.vocabulary + 1, inner)
        self.place = nn.Embedding(count, inner)
        nn.init.normal_(self.embed.weight, std=0.5 if own else 0.02)
        nn.init.normal_(self.place.weight, std=0.02)
        self.read = nn.Linear(inner, self.tokens.vocabulary)
        self.logits = nn.Sequential(
            nn.Linear(width, config.width), nn.GELU(), nn.Linear(config.width, horizon * self.size)
        )

    def fit_range(self, low: Tensor, high: Tensor) -> None:
        """Take the bounds (A,) of actions at unit scale."""
        self.tokens.range.fit(low, high)

    def fit_chunks(self, chunks: Tensor) -> None:
        """Learn FAST's tokens from training chunks (count, H, A) at unit scale; tokens of values need none."""
        if isinstance(self.tokens, FastTokens):
            self.tokens.fit_chunks(chunks)

    def loss(self, features: Features, batch: Batch[Tensor]) -> Tensor:
        """Return the loss per row, (B,): cross-entropy, where a guess costs 1."""
        actions = settled(batch)
        ids = self.tokens.encode(actions)
        said = self._teach(features, ids) / math.log(self.tokens.vocabulary)
        if isinstance(self.tokens, FastTokens):
            chosen = said.gather(2, ids.clamp(min=0)[..., None])[..., 0].masked_fill(ids < 0, 0.0)
            error = -(chosen.sum(dim=1) / (ids >= 0).sum(dim=1))[:, None, None].expand_as(actions)
        else:
            labels = soft_labels(self.tokens.places(actions), self.tokens.vocabulary, self.config.smooth)
            surprise = -(labels * said).sum(dim=-1).unflatten(1, (self.horizon, -1))
            index = self.tokens.chosen.expand_as(surprise)
            error = torch.zeros_like(actions).scatter(2, index, surprise)
        return self.actions.reduce(error, self._bits(features), batch)

    def sample(self, features: Features, noise: Tensor | None = None) -> Tensor:
        """Return chunks (B, H, A) at unit scale: the likeliest token each time, so ``noise`` is not used."""
        del noise
        return self._finish(self._decode(features, draw=False), self._bits(features))

    # ---------------------------------------------------------------------- reinforcement learning

    def rollout(self, features: Features) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Draw chunks (B, H, A) at unit scale; the trace is the tokens (B, N) and two-valued actions' bits."""
        ids, bits = self._decode(features, draw=True), torch.bernoulli(self._bits(features).sigmoid())
        return self._finish(ids, bits - 0.5), {"tokens": ids, "bits": bits}

    def log_prob(self, features: Features, trace: Mapping[str, Tensor]) -> Tensor:
        """Return (B, H), a unit a step; of FAST (B, 1 + H), the chunk, then each step's two-valued actions."""
        ids, binary = trace["tokens"], self.actions.binary
        said = self._teach(features, ids).gather(2, ids.clamp(min=0)[..., None])[..., 0].masked_fill(ids < 0, 0.0)
        bits = bits_log_prob(self._bits(features), trace["bits"]).masked_fill(~binary, 0.0).sum(dim=-1)
        if self.fast:
            return torch.cat([said.sum(dim=1, keepdim=True), bits], dim=1)
        return said.unflatten(1, (self.horizon, -1)).sum(dim=-1) + bits

    def mask(self, execute: int, alive: Tensor) -> Tensor:
        """Return the units that were executed before the end, (B, H), or (B, 1 + H) of FAST.

        Raises:
            ConfigError: part of a chunk of FAST tokens was executed.
        """
        executed = alive & (torch.arange(self.horizon, device=alive.device) < execute)
        if not self.fast:
            return executed
        if execute != self.horizon:
            raise ConfigError(
                f"{execute} of {self.horizon} steps are executed, but FAST tokens say the chunk as a whole: no part of "
                f"them belongs to these steps. Set --policy.execute {self.horizon}, or --policy.head.tokens values."
            )
        return torch.cat([executed[:, :1], executed & self.actions.has_binary], dim=1)

    # ----------------------------------------------------------------------------------- decoding

    def _teach(self, features: Features, ids: Tensor) -> Tensor:
        """Return log-probabilities (B, N, V) of every token given those of ids (B, N) before it."""
        spans = torch.where(ids >= 0, self.tokens.lengths[ids.clamp(min=0)], 0)
        said = spans.cumsum(dim=1) - spans
        before = functional.pad(ids[:, :-1].clamp(min=0), (1, 0), value=self.tokens.vocabulary)
        hidden, _ = self.decoder.advance(self.decoder.begin(features), self._read_in(before, said))
        return self._allowed(self.read(hidden), said)

    def _decode(self, features: Features, *, draw: bool) -> Tensor:
        """Return ids (B, N), -1 behind the last: drawn, or the likeliest ones."""
        past, rows = self.decoder.begin(features), len(features.tokens)
        token = torch.full((rows,), self.tokens.vocabulary, device=features.tokens.device)
        said = torch.zeros_like(token)
        ids: list[Tensor] = []
        for _ in range(self.tokens.length):
            hidden, past = self.decoder.advance(past, self._read_in(token[:, None], said[:, None]))
            scores = self._allowed(self.read(hidden), said[:, None])[:, 0]
            token = torch.multinomial(scores.exp(), 1)[:, 0] if draw else scores.argmax(dim=-1)
            ids.append(torch.where(said < self.tokens.length, token, -1))
            said = (said + self.tokens.lengths[token]).clamp(max=self.tokens.length)
        return torch.stack(ids, dim=1)

    def _read_in(self, ids: Tensor, said: Tensor) -> Tensor:
        return self.embed(ids) + self.place(said.clamp(max=self.tokens.length - 1))

    def _allowed(self, logits: Tensor, said: Tensor) -> Tensor:
        """Return log-probabilities of logits (B, M, V) over the tokens that fit behind ``said`` (B, M) values."""
        left = (self.tokens.length - said).clamp(min=1)
        return logits.masked_fill(self.tokens.lengths > left[..., None], float("-inf")).log_softmax(dim=-1)

    def _bits(self, features: Features) -> Tensor:
        return self.logits(self.summary(features)).unflatten(-1, (self.horizon, self.size))

    def _finish(self, ids: Tensor, bits: Tensor) -> Tensor:
        return self.actions.decide(torch.where(self.actions.binary, bits, self.tokens.decode(ids)))
