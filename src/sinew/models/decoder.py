"""Causal decoders that go on behind the features token by token: a small one of our own, or the language model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from sinew.core.errors import ConfigError
from sinew.models.fields import feed_forward, whole_mask

if TYPE_CHECKING:
    from sinew.core.types import Features


@dataclass(frozen=True)
class Past:
    """What a decoder keeps of what it has read.

    Attributes:
        features: it began with.
        mask: (B, N + M) which of the tokens read count.
        cache: keys and values (B, heads, N + M, size) by layer.
        read: embeddings (B, M, D) behind the features, for a decoder that keeps nothing else.
    """

    features: Features
    mask: Tensor
    cache: tuple[tuple[Tensor, Tensor], ...] = ()
    read: Tensor | None = None


class SmallDecoder(nn.Module):
    """A transformer trained from scratch; it reads the features first, which see each other, then goes on causally.

    Args:
        features: D.
        width: of its tokens. layers: blocks. heads: attention heads.
    """

    def __init__(self, features: int, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.width = width
        self.enter = nn.Linear(features, width)
        self.blocks = nn.ModuleList([CausalBlock(width, heads) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)

    def begin(self, features: Features) -> Past:
        """Read the features; every token sees all that count."""
        mask = whole_mask(features)
        allowed = mask[:, None, None]
        hidden = self.enter(features.tokens)
        cache: list[tuple[Tensor, Tensor]] = []
        for number, block in enumerate(self.blocks):
            last = number == len(self.blocks) - 1  # nobody reads what the last block would say of the features
            hidden, seen = block(hidden, None, allowed, keep_only=last)
            cache.append(seen)
        return Past(features, mask, tuple(cache))

    def advance(self, past: Past, embeddings: Tensor) -> tuple[Tensor, Past]:
        """Return hidden states (B, M, width) of the next embeddings (B, M, width), each seeing those up to it."""
        rows, count, _ = embeddings.shape
        causal = torch.ones(count, count, dtype=torch.bool, device=embeddings.device).tril()
        allowed = torch.cat([past.mask[:, None].expand(-1, count, -1), causal.expand(rows, -1, -1)], dim=2)[:, None]
        hidden = embeddings
        cache: list[tuple[Tensor, Tensor]] = []
        for block, seen in zip(self.blocks, past.cache, strict=True):
            hidden, kept = block(hidden, seen, allowed)
            cache.append(kept)
        mask = torch.cat([past.mask, past.mask.new_ones(rows, count)], dim=1)
        return self.norm(hidden), Past(past.features, mask, tuple(cache))


class LanguageDecoder(nn.Module):
    """The policy's own language model, through ``Features.decode``; it keeps what it knows of the tokens itself.

    What was decoded so far is read again with every token: actions are few against the tokens in front of them.

    Args:
        features: D, which is the width of its embeddings.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.width = features

    def begin(self, features: Features) -> Past:
        """Stand behind the features.

        Raises:
            ConfigError: they come without a language model.
        """
        if features.decode is None:
            raise ConfigError(
                "--policy.head.decoder lm goes on with the language model that the images pass through, and this "
                "policy has none. Set --policy.fusion.kind lm, or take --policy.head.decoder own."
            )
        return Past(features, whole_mask(features))

    def advance(self, past: Past, embeddings: Tensor) -> tuple[Tensor, Past]:
        """Return hidden states (B, M, D) of the next embeddings (B, M, D), each seeing those up to it."""
        assert past.features.decode is not None
        read = embeddings if past.read is None else torch.cat([past.read, embeddings], dim=1)
        hidden = past.features.decode(read)[:, -embeddings.shape[1] :]
        return hidden, Past(past.features, past.mask, read=read)


class CausalBlock(nn.Module):
    """A pre-norm transformer block that keeps its keys and values."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = feed_forward(width, 4)

    def forward(
        self, hidden: Tensor, past: tuple[Tensor, Tensor] | None, allowed: Tensor, *, keep_only: bool = False
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Return tokens (B, M, width) and all keys and values; ``allowed`` (B, 1, M or 1, all) says who sees whom."""
        split = self.qkv(self.norm(hidden)).unflatten(-1, (3, self.heads, -1))
        query, key, value = split.permute(2, 0, 3, 1, 4)
        if past is not None:
            key, value = torch.cat([past[0], key], dim=2), torch.cat([past[1], value], dim=2)
        if keep_only:
            return hidden, (key, value)
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=allowed)
        hidden = hidden + self.out(mixed.transpose(1, 2).flatten(2))
        return hidden + self.mlp(hidden), (key, value)
