"""The flow-matching head: a velocity field that carries noise to a chunk."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from sinew.models.actions import ActionLoss, settled
from sinew.models.chain import draw_chain, mask_chain, score_chain
from sinew.models.fields import FieldSizes, Memory, build_field
from sinew.models.summary import Summary

if TYPE_CHECKING:
    from sinew.core.types import Batch, Features, RobotSpec
    from sinew.models.heads.config import FeatureLayout, FlowHeadConfig

FIELD = ("enter.", "blocks.", "leave.")
"""Names that the MLP field's weights had when it was part of the head."""


class FlowHead(nn.Module):
    """Conditional flow matching on straight paths (Lipman 2023, arXiv:2210.02747), as pi0 uses it.

    x_t = (1 - t) noise + t actions, the field predicts actions - noise; sampling takes Euler steps.
    Differs from pi0 (Black 2024, arXiv:2410.24164): t is drawn uniformly, and two-valued actions are
    classified from the features beside the field, which neither sees nor moves them. The field is a
    residual MLP over the whole chunk, a transformer that looks at all tokens, or pi0's own kind.

    With ``insulate`` no gradient of this head reaches what made the features (knowledge insulation,
    Driess 2025, arXiv:2505.23705); the language model then learns from text and tokens alone.

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
        self.insulate = bool(config.insulate)
        self.loss_per_row = ActionLoss(spec, config.binary_weight)
        flat = horizon * spec.action_size
        sizes = FieldSizes(width, horizon, spec.action_size, config.width, config.layers)
        self.field = build_field(config.expert, sizes, layout)
        self.logits = nn.Sequential(nn.Linear(width, config.width), nn.GELU(), nn.Linear(config.width, flat))
        self.register_load_state_dict_pre_hook(_rename)

    @property
    def times(self) -> tuple[float, ...]:
        """Where the Euler steps begin."""
        return tuple(step / self.steps for step in range(self.steps))

    def remember(self, features: Features) -> Memory:
        """Return what the field needs of the features; the summary (B, D) comes first."""
        seen = insulated(features) if self.insulate else features
        return self.field.remember(seen, self.summary(seen))

    def velocity(self, memory: Memory, chunk: Tensor, time: Tensor) -> Tensor:
        """Return the velocity (B, H, A) at chunk (B, H, A) and time (B,)."""
        return self.field(memory, chunk.masked_fill(self.loss_per_row.binary, 0.0), time)

    def advance(self, memory: Memory, chunk: Tensor, time: Tensor) -> Tensor:
        """Return the chunk (B, H, A) one Euler step after time (B,)."""
        return chunk + self.velocity(memory, chunk, time) / self.steps

    def loss(self, features: Features, batch: Batch[Tensor]) -> Tensor:
        """Return the loss per row, (B,); noise and time come from torch's generator."""
        memory, actions = self.remember(features), settled(batch)
        noise = torch.randn_like(actions)
        time = torch.rand(len(actions), device=actions.device)
        mixed = torch.lerp(noise, actions, time[:, None, None])
        error = (self.velocity(memory, mixed, time) - (actions - noise)).square()
        return self.loss_per_row.reduce(error, self._logits(memory), batch)

    def sample(self, features: Features, noise: Tensor | None = None) -> Tensor:
        """Return chunks (B, H, A) at unit scale from ``noise`` (B, H, A), drawn here when None."""
        memory = self.remember(features)
        context = memory[0]
        chunk = torch.randn(len(context), self.horizon, self.size, device=context.device) if noise is None else noise
        for time in self.times:
            chunk = self.advance(memory, chunk, torch.full((len(context),), time, device=context.device))
        return self.finish(memory, chunk)

    def finish(self, memory: Memory, chunk: Tensor) -> Tensor:
        """Return the chunk (B, H, A) as it is but for two-valued actions, which the summary decides."""
        return self.loss_per_row.decide(torch.where(self.loss_per_row.binary, self._logits(memory), chunk))

    # ---------------------------------------------------------------------- reinforcement learning

    def transition(self, memory: Memory, chunk: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean (B, H, A) and standard deviation (B, 1, 1) of the chunk after Euler steps ``step`` (B,), int.

        With s_t = -(x - t v) / (1 - t), the score of x_t on straight paths from Gaussian noise,
        dx = (v + sigma_t^2 / 2 s_t) dt + sigma_t dw has the marginals of dx = v dt. As in Flow-GRPO
        sigma_t = noise sqrt((1 - t) / t), where the t of the second step stands in for t = 0.
        """
        delta = 1.0 / self.steps
        time = step * delta
        velocity = self.velocity(memory, chunk, time)
        time = time[:, None, None]
        variance = self.noise**2 * (1 - time) / time.clamp(min=delta)
        score = (time * velocity - chunk) / (1 - time)
        return chunk + (velocity + 0.5 * variance * score) * delta, (variance * delta).sqrt()

    def rollout(self, features: Features) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Draw chunks (B, H, A) at unit scale; the trace is the chain (B, K + 1, H, A) and two-valued actions' bits."""
        memory = self.remember(features)
        start = torch.randn(len(memory[0]), self.horizon, self.size, device=memory[0].device)
        return draw_chain(self.transition, memory, start, range(self.steps), self._logits(memory), self.loss_per_row)

    def log_prob(self, features: Features, trace: Mapping[str, Tensor]) -> Tensor:
        """Return (B, (K + 1) H): the K transitions of each step, one after the other, then its two-valued actions."""
        memory = self.remember(features)
        return score_chain(self.transition, memory, trace, range(self.steps), self._logits(memory), self.loss_per_row)

    def mask(self, execute: int, alive: Tensor) -> Tensor:
        """Return which units belong to steps executed before the end, (B, (K + 1) H) bool."""
        return mask_chain(execute, alive, range(self.steps), self.loss_per_row)

    def _logits(self, memory: Memory) -> Tensor:
        return self.logits(memory[0]).unflatten(-1, (self.horizon, self.size))


def insulated(features: Features) -> Features:
    """Return the same features, through which no gradient flows back."""
    cache = features.cache
    kept = None if cache is None else tuple((key.detach(), value.detach()) for key, value in cache)
    return dataclasses.replace(features, tokens=features.tokens.detach(), cache=kept)


def _rename(module: nn.Module, state: dict[str, Any], prefix: str, *_: object) -> None:
    """Let weights of older checkpoints be found where they are now."""
    del module
    for name in [name for name in state if name.startswith(tuple(prefix + part for part in FIELD))]:
        state[f"{prefix}field.{name.removeprefix(prefix)}"] = state.pop(name)
