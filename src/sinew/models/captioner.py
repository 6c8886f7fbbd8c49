"""A small decoder that reads an image while it writes: teaches a vision encoder by captions, then is thrown away."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class CrossBlock(nn.Module):
    """Looks at the past words, then at the image, then thinks (Vaswani 2017)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.past = nn.MultiheadAttention(width, heads, batch_first=True)
        self.image = nn.MultiheadAttention(width, heads, batch_first=True)
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(3)])
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, words: Tensor, image: Tensor, future: Tensor) -> Tensor:
        """Return words (B, N, D); image (B, K, D), future (N, N) bool marks what must not be seen."""
        normed = self.norms[0](words)
        words = words + self.past(normed, normed, normed, attn_mask=future, need_weights=False)[0]
        words = words + self.image(self.norms[1](words), image, image, need_weights=False)[0]
        return words + self.mlp(self.norms[2](words))


class Captioner(nn.Module):
    """Writes captions of image tokens (as CapPa does: Tschannen 2023, arXiv:2306.07915).

    Args:
        tokens: D of the image tokens.
        vocabulary: V.
        width: its own. layers: blocks. max_tokens: longest caption.
    """

    def __init__(self, tokens: int, vocabulary: int, *, width: int = 96, layers: int = 2, max_tokens: int = 96) -> None:
        super().__init__()
        heads = max(1, width // 24)
        self.look = nn.Sequential(nn.LayerNorm(tokens), nn.Linear(tokens, width))
        self.embed = nn.Embedding(vocabulary, width)
        self.position = nn.Parameter(0.02 * torch.randn(max_tokens, width))
        self.blocks = nn.ModuleList([CrossBlock(width, heads) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)
        nn.init.normal_(self.embed.weight, std=2 / width**0.5)  # logits that differ from the first update on

    def forward(self, image: Tensor, ids: Tensor) -> Tensor:
        """Return logits (B, N, V) of the word after each of ids (B, N) about image tokens (B, K, D)."""
        count = ids.shape[1]
        words, seen = self.embed(ids) + self.position[:count], self.look(image)
        future = torch.ones(count, count, dtype=torch.bool, device=ids.device).triu(1)
        for block in self.blocks:
            words = block(words, seen, future)
        return functional.linear(self.norm(words), self.embed.weight)
