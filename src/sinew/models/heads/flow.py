"""The flow-matching head: a velocity field that carries noise to a chunk."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sinew.core.errors import ConfigError
from sinew.models.actions import ActionLoss, settled
from sinew.models.chain import draw_chain, mask_chain, score_chain
from sinew.models.fields import FieldSizes, Memory, build_field
from sinew.models.interleaved import InterleavedField, exact
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
    residual MLP over the whole chunk, a transformer that looks at all tokens, or pi0's or SmolVLA's own kind.
    With ``interleaved.padded`` actions have more values inside than the robot's; the others are zeros to be learned, or
    like pi0's in LeRobot whatever they may be.

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

    Raises:
        ConfigError: the features do not hold what the field needs, or there are fewer values inside than the robot's.
    """

    def __init__(
        self, config: FlowHeadConfig, width: int, horizon: int, spec: RobotSpec, layout: FeatureLayout
    ) -> None:
        super().__init__()
        self.summary = Summary(width, layout)
        self.horizon, self.steps, self.noise = horizon, config.steps, config.noise
        self.taken, self.size = spec.action_size, _inside(config, spec)
        self.insulate, self.late = bool(config.insulate), config.times == "beta"
        self.loss_per_row = ActionLoss(spec, config.binary_weight, more=self.size - self.taken)
        self.free = config.interleaved is not None and config.interleaved.like == "pi0"  # of what a robot has not
        flat = horizon * self.size
        inner, feels = config.interleaved, bool(config.feels)
        if feels and config.expert != "joint":
            raise ConfigError(
                f"--policy.head.feels: only a joint expert has a step for what is felt, this is {config.expert}. Set "
                "--policy.head.expert joint, or leave it out."
            )
        sizes = FieldSizes(width, horizon, self.size, config.width, config.layers, interleaved=inner, feels=feels)
        self.field = build_field(config.expert, sizes, layout)
        self.feels = feels
        read = width + (layout.state if feels else 0)
        self.logits = nn.Sequential(nn.Linear(read, config.width), nn.GELU(), nn.Linear(config.width, flat))
        if config.expert == "interleaved" and not self.loss_per_row.has_binary:  # then nothing asks for them
            self.summary.requires_grad_(requires_grad=False)
            self.logits.requires_grad_(requires_grad=False)
        self.register_load_state_dict_pre_hook(_rename)

    @property
    def times(self) -> tuple[float, ...]:
        """Where the Euler steps begin."""
        return tuple(step / self.steps for step in range(self.steps))

    def remember(self, features: Features) -> Memory:
        """Return what the field needs of the features; the summary (B, D), with what is felt behind it, comes first."""
        seen = insulated(features) if self.insulate else features
        summary = self.summary(seen)
        if self.feels and seen.state is not None:
            summary = torch.cat([summary, seen.state], dim=-1)
        return self.field.remember(seen, summary)

    def velocity(self, memory: Memory, chunk: Tensor, time: Tensor) -> Tensor:
        """Return the velocity (B, H, A) at chunk (B, H, A) and time (B,)."""
        return self.field(memory, chunk.masked_fill(self.loss_per_row.binary, 0.0), time)

    def advance(self, memory: Memory, chunk: Tensor, time: Tensor) -> Tensor:
        """Return the chunk (B, H, A) one Euler step after time (B,), one of ``times``."""
        if isinstance(self.field, InterleavedField):  # which turns time around: what single precision lost would show
            time = (time * self.steps).round().to(exact(time.device)) / self.steps
        return chunk + self.velocity(memory, chunk, time) / self.steps

    def loss(self, features: Features, batch: Batch[Tensor]) -> Tensor:
        """Return the loss per row, (B,); noise and time come from torch's generator."""
        noise = torch.randn(*batch.actions.shape[:2], self.size, device=batch.actions.device)
        time = torch.rand(len(noise), device=noise.device)
        if self.late:  # beta with 1.5 and 1 of the share of noise, which has no closed form in general but here
            time = 1 - (0.001 + 0.999 * time ** (2 / 3))
        return self.loss_at(features, batch, noise, time)

    def loss_at(self, features: Features, batch: Batch[Tensor], noise: Tensor, time: Tensor) -> Tensor:
        """Return the loss per row, (B,), for noise (B, H, A), A as it is inside, and time (B,)."""
        memory, batch = self.remember(features), self._padded(batch)
        actions = settled(batch)
        mixed = torch.lerp(noise, actions, time[:, None, None].to(noise.dtype))
        error = (self.velocity(memory, mixed, time) - (actions - noise)).square()
        return self.loss_per_row.reduce(error, self._logits(memory), batch)

    def sample(self, features: Features, noise: Tensor | None = None) -> Tensor:
        """Return chunks (B, H, A) at unit scale from ``noise`` (B, H, A), drawn here when None.

        Where A is larger inside, noise of that size is taken as well; of fewer values, the others are drawn.
        """
        memory = self.remember(features)
        chunk = self._start(memory[0], noise)
        for time in self.times:
            chunk = self.advance(memory, chunk, torch.full((len(chunk),), time, device=chunk.device))
        return self.finish(memory, chunk)

    def finish(self, memory: Memory, chunk: Tensor) -> Tensor:
        """Return the robot's part of the chunk (B, H, A); two-valued actions are decided by the summary."""
        if chunk.shape[-1] < self.size:
            chunk = functional.pad(chunk, (0, self.size - chunk.shape[-1]))
        return self._own(self.loss_per_row.decide(torch.where(self.loss_per_row.binary, self._logits(memory), chunk)))

    def _own(self, chunk: Tensor) -> Tensor:
        """Return the robot's values of a chunk (B, H, A)."""
        return chunk if self.taken == self.size else chunk[..., : self.taken]

    def _start(self, context: Tensor, noise: Tensor | None) -> Tensor:
        """Return noise (B, H, A), A as it is inside, that begins with what is given."""
        if noise is not None and noise.shape[-1] == self.size:
            return noise
        drawn = torch.randn(len(context), self.horizon, self.size, device=context.device)
        return drawn if noise is None else torch.cat([noise, drawn[..., noise.shape[-1] :]], dim=-1)

    def _padded(self, batch: Batch[Tensor]) -> Batch[Tensor]:
        """Return a batch whose actions have as many values as inside."""
        more = self.size - self.taken
        if not more:
            return batch
        mask = batch.action_mask
        if mask is None and self.free:
            mask = batch.actions.new_ones(batch.actions.shape[::2], dtype=torch.bool)
        return dataclasses.replace(
            batch,
            actions=functional.pad(batch.actions, (0, more)),
            action_mask=None if mask is None else functional.pad(mask, (0, more), value=not self.free),
        )

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
        start = self._start(memory[0], None)
        walk = range(self.steps)
        chunk, trace = draw_chain(self.transition, memory, start, walk, self._logits(memory), self.loss_per_row)
        return self._own(chunk), trace

    def log_prob(self, features: Features, trace: Mapping[str, Tensor]) -> Tensor:
        """Return (B, (K + 1) H): the K transitions of each step, one after the other, then its two-valued actions."""
        memory = self.remember(features)
        return score_chain(self.transition, memory, trace, range(self.steps), self._logits(memory), self.loss_per_row)

    def mask(self, execute: int, alive: Tensor) -> Tensor:
        """Return which units belong to steps executed before the end, (B, (K + 1) H) bool."""
        return mask_chain(execute, alive, range(self.steps), self.loss_per_row)

    def _logits(self, memory: Memory) -> Tensor:
        return self.logits(memory[0]).unflatten(-1, (self.horizon, self.size))


def _inside(config: FlowHeadConfig, spec: RobotSpec) -> int:
    """Return how many values an action has inside."""
    sizes = config.interleaved
    if config.expert != "interleaved" or sizes is None or sizes.padded is None:
        return spec.action_size
    if sizes.padded < spec.action_size:
        raise ConfigError(
            f"--policy.head.interleaved.padded {sizes.padded}: {spec.embodiment} has {spec.action_size} action values. "
            f"Set at least {spec.action_size}; weights that were trained with {sizes.padded} do not fit this robot."
        )
    return sizes.padded


def insulated(features: Features) -> Features:
    """Return the same features, through which no gradient flows back."""
    cache = features.cache
    kept = None if cache is None else tuple((key.detach(), value.detach()) for key, value in cache)
    state = None if features.state is None else features.state.detach()
    return dataclasses.replace(features, tokens=features.tokens.detach(), cache=kept, state=state)


def _rename(module: nn.Module, state: dict[str, Any], prefix: str, *_: object) -> None:
    """Let weights of older checkpoints be found where they are now."""
    del module
    for name in [name for name in state if name.startswith(tuple(prefix + part for part in FIELD))]:
        state[f"{prefix}field.{name.removeprefix(prefix)}"] = state.pop(name)
