"""Chains of noisy steps from noise to a chunk: drawn, scored and masked, for heads that denoise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sinew.models.actions import bits_log_prob, normal_log_prob
from sinew.models.fields import Memory, repeat

if TYPE_CHECKING:
    from sinew.models.actions import ActionLoss

Transition = Callable[[Memory, Tensor, Tensor], tuple[Tensor, Tensor]]
"""Mean (B, H, A) and standard deviation (B, 1, 1) of the chunk after (memory, chunk (B, H, A), step (B,) int)."""


def draw_chain(
    transition: Transition, memory: Memory, start: Tensor, walk: Sequence[int], logits: Tensor, actions: ActionLoss
) -> tuple[Tensor, Mapping[str, Tensor]]:
    """Return drawn chunks (B, H, A) at unit scale and their trace: the chain (B, K + 1, H, A) and two-valued bits.

    Args:
        transition: of the head.
        memory: of the observations.
        start: noise (B, H, A).
        walk: numbers of the K steps.
        logits: of two-valued actions, (B, H, A).
        actions: which those are.
    """
    chain = [start]
    for step in walk:
        mean, std = transition(memory, chain[-1], torch.full((len(start),), step, device=start.device))
        chain.append(mean + std * torch.randn_like(mean))
    bits = torch.bernoulli(logits.sigmoid())
    chunk = actions.decide_bits(torch.where(actions.binary, bits, chain[-1]))
    return chunk, {"chain": torch.stack(chain, dim=1), "bits": bits}


def score_chain(
    transition: Transition,
    memory: Memory,
    trace: Mapping[str, Tensor],
    walk: Sequence[int],
    logits: Tensor,
    actions: ActionLoss,
) -> Tensor:
    """Return (B, (K + 1) H): the K transitions of each step, one after the other, then its two-valued actions."""
    chain, rows = trace["chain"], len(trace["chain"])
    steps = torch.tensor(walk, device=chain.device).repeat(rows)
    mean, std = transition(repeat(memory, len(walk)), chain[:, :-1].flatten(0, 1), steps)
    moved = normal_log_prob(chain[:, 1:].flatten(0, 1), mean, std).masked_fill(actions.binary, 0.0).sum(dim=-1)
    chosen = bits_log_prob(logits, trace["bits"]).masked_fill(~actions.binary, 0.0).sum(dim=-1)
    return torch.cat([moved.reshape(rows, -1), chosen], dim=1)


def mask_chain(execute: int, alive: Tensor, walk: Sequence[int], actions: ActionLoss) -> Tensor:
    """Return which units belong to steps executed before the end, (B, (K + 1) H) bool; ``alive`` is (B, H)."""
    executed = alive & (torch.arange(alive.shape[1], device=alive.device) < execute)
    return torch.cat([executed.repeat(1, len(walk)), executed & actions.has_binary], dim=1)
