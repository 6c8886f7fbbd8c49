"""The flow-matching head: a velocity field that carries noise to a chunk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sinew.models.actions import ActionLoss, bits_log_prob, normal_log_prob
from sinew.models.summary import Summary

if TYPE_CHECKING:
    from sinew.core.types import Batch, Features, RobotSpec
    from sinew.models.heads.config import FeatureLayout, FlowHeadConfig


class FlowHead(nn.Module):
    """Conditional flow matching on straight paths (Lipman 2023, arXiv:2210.02747), as pi0 uses it.

    x_t = (1 - t) noise + t actions, the net predicts actions - noise; sampling takes Euler steps.
    Differs from pi0 (Black 2024, arXiv:2410.24164): t is drawn uniformly, the field is a residual
    MLP over the whole chunk, and two-valued actions are classified from the features beside it; the
    field neither sees nor moves them.

    Reinforcement learning needs odds, and an ODE has none. ``rollout`` follows Flow-GRPO (Liu 2025,
    arXiv:2505.05470): the SDE with the same marginals, noise at every Euler step, and the odds of each
    transition given the one before. Differs from the paper in the units that are scored: a transition
    of one step of the chunk, with its own ratio, instead of the mean over all of a sample's values.

    Args:
        config: sizes and Euler steps.
        width: D of the features.
        horizon: H.
        spec: whose A actions.
        layout: what the features hold.
    """

    def __init__(
        self, config: FlowHeadConfig, width: int, horizon: int, spec: RobotSpec, layout: FeatureLayout
    ) -> None:
        super().__init__()
        self.summary = Summary(width, layout)
        self.horizon, self.steps, self.size, self.noise = horizon, config.steps, spec.action_size, config.noise
        self.loss_per_row = ActionLoss(spec, config.binary_weight)
        flat = horizon * spec.action_size
        self.enter = nn.Linear(flat + width + TIME_FEATURES, config.width)
        self.blocks = nn.ModuleList(
            [
                nn.Sequential(
                    nn.LayerNorm(config.width),
                    nn.Linear(config.width, 2 * config.width),
                    nn.GELU(),
                    nn.Linear(2 * config.width, config.width),
                )
                for _ in range(config.layers)
            ]
        )
        self.leave = nn.Linear(config.width, flat)
        self.logits = nn.Sequential(nn.Linear(width, config.width), nn.GELU(), nn.Linear(config.width, flat))

    def velocity(self, context: Tensor, chunk: Tensor, time: Tensor) -> Tensor:
        """Return the velocity (B, H, A) at chunk (B, H, A) and time (B,) given context (B, D)."""
        seen = chunk.masked_fill(self.loss_per_row.binary, 0.0).flatten(1)
        hidden = self.enter(torch.cat([seen, context, time_features(time)], dim=-1))
        for block in self.blocks:
            hidden = hidden + block(hidden)
        return self.leave(hidden).unflatten(-1, (self.horizon, self.size))

    def loss(self, features: Features, batch: Batch[Tensor]) -> Tensor:
        """Return the loss per row, (B,); noise and time come from torch's generator."""
        context = self.summary(features)
        noise = torch.randn_like(batch.actions)
        time = torch.rand(len(context), device=context.device)
        mixed = torch.lerp(noise, batch.actions, time[:, None, None])
        error = (self.velocity(context, mixed, time) - (batch.actions - noise)).square()
        return self.loss_per_row.reduce(error, self._logits(context), batch)

    def sample(self, features: Features, noise: Tensor | None = None) -> Tensor:
        """Return chunks (B, H, A) at unit scale from ``noise`` (B, H, A), drawn here when None."""
        context = self.summary(features)
        chunk = torch.randn(len(context), self.horizon, self.size, device=context.device) if noise is None else noise
        for step in range(self.steps):
            time = torch.full((len(context),), step / self.steps, device=context.device)
            chunk = chunk + self.velocity(context, chunk, time) / self.steps
        return self.finish(context, chunk)

    def finish(self, context: Tensor, chunk: Tensor) -> Tensor:
        """Return the chunk (B, H, A) as it is but for two-valued actions, which ``context`` (B, D) decides."""
        return self.loss_per_row.decide(torch.where(self.loss_per_row.binary, self._logits(context), chunk))

    # ---------------------------------------------------------------------- reinforcement learning

    def transition(self, context: Tensor, chunk: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean (B, H, A) and standard deviation (B, 1, 1) of the chunk after Euler steps ``step`` (B,), int.

        With s_t = -(x - t v) / (1 - t), the score of x_t on straight paths from Gaussian noise,
        dx = (v + sigma_t^2 / 2 s_t) dt + sigma_t dw has the marginals of dx = v dt. As in Flow-GRPO
        sigma_t = noise sqrt((1 - t) / t), where the t of the second step stands in for t = 0.
        """
        delta = 1.0 / self.steps
        time = step * delta
        velocity = self.velocity(context, chunk, time)
        time = time[:, None, None]
        variance = self.noise**2 * (1 - time) / time.clamp(min=delta)
        score = (time * velocity - chunk) / (1 - time)
        return chunk + (velocity + 0.5 * variance * score) * delta, (variance * delta).sqrt()

    def rollout(self, features: Features) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Draw chunks (B, H, A) at unit scale; the trace is the chain (B, K + 1, H, A) and two-valued actions' bits."""
        context = self.summary(features)
        chain = [torch.randn(len(context), self.horizon, self.size, device=context.device)]
        for step in range(self.steps):
            now = torch.full((len(context),), step, device=context.device)
            mean, std = self.transition(context, chain[-1], now)
            chain.append(mean + std * torch.randn_like(mean))
        bits = torch.bernoulli(self._logits(context).sigmoid())
        chunk = self.loss_per_row.decide_bits(torch.where(self.loss_per_row.binary, bits, chain[-1]))
        return chunk, {"chain": torch.stack(chain, dim=1), "bits": bits}

    def log_prob(self, features: Features, trace: Mapping[str, Tensor]) -> Tensor:
        """Return (B, (K + 1) H): the K transitions of each step, one after the other, then its two-valued actions."""
        context, chain, binary = self.summary(features), trace["chain"], self.loss_per_row.binary
        rows = len(context)
        steps = torch.arange(self.steps, device=context.device).repeat(rows)
        each = context.repeat_interleave(self.steps, dim=0)
        mean, std = self.transition(each, chain[:, :-1].flatten(0, 1), steps)
        moved = normal_log_prob(chain[:, 1:].flatten(0, 1), mean, std).masked_fill(binary, 0.0).sum(dim=-1)
        chosen = bits_log_prob(self._logits(context), trace["bits"]).masked_fill(~binary, 0.0).sum(dim=-1)
        return torch.cat([moved.reshape(rows, -1), chosen], dim=1)

    def mask(self, execute: int, alive: Tensor) -> Tensor:
        """Return which units belong to steps executed before the end, (B, (K + 1) H) bool."""
        executed = alive & (torch.arange(self.horizon, device=alive.device) < execute)
        decided = executed & self.loss_per_row.has_binary
        return torch.cat([executed.repeat(1, self.steps), decided], dim=1)

    def _logits(self, context: Tensor) -> Tensor:
        return self.logits(context).unflatten(-1, (self.horizon, self.size))


TIME_FEATURES = 16


def time_features(time: Tensor) -> Tensor:
    """Return sines and cosines (B, 16) of time (B,) in 0 .. 1 at octaves from half a turn up."""
    octaves = torch.pi * 2.0 ** torch.arange(TIME_FEATURES // 2, device=time.device)
    angles = time[:, None] * octaves
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
