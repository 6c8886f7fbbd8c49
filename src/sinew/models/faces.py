"""What a head may ask for beside the face that every ``ActionHead`` has."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class RangedHead(Protocol):
    """A head that wants to know between which values actions lie."""

    def fit_range(self, low: Tensor, high: Tensor) -> None:
        """Take the bounds (A,) at unit scale."""


@runtime_checkable
class ChunkHead(Protocol):
    """A head that makes tokens of chunks and learns which."""

    def fit_chunks(self, chunks: Tensor) -> None:
        """Learn from chunks (count, H, A) at unit scale."""
