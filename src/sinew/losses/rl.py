"""Losses of policy-gradient methods as pure functions of tensors."""

from __future__ import annotations

import torch
from torch import Tensor

SMALLEST_SPREAD = 1e-6


def has_spread(returns: Tensor) -> Tensor:
    """Return which groups can teach something, (G,) bool: those whose members did not all fare alike.

    Dropping the others is the dynamic sampling of DAPO (Yu 2025, arXiv:2503.14476); we do not draw
    further groups in their place.

    Args:
        returns: (G, M), one row a group of M episodes from the same initial state.
    """
    return returns.amax(dim=1) - returns.amin(dim=1) > SMALLEST_SPREAD


def group_advantage(returns: Tensor) -> Tensor:
    """Return how much better each episode did than its group, (G, M), in standard deviations of the group.

    GRPO (Shao 2024, arXiv:2402.03300): (r - mean) / (std + 1e-6), std with ddof = 1. Groups without
    spread give exactly 0, whatever their rounding errors.

    Args:
        returns: (G, M), M at least 2.
    """
    centred = returns - returns.mean(dim=1, keepdim=True)
    scaled = centred / (returns.std(dim=1, correction=1, keepdim=True) + 1e-6)
    return torch.where(has_spread(returns)[:, None], scaled, torch.zeros_like(scaled))


def even_weight(units: Tensor, episode: Tensor) -> Tensor:
    """Return weights (B,) that let every episode count the same in a mean over units, however long it was.

    This is the 1 / |o| of GRPO. Where failures run until time is up, a plain mean over units is mostly about them.

    Args:
        units: (B,), how many units of each decision count; at least one in every episode.
        episode: (B,) int64, the number of each decision's episode, from 0 without gaps.

    Returns:
        Weights whose mean over units is 1.
    """
    lengths = units.new_zeros(int(episode.max()) + 1).index_add_(0, episode, units)
    return lengths.to(torch.get_default_dtype()).mean() / lengths[episode]


def clipped_loss(log_prob: Tensor, behaviour: Tensor, advantage: Tensor, *, low: float, high: float) -> Tensor:
    """Return PPO's clipped surrogate as a loss per unit, (B, L) (Schulman 2017, arXiv:1707.06347).

    The clip is asymmetric (clip-higher, Yu 2025): a larger ``high`` lets unlikely actions grow.

    Args:
        log_prob: (B, L) under the weights that learn.
        behaviour: (B, L) under those that acted.
        advantage: (B,), shared by the units of a row.
        low: the ratio counts down to 1 - low.
        high: and up to 1 + high.
    """
    ratio = (log_prob - behaviour).exp()
    gain = advantage[:, None]
    return -torch.minimum(ratio * gain, ratio.clamp(1 - low, 1 + high) * gain)


def is_clipped(log_prob: Tensor, behaviour: Tensor, advantage: Tensor, *, low: float, high: float) -> Tensor:
    """Return which units the clip leaves without gradient, (B, L) bool; arguments as in ``clipped_loss``."""
    ratio, gain = (log_prob - behaviour).exp(), advantage[:, None]
    return ((ratio > 1 + high) & (gain > 0)) | ((ratio < 1 - low) & (gain < 0))


def kl_k3(log_prob: Tensor, reference: Tensor) -> Tensor:
    """Return Schulman's k3 estimate of KL(policy || reference) per unit, (B, L), never negative.

    With r = reference / policy on draws of the policy it is r - 1 - log r: unbiased, with less
    variance than -log r (http://joschu.net/blog/kl-approx.html).

    Args:
        log_prob: (B, L) under the policy that drew.
        reference: (B, L) under the other one.
    """
    log_ratio = reference - log_prob
    return torch.expm1(log_ratio) - log_ratio


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of the values that count, 0-dim; 0 where none does.

    What is masked reaches neither the value nor the gradient, even where it is not finite.

    Args:
        values: (B, L).
        mask: (B, L) bool.
    """
    kept = torch.where(mask, values, torch.zeros_like(values))
    return kept.sum() / mask.sum().clamp(min=1)
