"""The flow-matching head: a velocity field that carries noise to a chunk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sinew.models.actions import ActionLoss, pooled

if TYPE_CHECKING:
    from sinew.core.types import Batch, Features, RobotSpec
    from sinew.models.config import FlowHeadConfig


class FlowHead(nn.Module):
    """Conditional flow matching on straight paths (Lipman 2023, arXiv:2210.02747), as pi0 uses it.

    x_t = (1 - t) noise + t actions, the net predicts actions - noise; sampling takes Euler steps.
    Differs from pi0 (Black 2024, arXiv:2410.24164): t is drawn uniformly, the field is a residual
    MLP over the whole chunk, and two-valued actions are classified from the features beside it.

    Args:
        config: sizes and Euler steps.
        width: D of the features; tokens are averaged.
        horizon: H.
        spec: whose A actions.
    """

    def __init__(self, config: FlowHeadConfig, width: int, horizon: int, spec: RobotSpec) -> None:
        super().__init__()
        self.horizon, self.steps, self.size = horizon, config.steps, spec.action_size
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
        hidden = self.enter(torch.cat([chunk.flatten(1), context, time_features(time)], dim=-1))
        for block in self.blocks:
            hidden = hidden + block(hidden)
        return self.leave(hidden).unflatten(-1, (self.horizon, self.size))

    def loss(self, features: Features, batch: Batch[Tensor]) -> Tensor:
        """Return the loss per row, (B,); noise and time come from torch's generator."""
        context = pooled(features)
        noise = torch.randn_like(batch.actions)
        time = torch.rand(len(context), device=context.device)
        mixed = torch.lerp(noise, batch.actions, time[:, None, None])
        error = (self.velocity(context, mixed, time) - (batch.actions - noise)).square()
        return self.loss_per_row.reduce(error, self._logits(context), batch)

    def sample(self, features: Features, noise: Tensor | None = None) -> Tensor:
        """Return chunks (B, H, A) at unit scale from ``noise`` (B, H, A), drawn here when None."""
        context = pooled(features)
        chunk = torch.randn(len(context), self.horizon, self.size, device=context.device) if noise is None else noise
        for step in range(self.steps):
            time = torch.full((len(context),), step / self.steps, device=context.device)
            chunk = chunk + self.velocity(context, chunk, time) / self.steps
        logits = self._logits(context)
        return self.loss_per_row.decide(torch.where(self.loss_per_row.binary, logits, chunk))

    def _logits(self, context: Tensor) -> Tensor:
        return self.logits(context).unflatten(-1, (self.horizon, self.size))


TIME_FEATURES = 16


def time_features(time: Tensor) -> Tensor:
    """Return sines and cosines (B, 16) of time (B,) in 0 .. 1 at octaves from half a turn up."""
    octaves = torch.pi * 2.0 ** torch.arange(TIME_FEATURES // 2, device=time.device)
    angles = time[:, None] * octaves
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
