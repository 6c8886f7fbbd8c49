"""Action experts of SmolVLA and pi0: layers that share a language model's attention, or look at it in turns."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from sinew.core.errors import ConfigError
from sinew.models.rotary import rotate

if TYPE_CHECKING:
    from sinew.core.types import Features
    from sinew.models.heads.config import CacheLayout
    from sinew.models.interleaved_config import InterleavedConfig

EPSILON = 1e-5
"""Of the norms of SmolVLA, as in the language model whose layers these are."""
GEMMA_EPSILON = 1e-6
"""Of those of pi0."""
BASE = 10_000.0
"""Of rotary positions, where the language model's keys carry none."""


class InterleavedField(nn.Module):
    """The action expert of SmolVLA (Shukor 2025, arXiv:2506.01844), a layer for each of a language model's.

    In some layers the steps of the chunk look at the language model's keys and values and at the steps up to their
    own; in the others at what a layer of theirs makes of the language model's keys and values, and not at each other.
    Steps are told the time by waves of many periods. The head's time runs from noise to actions and this network's the
    other way, as in pi0 (Black 2024, arXiv:2410.24164), so here both time and velocity are turned around.

    That of pi0 itself shares all layers. Its steps see each other, and a step for the state that stands before them;
    the state sees what the language model read, and so is made once for each observation.

    Args:
        actions: A.
        width: of its tokens.
        config: its other sizes.
        cache: what the language model leaves behind.
        state: S of the features' state, for a step of its own; 0 for none.

    Raises:
        ConfigError: its heads do not share those of the language model, its width is odd, or not all layers of a pi0
            share their attention.
    """

    def __init__(self, actions: int, width: int, config: InterleavedConfig, cache: CacheLayout, state: int = 0) -> None:
        super().__init__()
        if config.heads % cache.heads or width % 2:
            raise ConfigError(
                f"an interleaved expert of width {width} with {config.heads} heads: wanted an even width, and a "
                f"multiple of the language model's {cache.heads} heads of keys and values (--policy.head.width, "
                "--policy.head.interleaved.heads)."
            )
        if config.like == "pi0" and config.every != 1:
            raise ConfigError(
                f"--policy.head.interleaved.every {config.every}: all layers of pi0's expert share the language "
                "model's attention. Set it to 1."
            )
        self.cache, self.width, self.periods = cache, width, config.periods
        self.enter, self.leave = nn.Linear(actions, width), nn.Linear(width, actions)
        self.time_in, self.time_out = nn.Linear(2 * width, width), nn.Linear(width, width)
        shared = [config.every > 0 and number % config.every == 0 for number in range(cache.layers)]
        self.blocks = nn.ModuleList([InterleavedBlock(width, config, cache, shares=shares) for shares in shared])
        self.norm = nn.RMSNorm(width, epsilon_of(config))
        self.feel = nn.Linear(state, width) if state else None

    def remember(self, features: Features, summary: Tensor) -> tuple[Tensor, ...]:
        """Return summary (B, D), mask (B, N), then keys and values (B, heads, N, size) by layer.

        Where the state has a step of its own, that is the last of the N.
        """
        if features.cache is None or len(features.cache) != self.cache.layers:
            found = 0 if features.cache is None else len(features.cache)
            raise ConfigError(
                f"an interleaved expert of {self.cache.layers} layers was given keys and values of {found}."
            )
        mask = features.mask
        if mask is None:
            mask = features.tokens.new_ones(features.tokens.shape[:2], dtype=torch.bool)
        blocks = cast("Iterable[InterleavedBlock]", self.blocks)
        seen = [block.recall(*pair) for block, pair in zip(blocks, features.cache, strict=True)]
        if self.feel is not None:
            assert features.state is not None
            felt = self.feel(features.state)[:, None]
            for number, (block, (key, value)) in enumerate(zip(blocks, seen, strict=True)):
                own = block.keys(block.norm(felt), mask)
                felt = block(felt, key, value, mask)
                seen[number] = (torch.cat([key, own[0]], dim=2), torch.cat([value, own[1]], dim=2))
            mask = functional.pad(mask, (0, 1), value=True)
        return (summary, mask, *(part for pair in seen for part in pair))

    def forward(self, memory: tuple[Tensor, ...], chunk: Tensor, time: Tensor) -> Tensor:
        """Return (B, H, A) at chunk (B, H, A) and time (B,) in 0 .. 1."""
        _, mask, *seen = memory
        told = waves((1 - time).to(chunk.dtype), self.width, self.periods).to(chunk.dtype)
        steps = self.enter(chunk)
        steps = self.time_out(functional.silu(self.time_in(torch.cat([steps, told[:, None].expand_as(steps)], dim=-1))))
        for number, block in enumerate(self.blocks):
            steps = block(steps, seen[2 * number], seen[2 * number + 1], mask)
        return -self.leave(self.norm(steps))


