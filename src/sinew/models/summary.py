"""From the tokens of an encoder to the one vector that a head begins with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from sinew.core.types import Features
    from sinew.models.heads.config import FeatureLayout


class Summary(nn.Module):
    """Attention pooling by one learned query (as in the set transformer, Lee 2019, arXiv:1810.00825).

    Differs from the paper in having one head and no feed-forward part: encoder and head have their own.
    Where there is one token only it is the summary, and nothing is learned.

    Args:
        width: D.
        layout: whether there can be more than one token.
    """

    def __init__(self, width: int, layout: FeatureLayout) -> None:
        super().__init__()
        self.key = nn.Linear(width, width, bias=False) if layout.many else None
        if layout.many:
            self.query = nn.Parameter(torch.randn(width) / width**0.5)

    def forward(self, features: Features) -> Tensor:
        """Return (B, D) of tokens (B, N, D); tokens that the mask leaves out have no part in it."""
        tokens, mask = features.tokens, features.mask
        if self.key is None:
            return pooled(features)
        scores = self.key(tokens) @ self.query
        if mask is not None:
            scores = scores.masked_fill(~mask, float("-inf"))
        return torch.einsum("bnd,bn->bd", tokens, scores.softmax(dim=1))


def pooled(features: Features) -> Tensor:
    """Return the only token, or else the mean of the real ones, (B, D)."""
    if features.tokens.shape[1] == 1:
        return features.tokens[:, 0]
    if features.mask is None:
        return features.tokens.mean(dim=1)
    share = features.mask / features.mask.sum(dim=1, keepdim=True)
    return torch.einsum("bnd,bn->bd", features.tokens, share)
