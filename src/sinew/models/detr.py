"""Transformer layers that know where their tokens lie: positions join queries and keys, never values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": functional.relu, "gelu": functional.gelu}


@dataclass(frozen=True)
class LayerSizes:
    """What all layers of a stack share.

    Attributes:
        width: D of the tokens. heads: of the attention. hidden: width of the feed-forward layer.
        dropout: share of values dropped in training.
        activation: of the feed-forward layer.
        pre_norm: normalise what enters a part instead of what leaves it.
    """

    width: int
    heads: int
    hidden: int
    dropout: float = 0.1
    activation: Literal["relu", "gelu"] = "relu"
    pre_norm: bool = False


@dataclass(frozen=True)
class Placed:
    """Tokens and where they lie.

    Attributes:
        tokens: (B, N, D).
        positions: added to queries and keys, (N, D) or (B, N, D); None adds nothing.
        ignored: (B, N) bool, True for tokens that nobody may look at; None means none.
    """

    tokens: Tensor
    positions: Tensor | None = None
    ignored: Tensor | None = None

    @property
    def keys(self) -> Tensor:
        """What is compared with a query."""
        return self.tokens if self.positions is None else self.tokens + self.positions

    def of(self, tokens: Tensor) -> Placed:
        """Return other tokens at the same places."""
        return Placed(tokens, self.positions, self.ignored)


class DetrLayer(nn.Module):
    """Self-attention, attention to a memory where there is one, and a feed-forward layer (DETR, Carion 2020).

    Args:
        sizes: of the stack.
        memory: whether another stack's tokens are attended to.
    """

    def __init__(self, sizes: LayerSizes, *, memory: bool = False) -> None:
        super().__init__()
        width, heads, dropout = sizes.width, sizes.heads, sizes.dropout
        self.pre_norm = sizes.pre_norm
        self.activation = ACTIVATIONS[sizes.activation]
        self.attend = nn.MultiheadAttention(width, heads, dropout=dropout, batch_first=True)
        self.recall = nn.MultiheadAttention(width, heads, dropout=dropout, batch_first=True) if memory else None
        self.widen, self.narrow = nn.Linear(width, sizes.hidden), nn.Linear(sizes.hidden, width)
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(3 if memory else 2)])
        self.drop = nn.Dropout(dropout)

    def forward(self, placed: Placed, memory: Placed | None = None) -> Placed:
        """Return the tokens as they are after this layer, at the same places."""
        placed = self._add(0, placed, self._attended)
        if self.recall is not None and memory is not None:
            placed = self._add(1, placed, lambda seen: self._recalled(seen, memory))
        return self._add(len(self.norms) - 1, placed, self._fed)

    def _add(self, number: int, placed: Placed, part: Callable[[Placed], Tensor]) -> Placed:
        norm = self.norms[number]
        if self.pre_norm:
            return placed.of(placed.tokens + self.drop(part(placed.of(norm(placed.tokens)))))
        return placed.of(norm(placed.tokens + self.drop(part(placed))))

    def _attended(self, placed: Placed) -> Tensor:
        keys = placed.keys
        return self.attend(keys, keys, placed.tokens, key_padding_mask=placed.ignored, need_weights=False)[0]

    def _recalled(self, placed: Placed, memory: Placed) -> Tensor:
        assert self.recall is not None
        found = self.recall(
            placed.keys, memory.keys, memory.tokens, key_padding_mask=memory.ignored, need_weights=False
        )
        return found[0]

    def _fed(self, placed: Placed) -> Tensor:
        return self.narrow(self.drop(self.activation(self.widen(placed.tokens))))


class DetrStack(nn.Module):
    """Some layers, and a last norm.

    Args:
        sizes: of every layer.
        layers: how many.
        memory: whether they attend to another stack's tokens; such a stack always ends in a norm.
    """

    def __init__(self, sizes: LayerSizes, layers: int, *, memory: bool = False) -> None:
        super().__init__()
        self.layers = nn.ModuleList([DetrLayer(sizes, memory=memory) for _ in range(layers)])
        self.norm = nn.LayerNorm(sizes.width) if memory or sizes.pre_norm else nn.Identity()
        for parameter in self.layers.parameters():
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(self, placed: Placed, memory: Placed | None = None) -> Placed:
        """Return the tokens as they are after all layers."""
        for layer in self.layers:
            placed = layer(placed, memory)
        return placed.of(self.norm(placed.tokens))


def line_positions(count: int, width: int) -> Tensor:
    """Return the sines of places on a line, (count, width) (Vaswani 2017, arXiv:1706.03762)."""
    rates = 10_000.0 ** (-2 * (torch.arange(width, dtype=torch.float64) // 2) / width)
    angles = torch.arange(count, dtype=torch.float64)[:, None] * rates
    return torch.where(torch.arange(width) % 2 == 0, angles.sin(), angles.cos()).float()


def map_positions(height: int, breadth: int, width: int, device: torch.device | None = None) -> Tensor:
    """Return the sines of the cells of a map, row by row, (height * breadth, width); half of them for each direction.

    Cells count from 1, so that the last lies at 2 pi whatever the size of the map (DETR).
    """
    half = width // 2
    rates = 10_000.0 ** (-2 * (torch.arange(half, device=device) // 2) / half)
    even = torch.arange(half, device=device) % 2 == 0

    def sines(count: int) -> Tensor:
        places = torch.arange(1, count + 1, device=device) / (count + 1e-6) * (2 * torch.pi)
        angles = places[:, None] * rates
        return torch.where(even, angles.sin(), angles.cos())

    down, right = sines(height), sines(breadth)
    return torch.cat([down.repeat_interleave(breadth, dim=0), right.repeat(height, 1)], dim=-1)
