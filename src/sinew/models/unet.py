"""The U-Net along time that Diffusion Policy denoises chunks with, under a condition."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from sinew.core.errors import ConfigError

LAST_GROUPS = 8
"""Groups of the last norm, whatever the others have; as in the published network."""


class ChunkUnet(nn.Module):
    """Convolutions over the steps of a chunk, halved and doubled, each scaled and shifted by the condition.

    Diffusion Policy's network (Chi 2023, arXiv:2303.04137) with its condition for all steps alike.

    Args:
        size: A, values of a step.
        condition: D of the condition.
        channels: of each level; all but the last halve the steps.
        kernel: steps that a convolution sees.
        groups: of the norms; must divide every number of channels.
        time: numbers that say how noisy the chunk is.
        scale: the condition scales channels as well as shifting them.
    """

    def __init__(
        self,
        size: int,
        condition: int,
        channels: Sequence[int] = (512, 1024, 2048),
        *,
        kernel: int = 5,
        groups: int = 8,
        time: int = 128,
        scale: bool = True,
    ) -> None:
        super().__init__()
        if any(count % groups for count in channels) or channels[0] % LAST_GROUPS:
            raise ConfigError(
                f"U-Net channels {tuple(channels)}: each must be a multiple of the {groups} norm groups, and the first "
                f"one of {LAST_GROUPS}."
            )
        self.halvings = len(channels) - 1
        self.time = nn.Sequential(nn.Linear(time, 4 * time), nn.Mish(), nn.Linear(4 * time, time))
        self.register_buffer("rates", _rates(time), persistent=False)
        self.rates: Tensor

        def block(entering: int, leaving: int) -> Residual:
            return Residual(entering, leaving, time + condition, kernel, groups, scale=scale)

        self.down, self.halving = nn.ModuleList(), nn.ModuleList()
        for number, (before, count) in enumerate(pairwise((size, *channels))):
            self.down.append(nn.ModuleList([block(before, count), block(count, count)]))
            whole = number == self.halvings
            self.halving.append(nn.Identity() if whole else nn.Conv1d(count, count, 3, stride=2, padding=1))
        self.middle = nn.ModuleList([block(channels[-1], channels[-1]) for _ in range(2)])
        self.up, self.doubling = nn.ModuleList(), nn.ModuleList()
        for count, after in pairwise(reversed(channels)):
            self.up.append(nn.ModuleList([block(2 * count, after), block(after, after)]))
            self.doubling.append(nn.ConvTranspose1d(after, after, 4, stride=2, padding=1))
        last = Convolved(channels[0], channels[0], kernel, LAST_GROUPS)
        self.out = nn.Sequential(last, nn.Conv1d(channels[0], size, 1))

    def forward(self, chunk: Tensor, time: Tensor, condition: Tensor) -> Tensor:
        """Return what the network says of chunks (B, H, A) at noise levels (B,) under conditions (B, D).

        Raises:
            ConfigError: H cannot be halved often enough.
        """
        self.check(chunk.shape[1])
        angles = time.to(chunk.dtype)[:, None] * self.rates
        known = torch.cat([self.time(torch.cat([angles.sin(), angles.cos()], dim=-1)), condition], dim=-1)
        seen, kept = chunk.transpose(1, 2), list[Tensor]()
        for blocks, halve in zip(self.down, self.halving, strict=True):
            seen = _through(blocks, seen, known)
            kept.append(seen)
            seen = halve(seen)
        seen = _through(self.middle, seen, known)
        for blocks, double in zip(self.up, self.doubling, strict=True):
            seen = double(_through(blocks, torch.cat([seen, kept.pop()], dim=1), known))
        return self.out(seen).transpose(1, 2)

    def check(self, steps: int) -> None:
        """Refuse chunks that cannot be halved often enough.

        Raises:
            ConfigError: with lengths that can.
        """
        if steps % 2**self.halvings:
            raise ConfigError(
                f"a chunk of {steps} steps cannot be halved {self.halvings} times. Make --policy.horizon a multiple of "
                f"{2**self.halvings}, or --policy.head.layers {_halvings(steps) + 1} at most."
            )


class Residual(nn.Module):
    """Two convolutions; between them the condition scales and shifts the channels (FiLM, Perez 2018)."""

    def __init__(self, entering: int, leaving: int, condition: int, kernel: int, groups: int, *, scale: bool) -> None:
        super().__init__()
        self.scale = scale
        self.first, self.second = (
            Convolved(entering, leaving, kernel, groups),
            Convolved(leaving, leaving, kernel, groups),
        )
        self.condition = nn.Sequential(nn.Mish(), nn.Linear(condition, (2 if scale else 1) * leaving))
        self.skip = nn.Identity() if entering == leaving else nn.Conv1d(entering, leaving, 1)

    def forward(self, steps: Tensor, condition: Tensor) -> Tensor:
        """Return (B, leaving, H) of steps (B, entering, H)."""
        found, said = self.first(steps), self.condition(condition)[..., None]
        if self.scale:
            scale, said = said.chunk(2, dim=1)
            found = scale * found
        return self.second(found + said) + self.skip(steps)


class Convolved(nn.Sequential):
    """A convolution over steps, a group norm, Mish."""

    def __init__(self, entering: int, leaving: int, kernel: int, groups: int) -> None:
        convolution = nn.Conv1d(entering, leaving, kernel, padding=kernel // 2)
        super().__init__(convolution, nn.GroupNorm(groups, leaving), nn.Mish())


def _through(blocks: nn.Module, steps: Tensor, condition: Tensor) -> Tensor:
    assert isinstance(blocks, nn.ModuleList)
    for block in blocks:
        steps = block(steps, condition)
    return steps


def _halvings(steps: int) -> int:
    """Return how often a number can be halved."""
    return (steps & -steps).bit_length() - 1


def _rates(size: int) -> Tensor:
    half = size // 2
    return torch.exp(torch.arange(half) * (-math.log(10_000) / (half - 1)))
