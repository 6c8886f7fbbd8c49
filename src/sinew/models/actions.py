"""How a chunk's continuous and two-valued actions are scored and decided; shared by the heads."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from sinew.core.types import Batch, RobotSpec

LEAST_RANGE = 1e-3
"""Half the smallest range of an action, in standard deviations."""


class ActionLoss(nn.Module):
    """L1 on continuous actions and cross-entropy on two-valued ones, averaged over the steps that count.

    Inside a policy actions are at unit scale, and a two-valued action keeps its physical low and high.

    Args:
        spec: says which actions are two-valued and between which values.
        binary_weight: weight of the cross-entropy.
        more: continuous values that follow those of the robot.
    """

    def __init__(self, spec: RobotSpec, binary_weight: float, *, more: int = 0) -> None:
        super().__init__()
        self.binary_weight = binary_weight
        self.has_binary = any(spec.binary_mask)
        nothing = (0.0,) * more
        self.register_buffer("binary", torch.tensor((*spec.binary_mask, *(False,) * more)), persistent=False)
        self.register_buffer("low", torch.tensor((*spec.low, *nothing)), persistent=False)
        self.register_buffer("high", torch.tensor((*spec.high, *nothing)), persistent=False)
        self.binary: Tensor
        self.low: Tensor
        self.high: Tensor

    def forward(self, raw: Tensor, batch: Batch[Tensor]) -> Tensor:
        """Return the loss per row (B,) of raw chunks (B, H, A), logits where two-valued."""
        return self.reduce((raw - batch.actions).abs(), raw, batch)

    def reduce(self, error: Tensor, logits: Tensor, batch: Batch[Tensor]) -> Tensor:
        """Return the loss per row from an elementwise continuous error and the two-valued logits, each (B, H, A)."""
        terms = error
        if self.has_binary:
            is_high = (batch.actions > (self.low + self.high) / 2).to(logits.dtype)
            classified = functional.binary_cross_entropy_with_logits(logits, is_high, reduction="none")
            terms = torch.where(self.binary, self.binary_weight * classified, terms)
        if batch.action_mask is not None:
            terms = terms * batch.action_mask[:, None]
            per_step = terms.sum(dim=-1) / batch.action_mask.sum(dim=-1, keepdim=True)
        else:
            per_step = terms.mean(dim=-1)
        counts = (~batch.is_pad).to(per_step.dtype)
        return (per_step * counts).sum(dim=-1) / counts.sum(dim=-1).clamp(min=1.0)

    def decide(self, raw: Tensor) -> Tensor:
        """Return chunks (B, H, A) with each two-valued action set to its low or high value."""
        if not self.has_binary:
            return raw
        return torch.where(self.binary, torch.where(raw > 0, self.high, self.low), raw)

    def decide_bits(self, drawn: Tensor) -> Tensor:
        """Return chunks (B, H, A) from draws in which a two-valued action is 0 for its low or 1 for its high value."""
        return self.decide(torch.where(self.binary, drawn - 0.5, drawn))


def normal_log_prob(values: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Return the log-density of a normal distribution, elementwise."""
    return -0.5 * ((values - mean) / std).square() - std.log() - 0.5 * math.log(2 * math.pi)


def bits_log_prob(logits: Tensor, bits: Tensor) -> Tensor:
    """Return the log-probability of 0 or 1 under the logit of 1, elementwise."""
    return functional.logsigmoid(torch.where(bits > 0.5, logits, -logits))


def settled(batch: Batch[Tensor]) -> Tensor:
    """Return the chunks (B, H, A) with the last real step in place of padded ones, for what sees chunks as a whole."""
    steps = torch.arange(batch.is_pad.shape[1], device=batch.is_pad.device)
    last = (~batch.is_pad).sum(dim=1, keepdim=True) - 1
    index = torch.minimum(steps, last.clamp(min=0))
    return batch.actions.gather(1, index[..., None].expand_as(batch.actions))


class ActionRange(nn.Module):
    """Between which values actions lie in the data, at unit scale; anywhere until told. Saved with the policy.

    Args:
        size: A.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("low", torch.full((size,), -math.inf))
        self.register_buffer("high", torch.full((size,), math.inf))
        self.low: Tensor
        self.high: Tensor

    def fit(self, low: Tensor, high: Tensor) -> None:
        """Take the bounds (A,); where they coincide, a little is left between them."""
        middle, half = (low + high) / 2, ((high - low) / 2).clamp(min=LEAST_RANGE)
        self.low.copy_(middle - half)
        self.high.copy_(middle + half)
