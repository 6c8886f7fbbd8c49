"""Rotary positions: heads turned by where their tokens stand."""

from __future__ import annotations

import torch
from torch import Tensor


def rotate(heads: Tensor, places: Tensor, base: float) -> Tensor:
    """Return heads (B, heads, M, size) turned by their places (B, M), see RoPE (Su 2021, arXiv:2104.09864).

    The two halves of a head are the two coordinates that are turned, as in transformers' Llama and Qwen.
    """
    half = heads.shape[-1] // 2
    rates = base ** (-torch.arange(half, device=heads.device, dtype=heads.dtype) / half)
    angles = (places[:, None, :, None] * rates).to(heads.dtype)
    one, two = heads[..., :half], heads[..., half:]
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([one * cos - two * sin, two * cos + one * sin], dim=-1)
