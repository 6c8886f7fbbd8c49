"""The diffusion head: noise is taken from a chunk step by step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sinew.core.errors import ConfigError
from sinew.models.actions import ActionLoss, ActionRange, settled
from sinew.models.chain import draw_chain, mask_chain, score_chain
from sinew.models.fields import FieldSizes, Memory, build_field
from sinew.models.noise_schedule import NoiseSchedule
from sinew.models.summary import Summary

if TYPE_CHECKING:
    from sinew.core.types import Batch, Features, RobotSpec
    from sinew.models.heads.config import DiffusionHeadConfig, FeatureLayout


class DiffusionHead(nn.Module):
    """Diffusion over the whole chunk (Diffusion Policy, Chi 2023, arXiv:2303.04137), walked in few DDIM steps.

    Differs from the paper: the network is a residual MLP or a transformer unless the U-Net is asked for, it
    predicts the velocity of Salimans 2022 (arXiv:2202.00512) unless told otherwise, the estimate of
    the chunk is kept within the range of the data instead of -1 .. 1, and two-valued actions are
    classified from the features beside it.

    Reinforcement learning scores the chain as DPPO does (Ren 2024, arXiv:2409.00588): every step of
    the walk is a decision with a normal distribution around its mean, and its standard deviation is
    DDPM's, at least ``noise``, without which the last step would have none. Differs in the units: a
    transition of one step of the chunk, with its own ratio.

    Args:
        config: sizes, steps and what is predicted.
        width: D of the features.
        horizon: H.
        spec: whose A actions.
        layout: what the features hold.
    """

    def __init__(
        self, config: DiffusionHeadConfig, width: int, horizon: int, spec: RobotSpec, layout: FeatureLayout
    ) -> None:
        super().__init__()
        if not 1 <= config.steps <= config.length:
            raise ConfigError(f"--policy.head.steps {config.steps}: take 1 to {config.length} (--policy.head.length).")
        self.config, self.horizon, self.size = config, horizon, spec.action_size
        self.summary = Summary(width, layout)
        self.actions = ActionLoss(spec, config.binary_weight)
        self.range = ActionRange(spec.action_size)
        self.schedule = NoiseSchedule(
            config.length,
            config.steps,
            config.prediction,
            leading=config.spacing == "leading",
            bounded=config.bounded_noise,
        )
        sizes = FieldSizes(width, config.before + horizon, spec.action_size, config.width, config.layers, config.unet)
        self.field = build_field(config.expert, sizes, layout)
        flat = horizon * spec.action_size
        self.logits = nn.Sequential(nn.Linear(width, config.width), nn.GELU(), nn.Linear(config.width, flat))

    @property
    def times(self) -> tuple[float, ...]:
        """Numbers of the steps that are walked, noise first."""
        return tuple(float(step) for step in self.schedule.walk)

    def fit_range(self, low: Tensor, high: Tensor) -> None:
        """Take the bounds (A,) of actions at unit scale."""
        self.range.fit(low, high)

    def remember(self, features: Features) -> Memory:
        """Return what the field needs of the features; the summary (B, D) comes first."""
        return self.field.remember(features, self.summary(features))

    def say(self, memory: Memory, chunk: Tensor, step: Tensor) -> Tensor:
        """Return what the network says (B, H, A) of a chunk (B, H, A) after ``step`` (B,) steps of noise."""
        seen = chunk.masked_fill(self.actions.binary, 0.0)
        return self.field(memory, seen, step / self.schedule.length)

    def loss(self, features: Features, batch: Batch[Tensor]) -> Tensor:
        """Return the loss per row, (B,); noise and step come from torch's generator."""
        memory, clean = self.remember(features), self._with_before(settled(batch))
        noise = torch.randn_like(clean)
        step = torch.randint(self.schedule.length, (len(clean),), device=clean.device)
        said = self.say(memory, self.schedule.blur(clean, noise, step), step)
        error = (said - self.schedule.target(clean, noise, step)).square()[:, self.config.before :]
        return self.actions.reduce(error, self._logits(memory), batch)

    def sample(self, features: Features, noise: Tensor | None = None) -> Tensor:
        """Return chunks (B, H, A) at unit scale from ``noise`` (B, H, A), drawn here when None.

        Noise of the steps before now is drawn, too, unless it comes with the rest.

        With ``eta`` above 0 more is drawn at every step but the last, whether noise is given or not.
        """
        memory = self.remember(features)
        context = memory[0]
        chunk = torch.randn(len(context), self.horizon, self.size, device=context.device) if noise is None else noise
        missing = self.config.before + self.horizon - chunk.shape[1]
        if missing:
            chunk = torch.cat([torch.randn_like(chunk[:, :1].expand(-1, missing, -1)), chunk], dim=1)
        for time in self.times:
            chunk = self.advance(memory, chunk, torch.full((len(context),), time, device=context.device))
        return self.finish(memory, chunk)

    def advance(self, memory: Memory, chunk: Tensor, time: Tensor) -> Tensor:
        """Return the chunk (B, H, A) one step of the walk later; ``time`` (B,) holds the number of this one."""
        mean, std = self._step(memory, chunk, time.round().long(), self.config.eta)
        return mean + std * torch.randn_like(mean) if self.config.eta else mean

    def finish(self, memory: Memory, chunk: Tensor) -> Tensor:
        """Return the chunk (B, H, A) as it is but for two-valued actions, which the summary decides."""
        return self.actions.decide(
            torch.where(self.actions.binary, self._logits(memory), chunk[:, self.config.before :])
        )

    # ---------------------------------------------------------------------- reinforcement learning

    def transition(self, memory: Memory, chunk: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean (B, H, A) and standard deviation (B, 1, 1) of the chunk after ``step`` (B,), one of the walk."""
        mean, std = self._step(memory, chunk, step, 1.0)
        return mean, std.clamp(min=self.config.noise)

    def rollout(self, features: Features) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Draw chunks (B, H, A) at unit scale; the trace is the chain (B, K + 1, H, A) and two-valued actions' bits."""
        if self.config.before:
            raise ConfigError(
                f"--policy.head.before {self.config.before}: steps before now are drawn but never acted, so such draws "
                "cannot be scored. Reinforcement learning wants 0."
            )
        memory = self.remember(features)
        start = torch.randn(len(memory[0]), self.horizon, self.size, device=memory[0].device)
        return draw_chain(self.transition, memory, start, self.schedule.walk, self._logits(memory), self.actions)

    def log_prob(self, features: Features, trace: Mapping[str, Tensor]) -> Tensor:
        """Return (B, (K + 1) H): the K transitions of each step, one after the other, then its two-valued actions."""
        memory = self.remember(features)
        return score_chain(self.transition, memory, trace, self.schedule.walk, self._logits(memory), self.actions)

    def mask(self, execute: int, alive: Tensor) -> Tensor:
        """Return which units belong to steps executed before the end, (B, (K + 1) H) bool."""
        return mask_chain(execute, alive, self.schedule.walk, self.actions)

    def _step(self, memory: Memory, chunk: Tensor, step: Tensor, eta: float) -> tuple[Tensor, Tensor]:
        clean = self.schedule.clean(chunk, self.say(memory, chunk, step), step)
        bounded = torch.maximum(torch.minimum(clean, self.range.high), self.range.low)
        return self.schedule.transition(chunk, bounded, step, eta, free=clean)

    def _with_before(self, clean: Tensor) -> Tensor:
        """Put the first action before now as often as needed; what is said of those steps does not count."""
        if not self.config.before:
            return clean
        return torch.cat([clean[:, :1].expand(-1, self.config.before, -1), clean], dim=1)

    def _logits(self, memory: Memory) -> Tensor:
        return self.logits(memory[0]).unflatten(-1, (self.horizon, self.size))
