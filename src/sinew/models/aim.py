"""How far it is from where the robot is to where it will act next, as features of an action head."""

from __future__ import annotations

import torch
from torch import Tensor, nn

SCALES = (0.5, 2.0, 8.0, 32.0)
"""Gaps are seen at these magnifications, so that far ones tell the way and near ones the last bit of it."""


class Aim(nn.Module):
    """A gap at several magnifications, each squashed, to features.

    What a network of a few dozen recordings finds hard is the small difference of two large numbers. Given it, the
    last bit of a motion is the same wherever on the table it happens.

    Args:
        size: S of the gap.
        width: D of the features.
    """

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(size * len(SCALES), width)
        self.register_buffer("scales", torch.tensor(SCALES), persistent=False)
        self.scales: Tensor

    def forward(self, gap: Tensor) -> Tensor:
        """Return features (B, D) from gaps (B, S) at unit scale."""
        return self.linear((gap[:, :, None] * self.scales).tanh().flatten(1))