class InterleavedBlock(nn.Module):
    """A layer of a Llama (Touvron 2023, arXiv:2302.13971) whose steps look at a language model's keys and values.

    Like pi0's it is one of a Gemma (Mesnard 2024, arXiv:2403.08295); its norms have the weights that those add to 1.

    Args:
        width: of its tokens.
        config: its other sizes.
        cache: what the language model leaves behind.
        shares: its steps look at each other, too, in the same attention.
    """

    def __init__(self, width: int, config: InterleavedConfig, cache: CacheLayout, *, shares: bool) -> None:
        super().__init__()
        self.heads, self.cache, self.shares = config.heads, cache, shares
        kept = cache.heads * cache.size
        self.gemma = config.like == "pi0"
        self.norm, self.norm_mlp = (nn.RMSNorm(width, epsilon_of(config)) for _ in range(2))
        self.query = nn.Linear(width, config.heads * cache.size, bias=False)
        self.key, self.value = (nn.Linear(width if shares else kept, kept, bias=False) for _ in range(2))
        self.out = nn.Linear(config.heads * cache.size, width, bias=False)
        self.gate, self.up = (nn.Linear(width, config.hidden, bias=False) for _ in range(2))
        self.down = nn.Linear(config.hidden, width, bias=False)

    def recall(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Return the keys and values, each (B, heads, N, size), that steps see of the language model's."""
        if self.shares:
            return key, value
        return self._split(self.key(_joined(key))), self._split(self.value(_joined(value)))

    def keys(self, inner: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return keys and values, each (B, heads, H, size), of normalised steps (B, H, width) behind what counts."""
        return self._rotate(self._split(self.key(inner)), mask), self._split(self.value(inner))

    def forward(self, steps: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
        """Return (B, H, width) of steps (B, H, width); ``mask`` (B, N) says which keys and values count."""
        count = steps.shape[1]
        inner = self.norm(steps)
        allowed = mask[:, None, None]
        if self.shares:
            own = self.keys(inner, mask)
            key, value = torch.cat([key, own[0]], dim=2), torch.cat([value, own[1]], dim=2)
            among = torch.ones(count, count, dtype=torch.bool, device=mask.device)
            among = (among if self.gemma else among.tril()).expand(len(mask), 1, -1, -1)
            allowed = torch.cat([allowed.expand(-1, -1, count, -1), among], dim=-1)
        query = self._rotate(self._split(self.query(inner)), mask)
        group = self.heads // self.cache.heads
        key, value = key.repeat_interleave(group, dim=1), value.repeat_interleave(group, dim=1)
        steps = steps + self.out(_joined(functional.scaled_dot_product_attention(query, key, value, allowed)))
        inner = self.norm_mlp(steps)
        gate = self.gate(inner)
        gate = functional.gelu(gate, approximate="tanh") if self.gemma else functional.silu(gate)
        return steps + self.down(gate * self.up(inner))

    def _rotate(self, heads: Tensor, mask: Tensor) -> Tensor:
        places = torch.arange(heads.shape[2], device=heads.device).expand(len(heads), -1)
        if self.shares:
            places = places + mask.sum(dim=1, keepdim=True)
        return rotate(heads, places, self.cache.rope or BASE)

    def _split(self, tokens: Tensor) -> Tensor:
        return tokens.unflatten(-1, (-1, self.cache.size)).transpose(1, 2)


def epsilon_of(config: InterleavedConfig) -> float:
    """Return what the norms of an expert add to the mean square."""
    return GEMMA_EPSILON if config.like == "pi0" else EPSILON


def waves(time: Tensor, count: int, periods: tuple[float, float]) -> Tensor:
    """Return sines, then cosines (B, count) of time (B,), their periods spaced evenly by ratio.

    The shortest waves turn so fast that single precision would show in them, so they are double where there is such.
    """
    share = torch.linspace(0.0, 1.0, count // 2, dtype=exact(time.device), device=time.device)
    shortest, longest = periods
    angles = (2 * math.pi / (shortest * (longest / shortest) ** share)) * time[:, None]
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def exact(device: torch.device) -> torch.dtype:
    """Return the type in which times of a walk are to be told: turned around in single precision they lose digits."""
    return torch.float32 if device.type == "mps" else torch.float64


def _joined(heads: Tensor) -> Tensor:
    return heads.transpose(1, 2).flatten(2)
