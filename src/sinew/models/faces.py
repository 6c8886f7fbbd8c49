"""What a head may ask for beside the face that every ``ActionHead`` has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, cast, runtime_checkable

from torch import Tensor, nn

from sinew.core.errors import ConfigError
from sinew.models.heads.config import HEADS, AnyHeadConfig

if TYPE_CHECKING:
    from sinew.core.types import StochasticHead


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


def stochastic(head: nn.Module, config: AnyHeadConfig) -> StochasticHead:
    """Return a head as one whose draws can be scored.

    Raises:
        ConfigError: it draws nothing.
    """
    if not config.stochastic:
        able = ", ".join(name for name, kind in HEADS.items() if kind.stochastic)
        raise ConfigError(f"the {config.kind} head draws nothing that could be scored; these do: {able}.")
    return cast("StochasticHead", head)
