"""Keeps normal draws within the range of the data by a tanh, with the exact price in density."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn import functional

from sinew.models.actions import ActionRange

if TYPE_CHECKING:
    import torch

WIDER = 1.1
"""Range that can be reached, as a multiple of the data's; at its very edge the inverse would be infinite."""


class Squash(nn.Module):
    """a = middle + half tanh(v / half), which is v in the middle of the range; or a = v when it is off.

    SAC (Haarnoja 2018, arXiv:1801.01290, appendix C) squashes to -1 .. 1; ours has slope 1 in the
    middle, so that deviations mean the same with and without.

    Args:
        size: A.
        on: whether to squash.
    """

    def __init__(self, size: int, *, on: bool) -> None:
        super().__init__()
        self.range = ActionRange(size) if on else None

    def fit(self, low: torch.Tensor, high: torch.Tensor) -> None:
        """Take the bounds (A,) of the data."""
        if self.range is not None:
            middle, half = (low + high) / 2, WIDER * (high - low) / 2
            self.range.fit(middle - half, middle + half)

    def forward(self, free: Tensor) -> Tensor:
        """Return actions (..., A) of free values (..., A)."""
        if self.range is None:
            return free
        middle, half = (self.range.low + self.range.high) / 2, (self.range.high - self.range.low) / 2
        return middle + half * (free / half).tanh()

    def back(self, actions: Tensor) -> Tensor:
        """Return the free values of actions; those out of reach count as nearly at the edge."""
        if self.range is None:
            return actions
        middle, half = (self.range.low + self.range.high) / 2, (self.range.high - self.range.low) / 2
        return half * ((actions - middle) / half).clamp(-0.999, 0.999).atanh()

    def log_slope(self, free: Tensor) -> Tensor:
        """Return the logarithm of da / dv, elementwise: what log-densities lose by the squashing."""
        if self.range is None:
            return free.new_zeros(())
        scaled = 2 * free / (self.range.high - self.range.low)
        return 2 * (math.log(2.0) - scaled - functional.softplus(-2 * scaled))  # ln(1 - tanh^2), stable far out
